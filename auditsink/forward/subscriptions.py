"""The subscriptions of one destination: one for each ring, and a turn for each that has a batch, round and round.

A turn is as many bytes as fill a batch, then a cluster with more goes to the back of the queue: one with an endless
backlog delays another's fresh event by one round at most.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial

from auditsink.common.clock import Clock
from auditsink.common.fair_queue import FairQueue
from auditsink.common.signal import Signal
from auditsink.forward.batching import BatchLimits, Boundaries
from auditsink.forward.prefetch import Offload, Prefetch, peek
from auditsink.forward.reporting import HeldCluster, where
from auditsink.forward.source import Routing, SourceCursor, SourceRing
from auditsink.forward.subscription import Lease, Lost, Subscription
from auditsink.forward.trials import Trial
from auditsink.forward.verdicts import Settled, SplitBatch
from auditsink.spool.types import Account, Drop, Tally

log = logging.getLogger("auditsink.forward")

READ_PAUSE = 5.0
"""Seconds before a ring that could not be read is tried again."""


class Subscriptions:
    """`moved` is called with each cursor that moved, `news` with the cluster whenever a ring has more."""

    def __init__(
        self,
        destination: str,
        batch_limits: BatchLimits,
        *,
        boundaries: Boundaries,
        routing: Routing,
        clock: Clock,
        offload: Offload,
        moved: Callable[[SourceCursor], None],
        news: Callable[[str], None],
    ) -> None:
        self.closing = False
        self._destination = destination
        self._batch_limits = batch_limits
        self._boundaries = boundaries
        self._routing = routing
        self._clock = clock
        self._offload = offload
        self._moved = moved
        self._news = news
        self._prefetch = Prefetch(batch_limits.limits.max_bytes, offload)
        self._by_ring: dict[SourceRing, Subscription] = {}
        self._turns: FairQueue[Subscription] = FairQueue(batch_limits.limits.max_bytes)
        self._changed = Signal(clock)
        self._taking = asyncio.Lock()
        self._flush = False
        self._ends: list[Callable[[], None]] = []
        self._listening: dict[SourceRing, Callable[[], None]] = {}

    def __repr__(self) -> str:
        return f"<Subscriptions of {self._destination} to {len(self._by_ring)} rings, {self._turns}>"

    async def open(self, rings: Mapping[str, SourceRing]) -> None:
        """Subscribe to the rings that are there. Raises OSError when a cursor cannot be opened."""
        for ring in rings.values():
            self._by_ring[ring] = Subscription(ring, self._destination, self._batch_limits, self._boundaries)
            self._tell_given_up(self._by_ring[ring])
        backlogs = [subscription for subscription in self._by_ring.values() if subscription.pending > 0]
        ages = await self._offload(_ages, backlogs)
        now = self._clock.monotonic()
        for subscription, age in zip(backlogs, ages, strict=True):
            subscription.notice(now, self._clock.wall_ns() if age is None else age)
        for ring in rings.values():
            self.add(ring)

    def _tell_given_up(self, subscription: Subscription) -> None:
        """What was under way when the sink was killed is lost with its segments, and nobody could say so then."""
        position, ring = subscription.frontier.position, subscription.ring
        floor = min(ring.claim(subscription.cursor, position, position), ring.durable)
        if floor > position:
            log.warning(
                "events were dropped in an earlier run of the sink before this destination had them",
                extra={
                    "destination": self._destination,
                    "cluster": ring.cluster,
                    "first_sequence": position,
                    "last_sequence": floor - 1,
                    "events": floor - position,
                },
            )

    def add(self, ring: SourceRing) -> None:
        """Deliver this ring's events from now on."""
        self._listening[ring] = ring.on_durable(partial(self._wake, ring))
        self._wake(ring)

    def remove(self, ring: SourceRing) -> None:
        """Somebody else delivers this ring's events from now on; what is under way may end."""
        if (end := self._listening.pop(ring, None)) is not None:
            end()
        if (subscription := self._by_ring.pop(ring, None)) is not None:
            subscription.gone = True

    def _wake(self, ring: SourceRing) -> None:
        if not self.closing and (subscription := self._subscription(ring)) is not None:
            self._enqueue(subscription)
            self._news(ring.cluster)

    def _subscription(self, ring: SourceRing) -> Subscription | None:
        """The ring's; where its cursor cannot be opened, that is tried again whenever the ring has news."""
        subscription = self._by_ring.get(ring)
        if subscription is None:
            try:
                subscription = Subscription(ring, self._destination, self._batch_limits, self._boundaries)
            except OSError as problem:
                log.error(  # noqa: TRY400 - the error names the file; a traceback adds nothing
                    "a cursor cannot be opened, so the cluster's events wait in the spool; check the disk",
                    extra={"destination": self._destination, "cluster": ring.cluster, "error": str(problem)},
                )
                return None
            self._by_ring[ring] = subscription
        return subscription

    def _enqueue(self, subscription: Subscription) -> None:
        """Queue the cluster for a turn when it has something. What is not for here needs none, and no worker."""
        if subscription.gone:
            return
        if not self._routing.wanted(subscription.cluster, self._destination):
            if not subscription.reading:
                subscription.pass_over()
                self._commit(subscription)
            return
        now = self._clock.monotonic()
        due = subscription.due(now, self._clock.wall_ns(), flush=self._flush)
        if due is not None and self._turns.put(subscription, due, now):
            self._changed.notify()

    async def take(self) -> Lease | None:
        """The next batch; waits for one. One caller after the other, so batches come in the order of their turns.

        None when closing.
        """
        async with self._taking:
            while not self.closing:
                now = self._clock.monotonic()
                subscription = self._turns.next(now)
                if subscription is None:
                    due = self._turns.next_due
                    await self._changed.wait(None if due is None else due - now)
                elif subscription.pause.remaining(now) > 0:
                    self._enqueue(subscription)  # its cluster was paused after it had got its turn
                elif (lease := await self._take_from(subscription)) is not None:
                    return lease
        return None

    async def _take_from(self, subscription: Subscription) -> Lease | None:
        if subscription.gone:
            self._turns.charge(subscription, 0)
            return None
        if not self._routing.wanted(subscription.cluster, self._destination):  # since it was queued
            self._turns.charge(subscription, 0)
            self._enqueue(subscription)
            return None
        labels = self._routing.labels(subscription.cluster)
        subscription.reading = True  # and stays so when this is cancelled: the thread may still be reading
        try:
            chunk = await self._prefetch.read(subscription)
            subscription.reading = False
            now = self._clock.monotonic()
            lease = None if subscription.gone else subscription.take(chunk, now, labels, flush=self._flush)
            self._prefetch.let_go(subscription)
        except Exception as problem:  # noqa: BLE001 - whatever is wrong with one ring must not stop the others
            subscription.reading = False
            log.error(  # noqa: TRY400 - its text may quote what was read
                "a cluster's ring cannot be read; its events wait, other clusters go on; check the disk",
                extra={
                    "destination": self._destination,
                    "cluster": subscription.cluster,
                    "error": str(problem) if isinstance(problem, OSError) else where(problem),
                },
            )
            now = self._clock.monotonic()
            self._turns.charge(subscription, 0)
            self._turns.put(subscription, now + READ_PAUSE, now)
            return None
        if subscription.lost is not None:
            self._note_lost(subscription.ring, subscription.lost)
        self._turns.charge(subscription, 0 if lease is None else lease.read)
        self._commit(subscription)
        self._enqueue(subscription)
        return lease

    def _note_lost(self, ring: SourceRing, lost: Lost) -> None:
        first, stop, events = lost
        if not events:
            return
        ring.note_drop(self._destination, Drop(first, stop - 1, events, self._clock.wall_ns()))
        log.error(
            "events that were to be delivered again are no longer in the spool: they are dropped; "
            "repair the destination, or raise spool.max_bytes",
            extra={
                "destination": self._destination,
                "cluster": ring.cluster,
                "first_sequence": first,
                "last_sequence": stop - 1,
                "events": events,
            },
        )

    def settle(self, lease: Lease, verdict: Settled | SplitBatch | None) -> None:
        """What became of a lease; None gives it back."""
        subscription, slot = lease.subscription, lease.slot
        match verdict:
            case Settled(refused=refused):
                kept, unreadable = len(lease.batch.events), len(lease.unreadable)
                filtered = slot.stop - slot.start - kept - unreadable - lease.done
                delivered = kept - len(refused) + lease.done
                subscription.frontier.settle(slot, Tally(delivered, filtered, len(refused) + unreadable))
                self._commit(subscription)
            case SplitBatch(cuts=cuts, family=family):
                for part in subscription.frontier.split(slot, [lease.batch.sequences[cut] for cut in cuts]):
                    part.trial = None if family is None else Trial(family)
            case None:
                subscription.frontier.give_back(slot)
        self._prefetch.let_go(subscription)
        if not self.closing:
            self._enqueue(subscription)

    def _commit(self, subscription: Subscription) -> None:
        try:
            moved = subscription.commit()
        except OSError as problem:
            log.error(  # noqa: TRY400 - the error says it all
                "a cursor cannot be stored; delivery goes on, a restart would repeat what follows; check the disk",
                extra={"destination": self._destination, "cluster": subscription.cluster, "error": str(problem)},
            )
        else:
            if moved:
                self._moved(subscription.cursor)

    def flush(self) -> None:
        """From now on a batch need not be full, nor wait."""
        self._flush = True
        for subscription in self._by_ring.values():
            self._enqueue(subscription)

    def ends_with(self, end: Callable[[], None]) -> None:
        """Call this too when no more is taken."""
        self._ends.append(end)

    def close(self) -> None:
        """No more batches are taken, and no ring calls back any more."""
        self.closing = True
        ends, self._ends, self._listening = [*self._ends, *self._listening.values()], [], {}
        for end in ends:
            end()
        self._changed.notify()

    def close_readers(self) -> None:
        """Let go of the files. Where a thread is still reading, the reader goes with it."""
        for subscription in self._by_ring.values():
            if not subscription.reading:
                subscription.reader.close()

    @property
    def settled(self) -> bool:
        """Whether nothing is left to deliver, but for clusters that are paused."""
        return all(one.settled or one.pause.why for one in self._by_ring.values())

    @property
    def held(self) -> dict[str, HeldCluster]:
        """Clusters whose events the destination does not take, while it takes those of others."""
        now = self._clock.monotonic()
        return {
            one.cluster: HeldCluster(one.pause.why, one.pause.remaining(now))
            for one in self._by_ring.values()
            if one.pause.why
        }

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest event that is not settled was accepted; None when all are."""
        return min((oldest for one in self._by_ring.values() if (oldest := one.oldest_ns) is not None), default=None)

    def accounts(self) -> dict[str, Account]:
        """By cluster."""
        found: dict[str, Account] = {}
        for one in self._by_ring.values():
            account, known = one.account(), found.get(one.cluster)
            found[one.cluster] = account if known is None else known.plus(account)
        return found


def _ages(subscriptions: list[Subscription]) -> list[int | None]:
    """When the first pending event of each was accepted, as far as that can be read. Blocks."""
    return [_age(subscription) for subscription in subscriptions]


def _age(subscription: Subscription) -> int | None:
    try:
        records = peek(subscription.ring, subscription.frontier.position).records
    except OSError:
        return None
    return records[0].received_ns if records else None
