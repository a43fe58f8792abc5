"""YAML to plain dicts, lists and scalars, strictly: no duplicate keys, no tags, no document that explodes.

PyYAML's own pure parser, because its recursion is bounded by Python (the C one trusts the stack), with what the
safe loader lets through closed here: the last of two equal keys wins there, and aliases of aliases grow without end.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import yaml

MAX_BYTES = 2**20
"""A configuration of hundreds of destinations fits; PyYAML takes about 10 s for this much."""
MAX_VALUES = 100_000
"""Values after all aliases are written out: ten lines of aliases can stand for 10^9."""

_QUOTED = re.compile(r"'(<[^'>]+>|\\.|[^'])'|'[^']{2,}'")
"""What PyYAML quotes: a name of its own or one character, which may be shown, or a piece of the file."""
_HINTS = {
    "undefined alias": "; a value that begins with * needs quotes",
    "but got '{'": "; a value that holds { or } needs quotes, like '${NAME}'",
    "cannot start any token": "; indent with spaces, and quote a value that begins with % @ or a backtick",
    "mapping values are not allowed": "; check the indentation, and quote a value that holds a colon and a space",
    "expected <block end>": "; check the indentation of this line and the one before",
    "but found another document": " behind a line of ---; a configuration is one document: write several files",
    "could not find expected ':'": "; check the indentation and the colon of the line before",
}


class DocumentError(ValueError):
    """The text is no usable YAML document. Each of `mistakes` begins with `line:column: `, or a space."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class _Loader(yaml.SafeLoader):
    """SafeLoader without dates (a date is text) and without tags."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's way to configure a loader class
        first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call] # types-PyYAML leaves it out
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, "tags are not supported here; quote a value that begins with !", event.start_mark
            )
        return super().compose_node(parent, index)


class _TextLoader(_Loader):
    """Every value is the text that stands there."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's way to configure a loader class


def parse(data: bytes, *, as_text: bool = False) -> object:
    """The document's value; None for an empty one. `as_text`: 0123, no and null are no numbers and the like, but text.

    Raises DocumentError.
    """
    with _told():
        loader = (_TextLoader if as_text else _Loader)(_decode(data))
        return _construct(loader, loader.get_single_node(), None)


def lines(data: bytes) -> dict[str, int]:
    """The line of each value of a document that was parsed before, by its path: `destinations[0].url`."""
    found: dict[str, int] = {}

    def walk(node: yaml.Node, where: str) -> None:
        found.setdefault(where, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = f"{where}.{key.value}".lstrip(".") if isinstance(key, yaml.ScalarNode) else where
                found[below] = key.start_mark.line + 1
                walk(value, below)
        elif isinstance(node, yaml.SequenceNode):
            for place, value in enumerate(node.value):
                walk(value, f"{where}[{place}]")

    root = _Loader(_decode(data)).get_single_node()
    if root is not None:
        walk(root, "")
    return found


def parse_each(data: bytes, repeated: list[str] | None = None) -> Iterator[object]:
    """The values of the documents in a file of YAML or JSON that other programs read too. Raises DocumentError.

    `repeated` takes a line for each key that stands twice, of which the last counts; None: that is a mistake.
    """
    with _told():
        text = _decode(data)
        if text.lstrip().startswith("{"):
            # Not all JSON is YAML: there are tabs before its tokens, and `\/` in its strings.
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(text, object_pairs_hook=partial(_pairs, repeated))
                return
        loader = _Loader(text)
        while loader.check_node():
            yield _construct(loader, loader.get_node(), repeated)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What goes wrong as a DocumentError."""
    try:
        yield
    except yaml.MarkedYAMLError as problem:
        raise DocumentError([_explain(problem)]) from None
    except yaml.reader.ReaderError as problem:
        raise DocumentError([f" character {problem.position + 1} is a control character; remove it"]) from None
    except RecursionError:
        raise DocumentError([" is nested too deeply; this is no configuration file"]) from None
    except DocumentError:
        raise
    except ValueError:
        # Python refuses to convert numbers of more than 4,300 digits.
        raise DocumentError([" holds a number that is too long"]) from None


def _pairs(repeated: list[str] | None, pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON. Raises DocumentError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        told = "a key stands more than once in one object"
        if repeated is None:
            raise DocumentError([f" {told}; keep one of them"])
        repeated.append(f"{told}; the last one counts")
    return found


def _decode(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise DocumentError([f" is larger than {MAX_BYTES // 2**20} MiB; this is no configuration file"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        column = problem.start - data.rfind(b"\n", 0, problem.start)
        raise DocumentError([f"{line}:{column}: is not UTF-8; save the file as UTF-8"]) from None


def _construct(loader: _Loader, node: yaml.Node | None, repeated: list[str] | None) -> object:
    if node is None:
        return None
    _Survey(repeated).look_at(node)
    return loader.construct_document(node)


def _explain(problem: yaml.MarkedYAMLError) -> str:
    """PyYAML's problem in one line, without what it quotes from the file."""
    text = str(problem.problem or problem.context or "is no YAML")
    hint = next((hint for fragment, hint in _HINTS.items() if fragment in text), "")
    return f"{_place(problem.problem_mark or problem.context_mark)}: {_QUOTED.sub(_shown, text)}{hint}"


def _shown(quoted: re.Match[str]) -> str:
    return quoted[0] if quoted[1] else "..."


def _place(mark: yaml.Mark | None) -> str:
    return "1:1" if mark is None else f"{mark.line + 1}:{mark.column + 1}"


class _Survey:
    """Looks at the nodes before anything is built from them: sizes with aliases written out, and duplicate keys."""

    def __init__(self, repeated: list[str] | None) -> None:
        self._repeated = repeated
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()
        self._mistakes: list[str] = []

    def look_at(self, root: yaml.Node) -> None:
        """Raises DocumentError for what must not be built."""
        if self._size(root) > MAX_VALUES:
            self._mistakes.append(f" holds more than {MAX_VALUES:,} values once its aliases are written out")
        if self._mistakes:
            raise DocumentError(self._mistakes)

    def _size(self, node: yaml.Node) -> int:
        known = self._sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in self._open:
            raise DocumentError([f"{_place(node.start_mark)}: this anchor contains itself"])
        self._open.add(id(node))
        size = 1 + sum(map(self._size, self._children(node)))
        self._open.discard(id(node))
        self._sizes[id(node)] = size
        return size

    def _children(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.MappingNode):
            self._note_duplicates(node)
            return [child for pair in node.value for child in pair]
        return node.value if isinstance(node, yaml.SequenceNode) else []

    def _note_duplicates(self, node: yaml.MappingNode) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._mistakes.append(f"{_place(key.start_mark)}: a key must be text")
            elif key.value in seen:
                place, first = _place(key.start_mark), seen[key.value]
                told = f"{place}: this key stands in line {first} already"
                if self._repeated is None:
                    self._mistakes.append(f"{told}; keep one of the two")
                else:
                    self._repeated.append(f"{told}; the last one counts")
            else:
                seen[key.value] = key.start_mark.line + 1
