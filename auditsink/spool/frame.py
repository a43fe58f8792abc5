"""A frame: an accepted request, or some small ones, as it lies in a segment. Pure; the layout: see the package."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from auditsink.audit.eventlist import Mark
from auditsink.common.crc32c import crc32c
from auditsink.spool import record_batch

MAGIC = b"ASR1"
HEADER = struct.Struct("<4sIIIIIHHQQ16sI")
_BOUND = struct.Struct("<IIIHHQQ16sI")  # the header after its magic and the two checksums
_BOUND_FROM = HEADER.size - _BOUND.size
ALIGNMENT = 8
MAX_SOURCE = 1024
"""Bytes of a source that are kept: an identity from a certificate can be long, and a header is not its place."""

ENCRYPTION_BYTES = 12 + 16
"""What encryption adds to a payload: a nonce before it, a tag behind it."""

_ZSTD = 1
_ENCRYPTED = 2
_KNOWN_FLAGS = _ZSTD | _ENCRYPTED | (int(Mark.UNSPLIT | Mark.NOT_UTF8) << 8)


Encrypt = Callable[[bytes, bytes], bytes]
"""Encrypts the first argument and binds the second to it; the result is `ENCRYPTION_BYTES` longer than the first."""


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
    checksum: int
    """Of source and payload; see `intact`."""
    encrypted: bool = False
    requests: int = 0
    """Entries of its table; 0: there is none, it is one request."""

    @property
    def bound_length(self) -> int:
        """Bytes between the header and the payload: source and table."""
        return self.source_length + self.requests * record_batch.ENTRY.size

    @property
    def size(self) -> int:
        """Bytes from the start of this frame to the start of the next."""
        return aligned(HEADER.size + self.bound_length + self.payload_length)

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
    table: bytes = b"",
    encrypt: Encrypt | None = None,
) -> bytes:
    """The frame's bytes, padding included. `payload` is the compressed body, `digest` 16 bytes, of the first request.

    `table`: what `record_batch.encode` made of the requests, where it is several.
    """
    flags = _ZSTD | (_ENCRYPTED if encrypt else 0) | (int(marks) << 8)
    length = len(payload) + (ENCRYPTION_BYTES if encrypt else 0)
    requests = len(table) // record_batch.ENTRY.size
    bound = _BOUND.pack(length, body_length, events, flags, len(source), first_sequence, received_ns, digest, requests)
    clear = source + table
    if encrypt is not None:
        payload = encrypt(payload, bound + clear)
    rest = crc32c(payload, crc32c(clear, seed)).to_bytes(4, "little") + bound
    padding = bytes(-(HEADER.size + len(clear) + length) % ALIGNMENT)
    return b"".join((MAGIC, crc32c(rest, seed).to_bytes(4, "little"), rest, clear, payload, padding))


@dataclass(slots=True, eq=False)
class Entry:
    """A request, or some small ones with their `table`, on the way to a frame. `first_sequence` is set when placed."""

    events: int
    marks: Mark
    source: bytes
    received_ns: int
    body_length: int
    payload: bytes
    digest: bytes
    table: bytes = b""
    first_sequence: int = -1

    def size(self, *, encrypted: bool) -> int:
        """Bytes of its frame."""
        return size_of(len(self.source), len(self.table), len(self.payload), encrypted=encrypted)

    def encode(self, seed: int, encrypt: Encrypt | None = None) -> bytes:
        """Its frame; see the function of that name."""
        return encode(
            seed,
            first_sequence=self.first_sequence,
            events=self.events,
            marks=self.marks,
            source=self.source,
            received_ns=self.received_ns,
            body_length=self.body_length,
            payload=self.payload,
            digest=self.digest,
            table=self.table,
            encrypt=encrypt,
        )


def size_of(source_length: int, table_length: int, payload_length: int, *, encrypted: bool) -> int:
    """What `encode` will return, in bytes; `payload_length` before encryption."""
    return aligned(HEADER.size + source_length + table_length + payload_length + (ENCRYPTION_BYTES if encrypted else 0))


def decode_header(data: bytes, at: int, offset: int, seed: int) -> FrameHeader | None:
    """The header at `data[at]`, if there is one and its own checksum holds; says nothing of what follows it.

    `offset` is the place of `data[at]` in the segment; it is only noted. Costs 64 bytes to check, whatever the
    header claims: an event's content is chosen by strangers and may be full of things that look like headers.
    """
    if len(data) - at < HEADER.size or data[at : at + 4] != MAGIC:
        return None
    _magic, crc, checksum, payload_length, body_length, events, flags, source_length, sequence, received, digest, n = (
        HEADER.unpack_from(data, at)
    )
    if flags & ~_KNOWN_FLAGS or crc32c(memoryview(data)[at + 8 : at + HEADER.size], seed) != crc:
        return None
    return FrameHeader(
        offset, payload_length, body_length, events, Mark(flags >> 8), source_length, sequence, received, digest,
        checksum, bool(flags & _ENCRYPTED), n,
    )  # fmt: skip


def intact(header: FrameHeader, data: bytes, at: int, seed: int) -> bool:
    """Whether what follows the header at `data[at]` is all there and is what was written."""
    start = at + HEADER.size
    end = start + header.bound_length + header.payload_length
    return end <= len(data) and crc32c(memoryview(data)[start:end], seed) == header.checksum


def decode(data: bytes, at: int, offset: int, seed: int) -> FrameHeader | None:
    """The frame that begins at `data[at]`, if all of it is there and both its checksums hold."""
    header = decode_header(data, at, offset, seed)
    return header if header is not None and intact(header, data, at, seed) else None


def source_of(header: FrameHeader, data: bytes, at: int) -> str:
    """The source stored in the frame at `data[at]`."""
    start = at + HEADER.size
    return data[start : start + header.source_length].decode(errors="replace")


def table_of(header: FrameHeader, data: bytes, at: int) -> list[record_batch.StoredRequest]:
    """The requests in the frame at `data[at]`; empty where it is one."""
    start = at + HEADER.size + header.source_length
    return list(record_batch.decode(memoryview(data)[start : at + HEADER.size + header.bound_length]))


def payload_of(header: FrameHeader, data: bytes, at: int) -> memoryview:
    """The compressed body stored in the frame at `data[at]`, encrypted or not."""
    start = at + HEADER.size + header.bound_length
    return memoryview(data)[start : start + header.payload_length]


def bound_of(header: FrameHeader, data: bytes, at: int) -> bytes:
    """What an encrypted payload is bound to: its header without the checksums, its source and its table."""
    return data[at + _BOUND_FROM : at + HEADER.size + header.bound_length]
