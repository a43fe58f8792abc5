"""Cuts JSON into the bytes of its parts without recursion, for documents too deep for a parser.

The scripted servers use it where msgspec gives up: events hold what a hostile user put into them, 9,900 levels of
nesting for example. Cutting trusts brackets and quotes and checks nothing else; `check` comes first. Every function
raises ValueError when the document ends too early.
"""

import contextlib
import json
import re

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\]}]+")
_SPACE = re.compile(rb"\s*")

# The standard library's parser takes lone surrogates, which msgspec does not; numbers of any length stay text.
_decoder = json.JSONDecoder(parse_int=str, parse_float=str)


def check(data: bytes) -> None:
    """ValueError unless the bytes are UTF-8 and open with a JSON value; one that is too deep to parse is trusted."""
    with contextlib.suppress(RecursionError):
        _decoder.raw_decode(data.decode())


def value_end(data: bytes, start: int) -> int:
    """One past the last byte of the value that starts at `start`."""
    if data[start : start + 1] in (b"{", b"[", b'"'):
        depth = 0
        for token in _TOKEN.finditer(data, start):
            depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token[0], 0)
            if depth == 0:
                return token.end()
    elif scalar := _SCALAR.match(data, start):
        return scalar.end()
    raise ValueError(f"no complete value at byte {start}")


def items(data: bytes, start: int) -> tuple[list[bytes], int]:
    """The values of the array that opens at `start`, and one past its end."""
    found: list[bytes] = []
    at = _after(data, start, b"[")
    while data[at : at + 1] != b"]":
        end = value_end(data, at)
        found.append(data[at:end])
        at = _next(data, end, b"]")
    return found, at + 1


def members(data: bytes, start: int) -> tuple[dict[bytes, bytes], int]:
    """The values of the object that opens at `start` by their key's raw bytes, and one past its end."""
    found: dict[bytes, bytes] = {}
    at = _after(data, start, b"{")
    while data[at : at + 1] != b"}":
        key_end = value_end(data, at)
        value = _after(data, key_end, b":")
        end = value_end(data, value)
        found[data[at + 1 : key_end - 1]] = data[value:end]
        at = _next(data, end, b"}")
    return found, at + 1


def skip_space(data: bytes, at: int) -> int:
    """The first byte from `at` on that is no white space."""
    space = _SPACE.match(data, at)
    assert space is not None
    return space.end()


def _after(data: bytes, at: int, expected: bytes) -> int:
    at = skip_space(data, at)
    if data[at : at + 1] != expected:
        raise ValueError(f"no {expected.decode()} at byte {at}")
    return skip_space(data, at + 1)


def _next(data: bytes, at: int, closing: bytes) -> int:
    at = skip_space(data, at)
    return at if data[at : at + 1] == closing else _after(data, at, b",")
