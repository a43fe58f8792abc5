"""Lines out of a stream of bytes, however the stream or a container's runtime has cut them, in bounded memory. Pure.

A container's log is CRI's (containerd, CRI-O) or docker's json-file. A runtime cuts a long line into parts: CRI marks
them with P, and the last one with F; docker leaves out the line break of all but the last. Parts are put together for
each stream by itself. (The formats: kubelet's pkg/kubelet/kuberuntime/logs, moby's daemon/logger/jsonfilelog.)
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from auditsink.auditlogs import values

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


_CRI = re.compile(
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) (stdout|stderr) ([FP])(?::[^ ]*)?(?: (.*))?\Z",
    re.DOTALL,
)
_DOCKER = re.compile(rb'\{ ?"log" ?: ?"')
_PER_PART = 64  # bytes that an object takes besides its content


class LinePart(NamedTuple):
    """A part of what a container said on one of its streams; `last`: its line ends here."""

    stream: str
    data: bytes
    last: bool


class Joined(NamedTuple):
    """A whole line of a container; the number of the line that it began in. None: it became too long."""

    first: int
    data: bytes | None


def container_part(line: bytes) -> LinePart | None:
    """What a line of such a log holds; None for another line."""
    found = _CRI.match(line)
    if found is not None:
        stream, tag, data = found.groups(b"")
        return LinePart(stream.decode(), data, tag == b"F")
    if not _DOCKER.match(line):
        return None
    members = values.members(line)
    stream_name, log = values.text(members.get("stream")), values.content(members.get("log", b""))
    if stream_name not in {"stdout", "stderr"} or log is None:
        return None
    return LinePart(stream_name, log.removesuffix(b"\n"), log.endswith(b"\n"))


class _PartialLine:
    """The parts of a line so far."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.size = 0
        self.pieces: list[bytes] = []


class Parts:
    """Parts that wait for their last one."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._waiting: dict[str, _PartialLine] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, number: int, added: LinePart) -> Joined | None:
        """The line that is whole now, if one is."""
        waiting = self._waiting.setdefault(added.stream, _PartialLine(number))
        waiting.size += len(added.data) + _PER_PART
        if waiting.size > self._limit:
            waiting.pieces.clear()
        else:
            waiting.pieces.append(added.data)
        if not added.last:
            return None
        del self._waiting[added.stream]
        return Joined(waiting.first, b"".join(waiting.pieces) if waiting.size <= self._limit else None)

    def end(self) -> list[int]:
        """The lines in which something begins that has no end."""
        return sorted(waiting.first for waiting in self._waiting.values())
