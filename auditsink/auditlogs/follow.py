"""A log that grows, over rotations and restarts: request bodies out, and the place that each of them reaches.

The place moves when a body was taken, so nothing is skipped; after a crash the last body may be sent again. A log that
was renamed is read to its end before the next one is begun; one that was copied and truncated is read to its end in
the copy.

kube-apiserver renames `audit.log` to `audit-<time>.log`, and packs it as `.log.gz` where it is told to; logrotate makes
`audit.log.1` or `audit.log-<date>`, by renaming or by copying and truncating; kubelet `0.log.<time>`. None of the names
says which is older, so that is read from the first event of each.
"""

import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum, auto
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from auditsink.auditlogs.batches import Batcher, Body
from auditsink.auditlogs.compression import DAMAGE, decompressed
from auditsink.auditlogs.contents import Nothing
from auditsink.auditlogs.place import HEAD_BYTES, LogPlace, digest
from auditsink.auditlogs.reader import LogItem, LogReader, Position
from auditsink.auditlogs.sources import CHUNK, NUMBERED

_BEGIN_BYTES = 2**18  # in which the first event of a log, or at least a time of it, stands
_MOST_BLANK = 2**26  # NUL bytes that are looked through
_TIME = re.compile(rb'(?:stageTimestamp|requestReceivedTimestamp)\\?"\s*:\s*\\?"(\d{4}-[0-9T:.-]{10,24}Z)')


class LogFile(NamedTuple):
    """A file of the log at the moment of the look.

    `head` are its first bytes, unpacked, but for `blank` NUL bytes before them; `began` as in `LogPlace`. `size` in
    bytes; None for a packed one.
    """

    path: Path
    inode: int
    blank: int
    head: bytes
    began: str
    size: int | None


