"""A ring's segments as they lie in the directory, read one at a time without owning the spool.

For commands beside a running sink, on a stopped one, or on a copy. Memory holds one segment, compressed. What vanishes
while it is looked at was removed by the ring's limit and is passed over.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from auditsink.common.disk import Disk, read_around
from auditsink.spool import segment
from auditsink.spool.content import ContentError, Unpacker
from auditsink.spool.errors import MissingKeyError, SpoolError
from auditsink.spool.frame import FrameHeader
from auditsink.spool.keys import Keyring
from auditsink.spool.segment import Footer, SegmentHeader
from auditsink.spool.types import Record


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """`stop` is where the following segment begins: frames from that sequence on do not count. None for the last."""

    path: Path
    header: SegmentHeader
    stop: int | None


@dataclass(frozen=True, slots=True)
class SegmentContent:
    """What a segment held when it was read: `frames` that count, in order, and their end in bytes, `length`."""

    stored: StoredSegment
    data: bytes
    frames: list[FrameHeader]
    length: int
    footer: Footer | None
    keys: Keyring | None = None

    @property
    def sealed(self) -> bool:
        """Whether nothing will be appended any more."""
        return self.footer is not None or self.stored.stop is not None

    @property
    def stop(self) -> int:
        """The sequence after its last event, those included that damage took."""
        if self.stored.stop is not None:
            return self.stored.stop
        if self.footer is not None:
            return self.footer.next_sequence
        return self.frames[-1].end_sequence if self.frames else self.stored.header.first_sequence

    @property
    def digest(self) -> bytes:
        """The chain's digest: SHA-256 of everything before the footer."""
        return hashlib.sha256(memoryview(self.data)[: self.length]).digest()

    def records(self, wanted: Callable[[FrameHeader], bool] = lambda _header: True) -> Iterator[Record]:
        """The records whose header is wanted, in order. One that cannot be unpacked is left out, as damage is.

        Raises MissingKeyError when they are encrypted under a key that is not in `keys`: nothing steps over that.
        """
        unpacker = Unpacker(self.keys)
        for header in self.frames:
            if wanted(header):
                try:
                    yield unpacker.record(self.stored.header, header, self.data, header.offset)
                except ContentError:
                    continue
                except MissingKeyError as problem:
                    raise MissingKeyError(
                        f"{self.stored.path}: {problem}; give a file that holds it (--key-file, for a replay "
                        "spool.encryption.key_file)"
                    ) from None


def segments(ring: Path, disk: Disk) -> list[StoredSegment]:
    """The segments in a ring's directory whose headers are readable, oldest first. Raises SpoolError and OSError."""
    try:
        paths = [ring / name for name in disk.names(ring) if segment.is_file_name(name)]
    except OSError as problem:
        raise SpoolError(f"{ring}: {problem.strerror}; `auditsink spool ls` names the clusters there are") from None
    found = [(path, header) for path in paths if (header := _header(path, disk)) is not None]
    stops = (*(header.first_sequence for _path, header in found[1:]), None)
    return [StoredSegment(path, header, stop) for (path, header), stop in zip(found, stops, strict=False)]


def read(stored: StoredSegment, disk: Disk, keys: Keyring | None = None) -> SegmentContent | None:
    """All of a segment; None when it is gone. Raises OSError. `keys` open the records if they are encrypted."""
    try:
        file = disk.open(stored.path)
    except FileNotFoundError:
        return None
    try:
        data = read_around(file, file.size(), 0)
    finally:
        file.close()
    frames: list[FrameHeader] = []
    footer: Footer | None = None
    for part in segment.walk(data, stored.header.seed):
        if isinstance(part, Footer):
            footer = part
        elif isinstance(part, FrameHeader):
            if stored.stop is not None and part.first_sequence >= stored.stop:
                break
            frames.append(part)
    length = frames[-1].offset + frames[-1].size if frames else segment.DATA_START
    return SegmentContent(stored, data, frames, length, footer, keys)


def _header(path: Path, disk: Disk) -> SegmentHeader | None:
    try:
        file = disk.open(path)
    except FileNotFoundError:
        return None
    try:
        return segment.decode_header(read_around(file, segment.DATA_START, 0))
    finally:
        file.close()
