"""Makes the attempts at one destination: filters and prepares what is leased, and gives what comes of it as a value.

A sample is one event of a cluster, attempted out of its turn to learn about the destination. One that was taken is
delivered: in its turn it is left out.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from auditsink.common.clock import Clock
from auditsink.common.signal import cancelled
from auditsink.delivery.destination import Batch, Destination
from auditsink.delivery.filter import EventFilter
from auditsink.delivery.outcome import Delivered, EventRejection, Outcome
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.frontier import Slot
from auditsink.forward.prefetch import Offload, single
from auditsink.forward.reporting import Bug, Reporting, where
from auditsink.forward.subscription import Lease, Subscription
from auditsink.forward.trials import Trial

_OUTCOMES = get_args(Outcome)

_FILTERED_INLINE = 65536  # bytes: less is filtered in the time that handing it to a thread takes
MOST_DONE = 1024
"""Events of a cluster that `newest` has delivered before their turn: past it, one of them is asked for again."""


class Attempts:
    """Of one destination, counted in `reporting`."""

    def __init__(
        self,
        destination: Destination,
        event_filter: EventFilter | None,
        *,
        reporting: Reporting,
        clock: Clock,
        offload: Offload,
    ) -> None:
        self._destination = destination
        self._event_filter = event_filter
        self._filtering = asyncio.Lock()
        self._reporting = reporting
        self._clock = clock
        self._offload = offload

    def __repr__(self) -> str:
        return f"<Attempts at {self._destination.name}>"

    async def prepare(self, lease: Lease) -> None:
        """Leave in the lease what the destination is to get, and have it prepared."""
        if self._event_filter is not None:
            await self._filter(lease, self._event_filter)
            if not lease.batch.events:
                return
        # A destination whose `prepare` fails fails again in its turn, where that is told.
        with contextlib.suppress(Exception):
            lease.attempt = await self._destination.prepare(lease.batch)

    async def outcome(self, lease: Lease) -> Outcome:
        """Attempt it. A failure of the destination's code is an outcome too."""
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
        self._reporting.attempted(outcome)
        return outcome

    async def newest(self, lease: Lease) -> Outcome | None:
        """Attempt the newest event of the lease's cluster; None for none behind the lease.

        First the newest that was not taken yet. Where that is refused too, one that was taken before is asked for once
        more: a row of events that are refused says nothing of the destination, however long somebody makes it.
        """
        done = lease.subscription.done
        if len(done) >= MOST_DONE and (outcome := await self._sample(lease, max(done))) is not None:
            return outcome
        newest = sequence = lease.subscription.ring.durable - 1
        while sequence in done:
            sequence -= 1
        outcome = None if sequence < lease.slot.stop else await self._sample(lease, sequence)
        if taken(outcome) or sequence == newest or newest < lease.slot.stop:
            return outcome
        return await self._sample(lease, newest)

    async def control(self, lease: Lease, trial: Trial) -> tuple[int, Outcome] | None:
        """Attempt another event of the cluster than the lease's only one: its sequence, what came of it.

        Best one that was taken before, else the next ones, and at last one of an earlier run. None when there is none.
        """
        subscription, slot = lease.subscription, lease.slot
        newest = subscription.ring.durable - 1
        others = [slot.stop, newest, slot.start - 1]
        at = trial.candidate % len(others)
        trial.candidate += 1
        for sequence in (subscription.taken, *others[at:], *others[:at]):
            if sequence is None or not 0 <= sequence <= newest or slot.start <= sequence < slot.stop:
                continue
            if (outcome := await self._sample(lease, sequence)) is not None:
                return sequence, outcome
        return None

    def rejected(self, batch: Batch, refused: Sequence[EventRejection]) -> list[DeadLetter]:
        """The dead letters of what was refused of a batch."""
        refused_ns = self._clock.wall_ns()
        name = self._destination.name
        return [DeadLetter.of(name, batch, refusal.index, refusal.why, refused_ns) for refusal in refused]

    async def _sample(self, lease: Lease, sequence: int) -> Outcome | None:
        """Attempt the event at a sequence of the lease's cluster; None when there is nothing to attempt."""
        subscription, slot = lease.subscription, lease.slot
        sample = await self._single(subscription, slot, sequence)
        if sample is None:
            return None
        sample.batch = replace(sample.batch, origin=lease.batch.origin, labels=lease.batch.labels)
        part = slot.trial is not None and slot.trial.family is not None
        if part or sequence < slot.stop or sequence in subscription.done:
            self._reporting.repeated(1)
        if sequence < slot.stop:
            return await self.outcome(sample)
        if not subscription.begin_early(sequence):
            return None
        outcome = None
        try:
            outcome = await self.outcome(sample)
        finally:
            subscription.end_early(sequence, taken=taken(outcome))
        return outcome

    async def _single(self, subscription: Subscription, slot: Slot, sequence: int) -> Lease | None:
        batch = await single(subscription, sequence, self._offload)
        if batch is None:
            return None
        sample = Lease(subscription, slot, batch, 0, 0)
        if self._event_filter is not None:
            await self._filter(sample, self._event_filter)
        return sample if sample.batch.events else None

    async def _filter(self, lease: Lease, event_filter: EventFilter) -> None:
        batch = lease.batch
        async with self._filtering:
            small = lease.size <= _FILTERED_INLINE
            filtered = event_filter(batch) if small else await self._offload(event_filter, batch)
        lease.unreadable = self.rejected(batch, filtered.unreadable)
        lease.batch = filtered.batch
        lease.size = sum(map(len, filtered.batch.events))


def taken(outcome: Outcome | None) -> bool:
    """Whether the destination has everything that was attempted."""
    return isinstance(outcome, Delivered) and not outcome.refused
