"""Where the items of an EventList begin and end, for bodies that a JSON parser gives up on. Pure; never recurses.

Only brackets and strings are looked at: numbers, literals, escapes and the encoding may be anything, because what
stands inside an event is chosen by whoever calls the apiserver's API. A window of the body is cut at its quotes, and
the brackets are what is left of every other piece; no regular expression here has a repeat that could be tried twice,
and none is possessive or atomic, which `re` of CPython 3.11.2 and older gets wrong. No window holds the interpreter for
long. Time is linear whatever the bytes are, so no event can make a body one that cannot be split: each byte is looked
at a few times at most, each bracket takes one short step in Python. 0.03 CPU seconds per MB of real events on a busy
core, 0.15 of the worst brackets. Past `MOST_ITEMS` the walk ends: no event makes more events.

What a JSON parser reads without leaving anything out need not be walked: `plain_members` and `elements` have msgspec
take a value apart, which counts if the lengths add up (equal keys, escaped keys and white space show in the sum), or
if each member stands where the one before ended. Both ways have the same bounds, so what can be taken apart does not
depend on how deep an interpreter lets a parser go.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate, islice
from typing import NamedTuple

import msgspec

MOST_ITEMS = 2**18
"""Items of one list: 32 MiB of events of 128 bytes, and no real one is that small. Bounds the memory of the split."""

MOST_MEMBERS = 2**14
"""Members of one object that are told one by one, at some 10 us each. Nothing with more is asked for by name."""

_WINDOW = 2**15  # bytes per call into C: 1 ms at worst, so that other threads get their turn
_FIRST_WINDOW = 2**6  # what is looked at behind an item's end is looked at again
_MOST_KEYS = 2**11  # at the top level; an EventList has four, and no more than 1,640 are in what `list_frame` proves
_LONGEST_NAME = 256  # bytes of a top-level key, kind or apiVersion worth decoding; those we know have at most 21
_LONGEST_KEY = 4096  # bytes of a key that may be asked for by name: an annotation's of 317, each character escaped

_STRING_OR_BACKSLASH = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z))|\\', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_LITERAL = re.compile(rb'[^ \t\r\n"\[\]{},:]+')
_SPACE = re.compile(rb"[ \t\r\n]*")
_KEY = re.compile(rb'[ \t\r\n]*[{,][ \t\r\n]*"([ !#-\[\]-~]*)"[ \t\r\n]*:[ \t\r\n]*')
_BRACE = re.compile(rb"[ \t\r\n]*\}[ \t\r\n]*")
_SQUARE, _SQUARE_END, _CURLY, _CURLY_END = b"[]{}"
_NO_BRACKET = bytes(byte for byte in range(256) if byte not in b"[]{}")


class Found(NamedTuple):
    """What a body opens as, and the byte ranges of its items (start, stop), in order.

    `kind` and `api_version` are the first of their name at the top level and "" when there is none that can be read.
    `items` is None when the body cannot be split: truncated, unbalanced, followed by something, more than one `items`
    (splitting one would lose the other), none but another array that holds something (Go's internal type, written
    without its names on the wire, has them in `Items`), or beyond the bounds of this module. Without any the list is
    empty.
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


class MemberPlace(NamedTuple):
    """Where a member of an object stands: its key as in `Member`; where key and value begin, and where it ends."""

    raw_key: bytes
    key: str
    start: int
    value: int
    stop: int


def members(value: bytes) -> list[Member]:
    """The members of an object, in order, equal keys too. Raises UnreadableError."""
    return [Member(place.raw_key, place.key, value[place.value : place.stop]) for place in places(value)]


def places(value: bytes) -> list[MemberPlace]:
    """Where the members of an object stand, in order, equal keys too. Raises UnreadableError."""
    walk = _Walk(value)
    walk.expect(b"{")
    found: list[MemberPlace] = []
    more = walk.peek() != b"}" or not walk.expect(b"}")
    while more:
        raw_key, key = walk.key()
        start = walk.position - len(raw_key)
        walk.expect(b":")
        found.append(MemberPlace(raw_key, key, start, *walk.span()))
        if len(found) > MOST_MEMBERS:
            raise UnreadableError
        more = walk.expect(b",}") == b","
    walk.end()
    return found


def plain_members(value: bytes) -> dict[str, msgspec.Raw] | None:
    """The members of an object with different keys in printable ASCII without escapes; None for any other value."""
    if _is_crowd(value):
        return None
    try:
        found = _decode_members(value)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    if len(found) > MOST_MEMBERS:
        return None
    # Two quotes, a colon and a comma for each; equal keys, escapes, white space and keys beyond ASCII make it longer.
    size = sum(map(len, found)) + sum(map(len, found.values())) + 4 * len(found) + 1
    return found if size == len(value) or _stand_in(value, found) else None


