"""A frame: one accepted request as it lies in a segment. Pure; the layout is in the package's text."""

import struct
from dataclasses import dataclass

from crc32c import crc32c

from auditsink.events import Mark

MAGIC = b"ASR1"
HEADER = struct.Struct("<4sIIIIHHQQQ16s")
ALIGNMENT = 8
MAX_SOURCE = 1024
"""Bytes of a source that are kept: an identity from a certificate can be long, and a header is not its place."""

_ZSTD = 1
_KNOWN_FLAGS = _ZSTD | (int(Mark.UNSPLIT | Mark.NOT_UTF8) << 8)


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What a frame says of itself. Lengths in bytes; `offset` is where the frame begins in its segment."""

    offset: int
    payload_length: int
    body_length: int
    events: int
    marks: Mark
    source_length: int
    first_sequence: int
    received_ns: int
    digest: bytes

    @property
    def size(self) -> int:
        """Bytes from the start of this frame to the start of the next."""
        return aligned(HEADER.size + self.source_length + self.payload_length)

    @property
    def end_sequence(self) -> int:
        """The sequence after the frame's last event."""
        return self.first_sequence + self.events


def aligned(length: int) -> int:
    """The next multiple of the alignment."""
    return (length + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def encode(
    seed: int,
    *,
    first_sequence: int,
    events: int,
    marks: Mark,
    source: bytes,
    received_ns: int,
    body_length: int,
    payload: bytes,
    digest: bytes,
) -> bytes:
    """The frame's bytes, padding included. `payload` is the compressed body, `digest` 16 bytes."""
    flags = _ZSTD | (int(marks) << 8)
    rest = HEADER.pack(
        MAGIC, 0, len(payload), body_length, events, flags, len(source), first_sequence, received_ns, 0, digest
    )[8:]
    crc = crc32c(payload, crc32c(rest + source, seed))
    length = HEADER.size + len(source) + len(payload)
    return b"".join((MAGIC, crc.to_bytes(4, "little"), rest, source, payload, bytes(aligned(length) - length)))


def decode(data: bytes, at: int, offset: int, seed: int) -> FrameHeader | None:
    """The frame that begins at `data[at]`, if all of it is there and its checksum holds.

    `offset` is the place of `data[at]` in the segment; it is only noted.
    """
    if len(data) - at < HEADER.size:
        return None
    magic, crc, payload_length, body_length, events, flags, source_length, sequence, received, _key, digest = (
        HEADER.unpack_from(data, at)
    )
    end = at + HEADER.size + source_length + payload_length
    if magic != MAGIC or flags & ~_KNOWN_FLAGS or end > len(data):
        return None
    if crc32c(memoryview(data)[at + 8 : end], seed) != crc:
        return None
    return FrameHeader(
        offset, payload_length, body_length, events, Mark(flags >> 8), source_length, sequence, received, digest
    )


def needed(data: bytes, at: int) -> int | None:
    """How many bytes the frame at `data[at]` claims to have, if a header is there; not yet trusted."""
    if len(data) - at < HEADER.size or data[at : at + 4] != MAGIC:
        return None
    payload_length, source_length = (
        struct.unpack_from("<I", data, at + 8)[0],
        struct.unpack_from("<H", data, at + 22)[0],
    )
    return aligned(HEADER.size + int(source_length) + int(payload_length))


def source_of(header: FrameHeader, data: bytes, at: int) -> str:
    """The source stored in the frame at `data[at]`."""
    start = at + HEADER.size
    return data[start : start + header.source_length].decode(errors="replace")


def payload_of(header: FrameHeader, data: bytes, at: int) -> memoryview:
    """The compressed body stored in the frame at `data[at]`."""
    start = at + HEADER.size + header.source_length
    return memoryview(data)[start : start + header.payload_length]
