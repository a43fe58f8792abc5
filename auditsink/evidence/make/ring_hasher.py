"""One ring as the maker of checkpoints sees it: what is hashed, which ranges are closed, how far the cursor may go.

Decides, and touches no disk but the cursor's slot. Holds no events: a digest under way and four bytes for each event.
"""

from typing import Protocol

from auditsink.config.spool import CHECKPOINTS
from auditsink.evidence.span import OpenSpan, Span
from auditsink.forward import source
from auditsink.spool.types import Account, Chunk, Record, Tally


class HashedRing(source.SourceRing, Protocol):
    """What is asked of a ring beyond what forwarding asks."""

    @property
    def ring_id(self) -> bytes:
        """Random, 16 bytes."""
        ...

    def boundaries(self, start: int, stop: int) -> list[int]:
        """The sequences between the two (both excluded) at which a segment begins."""
        ...


class RingHasher:
    """`position` is the next sequence to be hashed; `closed` are the ranges that wait to be stated."""

    def __init__(self, ring: HashedRing) -> None:
        """Raises OSError when the cursor cannot be read or made."""
        self.ring = ring
        self.cursor = ring.cursor(CHECKPOINTS)
        self.reader = ring.reader()
        self.position = self.cursor.position
        self.closed: list[Span] = []
        self.announced = True
        """Whether events were announced since the last look into memory."""
        self.caught_up = False
        self._from_memory = False
        self._open: OpenSpan | None = None

    def __repr__(self) -> str:
        return f"<RingHasher {self.ring.cluster} at {self.position}, {len(self.closed)} closed, {self._open}>"

    @property
    def behind(self) -> bool:
        """Whether there is something to hash."""
        return self.position < self.ring.durable

    @property
    def uncovered(self) -> bool:
        """Whether something is hashed and not stated."""
        return self.position > self.cursor.position

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest event that is hashed and not stated was accepted."""
        if self.closed:
            return self.closed[0].first_received_ns
        return self._open.first_received_ns if self._open else None

    def cached(self, max_bytes: int) -> Chunk | None:
        """What comes next from memory; None: it must be read from the disk.

        Events are durable a moment before memory has them. Whoever read all that memory had waits for the next
        announcement (then the chunk is empty and `caught_up` is set), or each batch would be read from the disk.
        """
        announced, self.announced = self.announced, False
        chunk = self.reader.cached(self.position, max_bytes)
        if chunk is None and self._from_memory and not announced:
            self.caught_up = True
            return Chunk(self.position, self.position, [])
        self._from_memory, self.caught_up = chunk is not None, False
        return chunk

    def absorb(self, chunk: Chunk) -> int:
        """Hash what was read at `position`; the bytes hashed. May run in a thread, while nothing else is done here."""
        hashed = 0
        floor = min(self.ring.claim(self.cursor, self.position, chunk.end), self.ring.durable)
        if floor > self.position:  # it counts as dropped already, although it was read
            kept = [record for record in chunk.records if record.first_sequence >= floor]
            chunk = Chunk(chunk.start, max(chunk.end, floor), kept)
            self.ring.claim(self.cursor, floor, chunk.end)
        begins = set(self.ring.boundaries(self.position - 1, chunk.end))
        for record in chunk.records:
            if record.first_sequence != self.position or record.first_sequence in begins:
                self._close()
            span = self._growing(record)
            hashed += span.add(record)
            self.position = span.next
        if chunk.end > self.position:
            self._close()
            self.position = chunk.end
        return hashed

    def _growing(self, record: Record) -> OpenSpan:
        """The range that the record belongs to."""
        if self._open is not None and self._open.full:
            self._close()
        if self._open is None:
            self._open = OpenSpan(record)
        return self._open

    def cut(self) -> list[Span]:
        """Close the range under way; everything that is to be stated now."""
        self._close()
        return self.closed

    def rewind(self) -> None:
        """Forget what was hashed and not stated: it will be read again."""
        self._open, self.closed, self.position = None, [], self.cursor.position

    def stated(self, count: int) -> None:
        """So many closed ranges are on the disk: move the cursor. Raises OSError; the move in memory stands."""
        spans, self.closed = self.closed[:count], self.closed[count:]
        waiting = self.closed[0].first if self.closed else self._open.first if self._open else self.position
        covered = sum(span.next - span.first for span in spans)
        passed = waiting - self.cursor.position
        if passed:
            self.cursor.advance(Tally(delivered=covered, dropped=passed - covered))

    def account(self) -> Account:
        """The accounting identity, for `/status`."""
        held = sum(span.next - span.first for span in self.closed)
        held += self._open.next - self._open.first if self._open else 0
        gone = self.position - self.cursor.position - held
        return self.ring.account(self.cursor, claimed=self.position, dropped=gone)

    def _close(self) -> None:
        if self._open is not None:
            self.closed.append(self._open.close(self.ring.cluster, self.ring.ring_id))
            self._open = None