def _stand_in(value: bytes, found: Mapping[str, msgspec.Raw]) -> bool:
    """Whether these members, white space and commas are all that stands in the object: no member stands there twice."""
    position = 0
    for key, member in found.items():
        opens = _KEY.match(value, position)
        if opens is None or opens[1] != key.encode() or not value.startswith(bytes(member), opens.end()):
            return False
        position = opens.end() + len(member)
    return bool(found) and _BRACE.fullmatch(value, position) is not None


def elements(value: bytes) -> list[bytes]:
    """The elements of an array, in order. Raises UnreadableError."""
    if not _is_crowd(value):
        try:
            found = _decode_elements(value)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            found = []
        if sum(map(len, found)) + len(found) + 1 == len(value) and len(found) <= MOST_ITEMS:
            return list(map(bytes, found))
    walk = _Walk(value)
    if walk.peek() != b"[":
        raise UnreadableError
    ranges = walk.items()
    walk.end()
    return [value[start:stop] for start, stop in ranges]


def _is_crowd(value: bytes) -> bool:
    """Whether a parser might make more objects of it than the bounds of this module allow."""
    return len(value) > 2 * MOST_ITEMS and value.count(b",") > MOST_ITEMS


_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


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
    other = False  # an array of another name holds something
    walk.expect(b"{")
    more = walk.peek() != b"}" or not walk.expect(b"}")
    for _ in range(_MOST_KEYS):
        if not more:
            walk.end()
            if other and items is None:
                raise UnreadableError
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
            other |= walk.array()
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

    @property
    def position(self) -> int:
        """How far it has come."""
        return self._position

    def span(self) -> tuple[int, int]:
        """Step over any value: where it stands."""
        self.peek()
        start = self._position
        self.value()
        return start, self._position

    def array(self) -> bool:
        """Step over any value: whether it was an array that holds something."""
        start, stop = self.span()
        return self._body.startswith(b"[", start) and self._body[start + 1 : stop - 1].strip(b" \t\r\n") != b""

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
        window = _FIRST_WINDOW
        while text := _without_escapes(self._body[position : position + window]):
            end = text.find(b'"')
            if end >= 0:
                return position + end + 1
            if text == b"\\":  # the body ends in the middle of an escape
                break
            position += len(text) - text.endswith(b"\\")
            window = min(2 * window, _WINDOW)
        raise UnreadableError

    def _bracketed_end(self, position: int) -> int:
        body, window = self._body, _FIRST_WINDOW
        waiting = bytearray()  # the closing brackets to come, the next one last
        while part := body[position : position + window]:
            pieces, outside = _parted(part)
            last = _closed_by(waiting, outside.translate(None, _NO_BRACKET))
            if last is not None:
                return position + _behind_bracket(pieces, outside, last)
            position += len(part)
            if len(pieces) % 2 == 0:  # what the window cuts is a string
                position = self._string_end(position - len(pieces[-1]) - 1)
            window = min(2 * window, _WINDOW)
        raise UnreadableError


def _without_escapes(text: bytes) -> bytes:
    """As long as the text, which begins in a string or has backslashes in strings only: each quote ends or begins one.

    A backslash stays where an escape was.
    """
    return text.replace(b"\\\\", b"\\_").replace(b'\\"', b"\\_") if b"\\" in text else text


def _parted(part: bytes) -> tuple[list[bytes], bytes]:
    """What stands between the quotes of a part that begins outside of a string, and what of that outside of strings."""
    pieces = _without_escapes(part).split(b'"')
    outside = b"".join(pieces[::2])
    # Up to the first backslash that stands outside, where it escapes nothing, all is told rightly.
    if b"\\" in outside:
        part = _STRING_OR_BACKSLASH.sub(lambda found: found[1] or b"_", part)
        pieces = _without_escapes(part).split(b'"')
        outside = b"".join(pieces[::2])
    return pieces, outside


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


def _behind_bracket(pieces: list[bytes], outside: bytes, place: int) -> int:
    """Bytes up to and with the bracket that stands at this place among those outside of strings."""
    end = next(islice(_BRACKET.finditer(outside), place, None)).end()
    strings = bisect_left(list(accumulate(map(len, pieces[::2]))), end)
    return end + 2 * strings + sum(map(len, pieces[1 : 2 * strings : 2]))
