"""Files, archives and streams with audit logs in them, read to their end: request bodies out, in order.

Everything is read as it comes; in memory are one chunk, one line that is being read, and one batch.
"""

import codecs
import io
import os
import select
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, Protocol, cast

from auditsink.auditlogs.batches import Batcher, Body
from auditsink.auditlogs.compression import DAMAGE, HEAD_BYTES, decompressed
from auditsink.auditlogs.contents import NO_EVENT, LoggedEvent, LoggedList, Nothing
from auditsink.auditlogs.reader import LogItem, LogReader

CHUNK = 2**18
"""Bytes read at once: as many as the events of a batch have."""
PAUSE_SECONDS = 1.0
"""After which a writer counts as one that pauses."""
DEEPEST = 6
"""Compressions and archives one within the other; each keeps some memory."""
NUMBERED = 10
"""Lines of a kind whose numbers are told."""

_REASONS = 32  # in one log
_NO_LOG = "holds no audit event"
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_ZIP = frozenset({b"PK\3\4", b"PK\5\6"})
_UNREAD = (
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive, which is not read; unpack it"),
    (b"Rar!", "is a rar archive, which is not read; unpack it"),
    (b"\x04\x22\x4d\x18", "is compressed with lz4, which is not read; unpack it"),
    (b"x\x9c", "is compressed with zlib, which is not read; unpack it"),
    (b"PAR1", "is a Parquet file, which is not read; export it as JSON lines"),
)
_UNREADABLE = (
    *DAMAGE, tarfile.TarError, zipfile.BadZipFile,
    RuntimeError, ValueError,  # zipfile's, for a member with a password, of an unknown kind, with a name in no encoding
)  # fmt: skip


class Notes(Protocol):
    """Told of what is not sent. `name` is that of the file, or of the member behind that of its archive."""

    def skipped(self, name: str, why: str, count: int, lines: Sequence[int]) -> None:
        """So many lines hold no event, and the numbers of the first of them; without any it is the whole file."""
        ...

    def damaged(self, name: str, why: str) -> None:
        """A file or member cannot be read to its end: what was before that is sent."""
        ...


def bodies(name: str, stream: BinaryIO, batch: int, notes: Notes) -> Iterator[Body]:
    """The bodies in a file, in order; `batch` events of a log make one. Raises nothing for what the file holds.

    The stream need not be seekable, but a zip archive must be.
    """
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", stream))
    yield from _batched(_Reading(notes).contents(name, buffered), batch)


def live_bodies(name: str, pipe: int, batch: int, notes: Notes, go_on: Callable[[], bool]) -> Iterator[Body]:
    """The same from a file descriptor whose writer may pause: what has come does not wait for a whole batch.

    `go_on` is asked whenever nothing has come for a second; False ends the reading.
    """
    stream = cast("io.BufferedReader", io.BufferedReader(_Pausing(pipe, go_on), CHUNK))
    yield from _batched(_Reading(notes, lambda: not _readable(pipe)).contents(name, stream), batch)


def _batched(contents: Iterator[LoggedEvent | LoggedList | None], batch: int) -> Iterator[Body]:
    batcher = Batcher(batch)
    for content in contents:
        yield from batcher.flush() if content is None else batcher.add(content)
    yield from batcher.flush()


