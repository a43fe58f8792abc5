"""A ring's segments as they lie in the directory: the one reader of whole segment files, and the writer of such.

For a start, and for commands beside a running sink, on a stopped one, or on a copy. Memory holds one segment,
compressed. What vanishes while it is looked at was removed by the ring's limit and is passed over.
"""

import errno
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from auditsink.common.disk import READ_BYTES, Disk, File, read_around
from auditsink.common.disk import replace as replace_file
from auditsink.spool import segment
from auditsink.spool.content import ContentError, Unpacker
from auditsink.spool.errors import MissingKeyError, SpoolError
from auditsink.spool.frame import FrameHeader
from auditsink.spool.keys import Keyring
from auditsink.spool.segment import ChainLink, Damage, Footer, SegmentHeader
from auditsink.spool.types import Record

NO_FILE = frozenset({errno.EISDIR, errno.ELOOP})
"""What comes of a directory, or of links in a circle, under a segment's name."""


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A file with a readable header, of `size` bytes, and the footer, if it ends with one.

    `stop` is where the following segment begins: frames from that sequence on do not count. None for the last.
    """

    path: Path
    header: SegmentHeader
    size: int
    footer: Footer | None
    stop: int | None = None

    @property
    def name(self) -> str:
        """What the file should be called."""
        return segment.file_name(self.header.first_sequence)


@dataclass(frozen=True, slots=True)
class SegmentContent:
    """What a segment held when it was read: `frames` that count, in order, and their end in bytes, `length`.

    `rewritten`: the first frame that does not count, because it was written again to the next segment; what follows it
    is not looked at. `unreadable`: pages that the disk could not give.
    """

    stored: StoredSegment
    data: bytes
    frames: list[FrameHeader]
    damages: list[Damage]
    footer: Footer | None
    rewritten: FrameHeader | None
    unreadable: list[int]
    keys: Keyring | None = None

    @property
    def length(self) -> int:
        """Bytes up to the end of the last frame that counts."""
        return self.frames[-1].offset + self.frames[-1].size if self.frames else segment.DATA_START

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


def paths(ring: Path, disk: Disk) -> list[Path]:
    """What has a segment's name in a ring's directory, oldest first. Raises SpoolError."""
    try:
        return [ring / name for name in disk.names(ring) if segment.is_file_name(name)]
    except OSError as problem:
        raise SpoolError(f"{ring}: {problem.strerror}; `auditsink spool ls` names the clusters there are") from None


def segments(ring: Path, disk: Disk) -> list[StoredSegment]:
    """The segments in a ring's directory whose headers are readable, oldest first. Raises SpoolError and OSError."""
    return [one for one in headers(paths(ring, disk), disk) if one is not None]


def headers(
    files: Iterable[Path], disk: Disk, unreadable: Callable[[Path, bool], object] = lambda _path, _unused: None
) -> list[StoredSegment | None]:
    """These files of one ring as segments; None for one that is gone, or has no header.

    `unreadable` is told the latter, and whether the file was never written to. Raises SpoolError for a format that is
    not ours, and OSError.
    """
    found: list[StoredSegment | None] = []
    for path in files:
        try:
            one, unused = read_header(path, disk)
        except FileNotFoundError:
            found.append(None)
            continue
        found.append(one)
        if one is None:
            unreadable(path, unused)
    after: StoredSegment | None = None
    for at in range(len(found) - 1, -1, -1):
        if (one := found[at]) is not None:
            found[at], after = replace(one, stop=after.header.first_sequence if after else None), one
    return found


def read_header(path: Path, disk: Disk) -> tuple[StoredSegment | None, bool]:
    """The segment in a file, by its header and what stands at its end; or None, and whether it was never written to.

    Raises SpoolError for a format that is not ours, and OSError.
    """
    try:
        with closing(disk.open(path)) as file:
            header = segment.decode_header(read_around(file, segment.DATA_START, 0))
            if header is None:
                return None, _is_unused(file)
            size = file.size()
            end = size - segment.FOOTER.size
            seal = segment.decode_footer(read_around(file, segment.FOOTER.size, end), header.seed) if end > 0 else None
    except OSError as problem:
        if problem.errno not in NO_FILE:
            raise
        return None, False
    return StoredSegment(path, header, size, seal if seal and seal.length == end else None), False


def _is_unused(file: File) -> bool:
    """Whether nothing was ever written: a header is durable before the first frame."""
    at, size = 0, file.size()
    while at < size:
        data = read_around(file, READ_BYTES, at)
        if data.strip(b"\0"):
            return False
        at += len(data) or READ_BYTES
    return True


def write_sealed(disk: Disk, ring: Path, header: SegmentHeader, frames: Sequence[bytes], stop: int) -> ChainLink:
    """Put a sealed segment with these frames into a ring's directory, whole or not at all; the chain's link after it.

    `stop`: the sequence after its last event. Raises OSError.
    """
    data = segment.encode_header(header) + b"".join(frames)
    digest = hashlib.sha256(data).digest()
    footer = Footer(len(frames), stop, len(data), digest)
    path = ring / segment.file_name(header.first_sequence)
    replace_file(disk, path, [data, segment.encode_footer(footer, header.seed)])
    return ChainLink(header.first_sequence, len(data), digest)


def read(stored: StoredSegment, disk: Disk, keys: Keyring | None = None) -> SegmentContent | None:
    """All of a segment; None when it is gone. Raises OSError. `keys` open the records if they are encrypted."""
    try:
        file = disk.open(stored.path)
    except FileNotFoundError:
        return None
    unreadable: list[int] = []
    with closing(file):
        data = read_around(file, file.size(), 0, unreadable.append)
    frames: list[FrameHeader] = []
    damages: list[Damage] = []
    footer: Footer | None = None
    rewritten: FrameHeader | None = None
    for part in segment.walk(data, stored.header.seed):
        if isinstance(part, Footer):
            footer = part
        elif isinstance(part, Damage):
            damages.append(part)
        elif stored.stop is not None and part.first_sequence >= stored.stop:
            rewritten = part
            break
        else:
            frames.append(part)
    return SegmentContent(stored, data, frames, damages, footer, rewritten, unreadable, keys)
