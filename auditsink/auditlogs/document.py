"""A JSON document that was printed over several lines, put together line by line. Pure.

A line that was torn looks like the first line of such a document. So every line must be able to follow the one before
it: no string runs over a line break, and a value begins only where JSON lets one begin. A torn line is given up at
the first line that cannot belong to it, which for a log is nearly always the next one.
"""

from collections.abc import Iterator

from auditsink.auditlogs.lines import MAX_LINE
from auditsink.auditlogs.values import BLANK, OPENING, TOKENS

_PAIRS = {b"}": b"{", b"]": b"["}


class Document:
    """`first` is the number of its first line. Add lines until it is `closed`."""

    def __init__(self, first: int, limit: int = MAX_LINE) -> None:
        self.first = first
        self.closed = False
        self.too_long = False
        self._limit = limit
        self._text = bytearray()
        self._open: list[bytes] = []
        self._last = b""  # the last byte so far that is not blank
        self._lines = 0

    def add(self, line: bytes) -> bool:
        """Add a line; False when it cannot be the next one. Then nothing more may be added."""
        self._text += line + b"\n"
        self._lines += 1
        if len(self._text) > self._limit:
            self.too_long = True
            return False
        text = line.strip(BLANK)
        if not text:
            return True
        if not self._may_follow(text[:1]) or not self._balance(text):
            return False
        self._last = text[-1:]
        return True

    @property
    def data(self) -> bytes:
        """The document, as it stands; without a comma behind it."""
        return bytes(self._text).strip(BLANK + b",")

    def lines_behind_the_first(self) -> Iterator[tuple[int, bytes]]:
        """The others that were added, the one that could not follow too, with their numbers."""
        text, number, start = bytes(self._text), self.first, self._text.find(b"\n") + 1
        while start < len(text):
            number += 1
            stop = text.find(b"\n", start)
            yield number, text[start:stop]
            start = stop + 1

    @property
    def bytes_behind_the_first(self) -> int:
        """What it costs to look at these again."""
        return len(self._text) - self._text.find(b"\n") - 1

    def _may_follow(self, first: bytes) -> bool:
        if not self._last:
            return first in OPENING
        if first == b"{":
            return self._last in b"[:" or (self._last == b"," and self._open[-1] == b"[")
        if first == b'"':
            return self._last in b"[{:,"
        return True

    def _balance(self, text: bytes) -> bool:
        end = 0
        for token in TOKENS.finditer(text):
            if self.closed:
                return False
            found = token[0]
            if found[:1] == b'"':
                if len(found) == 1 or found[-1:] != b'"' or _escaped(found):
                    return False
            elif found in OPENING:
                self._open.append(found)
            elif not self._open or self._open.pop() != _PAIRS[found]:
                return False
            else:
                self.closed = not self._open
                end = token.end()
        return not self.closed or not text[end:].strip(BLANK + b",")


def _escaped(string: bytes) -> bool:
    """Whether the quote at the end belongs to the string: then the line ends in the middle of it."""
    inner = string[1:-1]
    return (len(inner) - len(inner.rstrip(b"\\"))) % 2 == 1
