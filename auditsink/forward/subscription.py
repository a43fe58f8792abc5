"""One ring for one destination: what to read next, when it is worth a batch, and how far the cursor may move.

Decides, and touches no disk but the cursor's slot: chunks come in, batches go out. A lane holds no events, only
sequences: a batch that must be attempted in parts is read again. So memory does not grow with the number of lanes,
and a lane that waits for its turn in the middle of an isolation costs a few integers.
"""

import math
from dataclasses import dataclass, replace

from auditsink.delivery.destination import Batch
from auditsink.forward.batch_limits import BatchLimits
from auditsink.forward.batching import BatchGauge, Gap, Packed, pack, section
from auditsink.forward.cluster_pause import ClusterPause
from auditsink.forward.frontier import Frontier, Slot
from auditsink.forward.source import SourceRing
from auditsink.spool.types import Account, Chunk, Tally


@dataclass(frozen=True, slots=True)
class Lease:
    """A batch to deliver and its slot in the lane's window. `size`: bytes of its events.

    `unreadable`: how many events of the slot the destination's filter could not judge; they are not in the batch.
    """

    slot: Slot
    batch: Batch
    size: int
    unreadable: int = 0


class Subscription:
    """All times are seconds of the monotonic clock, but those named `_ns` (nanoseconds since the epoch)."""

    def __init__(self, ring: SourceRing, destination: str, ceiling: BatchLimits) -> None:
        """Raises OSError when the cursor cannot be read or made."""
        self.ring = ring
        self.cluster = ring.cluster
        self.cursor = ring.cursor(destination)
        self.reader = ring.reader()
        self.frontier = Frontier(self.cursor.position)
        self.hold = ClusterPause()
        self.reading = False
        self._ceiling = ceiling
        self._scale = BatchGauge(ceiling)
        self._scale.reset(self.frontier.end)
        self._resume = (self.frontier.end, self.frontier.end)
        self._since: float | None = None
        self._noticed_ns: int | None = None

    def __repr__(self) -> str:
        return f"<Subscription {self.cluster} {self.pending} pending, {self.frontier}>"

    @property
    def pending(self) -> int:
        """Events that were not read yet."""
        return self.ring.durable - self.frontier.end

    @property
    def settled(self) -> bool:
        """Whether all that is durable has been dealt with."""
        return self.pending <= 0 and not self.frontier

    @property
    def wanted(self) -> tuple[int, int]:
        """The sequences to read, from and up to (exclusive): a part that came back, else what is new."""
        returned = self.frontier.returned()
        return (self.frontier.end, self.ring.durable) if returned is None else (returned.start, returned.stop)

    @property
    def anchor(self) -> int:
        """Where the record begins that `wanted` begins in, as far as that is known."""
        start, _ = self.wanted
        end, anchor = self._resume
        return anchor if start == end else start

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest event that is not settled was accepted; None when all are. Within a batch's breadth."""
        head = self.frontier.head
        if head is not None:
            return head.received_ns
        return self._noticed_ns if self.pending > 0 else None

    def notice(self, now: float, wall_ns: int) -> None:
        """Events are there that nobody has read yet; the first call counts, until they are read."""
        if self._since is None:
            self._since, self._noticed_ns = now, wall_ns

    def due(self, now: float, *, flush: bool) -> float | None:
        """When the next batch may be taken: `now` if it is full, has waited `max_wait`, or `flush`; None for never."""
        if self.reading:
            return None
        returned = self.frontier.returned() is not None
        if not returned and (self.pending <= 0 or len(self.frontier) > self._ceiling.limits.in_flight):
            return None
        if self.hold.remaining(now) > 0:
            return self.hold.until
        if returned:
            return now
        due = (now if self._since is None else self._since) + self._ceiling.limits.max_wait
        return now if flush or due <= now or self._full() else due

    def _full(self) -> bool:
        if not self._scale.full and self._scale.at < self.ring.durable:
            chunk = self.reader.fresh(self._scale.at, self._ceiling.limits.max_bytes)
            if chunk is None:  # what is no longer in memory has waited long enough
                return True
            self._scale.add(chunk)
        return self._scale.full

    def take(self, chunk: Chunk, now: float, *, flush: bool) -> Lease | None:
        """The next batch out of what was read; None when it is better to wait, or what is wanted is not in it."""
        start, _ = self.wanted
        if not chunk.start <= start <= chunk.end:
            return None  # while it was read, something before or behind it came back: that is another reading
        returned = self.frontier.returned()
        if returned is not None:
            return self._take_again(returned, chunk)
        while isinstance(found := self._pack(chunk), Gap):
            self.frontier.skip(found.stop)
        if found is None:
            self._moved(chunk, now)
            return None
        overdue = self._since is None or now >= self._since + self._ceiling.limits.max_wait
        if not (found.closed or flush or overdue):
            self._weigh(chunk)
            return None
        self._resume = (found.stop, found.resume)
        slot = self.frontier.claim(found.stop, found.batch.received_ns)
        self._moved(chunk, now)
        return self._claim(slot, found)

    def _claim(self, slot: Slot, found: Packed) -> Lease:
        return Lease(slot, replace(found.batch, origin=self.ring.origin), found.size)

    def _pack(self, chunk: Chunk) -> Packed | Gap | None:
        limits = self._ceiling.limits
        return pack(self.cluster, chunk, self.frontier.end, max_bytes=limits.max_bytes, max_events=limits.max_events)

    def _moved(self, chunk: Chunk, now: float) -> None:
        """What is left begins to wait now; it was accepted no earlier than the last record seen."""
        self._weigh(chunk)
        self._since = self._noticed_ns = None
        if self.pending > 0 and chunk.records:
            self.notice(now, chunk.records[-1].received_ns)

    def _weigh(self, chunk: Chunk) -> None:
        """Put what the chunk holds behind the last claim on the scale."""
        self._scale.reset(self.frontier.end)
        self._scale.add(section(chunk, self.frontier.end, chunk.end))

    def _take_again(self, slot: Slot, chunk: Chunk) -> Lease | None:
        """The events of a returned slot; where they have become fewer, the slot is cut to fit."""
        part, count = section(chunk, slot.start, slot.stop), slot.stop - slot.start
        found = pack(self.cluster, part, slot.start, max_bytes=math.inf, max_events=count)
        if found is None:
            return None
        if found.stop < slot.stop:
            self.frontier.split(slot, [found.stop])
            slot = self.frontier.returned() or slot
        if isinstance(found, Gap):
            self.frontier.settle(slot, Tally(dropped=slot.stop - slot.start))
            return None
        slot.taken = True
        return self._claim(slot, found)

    def pass_over(self) -> None:
        """Nothing of this ring is for the destination: all that nobody delivers right now is filtered, unread."""
        while (slot := self.frontier.returned()) is not None:
            self.frontier.settle(slot, Tally(filtered=slot.stop - slot.start))
        if self.pending > 0:
            slot = self.frontier.claim(self.ring.durable, 0)
            self.frontier.settle(slot, Tally(filtered=slot.stop - slot.start))
        self._since = self._noticed_ns = None
        self._scale.reset(self.frontier.end)

    def give_back(self, slot: Slot) -> None:
        """Nobody delivers this slot any more: it is the next to be taken."""
        slot.taken = slot.tally is not None

    def commit(self) -> bool:
        """Move the cursor as far as all is settled. True if it moved. OSError: it moved in memory only."""
        done = self.frontier.collect()
        if done.total:
            self.cursor.advance(done)
        return done.total > 0

    def account(self) -> Account:
        """The accounting identity of this ring and destination."""
        return self.ring.account(self.cursor)
