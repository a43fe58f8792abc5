"""One ring for one destination: what to read next, when it is worth a batch, and how far the cursor may move.

Decides, and touches no disk but the cursor's slot: chunks come in, leases go out. A subscription keeps no events, only
sequences: a batch that must be attempted in parts is read again. So memory does not grow with the number of clusters,
and one that waits for its turn in the middle of an isolation costs a few integers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from auditsink.delivery.destination import Attempt, Batch
from auditsink.forward.batching import BatchGauge, BatchLimits, Boundaries, Gap, Packed, pack, section
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.frontier import Frontier, Slot
from auditsink.forward.retry import ClusterPause
from auditsink.forward.source import SourceRing
from auditsink.spool.types import Account, Chunk, Tally


@dataclass(slots=True, eq=False)
class Lease:
    """A batch from its packing to its last attempt, and its slot in the subscription's window.

    `size`: bytes of its events; `read`: the same before the destination's filter.
    `unreadable`: dead letters of the events that the filter could not judge; they are not in the batch.
    `done`: events that were delivered before their turn; they are not in the batch either.
    `ticket`: its place in the order of attempts. `attempt`: prepared.
    """

    subscription: "Subscription"
    slot: Slot
    batch: Batch
    size: int
    read: int
    unreadable: Sequence[DeadLetter] = ()
    done: int = 0
    ticket: int = 0
    attempt: Attempt | None = None

    def leave_out_done(self) -> None:
        """Take out what was delivered before its turn, since the batch was packed or before."""
        batch, done = self.batch, self.subscription.done
        if not done or done.isdisjoint(batch.sequences):
            return
        left = [(at, event) for at, event in zip(batch.sequences, batch.events, strict=True) if at not in done]
        self.done += len(batch.events) - len(left)
        self.batch = replace(batch, sequences=[at for at, _ in left], events=[event for _, event in left])
        self.size = sum(map(len, self.batch.events))
        self.attempt = None


WORTH_A_REQUEST = 4
"""This part of a full batch is taken before memory lets go of it; to read less again takes less than a request."""
MOST_SET_ASIDE = 4096
"""Slots in the window while parts of old batches are set aside: a crash repeats what was delivered behind them."""


class Reading(NamedTuple):
    """Sequences to read, `start` to `stop` (exclusive). `record`: where the record of `start` begins, if known."""

    start: int
    stop: int
    record: int


class Lost(NamedTuple):
    """Claimed events, between `start` and `stop` (exclusive), that are gone. `events`: how many had not arrived."""

    start: int
    stop: int
    events: int


class Subscription:
    """All times are seconds of the monotonic clock, but those named `_ns` (nanoseconds since the epoch)."""

    def __init__(
        self, ring: SourceRing, destination: str, batch_limits: BatchLimits, boundaries: Boundaries | None = None
    ) -> None:
        """`boundaries`: shared with destinations like this one. Raises OSError when the cursor cannot be had."""
        self.ring = ring
        self.cluster = ring.cluster
        self.cursor = ring.cursor(destination)
        self.reader = ring.reader()
        self.frontier = Frontier(self.cursor.position)
        self.pause = ClusterPause()
        self.reading = False
        self.gone = False
        """Somebody else delivers the ring: nothing of it is taken here any more."""
        self.lost: Lost | None = None
        """Claimed events that could not be read again in the last `take`."""
        self.taken: int | None = None
        """The sequence of an event that the destination took."""
        self.done: set[int] = set()
        """Sequences of events that the destination took before their turn; a restart forgets them."""
        self._early: dict[int, Slot | None] = {}
        """Being delivered before their turn; with a slot where their turn came, and their segment is gone."""
        self.sets_aside = False
        """What comes back in parts does not hold up what is new: the two take turns, and the order is not kept."""
        self._takes_new = False
        self._batch_limits = batch_limits
        self._boundaries = boundaries or Boundaries()
        self._gauge = BatchGauge(batch_limits)
        self._gauge.reset(self.frontier.end)
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

    def next_reading(self) -> Reading:
        """A part that came back, else what is new; by turns, where parts are set aside."""
        self.sets_aside = self.sets_aside and self.frontier.returned is not None
        room = self.pending > 0 and len(self.frontier) < MOST_SET_ASIDE
        self._takes_new = self.sets_aside and room and not self._takes_new
        returned = None if self._takes_new else self.frontier.returned
        start, stop = (self.frontier.end, self.ring.durable) if returned is None else (returned.start, returned.stop)
        end, record = self._resume
        return Reading(start, stop, record if start == end else start)

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

    def due(self, now: float, wall_ns: int, *, flush: bool) -> float | None:
        """When the next batch may be taken; None for never.

        `now` if it is full, has waited `max_wait`, is about to leave memory, or `flush`.
        """
        pending = self.pending > 0
        if pending:
            self.notice(now, wall_ns)
        if self.reading:
            return None
        limits, returned = self._batch_limits.limits, self.frontier.returned is not None
        if not returned and (not pending or len(self.frontier) > limits.in_flight):
            return None
        if self.pause.remaining(now) > 0:
            return self.pause.until
        if returned or flush:
            return now
        due = (now if self._since is None else self._since) + limits.max_wait
        return now if due <= now or self._full() or self._leaving() else due

    def _full(self) -> bool:
        if not self._gauge.full and self._gauge.at < self.ring.durable:
            chunk = self.reader.cached(self._gauge.at, self._batch_limits.limits.max_bytes)
            if chunk is None:  # what is no longer in memory has waited long enough
                return True
            self._gauge.add(chunk)
        return self._gauge.full

    def _leaving(self) -> bool:
        """Whether what waits is worth a request, and memory is about to let go of it.

        With many clusters a batch of one takes longer to become full than memory holds it; then all of it would be read
        from the disk and split again.
        """
        worth = self._gauge.bytes >= self._batch_limits.limits.max_bytes // WORTH_A_REQUEST
        return worth and self.reader.leaving(self.frontier.end)

    def take(self, chunk: Chunk, now: float, labels: Mapping[str, str], *, flush: bool) -> Lease | None:
        """The next batch out of what was read; None when it is better to wait, or what is to be read is not in it."""
        self.lost = None
        returned = None if self._takes_new else self.frontier.returned
        start = self.frontier.end if returned is None else returned.start
        if not chunk.start <= start <= chunk.end:
            return None  # while it was read, something before or behind it came back: that is another reading
        if returned is not None:
            return self._take_again(returned, chunk, labels)
        limits = self._batch_limits.limits
        while isinstance(found := self._pack(chunk, limits.max_bytes, limits.max_events, labels), Gap):
            self._skip(found.stop)
        if found is None:
            self._moved(chunk, now)
            return None
        overdue = self._since is None or now >= self._since + limits.max_wait or self._leaving()
        if not (found.closed or flush or overdue):
            self._weigh(chunk)
            return None
        if found.closed:
            stop = self._boundaries.stop(self.cluster, self.frontier.end, found.stop)
            if stop != found.stop and isinstance(
                fewer := self._pack(chunk, limits.max_bytes, stop - self.frontier.end, labels), Packed
            ):
                found = fewer
        if self._given_up(found.stop):
            return self.take(chunk, now, labels, flush=flush)
        self._resume = (found.stop, found.resume)
        slot = self.frontier.append(found.stop, found.batch.received_ns)
        self._moved(chunk, now)
        return Lease(self, slot, found.batch, found.size, found.size)

    def _given_up(self, stop: int) -> bool:
        """Claim what is new up to `stop`; True when the spool has given it up, or a part: that is skipped instead."""
        floor = min(self.ring.claim(self.cursor, self.frontier.end, stop), self.ring.durable)
        if floor > self.frontier.end:
            self._skip(floor)
            self._gauge.reset(floor)
            return True
        return False

    def _skip(self, stop: int) -> None:
        """What is new up to `stop` is gone; but of what is being delivered before its turn nobody knows yet."""
        for sequence in sorted(self._early):
            if self._early[sequence] is None and self.frontier.end <= sequence < stop:
                self._skip(sequence)
                self._early[sequence] = self.frontier.append(sequence + 1, self.oldest_ns or 0)
        if stop > self.frontier.end:
            self.frontier.skip(stop, self._delivered_early(self.frontier.end, stop))

    def _delivered_early(self, start: int, stop: int) -> int:
        return sum(start <= sequence < stop for sequence in self.done)

    def begin_early(self, sequence: int) -> bool:
        """An event is to be delivered before its turn; False when it is given up, or somebody else is doing that."""
        if sequence in self._early or not self.ring.claim_early(self.cursor, sequence):
            return False
        self._early[sequence] = None
        return True

    def end_early(self, sequence: int, *, taken: bool) -> None:
        """What came of it."""
        slot = self._early.pop(sequence)
        if taken:
            self.done.add(sequence)
        elif sequence not in self.done:
            self.ring.forget_early(self.cursor, [sequence])
        if slot is not None:
            taken = sequence in self.done
            self.frontier.settle(slot, Tally(delivered=taken, dropped=not taken))

    def _pack(self, chunk: Chunk, max_bytes: float, max_events: int, labels: Mapping[str, str]) -> Packed | Gap | None:
        return pack(
            self.cluster,
            chunk,
            self.frontier.end,
            max_bytes=max_bytes,
            max_events=max_events,
            origin=self.ring.origin,
            labels=labels,
        )

    def _moved(self, chunk: Chunk, now: float) -> None:
        """What is left begins to wait now; it was accepted no earlier than the last record seen."""
        self._weigh(chunk)
        self._since = self._noticed_ns = None
        if chunk.records and self.pending > 0:
            self.notice(now, chunk.records[-1].received_ns)

    def _weigh(self, chunk: Chunk) -> None:
        """Put what the chunk holds behind the last lease on the gauge."""
        self._gauge.reset(self.frontier.end)
        self._gauge.add(section(chunk, self.frontier.end, chunk.end))

    def _take_again(self, slot: Slot, chunk: Chunk, labels: Mapping[str, str]) -> Lease | None:
        """The events of a returned slot; where they have become fewer, the slot is cut to fit."""
        found = pack(
            self.cluster,
            section(chunk, slot.start, slot.stop),
            slot.start,
            max_bytes=math.inf,
            max_events=slot.stop - slot.start,
            origin=self.ring.origin,
            labels=labels,
        )
        if found is None:
            return None
        if found.stop < slot.stop:
            self.frontier.split(slot, [found.stop])
            slot = self.frontier.returned or slot
        if isinstance(found, Gap):
            delivered = self._delivered_early(slot.start, slot.stop)
            self.frontier.settle(slot, Tally(delivered=delivered, dropped=slot.stop - slot.start - delivered))
            self.lost = Lost(slot.start, slot.stop, slot.stop - slot.start - delivered)
            return None
        self.frontier.take(slot)
        return Lease(self, slot, found.batch, found.size, found.size)

    def pass_over(self) -> None:
        """Nothing of this ring is for the destination: all that nobody delivers right now is filtered, unread."""
        while (slot := self.frontier.returned) is not None:
            self.frontier.settle(slot, Tally(filtered=slot.stop - slot.start))
        if self.pending > 0:
            self._given_up(self.ring.durable)
        if self.pending > 0:
            slot = self.frontier.append(self.ring.durable, 0)
            self.frontier.settle(slot, Tally(filtered=slot.stop - slot.start))
        self._since = self._noticed_ns = None
        self._gauge.reset(self.frontier.end)

    def commit(self) -> bool:
        """Move the cursor as far as all is settled. True if it moved. OSError: it moved in memory only."""
        done = self.frontier.collect()
        if done.total:
            if self.done:
                past = {sequence for sequence in self.done if sequence < self.frontier.position}
                self.done -= past
                self.ring.forget_early(self.cursor, past)
            self.cursor.advance(done)
        return done.total > 0

    def account(self) -> Account:
        """The accounting identity of this ring and destination."""
        return self.ring.account(self.cursor, claimed=self.frontier.end, dropped=self.frontier.dropped)