def look(path: Path) -> LogFile | None:
    """A file as it is; None when it is not there, cannot be read, or is no file."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            unpacked = decompressed(stream)
            blank, begin = _begin(unpacked or stream)
            status = os.fstat(stream.fileno())
    except DAMAGE:
        return None
    size = status.st_size if unpacked is None else None
    return LogFile(path, status.st_ino, blank, begin[:HEAD_BYTES], began(begin, status.st_mtime), size)


def rotated(path: Path) -> Iterator[LogFile]:
    """The others of the same log, in no order."""
    for other in sorted(path.parent.iterdir()):
        if other.name != path.name and _is_of(other.name, path):
            found = look(other)
            if found is not None and found.head:
                yield found


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """Its content, unpacked. Raises OSError."""
    with path.open("rb") as stream:
        unpacked = decompressed(stream)
        if unpacked is None:
            yield stream
        else:
            with unpacked:
                yield unpacked


def began(begin: bytes, modified: float) -> str:
    """When the log begins of which this is the beginning; "" where it holds no event yet, or is no such log.

    `modified`, in seconds since the epoch, stands in for the time of a first event that has none.
    """
    found = _TIME.search(begin)
    if found is not None:
        return found[1].decode()
    if b"auditID" not in begin:
        return ""
    return datetime.fromtimestamp(modified, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _is_of(name: str, path: Path) -> bool:
    if name.startswith((f"{path.name}.", f"{path.name}-")):
        return True
    return name.startswith(f"{path.stem}-") and path.suffix in name.removeprefix(path.stem)


def _begin(stream: io.BufferedReader) -> tuple[int, bytes]:
    """How many NUL bytes come first, and what comes then: `_BEGIN_BYTES`, or as many as there are.

    A writer that does not append (kube-apiserver, in a log that it has created) goes on at its old place in a log that
    was copied and truncated: all of those begin alike, with a hole.
    """
    blank, found = 0, b""
    try:
        if stream.seekable():
            blank = stream.seek(_behind_hole(stream))
        while len(found) < _BEGIN_BYTES and (chunk := stream.read1(_BEGIN_BYTES - len(found))):
            found += chunk
            if found[:1] == b"\0" and blank < _MOST_BLANK:
                blank += len(found)
                found = found.lstrip(b"\0")
                blank -= len(found)
    except DAMAGE:
        if not found:
            raise
    return blank, found


def _behind_hole(stream: io.BufferedReader) -> int:
    try:
        return os.lseek(stream.fileno(), 0, os.SEEK_DATA)
    except OSError:  # there is nothing in it, or the file system knows no holes
        return 0


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
        self._blank = min(log.blank, start.offset)
        self._head = log.head[: start.offset - self._blank]  # as much of its beginning as was read

    def bodies(self, wait: Wait) -> Iterator[Body]:
        """In order; afterwards `end` says why there are no more. Raises OSError."""
        with opened(self.path) as stream:
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
        head = self._head[: max(0, upto.offset - self._blank)]
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
                    self._log = self._log._replace(began=began(self._head, modified))
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
        return os.pread(stream.fileno(), len(self._head), self._blank) != self._head

    def _take(self, chunk: bytes) -> Iterator[Body]:
        if len(self._head) < HEAD_BYTES and self._blank + len(self._head) == self._position:
            data = chunk if self._head else chunk.lstrip(b"\0")
            self._blank += len(chunk) - len(data)
            self._head += data[: HEAD_BYTES - len(self._head)]
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


_NEVER = "0"
"""Before every time that a log can begin at."""


class Follower:
    """Follows the log at `path` from `place` on; None: from the beginning of the file that is there."""

    def __init__(
        self, path: Path, place: LogPlace | None, *, batch: int, say: Callable[[str], None], wait: Wait
    ) -> None:
        """`batch`: events in a body. `say` is told what happens, a sentence each."""
        self._path = path
        self._place = place
        self._batch = batch
        self._say = say
        self._wait = wait
        self._complete = False  # there is no more in the file of the place
        self._file: GrowingFile | None = None
        self._skipped: dict[str, int] = {}

    def bodies(self) -> Iterator[Body]:
        """One after the other, until `wait` ends it. Raises OSError."""
        while (file := self._next()) is not None:
            self._file = file
            try:
                yield from file.bodies(self._wait)
            except FileNotFoundError:  # rotation was faster
                continue
            self._place, self._complete = file.settled, file.end is End.COMPLETE
            if file.end is End.STOPPED:
                return
            if file.end is End.TRUNCATED:
                self._say(f"{file.path}: was truncated; looking for a copy of it")

    def place(self, body: Body) -> LogPlace:
        """What to keep now that the sink has taken this body, the last one that was given."""
        assert self._file is not None
        return self._file.place(body.upto)

    def _next(self) -> GrowingFile | None:
        told = False
        while (file := self._find()) is None:
            if not told and look(self._path) is None:
                told = True
                why = "cannot be read; check its permissions" if self._path.exists() else "is not there; waiting for it"
                self._say(f"{self._path}: {why}")
            if not self._wait():
                return None
        return file

    def _find(self) -> GrowingFile | None:
        """The file to go on with."""
        place, live = self._place, look(self._path)
        others = list(rotated(self._path))
        if place is None:
            if live is not None and _has_a_line(live):
                return self._opened(live, Position())
            # What is beside it now is older than what is to come, and none of ours.
            newest = max((other.began for other in others), default="")
            self._place = LogPlace(offset=0, line=0, inode=0, head_bytes=0, head_sha256="", began=newest or _NEVER)
            return None
        if not self._complete and place.head_bytes:
            same = _same(place, live, others)
            if same is not None:
                return self._opened(same, Position(place.line, place.offset))
            self._say(
                f"{self._path}: the log that was read up to byte {place.offset:,} is neither there nor beside it; "
                "what was written to it after that is not sent"
            )
        self._complete = True
        newer = [other for other in others if other.began > place.began > "" and not _is(place, other)]
        if newer:
            return self._opened(min(newer, key=lambda one: one.began), Position())
        # One without a line is not begun: it may be written, truncated and written again before the next look, and all
        # events begin alike.
        if live is None or not _has_a_line(live) or (live.inode == place.inode and _holds(place, live)):
            return None
        return self._opened(live, Position())

    def _opened(self, log: LogFile, start: Position) -> GrowingFile:
        if self._file is not None or start.offset:
            where = f"line {start.line + 1:,}" if start.offset else "its beginning"
            self._say(f"{log.path}: reading on from {where}")
        return GrowingFile(
            log,
            start,
            live=self._path if log.path == self._path and log.size is not None else None,
            before="" if self._place is None else self._place.began,
            batch=self._batch,
            on_skip=self._on_skip,
        )

    def _on_skip(self, path: Path, line: int, why: str) -> None:
        count = self._skipped[why] = self._skipped.get(why, 0) + 1
        if count <= NUMBERED:
            last = "; more of these are passed over in silence" if count == NUMBERED else ""
            self._say(f"{path}: line {line:,} {why}; passed over{last}")


def _has_a_line(log: LogFile) -> bool:
    return b"\n" in log.head or len(log.head) == HEAD_BYTES


def _is(place: LogPlace, log: LogFile) -> bool:
    """Whether it is the file that the place is in; the inode of one that is gone may be another's now."""
    return place.begins(log.head) if place.head_bytes else log.inode == place.inode


def _holds(place: LogPlace, log: LogFile) -> bool:
    """Whether the place can be in this file."""
    return place.begins(log.head) and (log.size is None or log.size >= place.offset)


def _same(place: LogPlace, live: LogFile | None, others: list[LogFile]) -> LogFile | None:
    """The file that the place is in: where it was, or renamed, or a copy of it."""
    candidates = [one for one in (live, *others) if one is not None and _holds(place, one)]
    return next((candidate for candidate in candidates if candidate.inode == place.inode), next(iter(candidates), None))
