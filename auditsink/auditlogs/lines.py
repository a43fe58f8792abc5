"""Lines out of a stream of bytes, however the stream is cut, in bounded memory. Pure."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

MAX_LINE = 64 * 2**20
"""Bytes of a line or document. An event is a few MB at most; a list that was recorded is as large as its body was."""


class Line(NamedTuple):
    """`number` counts from 1, `end` is the position behind the line. `data` is None for one that is too long."""

    number: int
    end: int
    data: bytes | None
    broken: bool = True
    """It ended in a line break, which `data` does not hold."""


class LineSplitter:
    """Takes chunks, gives lines. NUL bytes before a line are dropped: a log that was cut under its writer has them."""

    def __init__(self, limit: int = MAX_LINE, *, number: int = 0, position: int = 0) -> None:
        """`number` and `position`: lines and bytes that were read before."""
        self._limit = limit
        self._number = number
        self._end = position
        self._pieces: list[bytes] = []
        self._kept = 0
        self._overlong = False

    def feed(self, chunk: bytes, cut: Callable[[bytes], int]) -> Iterator[Line]:
        """The lines that end in this chunk. `cut` says how many bytes of an overlong line are whole values."""
        start = 0
        while (stop := chunk.find(b"\n", start)) >= 0:
            yield from self._keep(chunk[start:stop], cut)
            self._end += 1
            yield self._line(broken=True)
            start = stop + 1
        yield from self._keep(chunk[start:], cut)

    def end(self) -> Iterator[Line]:
        """What stands behind the last line break."""
        if self._kept or self._overlong:
            yield self._line(broken=False)

    def _keep(self, piece: bytes, cut: Callable[[bytes], int]) -> Iterator[Line]:
        self._end += len(piece)
        if not self._kept:
            piece = piece.lstrip(b"\0")
        if not piece or self._overlong:
            return
        self._pieces.append(piece)
        self._kept += len(piece)
        if self._kept <= self._limit:
            return
        whole = b"".join(self._pieces)
        size = cut(whole)
        self._overlong = not size
        self._pieces = [whole[size:]] if size else []
        self._kept = len(whole) - size if size else 0
        if size:
            yield Line(self._number + 1, self._end - self._kept, whole[:size], broken=False)

    def _line(self, *, broken: bool) -> Line:
        self._number += 1
        line = Line(self._number, self._end, None if self._overlong else b"".join(self._pieces), broken)
        self._pieces, self._kept, self._overlong = [], 0, False
        return line
