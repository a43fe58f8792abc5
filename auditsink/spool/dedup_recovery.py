"""The digests of the last minutes, found again after a restart in the frames' headers.

A header alone proves nothing: after a power loss it may stand there without what follows it, in a write that nobody was
answered. To tell its sender on the next try that the batch is stored already would be the loss of it. Reading all that
came in ten minutes would keep a start waiting, so each claim is looked at when a retry asks for it, once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from auditsink.spool import frame, record_batch, segment
from auditsink.spool.dedup import WINDOW, Dedup
from auditsink.spool.disk import File, read_around
from auditsink.spool.frame import FrameHeader
from auditsink.spool.ring import Ring
from auditsink.spool.segment import Segment


@dataclass(slots=True)
class StoredClaim:
    """The frame at `offset` of a segment claims to hold the body with this digest. There may be tens of thousands."""

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


def remember(ring: Ring, recent: Dedup, *, wall_ns: int, monotonic: float) -> None:
    """Fill in `recent`, newest segments first, up to its limit."""
    since = wall_ns - int(WINDOW * 1e9)
    found: list[tuple[bytes, StoredClaim]] = []
    for held in reversed(ring.segments):
        found[:0] = [
            (digest, StoredClaim(ring, held, header.offset, digest))
            for header, digests in _headers(ring, held)
            if header.received_ns >= since
            for digest in digests
        ]
        if held.header.created_ns < since or len(found) >= recent.limit // 2:
            break
    for digest, claim in found[-(recent.limit // 2) :]:
        recent.restore(digest, claim, monotonic)


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
    return frame.peek(data, 0, offset, held.header.seed)
