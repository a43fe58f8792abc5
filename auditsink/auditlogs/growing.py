"""One file of a growing log, read from a position on for as long as it is the one that grows."""

import os
from collections.abc import Callable, Iterator
from enum import Enum, auto
from io import BufferedReader
from pathlib import Path

from auditsink.auditlogs import rotation
from auditsink.auditlogs.batches import Batcher, Body
from auditsink.auditlogs.compression import DAMAGE
from auditsink.auditlogs.contents import Nothing
from auditsink.auditlogs.place import HEAD_BYTES, LogPlace, digest
from auditsink.auditlogs.reader import LogItem, LogReader, Position
from auditsink.auditlogs.rotation import LogFile
from auditsink.auditlogs.sources import CHUNK

Wait = Callable[[], bool]
"""Waits a moment for the log to grow; False: the reading is to end."""
OnSkip = Callable[[Path, int, str], None]
"""Told of a line without an event: the file, the line's number, and why."""


class End(Enum):
    """Why there is nothing more to come from a file."""

    STOPPED = auto()
    COMPLETE = auto()
    TRUNCATED = auto()  # it is another log now; the rest of the old one may be in a copy


class GrowingFile:
    """Reads `log` from `start` on. `live`: the path at which the log grows, if this is the file there."""

    def __init__(
        self, log: LogFile, start: Position, *, live: Path | None, before: str, batch: int, on_skip: OnSkip
    ) -> None:
        """`before`: when the log before this one began; the place in an empty file needs it."""
        self.path = log.path
        self.end = End.STOPPED
        self._log = log
        self._live = live
        self._before = before
        self._batcher = Batcher(batch)
        self._on_skip = on_skip
        self._reader = LogReader(start)
        self._position = start.offset
        self._head = log.head[: start.offset]  # as much of its beginning as was read

    def bodies(self, wait: Wait) -> Iterator[Body]:
        """In order; afterwards `end` says why there are no more. Raises OSError."""
        with rotation.opened(self.path) as stream:
            _skip(stream, self._position)
            if self._live is None:
                yield from self._rest(stream)
            else:
                yield from self._grow(stream, self._live, wait)
            if self.end is End.COMPLETE:
                yield from self._batched(self._reader.end())
                yield from self._batcher.flush()

    def place(self, upto: Position) -> LogPlace:
        """What to keep when everything up to there is taken."""
        head = self._head[: upto.offset]
        return LogPlace(
            offset=upto.offset, line=upto.line, inode=self._log.inode, head_bytes=len(head), head_sha256=digest(head),
            began=self._log.began or self._before,
        )  # fmt: skip

    @property
    def settled(self) -> LogPlace:
        """The place behind everything that was given out."""
        return self.place(self._reader.settled)

    def _rest(self, stream: BufferedReader) -> Iterator[Body]:
        """All of a file that grows no more; a damaged one, as packed ones can be, is given up with what was read."""
        self.end = End.COMPLETE
        try:
            while chunk := stream.read1(CHUNK):
                yield from self._take(chunk)
        except DAMAGE as problem:
            self._on_skip(self.path, self._reader.settled.line + 1, f"begins what cannot be read ({problem})")

    def _grow(self, stream: BufferedReader, live: Path, wait: Wait) -> Iterator[Body]:
        left = False  # another file stands at the path, and this one was given a last moment
        while True:
            chunk = stream.read1(CHUNK)
            if self._is_other(stream):
                self.end = End.TRUNCATED
                return
            if chunk:
                yield from self._take(chunk)
                if not self._log.began:
                    modified = os.fstat(stream.fileno()).st_mtime
                    self._log = self._log._replace(began=rotation.began(self._head, modified))
                continue
            yield from self._batcher.flush()
            if left:
                self.end = End.COMPLETE
                return
            left = _replaced(stream, live)
            if not wait():
                return

    def _is_other(self, stream: BufferedReader) -> bool:
        """Whether the file was truncated since its beginning was read, and perhaps written again."""
        if os.fstat(stream.fileno()).st_size < self._position:
            return True
        return os.pread(stream.fileno(), len(self._head), 0) != self._head

    def _take(self, chunk: bytes) -> Iterator[Body]:
        if len(self._head) < HEAD_BYTES and len(self._head) == self._position:
            self._head += chunk[: HEAD_BYTES - len(self._head)]
        self._position += len(chunk)
        yield from self._batched(self._reader.feed(chunk))

    def _batched(self, items: Iterator[LogItem]) -> Iterator[Body]:
        for line, content, upto in items:
            if isinstance(content, Nothing):
                self._on_skip(self.path, line, content.why)
            else:
                yield from self._batcher.add(content, upto)


def _skip(stream: BufferedReader, size: int) -> None:
    if stream.seekable():
        stream.seek(size)
        return
    while size and (chunk := stream.read1(min(size, CHUNK))):
        size -= len(chunk)


def _replaced(stream: BufferedReader, path: Path) -> bool:
    """Whether another file stands at the path, with something in it."""
    try:
        there, mine = path.stat(), os.fstat(stream.fileno())
    except OSError:
        return False
    return there.st_size > 0 and (there.st_ino, there.st_dev) != (mine.st_ino, mine.st_dev)
