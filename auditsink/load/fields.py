"""Plain values to the types of `auditsink.config`, going on after a mistake so that all are found in one run.

msgspec's own conversion stops at the first mistake and quotes values, so this walks the same type information
(`msgspec.inspect`) by itself. A section is handed to its rules as soon as its fields are sound.
"""

import re
from collections.abc import Mapping
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from msgspec import NODEFAULT
from msgspec import inspect as types

from auditsink.config import Section
from auditsink.config.destination import DestinationSection
from auditsink.config.destinations import foreign, load_foreign
from auditsink.load import scalars

T = TypeVar("T", bound=Section)

UnknownKeys = Literal["refuse", "warn"]

PASSED_OVER = "x-"
"""How keys begin that nobody reads."""
_GLUED = re.compile(r"[:=\s]")
_LENIENCE = "kube-apiserver warns and passes over it, which policy_unknown_keys: warn allows here too"


class ReadSection(NamedTuple, Generic[T]):
    """`section`: None where there are mistakes. They, and the notes of what was passed over: `key.path: sentence`."""

    section: T | None
    mistakes: list[str]
    notes: list[str]


def read(
    kind: type[T],
    plain: object,
    variables: Mapping[str, str] | None,
    *,
    where: str = "",
    unknown_keys: UnknownKeys | None = None,
) -> ReadSection[T]:
    """The section (the whole file's is `Config`), which stands at the path `where`.

    `variables` None: `${NAME}` is text like any other. `unknown_keys`: what `policy_unknown_keys` says, for a Policy.
    """
    reader = _Reader(variables, unknown_keys)
    section = reader.read(where, types.type_info(kind), plain)
    return ReadSection(None if reader.mistakes else section, reader.mistakes, reader.notes)


