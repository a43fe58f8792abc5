"""The lanes of one destination: a lane for each ring, a turn for each lane that has a batch, round and round.

A turn is as many bytes as fill a batch, then a lane with more goes to the back of the queue: a cluster with an endless
backlog delays another's fresh event by one round at most.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from auditsink.common.clock import Clock
from auditsink.common.fair_queue import FairQueue
from auditsink.common.signal import Signal
from auditsink.forward.batch_limits import BatchLimits
from auditsink.forward.prefetch import Offload, Prefetch, peek
from auditsink.forward.reporting import where
from auditsink.forward.source import Routing, SourceCursor, SourceRing
from auditsink.forward.statistics import Held
from auditsink.forward.subscription import Lease, Subscription
from auditsink.forward.verdicts import Settled, SplitBatch
from auditsink.spool.types import Account, Tally

log = logging.getLogger("auditsink.forward")

READ_PAUSE = 5.0
"""Seconds before a ring that could not be read is tried again."""


class Subscriptions:
    """`moved` is called with each cursor that moved."""

    def __init__(
        self,
        destination: str,
        ceiling: BatchLimits,
        *,
        routing: Routing,
        clock: Clock,
        offload: Offload,
        moved: Callable[[SourceCursor], None],
    ) -> None:
        self.closing = False
        self._destination = destination
        self._ceiling = ceiling
        self._routing = routing
        self._clock = clock
        self._offload = offload
        self._moved = moved
        self._supply = Prefetch(ceiling.limits.max_bytes, offload)
        self._lanes: dict[str, Subscription] = {}
        self._rota: FairQueue[Subscription] = FairQueue(ceiling.limits.max_bytes)
        self._bell = Signal(clock)
        self._taking = asyncio.Lock()
        self._flush = False

    def __repr__(self) -> str:
        return f"<Subscriptions of {self._destination} {len(self._lanes)} lanes, {self._rota}>"

    async def open(self, rings: Mapping[str, SourceRing]) -> None:
        """Lanes for the rings that are there. Raises OSError when a cursor cannot be opened."""
        for ring in rings.values():
            self._lanes[ring.cluster] = Subscription(ring, self._destination, self._ceiling)
        backlogs = [lane for lane in self._lanes.values() if lane.pending > 0]
        ages = await self._offload(_ages, backlogs)
        now = self._clock.monotonic()
        for lane, age in zip(backlogs, ages, strict=True):
            lane.notice(now, self._clock.wall_ns() if age is None else age)
        for ring in rings.values():
            self.add(ring)

    def add(self, ring: SourceRing) -> None:
        """Deliver this ring's events from now on."""
        ring.on_durable(partial(self._wake, ring))
        self._wake(ring)

    def _wake(self, ring: SourceRing) -> None:
        if not self.closing and (lane := self._lane(ring)) is not None:
            self._queue(lane)

    def _lane(self, ring: SourceRing) -> Subscription | None:
        """The ring's lane; where its cursor cannot be opened, that is tried again whenever the ring has news."""
        lane = self._lanes.get(ring.cluster)
        if lane is None:
            try:
                lane = self._lanes[ring.cluster] = Subscription(ring, self._destination, self._ceiling)
            except OSError as problem:
                log.error(  # noqa: TRY400 - the error names the file; a traceback adds nothing
                    "a cursor cannot be opened, so the cluster's events wait in the spool; check the disk",
                    extra={"destination": self._destination, "cluster": ring.cluster, "error": str(problem)},
                )
        return lane

    def _queue(self, lane: Subscription) -> None:
        """Give the lane its turn when it has something for it. What is not for here needs none, and no worker."""
        if not self._routing.wanted(lane.cluster, self._destination):
            if not lane.reading:
                lane.pass_over()
                self._commit(lane)
            return
        now = self._clock.monotonic()
        if lane.pending > 0:
            lane.notice(now, self._clock.wall_ns())
        due = lane.due(now, flush=self._flush)
        if due is not None and self._rota.put(lane, due, now):
            self._bell.ring()

    async def take(self) -> tuple[Subscription, Lease] | None:
        """The next batch; waits for one. One caller after the other, so batches come in the order of their turns.

        None when closing.
        """
        async with self._taking:
            while not self.closing:
                now = self._clock.monotonic()
                lane = self._rota.next(now)
                if lane is None:
                    due = self._rota.next_due
                    await self._bell.wait(None if due is None else due - now)
                elif lane.hold.remaining(now) > 0:
                    self._queue(lane)  # it was held after it had got its turn
                elif (claim := await self._take_from(lane)) is not None:
                    return lane, claim
        return None

    async def _take_from(self, lane: Subscription) -> Lease | None:
        if not self._routing.wanted(lane.cluster, self._destination):  # since it was queued
            self._rota.charge(lane, 0)
            self._queue(lane)
            return None
        lane.reading = True  # and stays so when this is cancelled: the thread may still be reading
        try:
            chunk = await self._supply.read(lane)
            lane.reading = False
            claim = lane.take(chunk, self._clock.monotonic(), flush=self._flush)
            self._supply.let_go(lane)
        except Exception as problem:  # noqa: BLE001 - whatever is wrong with one ring must not stop the others
            lane.reading = False
            log.error(  # noqa: TRY400 - its text may quote what was read
                "a cluster's ring cannot be read; its events wait, other clusters go on; check the disk",
                extra={
                    "destination": self._destination,
                    "cluster": lane.cluster,
                    "error": str(problem) if isinstance(problem, OSError) else where(problem),
                },
            )
            now = self._clock.monotonic()
            self._rota.charge(lane, 0)
            self._rota.put(lane, now + READ_PAUSE, now)
            return None
        self._rota.charge(lane, 0 if claim is None else claim.size)
        self._commit(lane)
        self._queue(lane)
        labels = self._routing.labels(lane.cluster)
        return replace(claim, batch=replace(claim.batch, labels=labels)) if claim is not None and labels else claim

    def settle(self, lane: Subscription, claim: Lease, verdict: Settled | SplitBatch | None) -> None:
        """What became of a claim; None gives it back."""
        slot = claim.slot
        match verdict:
            case Settled(refused=refused):
                kept = len(claim.batch.events)
                filtered = slot.stop - slot.start - kept - claim.unreadable
                dead = len(refused) + claim.unreadable
                lane.frontier.settle(slot, Tally(kept - len(refused), filtered, dead))
                self._commit(lane)
            case SplitBatch(cuts=cuts):
                lane.frontier.split(slot, [claim.batch.sequences[cut] for cut in cuts])
            case None:
                lane.give_back(slot)
        self._supply.let_go(lane)
        if not self.closing:
            self._queue(lane)

    def _commit(self, lane: Subscription) -> None:
        try:
            moved = lane.commit()
        except OSError as problem:
            log.error(  # noqa: TRY400 - the error says it all
                "a cursor cannot be stored; delivery goes on, a restart would repeat what follows; check the disk",
                extra={"destination": self._destination, "cluster": lane.cluster, "error": str(problem)},
            )
        else:
            if moved:
                self._moved(lane.cursor)

    def flush(self) -> None:
        """From now on a batch need not be full, nor wait."""
        self._flush = True
        for lane in self._lanes.values():
            self._queue(lane)

    def close(self) -> None:
        """No more batches are taken."""
        self.closing = True
        self._bell.ring()

    def close_readers(self) -> None:
        """Let go of the files. Where a thread is still reading, the reader goes with it."""
        for lane in self._lanes.values():
            if not lane.reading:
                lane.reader.close()

    @property
    def settled(self) -> bool:
        """Whether nothing is left to deliver, but for clusters that are held."""
        return all(lane.settled or lane.hold.why for lane in self._lanes.values())

    @property
    def held(self) -> dict[str, Held]:
        """Clusters whose events the destination does not take, while it takes those of others."""
        now = self._clock.monotonic()
        return {
            cluster: Held(lane.hold.why, lane.hold.remaining(now))
            for cluster, lane in self._lanes.items()
            if lane.hold.why
        }

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest event that is not settled was accepted; None when all are."""
        return min((oldest for lane in self._lanes.values() if (oldest := lane.oldest_ns) is not None), default=None)

    def accounts(self) -> dict[str, Account]:
        """By cluster."""
        return {cluster: lane.account() for cluster, lane in self._lanes.items()}


def _ages(lanes: list[Subscription]) -> list[int | None]:
    """When the first pending event of each was accepted, as far as that can be read. Blocks."""
    return [_age(lane) for lane in lanes]


def _age(lane: Subscription) -> int | None:
    try:
        records = peek(lane.ring, lane.frontier.position).records
    except OSError:
        return None
    return records[0].received_ns if records else None