class _Reading:
    """One file, and what is in it. Gives events and lists, and None where there is a pause."""

    def __init__(self, notes: Notes, paused: Callable[[], bool] = lambda: False) -> None:
        self._notes = notes
        self._paused = paused

    def contents(
        self, name: str, stream: io.BufferedReader, depth: int = 0
    ) -> Iterator[LoggedEvent | LoggedList | None]:
        """What is in a stream that may be packed `depth` times."""
        try:
            unpacked = decompressed(stream)
            if unpacked is None:
                yield from self._unpacked(name, stream, depth)
            elif depth < DEEPEST:
                yield from self.contents(name, unpacked, depth + 1)
            else:
                self._whole(name, f"is packed more than {DEEPEST} times; unpack it")
        except _UNREADABLE as problem:
            why = str(problem) or type(problem).__name__
            self._notes.damaged(name, f"is damaged or cut off ({why}); fetch it again")

    def _unpacked(self, name: str, stream: io.BufferedReader, depth: int) -> Iterator[LoggedEvent | LoggedList | None]:
        head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        unread = next((why for magic, why in _UNREAD if head.startswith(magic)), None)
        if unread is not None:
            self._whole(name, unread)
        elif head[:4] in _ZIP:
            yield from self._zip(name, stream, depth)
        elif _is_tar(head):
            yield from self._tar(name, stream, depth)
        else:
            yield from self._log(name, stream)

    def _tar(self, name: str, stream: io.BufferedReader, depth: int) -> Iterator[LoggedEvent | LoggedList | None]:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None:
                    yield from self.contents(f"{name}/{member.name}", cast("io.BufferedReader", content), depth + 1)

    def _zip(self, name: str, stream: io.BufferedReader, depth: int) -> Iterator[LoggedEvent | LoggedList | None]:
        if depth or not stream.seekable():
            self._whole(name, "is a zip archive, which is read from a file of its own and from nowhere else")
            return
        with zipfile.ZipFile(stream) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    yield from self._zipped(f"{name}/{member.filename}", archive, member)

    def _zipped(
        self, name: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo
    ) -> Iterator[LoggedEvent | LoggedList | None]:
        try:
            with archive.open(member) as content:
                yield from self.contents(name, io.BufferedReader(cast("io.RawIOBase", content)), 1)
        except _UNREADABLE as problem:
            self._notes.damaged(name, f"cannot be read ({problem})")

    def _log(self, name: str, stream: io.BufferedReader) -> Iterator[LoggedEvent | LoggedList | None]:
        reader, skips = LogReader(), Skips()
        try:
            for chunk in _chunks(stream):
                yield from skips.passing(reader.feed(chunk))
                if self._paused():
                    yield None
            yield from skips.passing(reader.end())
        finally:
            skips.tell(name, self._notes)

    def _whole(self, name: str, why: str) -> None:
        self._notes.skipped(name, why, 1, ())


class Skips:
    """The lines of one log that hold no event: by reason, with the numbers of the first of each."""

    def __init__(self) -> None:
        self._found = False
        self._reasons: dict[str, tuple[int, list[int]]] = {}

    def passing(self, items: Iterable[LogItem]) -> Iterator[LoggedEvent | LoggedList]:
        """The items that are to be sent; the others are noted."""
        for line, content, _ in items:
            if isinstance(content, Nothing):
                self._add(line, content.why)
            else:
                self._found = True
                yield content

    def tell(self, name: str, notes: Notes) -> None:
        """What there is to say at the end of the log. Where no line holds an event that is all of it."""
        if self._found:
            for why, (count, lines) in self._reasons.items():
                notes.skipped(name, why, count, lines)
        else:
            why = next(iter(self._reasons), NO_EVENT)
            notes.skipped(name, _NO_LOG if why == NO_EVENT else f"{_NO_LOG}; what stands there {why}", 1, ())

    def _add(self, line: int, why: str) -> None:
        if why not in self._reasons and len(self._reasons) >= _REASONS:
            why = NO_EVENT  # the words of a hostile file must not fill our memory
        count, lines = self._reasons.get(why, (0, []))
        self._reasons[why] = (count + 1, lines if len(lines) >= NUMBERED else [*lines, line])


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _chunks(stream: io.BufferedReader) -> Iterator[bytes]:
    """UTF-8, whatever it was: PowerShell writes UTF-16."""
    encoding = _UTF16.get(stream.peek(2)[:2])
    decoder = codecs.getincrementaldecoder(encoding)("replace") if encoding else None
    while chunk := stream.read1(CHUNK):
        yield chunk if decoder is None else decoder.decode(chunk).encode(errors="replace")


def _readable(pipe: int) -> bool:
    return bool(select.select([pipe], [], [], PAUSE_SECONDS)[0])


class _Pausing(io.RawIOBase):
    """A pipe, read as its writer writes it. The first piece is as long as a tar header, if he does not pause in it."""

    def __init__(self, pipe: int, go_on: Callable[[], bool]) -> None:
        self._pipe = pipe
        self._go_on = go_on
        self._started = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not _readable(self._pipe):
            if not self._go_on():
                return 0
        size = os.readv(self._pipe, [buffer])
        while not self._started and 0 < size < HEAD_BYTES and _readable(self._pipe):
            got = os.readv(self._pipe, [buffer[size:]])
            if not got:
                break
            size += got
        self._started = True
        return size
