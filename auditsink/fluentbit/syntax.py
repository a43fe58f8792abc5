"""fluent-bit's configuration files, in its classic language and in YAML, read into the same sections.

    [OUTPUT]
        name   splunk        # no comment: fluent-bit takes the rest of the line as the value
    @SET name=value
    @INCLUDE *.backend.conf

Headers and keys are written in any case; key and value part at the first blank; a line that begins with # is none;
a key may stand several times.

    service: {http_server: "on"}
    pipeline: {inputs: [{name: http}], filters: [...], outputs: [{name: splunk, match: audit}]}
    includes: ["*.backend.yaml"]
    env: {NAME: value}

Keys may be written in camel case there. A list is the same key several times (`add:` of the filter `modify`). A value
is the text that stands there, as in fluent-bit: a token of 0123 is no number, and an index of no is no boolean.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from auditsink.fluentbit.document import FluentBitError, FluentDocument, FluentEntry, FluentSection
from auditsink.load import document


@dataclass(frozen=True, slots=True)
class FluentInclude:
    """Another file, or a pattern of several, to be read here."""

    pattern: str
    place: str


@dataclass(frozen=True, slots=True)
class FluentVariable:
    """`@SET name=value`."""

    name: str
    value: str


FluentPart = FluentSection | FluentInclude | FluentVariable


def parse_classic(text: str, file: str) -> Iterator[FluentPart]:
    """What the file says, in order. Raises FluentBitError; no message shows a value."""
    kind, header, entries = "", "", list[FluentEntry]()
    for number, raw in enumerate(text.split("\n"), 1):  # and at no other character: values hold what they like
        place = f"{file}:{number}"
        line = raw.strip(" \t\r\x00")
        if not line or line.startswith("#"):
            continue
        if raw.startswith(("[", "@")):
            if line.startswith("@") and header:
                # What is included stands between sections, so the one before is complete.
                yield FluentSection(kind, tuple(entries), header, file)
                header, entries = "", []
            if line.startswith("@"):
                yield _directive(line, place)
                continue
            if header:
                yield FluentSection(kind, tuple(entries), header, file)
            kind, header, entries = _header(line, place), place, []
        elif not header:
            raise FluentBitError(f"{place}: stands in no section; write [OUTPUT] or the like before it")
        else:
            entries.append(_entry(line, place))
    if header:
        yield FluentSection(kind, tuple(entries), header, file)


def _header(line: str, place: str) -> str:
    name, closed, _ = line[1:].partition("]")
    if not closed or not name.strip():
        raise FluentBitError(f"{place}: is no section; write its name between brackets, like [OUTPUT]")
    return name.strip().lower()


def _directive(line: str, place: str) -> FluentPart:
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    if word.upper() == "@INCLUDE" and rest:
        return FluentInclude(rest, place)
    name, assigned, value = rest.partition("=")
    if word.upper() == "@SET" and assigned and name.strip():
        return FluentVariable(name.strip(), value.strip())
    raise FluentBitError(f"{place}: is no directive that is known; those are @INCLUDE FILE and @SET NAME=VALUE")


def _entry(line: str, place: str) -> FluentEntry:
    # fluent-bit itself parts at a space and no tab; people align with tabs, and no key holds one.
    parts = line.split(maxsplit=1)
    key = parts[0].lower()
    if key.startswith("["):
        raise FluentBitError(f"{place}: groups within a section are not taken over; nothing that fits here has one")
    if len(parts) == 1:
        raise FluentBitError(f"{place}: {key} has no value; write one, or remove the line")
    return FluentEntry(key, parts[1], place)


_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
_LISTS = {"inputs": "input", "filters": "filter", "outputs": "output"}


def parse_yaml(data: bytes, file: str) -> Iterator[FluentPart]:
    """What the file says, in order. Raises FluentBitError."""
    try:
        plain = document.parse(data, as_text=True)
    except document.DocumentError as problem:
        raise FluentBitError(f"{file}:{problem.mistakes[0]}") from None
    for name, value in _mapping({} if plain is None else plain, file).items():
        yield from _top(name, value, file)


def _top(name: str, value: object, file: str) -> Iterator[FluentPart]:
    place = f"{file}: {name}"
    match name:
        case "env":
            for variable, text in _mapping(value, place).items():
                yield FluentVariable(variable, _text(text, f"{place}.{variable}"))
        case "service":
            yield _section("service", value, place, file)
        case "pipeline":
            for list_name, several in _mapping(value, place).items():
                if list_name not in _LISTS:
                    raise FluentBitError(f"{place}.{list_name}: is not known; inputs, filters and outputs are")
                for number, one in enumerate(_list(several, f"{place}.{list_name}")):
                    yield _section(_LISTS[list_name], one, f"{place}.{list_name}[{number}]", file)
        case "includes":
            for pattern in _list(value, place):
                yield FluentInclude(_text(pattern, place), place)
        case _:
            yield FluentSection(name.lower(), (), place, file)


def _section(kind: str, value: object, place: str, file: str) -> FluentSection:
    entries: list[FluentEntry] = []
    for written, one in _mapping(value, place).items():
        key = _HUMP.sub(r"_\1", written).lower()
        if key == "processors":
            raise FluentBitError(f"{place}.processors: processors change events and are not taken over; remove them")
        several = one if isinstance(one, list) else [one]
        entries += (FluentEntry(key, _text(text, f"{place}.{key}"), f"{place}.{key}") for text in several)
    return FluentSection(kind, tuple(entries), place, file)


def _text(value: object, place: str) -> str:
    if isinstance(value, str):
        if value:
            return value
        raise FluentBitError(f"{place}: has no value; write one, or remove the line")
    raise FluentBitError(f"{place}: is no text or number")


def _mapping(value: object, place: str) -> dict[str, object]:
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return dict(value)
    raise FluentBitError(f"{place}: is no mapping of keys to values")


def _list(value: object, place: str) -> list[object]:
    if isinstance(value, list):
        return value
    raise FluentBitError(f"{place}: is no list")


MOST_FILES = 1000
MOST_BYTES = 2**20
"""Of one file: rendered configurations have a few kilobytes."""


def read(path: Path) -> FluentDocument:
    """The file; YAML if its name says so. Raises FluentBitError, for a file that cannot be read too."""
    sections: list[FluentSection] = []
    variables: dict[str, str] = {}
    for part in _parts(path, []):
        if isinstance(part, FluentVariable):
            variables[part.name] = part.value
        else:
            sections.append(part)
    return FluentDocument(tuple(sections), variables)


def _parts(path: Path, seen: list[Path]) -> Iterator[FluentSection | FluentVariable]:
    if (real := path.resolve()) in seen:
        raise FluentBitError(f"{path}: is included twice; each file may stand once")
    seen.append(real)
    if len(seen) > MOST_FILES:
        raise FluentBitError(f"{path}: is one file more than {MOST_FILES}; this is no configuration")
    for part in _parsed(path):
        if isinstance(part, FluentInclude):
            for one in _included(path, part):
                yield from _parts(one, seen)
        else:
            yield part


def _parsed(path: Path) -> Iterator[FluentPart]:
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as problem:
        why = problem.strerror or "cannot be read"
        raise FluentBitError(f"{path}: {why}; check the path and its permissions") from None
    if len(data) > MOST_BYTES:
        raise FluentBitError(f"{path}: is larger than {MOST_BYTES // 2**20} MiB; this is no configuration file")
    if path.suffix in (".yaml", ".yml"):
        return parse_yaml(data, str(path))
    try:
        return parse_classic(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise FluentBitError(f"{path}: is not UTF-8; save the file as UTF-8") from None


def _included(path: Path, include: FluentInclude) -> list[Path]:
    """Relative to the file that includes; a pattern in the order of names, and none is no mistake."""
    pattern = Path(include.pattern)
    directory = path.parent if not pattern.is_absolute() else Path("/")
    relative = pattern.relative_to("/") if pattern.is_absolute() else pattern
    if "*" not in include.pattern:
        return [directory / relative]
    try:
        return sorted(directory.glob(str(relative)))
    except (ValueError, NotImplementedError):
        raise FluentBitError(f"{include.place}: is no pattern of files that can be read") from None
