"""JSON values as the bytes that they are: whether one is whole, where it ends, what its members are. Pure.

msgspec steps over a value at more than 1 GB/s and builds nothing. What it cannot take although a log may hold it is
looked at in a second way: nesting beyond its stack, and escapes of lone surrogates, which Go passes through.
"""

import json
import re
from collections.abc import Iterator

import msgspec

from auditsink.audit import scan

BLANK = b" \t\r\n\0"

TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""Strings and brackets. A string without an end counts up to the end of the text, so that nothing is tried twice."""
OPENING, CLOSING = b"{[", b"}]"

_raw = msgspec.json.Decoder(msgspec.Raw)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_string = msgspec.json.Decoder(str)
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def is_whole(value: bytes) -> bool:
    """Whether these bytes are one JSON value and nothing else."""
    try:
        if _parses(value):
            return True
        # Alone they are no Unicode, but an API's caller can have them logged. The copy is for the check alone.
        return _SURROGATE.search(value) is not None and _parses(_SURROGATE.sub(rb"\\u0020", value))
    except RecursionError:
        return _balanced(value)


def _parses(value: bytes) -> bool:
    try:
        _raw.decode(value)
    except _MALFORMED:
        return False
    return True


def _balanced(value: bytes) -> bool:
    try:
        (scan.elements if value.lstrip(BLANK)[:1] == b"[" else scan.members)(value)
    except scan.UnreadableError:
        return False
    return True


def leading(text: bytes) -> tuple[list[bytes], int]:
    """The objects and arrays that stand one behind the other from the start on, and where the rest begins.

    Commas, blanks and record separators (RFC 7464) may stand between them.
    """
    found: list[bytes] = []
    start = rest = depth = 0
    for token in TOKENS.finditer(text):
        bracket = token[0]
        if bracket[:1] == b'"':
            if not depth:
                break
        elif bracket in OPENING:
            if not depth:
                if text[rest : token.start()].strip(BLANK + b",\x1e"):
                    break
                start = token.start()
            depth += 1
        else:
            depth -= 1
            if depth < 0:
                break
            if not depth:
                if not is_whole(text[start : token.end()]):
                    break
                found.append(text[start : token.end()])
                rest = token.end()
    return found, rest


def members(value: bytes) -> dict[str, bytes]:
    """The members of an object by name, the last of equal ones; none for what is no object."""
    try:
        return {name: bytes(member) for name, member in _members.decode(value).items()}
    except (*_MALFORMED, RecursionError):
        try:
            return {member.key: member.value for member in scan.members(value)}
        except scan.UnreadableError:
            return {}


def elements(value: bytes) -> Iterator[bytes]:
    """The elements of an array, in order; none for what is no array."""
    try:
        yield from map(bytes, _elements.decode(value))
    except (*_MALFORMED, RecursionError):
        try:
            yield from scan.elements(value)
        except scan.UnreadableError:
            return


def content(value: bytes) -> bytes | None:
    """What a JSON string holds; bytes that are no UTF-8 stay. None for another value, and for lone surrogates."""
    try:
        return _string.decode(value).encode()
    except _MALFORMED:
        pass
    if value[:1] != b'"' or _SURROGATE.search(value):
        return None
    try:
        found = json.loads(value.decode(errors="surrogateescape"))
    except ValueError:
        return None
    return str(found).encode(errors="surrogateescape")


def text(value: bytes | None) -> str:
    """What a short JSON string holds, for a name that we know; "" for everything else."""
    if value is None or len(value) > 256:
        return ""
    held = content(value)
    return "" if held is None else held.decode(errors="replace")
