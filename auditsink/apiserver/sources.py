"""Request bodies in files: recorded EventLists, archives of them, and an apiserver's `--audit-log-path` file.

What a file is, its bytes say and not its name. Everything is read as a stream: one body is in memory at a time.
"""

import gzip
import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

import msgspec
import zstandard

from auditsink.audit import eventlist

MAX_BODY = 128 * 2**20
"""The largest body or log line that is taken: kube-apiserver has no bound, but its events are 1.5 MB at most."""
ZSTD_WINDOW = 2**27
"""What `zstd --long` asks for; a frame that wants more memory is refused."""

_LOG_LINE = re.compile(rb'\s*\{\s*"kind"\s*:\s*"Event"\s*,')
_DAMAGE = (
    EOFError, OSError, zlib.error, tarfile.TarError, zipfile.BadZipFile, zstandard.ZstdError,
    RuntimeError, ValueError,  # zipfile's, for a member with a password, of an unknown kind, with a name in no encoding
)  # fmt: skip


class SourceError(Exception):
    """A file cannot be read to its end. The message names it and says what is wrong."""


class Body(NamedTuple):
    """What to post: the bytes exactly as recorded, and how many events they hold."""

    data: bytes
    events: int


Skipped = Callable[[str, str], None]
"""Told of a file or member that is passed over: its name, and why."""


class _Head(msgspec.Struct):
    kind: str = ""
    stage: str = ""


def bodies(path: Path, stream: IO[bytes], batch: int, skipped: Skipped) -> Iterator[Body]:
    """The bodies in a file, in order; `batch` events of an audit log make one. Raises SourceError.

    `stream` is the opened, seekable file; its `tell()` shows the progress.
    """
    try:
        yield from _bodies(str(path), stream, batch, skipped)
    except _DAMAGE as problem:
        raise SourceError(f"{path}: is damaged or cut off ({problem}); fetch it again") from None


def _bodies(name: str, stream: IO[bytes], batch: int, skipped: Skipped) -> Iterator[Body]:
    head = _decompressed(stream).read(512)
    stream.seek(0)
    if head[:4] == b"PK\3\4":
        yield from _zip(stream, skipped)
    elif head[257:262] == b"ustar":
        yield from _tar(_decompressed(stream), skipped)
    else:
        yield from _text(name, _decompressed(stream), batch, skipped)


def _decompressed(stream: IO[bytes]) -> IO[bytes]:
    magic = stream.read(4)
    stream.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
    if magic == b"\x28\xb5\x2f\xfd":
        decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
        reader = decoder.stream_reader(stream, read_across_frames=True, closefd=False)
        return io.BufferedReader(cast("io.RawIOBase", reader), 2**18)
    return stream


def _tar(stream: IO[bytes], skipped: Skipped) -> Iterator[Body]:
    with tarfile.open(fileobj=stream, mode="r|") as members:
        for member in members:
            content = members.extractfile(member)  # None for what is no file
            if content is not None:
                yield from _member(member.name, content, skipped)


def _zip(stream: IO[bytes], skipped: Skipped) -> Iterator[Body]:
    with zipfile.ZipFile(stream) as members:
        for name in members.namelist():
            if not name.endswith("/"):
                with members.open(name) as content:
                    yield from _member(name, content, skipped)


def _member(name: str, content: IO[bytes], skipped: Skipped) -> Iterator[Body]:
    if name.endswith(".json"):
        yield from _event_list(name, content.read(MAX_BODY + 1), skipped)
    else:
        skipped(name, "is no .json")


def _event_list(name: str, data: bytes, skipped: Skipped) -> Iterator[Body]:
    if len(data) > MAX_BODY:
        skipped(name, f"is larger than {MAX_BODY // 2**20} MiB")
        return
    try:
        count = len(eventlist.split(data).events)
    except eventlist.NotAnEventListError:
        skipped(name, "is no EventList")
    else:
        yield Body(data, count)


def _text(name: str, stream: IO[bytes], batch: int, skipped: Skipped) -> Iterator[Body]:
    first = stream.readline(MAX_BODY + 1)
    if _is_event(first):
        yield from _log(name, first, stream, batch, skipped)
    else:
        yield from _event_list(name, first + stream.read(max(0, MAX_BODY + 1 - len(first))), skipped)


def _is_event(line: bytes) -> bool:
    """Whether the line is one event, as in the apiserver's log or a `file` destination's output."""
    if _LOG_LINE.match(line):
        return True
    try:
        head = msgspec.json.decode(line, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return bool(head.stage) and head.kind != "EventList"


def _log(name: str, line: bytes, stream: IO[bytes], batch: int, skipped: Skipped) -> Iterator[Body]:
    gathered: list[bytes] = []
    number = 1
    while line:
        event = line.strip()
        if len(line) > MAX_BODY:
            raise SourceError(f"{name}: line {number} is longer than {MAX_BODY // 2**20} MiB; this is no audit log")
        if event[:1] == b"{" and event[-1:] == b"}":
            gathered.append(event)
        elif event:
            skipped(f"{name}:{number}", "is no whole event")
        if len(gathered) == batch:
            yield _batch_of(gathered)
            gathered = []
        line = stream.readline(MAX_BODY + 1)
        number += 1
    if gathered:
        yield _batch_of(gathered)


def _batch_of(several: list[bytes]) -> Body:
    return Body(eventlist.joined(several), len(several))
