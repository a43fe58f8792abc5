"""Brings batches to one destination: prepares them ahead, attempts them in turn, and acts on what came of it.

One `deliver` per lease; up to `in_flight + 1` of them run at once. Between them they share the in-flight limit (who
may attempt now), the destination's pause (when), and the breaker (whether refusals are to be believed).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import get_args

from auditsink.common.clock import Clock
from auditsink.common.signal import Signal, cancelled
from auditsink.delivery.destination import Batch, Destination
from auditsink.delivery.filter import EventFilter
from auditsink.delivery.outcome import (
    Delivered,
    EventRejection,
    Misconfigured,
    Outcome,
    Retry,
    TooLarge,
)
from auditsink.forward.batching import BatchLimits
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.dead_letters import DeadLetters, DeadLettersFullError
from auditsink.forward.prefetch import Offload, newest
from auditsink.forward.reporting import Bug, Reporting, RetryReason, reason_of, where
from auditsink.forward.retry import DestinationPause, InFlightLimit
from auditsink.forward.subscription import Lease
from auditsink.forward.verdicts import RejectionBreaker, Settled, SplitBatch, TryAgain, judge

_OUTCOMES = get_args(Outcome)

_FILTERED_INLINE = 65536  # bytes: less is filtered in the time that handing it to a thread takes


class Deliverer:
    """`changed` is notified whenever a lease is done or may go on."""

    def __init__(
        self,
        destination: Destination,
        dead_letters: DeadLetters,
        *,
        event_filter: EventFilter | None = None,
        batch_limits: BatchLimits,
        pause: DestinationPause,
        clock: Clock,
        offload: Offload,
    ) -> None:
        self.pause = pause
        self.in_flight = InFlightLimit(destination.limits.in_flight, pause)
        self.changed = Signal(clock)
        self.reporting = Reporting(destination.name, clock)
        self.closing = False
        self._destination = destination
        self._dead_letters = dead_letters
        self._strict = destination.limits.in_flight == 1
        self._breaker = RejectionBreaker()
        self._batch_limits = batch_limits
        self._event_filter = event_filter
        self._filtering = asyncio.Lock()
        self._clock = clock
        self._offload = offload

    def __repr__(self) -> str:
        return f"<Deliverer to {self._destination.name} {self.in_flight} {self.pause}>"

    def accept(self, lease: Lease) -> None:
        """Give it its place in the order of attempts. `release` it in the end."""
        lease.ticket = self.in_flight.ticket()

    def release(self, lease: Lease) -> None:
        """It is over, whatever came of it, and its slot says so: the next may go."""
        self.in_flight.leave(lease.ticket)
        self.changed.notify()

    def close(self) -> None:
        """No attempt begins any more."""
        self.closing = True
        self.changed.notify()

    async def begin(self, start: Callable[[], Awaitable[Outcome]]) -> bool:
        """Start the destination, however often that takes. False: closing."""
        while not self.closing:
            seen = self.pause.failures
            try:
                outcome = await start()
            except Exception as problem:  # noqa: BLE001 - whatever it is, it must not end unheard
                outcome = Bug(f"the destination cannot start ({where(problem)}): this is a bug in auditsink, report it")
            if isinstance(outcome, Retry | Misconfigured):
                self._in_trouble("", outcome, seen)
                await self._wait_out_pause()
            else:
                if self.pause.answered(seen, self._clock.monotonic()):
                    self.reporting.recovered("")
                self.changed.notify()
                return True
        return False

    async def deliver(self, lease: Lease) -> Settled | SplitBatch | None:
        """What became of the batch; None: it was not delivered and must be taken again (overtaken, or closing)."""
        if self._event_filter is not None:
            await self._filter(lease, self._event_filter)
            if not lease.batch.events:
                return Settled() if await self._dead_letter(lease, lease.unreadable) else None
        # A destination whose `prepare` fails fails again in its turn, where that is told.
        with contextlib.suppress(Exception):
            lease.attempt = await self._destination.prepare(lease.batch)
        while await self._turn(lease):
            verdict = await self._try(lease)
            if verdict is not None:
                return verdict
            self.in_flight.rejoin(lease.ticket)
            self.changed.notify()
        return None

    async def _turn(self, lease: Lease) -> bool:
        """Wait until the batch may be attempted. False: it must not be."""
        subscription = lease.subscription
        while not self.closing:
            now = self._clock.monotonic()
            if subscription.pause.remaining(now) > 0:
                return False
            wait = self.in_flight.wait(lease.ticket, now)
            if wait == 0:
                if self._strict and subscription.frontier.head is not lease.slot:
                    return False  # what lies before it came back in parts and goes first
                self.in_flight.enter(lease.ticket)
                if not self._strict:  # there may be room for the one behind
                    self.changed.notify()
                return True
            await self.changed.wait(wait)
        return False

    async def _try(self, lease: Lease) -> Settled | SplitBatch | None:
        """One attempt, and what follows from it; None: again."""
        if lease.disbelieved:
            await self._attempt_sample(lease)
        seen = self.pause.failures
        size = len(lease.batch.events)
        outcome = self._breaker.examine(size, await self._outcome(lease))
        verdict = judge(size, outcome)
        if isinstance(verdict, TryAgain):
            if isinstance(outcome, Misconfigured) and outcome.cluster_only:
                self._pause_cluster(lease, outcome, seen)
                return None
            lease.disbelieved = isinstance(outcome, Misconfigured) and self._breaker.open
            self._in_trouble(lease.subscription.cluster, verdict.outcome, seen)
            return None
        self._answered(lease, outcome, seen)
        if isinstance(verdict, Settled):
            rejected = [*lease.unreadable, *self._rejected(lease.batch, verdict.refused)]
            if not await self._dead_letter(lease, rejected):
                return None
            self.reporting.delivered(lease.size)
        return verdict

    async def _outcome(self, lease: Lease) -> Outcome:
        try:
            if lease.attempt is None:
                lease.attempt = await self._destination.prepare(lease.batch)
            outcome = await lease.attempt()
            if not isinstance(outcome, _OUTCOMES):
                raise TypeError("an attempt must return an outcome")  # noqa: TRY301 - it is a failure like the others
        except (Exception, asyncio.CancelledError) as problem:
            if cancelled(problem):
                raise
            lease.attempt = None
            outcome = Bug(f"the destination's code failed ({where(problem)}): this is a bug in auditsink, report it")
        self.reporting.attempted(outcome)
        return outcome

    def _in_trouble(
        self, cluster: str, outcome: Retry | Misconfigured, seen: int, reason: RetryReason | None = None
    ) -> None:
        now = self._clock.monotonic()
        reason = reason or reason_of(outcome)
        if isinstance(outcome, Misconfigured):
            news = self.pause.misconfigured(seen, now)
            self.reporting.misconfigured(cluster, outcome.why, reason, self.pause.remaining(now), news=news)
        else:
            self.pause.retry(seen, now, outcome.after)
            self.reporting.retrying(cluster, outcome.why, reason, self.pause.remaining(now))

    def _pause_cluster(self, lease: Lease, outcome: Misconfigured, seen: int) -> None:
        """Only this cluster waits: its batch goes back, and takes no memory meanwhile."""
        now = self._clock.monotonic()
        self.pause.answered(seen, now)  # about this cluster only: whatever ailed the destination is over
        subscription = lease.subscription
        news = subscription.pause.again(now, outcome.why)
        wait = subscription.pause.remaining(now)
        self.reporting.misconfigured(subscription.cluster, outcome.why, RetryReason.MISCONFIGURED, wait, news=news)

    def _answered(self, lease: Lease, outcome: Outcome, seen: int) -> None:
        subscription = lease.subscription
        slow_down = outcome.slow_down if isinstance(outcome, Delivered) else 0.0
        recovered = self.pause.answered(seen, self._clock.monotonic(), slow_down)
        if subscription.pause.end() or recovered:
            self.reporting.recovered(subscription.cluster)
        if isinstance(outcome, TooLarge) and len(lease.batch.events) > 1:
            self._batch_limits.too_large(lease.read)
            self.reporting.too_large(subscription.cluster, lease.size)
        elif isinstance(outcome, Delivered):
            self._batch_limits.passed(lease.read)

    async def _filter(self, lease: Lease, event_filter: EventFilter) -> None:
        """Leave in the lease what the destination is to get."""
        batch = lease.batch
        async with self._filtering:
            small = lease.size <= _FILTERED_INLINE
            filtered = event_filter(batch) if small else await self._offload(event_filter, batch)
        lease.unreadable = self._rejected(batch, filtered.unreadable)
        lease.batch = filtered.batch
        lease.size = sum(map(len, filtered.batch.events))

    def _rejected(self, batch: Batch, refused: Sequence[EventRejection]) -> list[DeadLetter]:
        refused_ns = self._clock.wall_ns()
        name = self._destination.name
        return [DeadLetter.of(name, batch, refusal.index, refusal.why, refused_ns) for refusal in refused]

    async def _dead_letter(self, lease: Lease, dead_letters: Sequence[DeadLetter]) -> bool:
        """Keep these dead letters; while that fails, the whole destination waits. False: closing."""
        cluster = lease.subscription.cluster
        while dead_letters and not self.closing:
            seen = self.pause.failures
            try:
                await self._offload(self._dead_letters.append, dead_letters)
            except DeadLettersFullError as problem:
                self._in_trouble(cluster, Misconfigured(str(problem)), seen, RetryReason.DEAD_LETTERS)
            except OSError as problem:
                why = f"dead letters cannot be written to {self._dead_letters.path}: {problem}; check the disk"
                self._in_trouble(cluster, Retry(why), seen, RetryReason.DEAD_LETTERS)
            else:
                if self.pause.answered(seen, self._clock.monotonic()):
                    self.reporting.recovered(cluster)
                self.reporting.dead_lettered(dead_letters)
                return True
            await self._wait_out_pause()
        return not dead_letters

    async def _wait_out_pause(self) -> None:
        while not self.closing and (wait := self.pause.remaining(self._clock.monotonic())) > 0:
            await self.changed.wait(wait)

    async def _attempt_sample(self, lease: Lease) -> None:
        """Attempt the cluster's newest event: if it is taken, the refused ones were bad and the settings are right.

        Without this, a hundred bad events in a row, which some user of the apiserver may know how to make, would stop
        the trail until a person comes. The sample is delivered again in its own turn.
        """
        batch = await newest(lease.subscription, self._offload)
        if batch is None or batch.sequences[0] < lease.slot.stop:
            return
        sample = Lease(lease.subscription, lease.slot, batch, 0, 0)
        if self._event_filter is not None:
            await self._filter(sample, self._event_filter)
            if not sample.batch.events:
                return
        outcome = await self._outcome(sample)
        if isinstance(outcome, Delivered) and not outcome.refused:
            self._breaker.reset()
