"""One value of the file to one typed value. What is wrong is said without showing the value."""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import inspect as types

from auditsink.common.secret import Secret
from auditsink.common.units import Duration, Size
from auditsink.config import Codes
from auditsink.load import environment

LARGEST_SIZE = 2**50
LONGEST_DURATION = 365 * 86400.0
_YES_OR_NO = {"true": True, "false": False}


def convert(kind: types.Type, value: object, variables: Mapping[str, str] | None) -> Any:
    """The value as its type wants it. `variables` None: `${NAME}` is text like any other.

    Raises ValueError: a sentence to stand after the key's path.
    """
    text = _text(value, variables) if isinstance(value, str) else None
    if text is not None and text != value:
        value = _from_variable(kind, text)
    elif text is not None:
        value = text
    if isinstance(kind, types.LiteralType):
        return _literal(value, kind.values)
    expected, check = _LEAVES[kind.cls if isinstance(kind, types.CustomType) else type(kind)]
    try:
        return check(value)
    except (ValueError, OverflowError):
        got = "" if isinstance(value, str) else f", got {describe(value)}"
        raise ValueError(f"expected {expected}{got}") from None


def describe(value: object) -> str:
    """What kind of YAML value this is, in a person's words."""
    for kind, words in _WORDS:
        if isinstance(value, kind):
            return words
    return "nothing"


def closest(wrong: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` if one of the known words is near."""
    near = difflib.get_close_matches(wrong, list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


_WORDS: list[tuple[type, str]] = [
    (bool, "true or false (quote it if it is text)"),
    (int, "a number (quote it if it is text)"),
    (float, "a number (quote it if it is text)"),
    (str, "text"),
    (list, "a list"),
    (dict, "a mapping"),
]


def _text(value: str, variables: Mapping[str, str] | None) -> str:
    text = value if variables is None else environment.expand(value, variables)
    # No path and no header holds a zero; what clients write into an object's name, and a policy may name, can.
    if (variables is not None and "\0" in text) or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds a character that is no text")
    return text


def _from_variable(kind: types.Type, text: str) -> object:
    """The environment has only text; where a number or a boolean is expected, it is meant as one."""
    if isinstance(kind, types.BoolType):
        return _YES_OR_NO.get(text.lower(), text)
    if isinstance(kind, types.IntType) and text.isascii() and text.isdecimal() and len(text) < 20:
        return int(text)
    return text


def _literal(value: object, allowed: Iterable[Any]) -> Any:
    if value in (words := sorted(allowed)):
        return value
    near = closest(value, words) if isinstance(value, str) else ""
    raise ValueError(f"expected one of {', '.join(words)}{near}")


def _only(kind: type) -> Callable[[object], Any]:
    """A check that lets values of one type pass (a bool is no int here)."""

    def check(value: object) -> object:
        if type(value) is not kind:
            raise ValueError
        return value

    return check


def _path(value: object) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError
    return Path(value)


def _secret(value: object) -> Secret:
    # A line break would end a header; one in the middle is a paste gone wrong.
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError
    return Secret(value)


def _size(value: object) -> Size:
    if (size := Size.parse(value)) > LARGEST_SIZE:
        raise ValueError
    return size


def _duration(value: object) -> Duration:
    if not (math.isfinite(duration := Duration.parse(value)) and duration <= LONGEST_DURATION):
        raise ValueError
    return duration


_LEAVES: dict[type, tuple[str, Callable[[object], Any]]] = {
    types.StrType: ("text", _only(str)),
    types.BoolType: ("true or false", _only(bool)),
    types.IntType: ("a whole number", _only(int)),
    Path: ("a path", _path),
    Secret: ("a secret: text of one line, in quotes", _secret),
    Size: ("a size: bytes, or with a unit like 64MiB", _size),
    Duration: ("a duration: seconds, or with a unit like 30s or 5m", _duration),
    Codes: ("a status code: one like 404, 5xx or 400-499", Codes.parse),
}