class _Reader:
    def __init__(self, variables: Mapping[str, str] | None, unknown_keys: UnknownKeys | None) -> None:
        self.mistakes: list[str] = []
        self.notes: list[str] = []
        self._variables = variables
        self._unknown_keys = unknown_keys

    def read(self, where: str, kind: types.Type, value: object) -> Any:
        """The typed value; after a mistake None, and a line in `mistakes`."""
        try:
            return self._convert(where, kind, value)
        except ValueError as problem:
            self._note(where, str(problem))
            return None

    def _convert(self, where: str, kind: types.Type, value: object) -> Any:
        match kind:
            case types.StructType():
                return self._section(where, kind, value)
            case types.UnionType():
                return self._either(where, kind, value)
            case types.AnyType():
                return value
            case types.ListType(item_type=item):
                return [self.read(f"{where}[{place}]", item, entry) for place, entry in enumerate(_list(value))]
            case types.DictType(value_type=item):
                entries = _mapping(value).items()
                return {self._key(where, key): self.read(_below(where, key), item, entry) for key, entry in entries}
            case _:
                if value is None:
                    raise ValueError("has no value; write one, or remove the key for its default")
                return scalars.convert(kind, value, self._variables)

    def _either(self, where: str, kind: types.UnionType, value: object) -> Any:
        """`X | None`, or one of several sections told apart by their `type`."""
        others = [one for one in kind.types if not isinstance(one, types.NoneType)]
        if value is None and len(others) < len(kind.types):
            return None
        if len(others) == 1:
            return self._convert(where, others[0], value)
        by_tag = {str(struct.tag): struct for struct in others if isinstance(struct, types.StructType)}
        entries = dict(_mapping(value))
        if "type" not in entries:
            raise ValueError(f"has no type; write one of {', '.join(sorted(by_tag))}")
        tag = entries.pop("type")
        section = by_tag.get(str(tag)) or self._foreign(where, by_tag, tag)
        return None if section is None else self._section(where, section, entries)

    def _foreign(self, where: str, ours: Mapping[str, types.StructType], tag: Any) -> types.StructType | None:
        """A type of destination that another package brings; None, and a mistake, where there is none."""
        others = foreign() if any(issubclass(struct.cls, DestinationSection) for struct in ours.values()) else {}
        if not isinstance(tag, str) or tag not in others:
            known = sorted([*ours, *others])
            near = scalars.closest(tag, known) if isinstance(tag, str) else ""
            self._note(_below(where, "type"), f"expected one of {', '.join(known)}{near}")
            return None
        try:
            found = types.type_info(load_foreign(tag))
        except ValueError as problem:
            self._note(_below(where, "type"), str(problem))
            return None
        assert isinstance(found, types.StructType)
        return found

    def _section(self, where: str, kind: types.StructType, value: object) -> Any:
        before = len(self.mistakes)
        short = getattr(kind.cls, "SHORT_FOR", None)
        if short is not None and isinstance(value, list):
            return self._short(where, kind, short, value)
        given = {} if value is None else _mapping(value)
        known = {field.encode_name: field for field in kind.fields}
        if getattr(kind.cls, "NULL_IS_ABSENT", False):
            given = {key: inner for key, inner in given.items() if inner is not None or key not in known}
        for key in given:
            if key not in known and not (getattr(kind.cls, "ANCHORS", False) and str(key).startswith(PASSED_OVER)):
                self._unknown(where, key, kind, [*known, "type"] if kind.tag else [*known])
        governed = getattr(kind.cls, "UNKNOWN_KEYS", {})
        filled = {
            field.name: self.read(_below(where, key), field.type, given[key])
            for key, field in known.items()
            if key in given and key not in governed
        }
        for key, governing in governed.items():
            if key in given:
                unknown_keys = filled.get(known[governing].name)
                section = self._governed(_below(where, key), known[key].type, given[key], unknown_keys)
                filled[known[key].name] = section
        for key, field in known.items():
            if field.required and key not in given:
                self._note(_below(where, key), _absent(field))
        return None if len(self.mistakes) > before else self._checked(where, kind.cls(**filled))

    def _governed(self, where: str, kind: types.Type, value: object, unknown_keys: object) -> Any:
        """A section of whose unknown keys another key speaks. It gets the notes that are its own."""
        outside = self.notes, self._unknown_keys
        self.notes, self._unknown_keys = [], "warn" if unknown_keys == "warn" else "refuse"
        section = self.read(where, kind, value)
        notes = self.notes
        self.notes, self._unknown_keys = outside
        return None if section is None else section.with_notes(notes)

    def _short(self, where: str, kind: types.StructType, key: str, value: list[object]) -> Any:
        """A plain list where a section is expected: it stands for one of the section's keys."""
        before = len(self.mistakes)
        (item,) = (field.type for field in kind.fields if field.encode_name == key)
        members = self.read(where, item, value)
        return None if len(self.mistakes) > before else self._checked(where, kind.cls(**{key: members}))

    def _checked(self, where: str, section: Any) -> Any:
        for key, problem in section.broken():
            self._note(_below(where, key), problem)
        return section

    def _unknown(self, where: str, key: object, kind: types.StructType, known: list[str]) -> None:
        if not isinstance(key, str):
            self._note(where, f"a key must be text, got {scalars.describe(key)}")
            return
        if _GLUED.search(key):
            why = "unknown key; write a space after the colon"
        elif key in (elsewhere := getattr(kind.cls, "ELSEWHERE", {})):
            why = f"unknown key; {elsewhere[key]}"
        else:
            why = f"unknown key{scalars.closest(key, known)} (known keys: {', '.join(sorted(known))})"
        if self._unknown_keys == "warn":
            self.notes.append(f"{_below(where, key)}: {why}")
            return
        self._note(_below(where, key), why if self._unknown_keys is None else f"{why}; {_LENIENCE}")

    def _key(self, where: str, key: object) -> str:
        if not isinstance(key, str):
            self._note(where, f"a key must be text, got {scalars.describe(key)}")
        return str(key)

    def _note(self, where: str, problem: str) -> None:
        self.mistakes.append(f"{where or 'top level'}: {problem}")


def _below(where: str, key: object) -> str:
    # `{token:abc}` without a space is one key in YAML: what follows the colon may be a secret.
    shown = _GLUED.split(str(key), maxsplit=1)[0][:64]
    return f"{where}.{shown}" if where else shown


def _absent(field: types.Field) -> str:
    assert field.default is NODEFAULT
    if isinstance(field.type, types.ListType):
        return "is missing; write at least one"
    return "is missing; it has no default"


def _mapping(value: object) -> dict[object, object]:
    if isinstance(value, dict):
        return value
    raise ValueError(f"expected a mapping of keys to values, got {scalars.describe(value)}")


def _list(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    raise ValueError(f"expected a list, got {scalars.describe(value)}")
