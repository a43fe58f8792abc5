"""The digests of what was accepted lately, so that a byte-identical retry is answered and not stored twice.

kube-apiserver retries a batch for about four minutes (5 attempts of up to 30 s and the waits between them), with the
same bytes; two batches that differ in anything differ in a timestamp of microseconds. Two generations of dictionaries
forget in constant time: a digest is known for at least one window and at most two, unless `limit` cuts it short.

After a restart the digests of the last minutes are found again in the frames' headers (`recall`). A header alone proves
nothing: after a power loss it may stand there without what follows it, in a write that nobody was answered. To tell its
sender on the next try that the batch is stored already would be the loss of it. Reading all that came in ten minutes
would keep a start waiting, so each is looked at when a retry asks for it, once.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from auditsink.common.disk import File, read_around
from auditsink.spool import frame, record_batch, segment
from auditsink.spool.frame import FrameHeader
from auditsink.spool.ring import Ring
from auditsink.spool.segment import Segment

WINDOW = 600.0
"""Seconds that a digest is remembered for, at least."""
TOTAL_ENTRIES = 2**16
"""Digests kept over all rings: about 8 MiB. Past it the oldest go early, which costs a repeat and never an event."""
MIN_ENTRIES = 2**10
"""Digests that each ring may keep however many rings there are: four minutes at the apiserver's 4 batches/s."""


@dataclass(slots=True)
class UnprovenDigest:
    """The frame at `offset` of a segment claims to hold the body with this digest: not worth an answer before `prove`.

    There may be tens of thousands of them.
    """

    ring: Ring
    held: Segment
    offset: int
    digest: bytes

    def prove(self) -> int | None:
        """The first sequence of the body's events, if its record can be read. Blocks."""
        try:
            file = self.ring.disk.open(self.held.path)
        except OSError:
            return None
        try:
            header = _header(self.held, file.read(frame.HEADER.size, self.offset), self.offset)
            data = b"" if header is None else file.read(header.size, self.offset)
        except OSError:
            return None
        finally:
            file.close()
        found = frame.decode(data, 0, self.offset, self.held.header.seed)
        if found is None:
            return None
        if not found.requests:
            return found.first_sequence if found.digest == self.digest else None
        before = record_batch.place_of(self.digest, frame.table_of(found, data, 0))
        return None if before is None else found.first_sequence + before


class Dedup:
    """A bounded memory from digest to the first sequence under which that body was stored. One thread at a time."""

    def __init__(self, limit: int = TOTAL_ENTRIES) -> None:
        self.limit = limit
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._unproven: dict[bytes, UnprovenDigest] = {}
        self._restored_at = 0.0
        self._turned_at: float | None = None
        self._turns_at = -math.inf  # when something is to be forgotten next

    def find(self, digest: bytes, now: float) -> int | None:
        """The first sequence of the same bytes, if they are remembered. `now` in monotonic seconds."""
        if now >= self._turns_at:
            self._turn(now)
        if self._unproven:
            stored = self._unproven.pop(digest, None)
            if stored is not None and (proven := stored.prove()) is not None:
                self._young[digest] = proven
        found = self._young.get(digest)
        return self._old.get(digest) if found is None else found

    def unproven(self, digest: bytes) -> bool:
        """Whether `find` would have to read the disk for it."""
        return digest in self._unproven

    def add(self, digest: bytes, first_sequence: int, now: float) -> None:
        """Remember a body that is durable."""
        if now >= self._turns_at or len(self._young) >= self.limit // 2:
            self._turn(now)
        self._young[digest] = first_sequence

    def restore(self, digest: bytes, stored: UnprovenDigest, now: float) -> None:
        """Remember what an earlier process stored, for one window from now."""
        self._unproven[digest] = stored
        self._restored_at = now
        self._turns_at = min(self._turns_at, now + WINDOW)

    def __len__(self) -> int:
        return len(self._young) + len(self._old) + len(self._unproven)

    def _turn(self, now: float) -> None:
        """Forget what has had its time, or is too much."""
        if self._turned_at is None:
            self._turned_at = now
        if now - self._turned_at >= 2 * WINDOW:
            self._young = {}
        if self._unproven and now - self._restored_at >= WINDOW:
            self._unproven = {}
        if now - self._turned_at >= WINDOW or len(self._young) >= self.limit // 2:
            self._old, self._young = self._young, {}
            self._turned_at = now
        self._turns_at = self._turned_at + WINDOW
        if self._unproven:
            self._turns_at = min(self._turns_at, self._restored_at + WINDOW)


def recall(ring: Ring, dedup: Dedup, *, wall_ns: int, monotonic: float) -> None:
    """Fill in `dedup` from what the ring holds, newest segments first, up to its limit."""
    since = wall_ns - int(WINDOW * 1e9)
    found: list[tuple[bytes, UnprovenDigest]] = []
    for held in reversed(ring.segments):
        found[:0] = [
            (digest, UnprovenDigest(ring, held, header.offset, digest))
            for header, digests in _headers(ring, held)
            if header.received_ns >= since
            for digest in digests
        ]
        if held.header.created_ns < since or len(found) >= dedup.limit // 2:
            break
    for digest, stored in found[-(dedup.limit // 2) :]:
        dedup.restore(digest, stored, monotonic)


def _headers(ring: Ring, held: Segment) -> Iterator[tuple[FrameHeader, list[bytes]]]:
    """The headers of a segment's frames and the digests in each, up to the first that cannot be read."""
    try:
        file = ring.disk.open(held.path)
    except OSError:
        return
    try:
        offset = segment.DATA_START
        while offset < held.length:
            header = _header(held, read_around(file, frame.HEADER.size, offset), offset)
            if header is None:
                break
            yield header, _digests(file, header)
            offset += header.size
    finally:
        file.close()


def _digests(file: File, header: FrameHeader) -> list[bytes]:
    """Of the requests in a frame. Those of a table are not checked here; `prove` does it."""
    if not header.requests:
        return [header.digest]
    start = header.offset + frame.HEADER.size + header.source_length
    table = read_around(file, header.requests * record_batch.ENTRY.size, start)
    whole = len(table) - len(table) % record_batch.ENTRY.size
    return [request.digest for request in record_batch.decode(table[:whole])]


def _header(held: Segment, data: bytes, offset: int) -> FrameHeader | None:
    return frame.decode_header(data, 0, offset, held.header.seed)
