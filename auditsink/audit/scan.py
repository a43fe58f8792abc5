"""Where the items of an EventList begin and end, for bodies that a JSON parser gives up on. Pure; never recurses.

Only brackets and strings are looked at: numbers, literals, escapes and the encoding may be anything, because what
stands inside an event is chosen by whoever calls the apiserver's API. Regular expressions take the brackets out of a
window of the body; all their repeats are possessive, so nothing is ever tried twice, and no window holds the
interpreter for long. Time is linear whatever the bytes are, so no event can make a body one that cannot be split: each
byte is looked at a few times at most, each bracket takes one short step in Python. 0.04 CPU seconds per MB of real
events on a busy core, 0.11 of the worst brackets. Past `MOST_ITEMS` the walk ends: no event makes more events.
"""

import re
from typing import NamedTuple

import msgspec

MOST_ITEMS = 2**18
"""Items of one list: 32 MiB of events of 128 bytes, and no real one is that small. Bounds the memory of the split."""

MOST_MEMBERS = 2**14
"""Members of one object that are told one by one, at some 10 us each. Nothing with more is asked for by name."""

_WINDOW = 2**15  # bytes per call into C: 1 ms at worst, so that other threads get their turn
_FIRST_WINDOW = 2**6  # what is looked at behind an item's end is looked at again
_MOST_KEYS = 1000  # at the top level; an EventList has four
_LONGEST_NAME = 256  # bytes of a top-level key, kind or apiVersion worth decoding; those we know have at most 21
_LONGEST_KEY = 4096  # bytes of a key that may be asked for by name: an annotation's of 317, each character escaped

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_WHOLE_STRINGS = re.compile(rb'[^"]*+(?:' + _STRING + rb'[^"]*+)*+', re.DOTALL)
_BRACKETS = re.compile(rb'[^"\[\]{}]*+(?:' + _STRING + rb'[^"\[\]{}]*+)*+([\[\]{}]*+)', re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_LITERAL = re.compile(rb'[^ \t\r\n"\[\]{},:]++')
_SPACE = re.compile(rb"[ \t\r\n]*+")
_SQUARE, _SQUARE_END, _CURLY, _CURLY_END = b"[]{}"


class Found(NamedTuple):
    """What a body opens as, and the byte ranges of its items (start, stop), in order.

    `kind` and `api_version` are the first of their name at the top level and "" when there is none that can be read.
    `items` is None when the body cannot be split: truncated, unbalanced, followed by something, more than one `items`
    (splitting one would lose the other), or beyond the bounds of this module. Without `items` the list is empty.
    """

    kind: str
    api_version: str
    items: list[tuple[int, int]] | None


class UnreadableError(Exception):
    """The walk cannot go on: no JSON of the kind that was asked for, or beyond the bounds of this module."""


class Member(NamedTuple):
    """A member of an object: its key as it stands and decoded ("" where that cannot be done), its value."""

    raw_key: bytes
    key: str
    value: bytes


def members(value: bytes) -> list[Member]:
    """The members of an object, in order, equal keys too. Raises UnreadableError."""
    walk = _Walk(value)
    walk.expect(b"{")
    found: list[Member] = []
    more = walk.peek() != b"}" or not walk.expect(b"}")
    while more:
        raw_key, key = walk.key()
        walk.expect(b":")
        found.append(Member(raw_key, key, walk.taken()))
        if len(found) > MOST_MEMBERS:
            raise UnreadableError
        more = walk.expect(b",}") == b","
    walk.end()
    return found


def elements(value: bytes) -> list[bytes]:
    """The elements of an array, in order. Raises UnreadableError."""
    walk = _Walk(value)
    if walk.peek() != b"[":
        raise UnreadableError
    found = [value[start:stop] for start, stop in walk.items()]
    walk.end()
    return found


def event_list(body: bytes) -> Found:
    """Walk the top level of `body`. Never raises, whatever the bytes are."""
    names: dict[str, str] = {}
    try:
        items = _top_level(_Walk(body), names)
    except UnreadableError:
        items = None
    return Found(names.get("kind", ""), names.get("apiVersion", ""), items)


def _top_level(walk: "_Walk", names: dict[str, str]) -> list[tuple[int, int]]:
    items: list[tuple[int, int]] | None = None
    walk.expect(b"{")
    more = walk.peek() != b"}" or not walk.expect(b"}")
    for _ in range(_MOST_KEYS):
        if not more:
            walk.end()
            return items or []
        key = walk.text()
        walk.expect(b":")
        if key == "items":
            if items is not None:
                raise UnreadableError
            items = walk.items()
        elif key in ("kind", "apiVersion") and walk.peek() == b'"':
            names.setdefault(key, walk.text())
        else:
            walk.value()
        more = walk.expect(b",}") == b","
    raise UnreadableError


class _Walk:
    """A position in the body that only moves forward."""

    __slots__ = ("_body", "_position")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._position = 0

    def peek(self) -> bytes:
        """The next byte that is no white space; empty at the end."""
        match = _SPACE.match(self._body, self._position)
        assert match is not None  # it matches the empty string
        self._position = match.end()
        return self._body[self._position : self._position + 1]

    def expect(self, allowed: bytes) -> bytes:
        """Step over the next byte, which must be one of `allowed`."""
        byte = self.peek()
        if not byte or byte not in allowed:
            raise UnreadableError
        self._position += 1
        return byte

    def end(self) -> None:
        """Nothing but white space may follow."""
        if self.peek():
            raise UnreadableError

    def text(self) -> str:
        """Step over a string and decode it; "" for one that is too long or malformed to be a name that we know."""
        raw, text = self.key()
        return text if len(raw) <= _LONGEST_NAME else ""

    def key(self) -> tuple[bytes, str]:
        """The same, and the string as it stands."""
        if self.peek() != b'"':
            raise UnreadableError
        start = self._position
        self._position = self._string_end(start)
        raw = self._body[start : self._position]
        if len(raw) > _LONGEST_KEY:
            return raw, ""
        try:
            return raw, msgspec.json.decode(raw, type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return raw, ""

    def taken(self) -> bytes:
        """Step over any value, and have it as it stands."""
        self.peek()
        start = self._position
        self.value()
        return self._body[start : self._position]

    def items(self) -> list[tuple[int, int]]:
        """Step over the value of `items`: an array or null."""
        if self.peek() != b"[":
            start = self._position
            self.value()
            if self._body[start : self._position] != b"null":
                raise UnreadableError
            return []
        self._position += 1
        found: list[tuple[int, int]] = []
        if self.peek() == b"]":
            self._position += 1
            return found
        while True:
            self.peek()
            start = self._position
            self.value()
            found.append((start, self._position))
            if len(found) > MOST_ITEMS:
                raise UnreadableError
            if self.expect(b",]") == b"]":
                return found

    def value(self) -> None:
        """Step over any value."""
        first = self.peek()
        if first == b'"':
            self._position = self._string_end(self._position)
        elif first in (b"{", b"["):
            self._position = self._bracketed_end(self._position)
        elif (literal := _LITERAL.match(self._body, self._position)) is not None:
            self._position = literal.end()
        else:
            raise UnreadableError

    def _string_end(self, position: int) -> int:
        position += 1
        while True:
            match = _REST_OF_STRING.match(self._body, position, position + _WINDOW)
            assert match is not None  # it matches the empty string
            if self._body[match.end() : match.end() + 1] == b'"':
                return match.end() + 1
            if match.end() == position:  # the body's end, or a backslash right before it
                raise UnreadableError
            position = match.end()

    def _bracketed_end(self, position: int) -> int:
        body, size, window = self._body, len(self._body), _FIRST_WINDOW
        waiting = bytearray()  # the closing brackets to come, the next one last
        while position < size:
            match = _WHOLE_STRINGS.match(body, position, position + window)
            assert match is not None  # it matches the empty string
            stop = match.end()
            last = _closed_by(waiting, b"".join(_BRACKETS.findall(body, position, stop)))
            if last is not None:
                return _behind_bracket(body, position, stop, last)
            # What the window cuts is a string.
            position = self._string_end(stop) if body[stop : stop + 1] == b'"' else stop
            window = min(2 * window, _WINDOW)
        raise UnreadableError


def _closed_by(waiting: bytearray, brackets: bytes) -> int | None:
    """The place of the bracket behind which none is waiting any more; None when there is no such place."""
    push, pop = waiting.append, waiting.pop
    for place, bracket in enumerate(brackets):  # the one step in Python for each bracket: no calls that can be spared
        if bracket == _SQUARE:
            push(_SQUARE_END)
        elif bracket == _CURLY:
            push(_CURLY_END)
        elif pop() != bracket:
            raise UnreadableError
        elif not waiting:
            return place
    return None


def _behind_bracket(body: bytes, start: int, stop: int, place: int) -> int:
    """One past the bracket that stands at this place among those between two positions."""
    for run in _BRACKETS.finditer(body, start, stop):
        place -= len(run[1])
        if place < 0:
            return run.end() + place + 1
    raise AssertionError(place)
