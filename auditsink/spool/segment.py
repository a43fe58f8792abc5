"""A segment's header and footer, and the walk over what lies between. Pure; the layout is in the package's text."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from auditsink.common.crc32c import crc32c
from auditsink.spool import frame
from auditsink.spool.errors import SpoolError
from auditsink.spool.frame import FrameHeader

VERSION = 2
READ = (1, 2)
"""Versions that are read. In version 1 a frame was always one request, with zeros where it now says how many."""
COPY_BYTES = 256
SECOND_COPY = 4096
"""Where the header's other copy begins: in a page of its own, because that is what a disk loses."""
DATA_START = SECOND_COPY + COPY_BYTES
_HEADER = struct.Struct("<8sHHI16s8sQQQQ32s24s8s")
_IDENTITY = struct.Struct("<16s8sQQ")
_HEADER_MAGIC = b"AUDITSEG"
FOOTER = struct.Struct("<8sIIQQ32s")
_FOOTER_MAGIC = b"AUDITEND"
NO_DIGEST = bytes(32)
KEY_CHECK_BYTES = 8
NO_KEY = bytes(KEY_CHECK_BYTES)
SUCCESSOR = "successor"
"""The file in a ring's directory that becomes its next segment; of no account until then, and removed at a start."""
_FILE_NAME = re.compile(r"[0-9]{20}\.seg\Z")


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """Who a segment is, and which one stood before it (`previous_*`: zeros for the first of a ring).

    `key_*`: the key its records are encrypted under; empty and zeros when they are not.
    """

    ring_id: bytes
    segment_id: bytes
    first_sequence: int
    created_ns: int
    previous_first: int = 0
    previous_length: int = 0
    previous_digest: bytes = NO_DIGEST
    key_name: str = ""
    key_check: bytes = NO_KEY

    @property
    def encrypted(self) -> bool:
        """Whether the records of the segment are encrypted."""
        return self.key_check != NO_KEY

    @property
    def identity(self) -> bytes:
        """What no other segment has: 40 bytes, 24 of them random."""
        return _IDENTITY.pack(self.ring_id, self.segment_id, self.first_sequence, self.created_ns)

    @property
    def seed(self) -> int:
        """What every checksum of this segment starts from."""
        return crc32c(self.ring_id + self.segment_id)


@dataclass(frozen=True, slots=True)
class ChainLink:
    """The chain's last link: the segment before the next one, up to the bytes that count."""

    first: int = 0
    length: int = 0
    digest: bytes = NO_DIGEST


@dataclass(slots=True)
class Segment:
    """A segment of a ring.

    `length` bytes of it are durable and hold events up to `end` (exclusive); the file
    takes `size` bytes of the disk. `active`: the one being written, whose numbers still grow.
    """

    path: Path
    header: SegmentHeader
    length: int
    end: int
    size: int
    active: bool = False

    @property
    def first(self) -> int:
        """Sequence of its first event."""
        return self.header.first_sequence


@dataclass(frozen=True, slots=True)
class Footer:
    """The seal: `records` frames up to `length`, the last event before `next_sequence`, `digest` over the bytes."""

    records: int
    next_sequence: int
    length: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a segment that holds no valid frame."""

    offset: int
    length: int


def file_name(first_sequence: int) -> str:
    """The name under which a segment lies in its ring's directory."""
    return f"{first_sequence:020d}.seg"


def is_file_name(name: str) -> bool:
    """Whether a file of this name is a segment, or should be one."""
    return _FILE_NAME.match(name) is not None


def encode_header(header: SegmentHeader) -> bytes:
    """Both copies and the zeros between: what stands before the first frame."""
    packed = _HEADER.pack(
        _HEADER_MAGIC, VERSION, 0, 0, header.ring_id, header.segment_id, header.first_sequence, header.created_ns,
        header.previous_first, header.previous_length, header.previous_digest, header.key_name.encode(),
        header.key_check,
    ).ljust(COPY_BYTES, b"\0")  # fmt: skip
    copy = packed[:12] + crc32c(packed[:12] + packed[16:]).to_bytes(4, "little") + packed[16:]
    return copy.ljust(SECOND_COPY, b"\0") + copy


def decode_header(data: bytes) -> SegmentHeader | None:
    """From a segment's first `DATA_START` bytes: whichever copy is whole.

    Raises SpoolError for a version that is not ours to read.
    """
    for at in (0, SECOND_COPY):
        copy = data[at : at + COPY_BYTES]
        if len(copy) < COPY_BYTES or not copy.startswith(_HEADER_MAGIC):
            continue
        _magic, version, _flags, crc, *fields = _HEADER.unpack_from(copy)
        if crc32c(copy[:12] + copy[16:]) != crc:
            continue
        if version not in READ:
            raise SpoolError(
                f"the spool was written in format version {version}, this auditsink reads {READ[0]} and {READ[1]}: "
                "run the newer auditsink, or move the spool directory away to start an empty one"
            )
        fields[-2] = fields[-2].rstrip(b"\0").decode(errors="replace")
        return SegmentHeader(*fields)
    return None


def encode_footer(footer: Footer, seed: int) -> bytes:
    """The footer's 64 bytes, as they seal a segment."""
    packed = FOOTER.pack(_FOOTER_MAGIC, 0, footer.records, footer.next_sequence, footer.length, footer.digest)
    return packed[:8] + crc32c(packed[12:], seed).to_bytes(4, "little") + packed[12:]


def decode_footer(data: bytes, seed: int) -> Footer | None:
    """The seal in `data`, if that is one."""
    if len(data) != FOOTER.size or not data.startswith(_FOOTER_MAGIC):
        return None
    _magic, crc, records, next_sequence, length, digest = FOOTER.unpack(data)
    if crc32c(data[12:], seed) != crc:
        return None
    return Footer(records, next_sequence, length, digest)


def walk(data: bytes, seed: int, *, start: int = DATA_START, base: int = 0) -> Iterator[FrameHeader | Damage | Footer]:
    """Everything in a segment's bytes from `start` on, in order.

    `base` is the place of `data[0]` in the segment, and is added to the offsets that come out. Zeros at the end are
    the preallocated rest and come out as nothing; anything else that is no frame and no footer is `Damage`.
    """
    at = start
    while at < len(data):
        header = frame.decode_header(data, at, base + at, seed)
        if header is not None:
            if frame.intact(header, data, at, seed):
                yield header
                at += header.size
                continue
            if at + header.size <= len(data):  # its header says where the next one begins
                yield Damage(base + at, header.size)
                at += header.size
                continue
        footer = _footer(data, at, base, seed)
        if footer is not None:
            yield footer
            at += FOOTER.size
            continue
        after = _resync(data, at, base, seed)
        if after is None:
            used = len(data[at:].rstrip(b"\0"))
            if used:
                yield Damage(base + at, used)
            return
        yield Damage(base + at, after - at)
        at = after


def _footer(data: bytes, at: int, base: int, seed: int) -> Footer | None:
    footer = decode_footer(data[at : at + FOOTER.size], seed)
    return footer if footer is not None and footer.length == base + at else None


_MAGICS = re.compile(re.escape(frame.MAGIC) + b"|" + re.escape(_FOOTER_MAGIC))


def _resync(data: bytes, at: int, base: int, seed: int) -> int | None:
    """The next aligned place after `at` where a frame's header or the footer validates."""
    for match in _MAGICS.finditer(data, at + 1):
        place = match.start()
        if (base + place) % frame.ALIGNMENT == 0 and (
            frame.decode_header(data, place, base + place, seed) is not None
            or _footer(data, place, base, seed) is not None
        ):
            return place
    return None
