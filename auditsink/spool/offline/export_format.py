"""What an export is: the manifest, and a segment's requests read back from its two files.

::

    <export>/manifest.json                              written last: without it there is no export
    <export>/<cluster>/<first>.ndjson.zst               the events of one segment, one a line, and nothing else
    <export>/<cluster>/<first>.requests.ndjson.zst      how they came in: one request a line, or
                                                        some small ones that came at once
A request's line is a JSON array: first sequence, number of events, received (nanoseconds since the epoch), source,
marks (`events.Mark`). So the events stay what any tool can read, and a restore knows what it needs beside them.
"""

import hashlib
import io
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
import zstandard

from auditsink.audit.eventlist import Mark
from auditsink.common.cluster_name import CLUSTER
from auditsink.spool.errors import SpoolError
from auditsink.spool.types import Record

VERSION = 1
MANIFEST = "manifest.json"
MOST_MANIFEST_BYTES = 2**28
LONGEST_LINE = 2**28
"""Bytes; a damaged or hostile export must not fill the memory."""


_Number = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
_Time = Annotated[int, msgspec.Meta(ge=0)]
_Marks = Annotated[int, msgspec.Meta(ge=0, le=int(Mark.UNSPLIT | Mark.NOT_UTF8))]
_Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_RingId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
_Cluster = Annotated[str, msgspec.Meta(pattern=f"^{CLUSTER.pattern}")]
# Nothing outside of the export: a manifest may have been made by anybody.
_File = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}/[0-9]{20}\.(requests\.)?ndjson\.zst\Z")]


class ExportedSegment(msgspec.Struct, frozen=True, kw_only=True):
    """One segment. `first` to `next` (exclusive) are its sequences; of those, `next - first - count` were damaged.

    `sha256` is over the lines of `events`, `requests_sha256` over those of `requests`, decompressed; `digest` is the
    segment's own, as the spool's chain has it.
    """

    events: _File
    requests: _File
    first: _Number
    next: _Number
    count: _Number
    first_received: datetime
    last_received: datetime
    sha256: _Digest
    requests_sha256: _Digest
    digest: _Digest


class ExportedRing(msgspec.Struct, frozen=True, kw_only=True):
    """One cluster. `ring` is the ring's id (hex); `open_from` is where what is still being written began, if anything.

    `gone` are the sequences of segments that the ring's limit removed while the export ran.
    """

    cluster: _Cluster
    ring: _RingId
    segments: list[ExportedSegment]
    open_from: int | None = None
    gone: list[tuple[int, int]] = []


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole export. `tool`: which version of auditsink made it, `made`: when."""

    version: int = VERSION
    tool: str
    made: datetime
    rings: list[ExportedRing]


_decoder = msgspec.json.Decoder(Manifest)
_requests = msgspec.json.Decoder(tuple[_Number, _Number, _Time, str, _Marks])


def load(path: Path) -> Manifest:
    """The manifest of the export in a directory. Raises SpoolError."""
    name = path / MANIFEST
    try:
        with name.open("rb") as stream:
            manifest = _decoder.decode(stream.read(MOST_MANIFEST_BYTES))
    except OSError as problem:
        raise SpoolError(
            f"{path} is no export: {name}: {problem.strerror}; one that was cut short has none, make it again"
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise SpoolError(f"{name}: is no manifest of an export ({problem})") from None
    if manifest.version != VERSION:
        raise SpoolError(f"{name}: is of version {manifest.version}, this auditsink reads {VERSION}: use a newer one")
    return manifest


def read(path: Path, segment: ExportedSegment) -> Iterator[Record]:
    """A segment's requests, `events` being lines without line breaks. Raises SpoolError for what is not as it was.

    The digests are known at the end: whoever acts on the records before must read to the end first.
    """
    events, requests = _Digested(path / segment.events), _Digested(path / segment.requests)
    with closing(events), closing(requests):
        yield from _records(segment, events, requests)
    for file, expected in ((events, segment.sha256), (requests, segment.requests_sha256)):
        if file.digest.hexdigest() != expected:
            raise SpoolError(f"{file.path}: is not what was exported: its SHA-256 differs from the manifest's")


def _records(segment: ExportedSegment, events: "_Digested", requests: "_Digested") -> Iterator[Record]:
    count, position = 0, segment.first
    for line in requests:
        first, number, received_ns, source, marks = _request(requests.path, line)
        if first < position or number < 1 or first + number > segment.next:
            raise SpoolError(f"{requests.path}: a request contradicts the manifest; the export is damaged")
        found = list(islice(events, number))
        if len(found) < number:
            raise SpoolError(f"{events.path}: events are missing at its end; the export is damaged")
        yield Record(first, found, received_ns, source, Mark(marks))
        count, position = count + number, first + number
    if next(events, None) is not None or count != segment.count:
        raise SpoolError(f"{events.path}: holds another number of events than the manifest says; the export is damaged")


class _Digested:
    """The lines of a compressed file, and the SHA-256 of those that were read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = hashlib.sha256()
        self._lines = self._read()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._lines)

    def close(self) -> None:
        """Let go of the file."""
        self._lines.close()

    def _read(self) -> Generator[bytes, None, None]:
        try:
            with self.path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as unpacked:
                lines = io.BufferedReader(unpacked, 2**20)
                while line := lines.readline(LONGEST_LINE):
                    if not line.endswith(b"\n"):
                        raise SpoolError(f"{self.path}: holds a line that is too long or cut short; it is damaged")
                    self.digest.update(line)
                    yield line[:-1]
        except (OSError, zstandard.ZstdError) as problem:
            raise SpoolError(f"{self.path}: cannot be read: {problem}") from None


def _request(path: Path, line: bytes) -> tuple[int, int, int, str, int]:
    try:
        return _requests.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise SpoolError(f"{path}: a line is no request; the export is damaged") from None
