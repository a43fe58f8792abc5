"""The digests of the last minutes, found again after a restart in the frames' headers.

A header alone proves nothing: after a power loss it may stand there without what follows it, in a write that nobody was
answered. To tell its sender on the next try that the batch is stored already would be the loss of it. Reading all that
came in ten minutes would keep a start waiting, so each claim is looked at when a retry asks for it, once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from auditsink.spool import frame, segment
from auditsink.spool.disk import read_around
from auditsink.spool.frame import FrameHeader
from auditsink.spool.recent import WINDOW, Recent
from auditsink.spool.ring import Ring, Segment


@dataclass(slots=True)
class StoredClaim:
    """The frame at `offset` of a segment claims to be a certain body. There may be tens of thousands of these."""

    ring: Ring
    held: Segment
    offset: int

    def prove(self) -> int | None:
        """The first sequence of the record, if it can be read. Blocks."""
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
        return None if found is None else found.first_sequence


def remember(ring: Ring, recent: Recent, *, wall_ns: int, monotonic: float) -> None:
    """Fill in `recent`, newest segments first, up to its limit."""
    since = wall_ns - int(WINDOW * 1e9)
    found: list[tuple[bytes, StoredClaim]] = []
    for held in reversed(ring.segments):
        found[:0] = [
            (header.digest, StoredClaim(ring, held, header.offset))
            for header in _headers(ring, held)
            if header.received_ns >= since
        ]
        if held.header.created_ns < since or len(found) >= recent.limit // 2:
            break
    for digest, claim in found[-(recent.limit // 2) :]:
        recent.restore(digest, claim, monotonic)


def _headers(ring: Ring, held: Segment) -> Iterator[FrameHeader]:
    """The headers of a segment's frames, up to the first that cannot be read."""
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
            yield header
            offset += header.size
    finally:
        file.close()


def _header(held: Segment, data: bytes, offset: int) -> FrameHeader | None:
    return frame.peek(data, 0, offset, held.header.seed)
