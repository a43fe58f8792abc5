"""Whether an EventList holds exactly the items that a JSON parser found in it, in any well-formed frame.

Proxies, other producers and people write the members of the list in other orders than kube-apiserver, with others
beside them and with white space. A parser steps over all that, and over a second `items` as well, so its result counts
only when each byte of the body is accounted for: a regular expression for each member before the items, each item where
the one before and a comma left off, a regular expression for each member behind them. What is odd (a second `items`, an
escaped key, members that nest, more than `MOST_AROUND` bytes) is not proven here and left to `scan`, from which this
never differs. Pure. In each expression the next byte tells what comes next, so none tries anything twice.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

API_VERSIONS = frozenset({"audit.k8s.io/v1", "audit.k8s.io/v1beta1", "audit.k8s.io/v1alpha1"})
"""Those that a kube-apiserver has ever posted; the last two until 1.23."""
MOST_AROUND = 4096
"""Bytes before the items, and as many behind them; also of white space between two tokens."""

_SPACE = rb"[ \t\r\n]{0,%d}" % MOST_AROUND
_TEXT = rb'"[ !#-\[\]-~]*"'  # printable ASCII without an escape
_SCALAR = rb"(?:%b|[-+.0-9A-Za-z]+)" % _TEXT
_PAIR = _SPACE.join((b"", _TEXT, b":", _SCALAR, b""))
_FLAT = rb"\{(?:%b|%b(?:,%b)*)\}" % (_SPACE, _PAIR, _PAIR)
_VALUE = rb"(?:(?P<value>%b|%b)%b(?P<end>[,}])|\[)" % (_SCALAR, _FLAT, _SPACE)

_FIRST = re.compile(_SPACE)
_NEXT = re.compile(_SPACE.join((b"", b",", b"")))
_OPENS = re.compile(_SPACE.join((b"", rb"\{")))
_MEMBER = re.compile(_SPACE.join((b"", rb"(?P<key>%b)" % _TEXT, b":", _VALUE)))
_CLOSES = re.compile(_SPACE.join((b"", rb"\]", b"[,}]")))
_NAMES = (b'"apiVersion"', b'"kind"')
_RIGHT_NAMES = frozenset(tuple(zip(_NAMES, (b'"%b"' % v.encode(), b'"EventList"'), strict=True)) for v in API_VERSIONS)
_REMEMBERED = 64  # beginnings, and ends: a producer writes the same around each list

Names = tuple[tuple[bytes, bytes], ...]
"""The members `kind` and `apiVersion` in one part of a list, in order, as often as they stand there."""


class Opened(NamedTuple):
    """What stands before the first item: its length up to and with the bracket, and the names in it."""

    end: int
    names: Names


def opened(body: bytes) -> Opened | None:
    """The beginning of a list whose items come next; None for what is none, or odd."""
    end = body.find(b"[", 0, MOST_AROUND) + 1
    names = _names_before(body[:end])
    return None if names is None else Opened(end, names)


def encloses(body: bytes, start: Opened, items: Iterable[bytes]) -> bool:
    """Whether the body is `start`, these items (each a JSON value), and the end of an EventList; to the last byte."""
    end = _behind(body, start.end, items)
    if end is None or len(body) - end > MOST_AROUND:
        return False
    names = _names_behind(body[end:])
    return names is not None and tuple(sorted(start.names + names)) in _RIGHT_NAMES


def _behind(body: bytes, position: int, items: Iterable[bytes]) -> int | None:
    """The place behind the last item, if they stand there one after another with a comma and white space between."""
    between = _FIRST
    for item in items:
        gap = between.match(body, position)
        if gap is None or not body.startswith(item, gap.end()):
            return None
        position = gap.end() + len(item)
        between = _NEXT
    return position


@lru_cache(_REMEMBERED)
def _names_before(text: bytes) -> Names | None:
    """The names in all that stands before the items."""
    start = _OPENS.match(text)
    return None if start is None else _names(text, start.end(), before=True)


@lru_cache(_REMEMBERED)
def _names_behind(text: bytes) -> Names | None:
    """The names in all that stands behind the last item."""
    start = _CLOSES.match(text)
    if start is None:
        return None
    if start[0].endswith(b"}"):
        return () if _is_blank(text[start.end() :]) else None
    return _names(text, start.end(), before=False)


def _names(text: bytes, position: int, *, before: bool) -> Names | None:
    """The names in the members up to the bracket of `items` or the brace of the list, with which the text ends."""
    found: list[tuple[bytes, bytes]] = []
    while member := _MEMBER.match(text, position):
        key, value, end = member.group("key", "value", "end")
        position = member.end()
        if (key == b'"items"') != (end is None):
            return None
        if end is None:
            return tuple(found) if before and position == len(text) else None
        if key in _NAMES:
            found.append((key, value))
        if end == b"}":
            return None if before or not _is_blank(text[position:]) else tuple(found)
    return None


def _is_blank(text: bytes) -> bool:
    return not text.strip(b" \t\r\n")
