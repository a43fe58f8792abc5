"""Brings batches to one destination: prepares them ahead, attempts them in turn, and acts on what came of it.

One `deliver` per batch; up to `in_flight + 1` of them run at once. Between them they share the gate (who may attempt
now), the pace (when), and the suspicion (whether refusals are to be believed).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from auditsink.common.clock import Clock
from auditsink.common.signal import Signal, cancelled
from auditsink.delivery.destination import Attempt, Batch, Destination
from auditsink.delivery.filter import EventFilter
from auditsink.delivery.outcome import (
    Delivered,
    EventRejection,
    Misconfigured,
    Outcome,
    Retry,
    TooLarge,
)
from auditsink.forward.batch_limits import BatchLimits
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.dead_letters import DeadLetters, DeadLettersFullError
from auditsink.forward.in_flight import InFlightLimit
from auditsink.forward.prefetch import Offload, newest
from auditsink.forward.reporting import Bug, Reporting, RetryReason, reason_of, where
from auditsink.forward.retry import DestinationPause
from auditsink.forward.subscription import Lease, Subscription
from auditsink.forward.verdicts import RejectionBreaker, Settled, SplitBatch, TryAgain, judge

_OUTCOMES = get_args(Outcome)

_SIFTED_INLINE = 65536  # bytes: less is filtered in the time that handing it to a thread takes


@dataclass(slots=True, eq=False)
class Job:
    """A claim on its way. `attempt`: prepared; `suspected`: the destination refused it, and everything before it.

    `read`: bytes of its events before the filter. `unreadable`: letters of the events that the filter could not judge.
    """

    lane: Subscription
    claim: Lease
    ticket: int
    read: int
    unreadable: Sequence[DeadLetter] = ()
    attempt: Attempt | None = None
    suspected: bool = False

    @property
    def batch(self) -> Batch:
        """What is to be delivered."""
        return self.claim.batch


class Deliverer:
    """`bell` rings whenever a job is done or may go on."""

    def __init__(
        self,
        destination: Destination,
        dead_letters: DeadLetters,
        *,
        sift: EventFilter | None = None,
        ceiling: BatchLimits,
        pace: DestinationPause,
        clock: Clock,
        offload: Offload,
    ) -> None:
        self.pace = pace
        self.gate = InFlightLimit(destination.limits.in_flight, pace)
        self.bell = Signal(clock)
        self.journal = Reporting(destination.name, clock)
        self.closing = False
        self._destination = destination
        self._dead_letters = dead_letters
        self._strict = destination.limits.in_flight == 1
        self._suspicion = RejectionBreaker()
        self._ceiling = ceiling
        self._sift = sift
        self._sifting = asyncio.Lock()
        self._clock = clock
        self._offload = offload

    def __repr__(self) -> str:
        return f"<Deliverer to {self._destination.name} {self.gate} {self.pace}>"

    def accept(self, lane: Subscription, claim: Lease) -> Job:
        """A job with its place in the order of attempts. `release` it in the end."""
        return Job(lane, claim, self.gate.ticket(), claim.size)

    def release(self, job: Job) -> None:
        """The job is over, whatever came of it, and its slot says so: the next may go."""
        self.gate.leave(job.ticket)
        self.bell.ring()

    def close(self) -> None:
        """No attempt begins any more."""
        self.closing = True
        self.bell.ring()

    async def begin(self, start: Callable[[], Awaitable[Outcome]]) -> bool:
        """Start the destination, however often that takes. False: closing."""
        while not self.closing:
            seen = self.pace.failures
            try:
                outcome = await start()
            except Exception as problem:  # noqa: BLE001 - whatever it is, it must not end unheard
                outcome = Bug(f"the destination cannot start ({where(problem)}): this is a bug in auditsink, report it")
            if isinstance(outcome, Retry | Misconfigured):
                self._in_trouble("", outcome, seen)
                await self._pause()
            else:
                if self.pace.answered(seen, self._clock.monotonic()):
                    self.journal.recovered("")
                self.bell.ring()
                return True
        return False

    async def deliver(self, job: Job) -> Settled | SplitBatch | None:
        """What became of the batch; None: it was not delivered and must be taken again (overtaken, or closing)."""
        await self._filter(job)
        if not job.batch.events:
            return Settled() if await self._bury(job, job.unreadable) else None
        # A destination whose `prepare` fails fails again in its turn, where that is told.
        with contextlib.suppress(Exception):
            job.attempt = await self._destination.prepare(job.batch)
        while await self._turn(job):
            verdict = await self._try(job)
            if verdict is not None:
                return verdict
            self.gate.rejoin(job.ticket)
            self.bell.ring()
        return None

    async def _turn(self, job: Job) -> bool:
        """Wait until the job may be attempted. False: it must not be."""
        while not self.closing:
            now = self._clock.monotonic()
            if job.lane.hold.remaining(now) > 0:
                return False
            wait = self.gate.wait(job.ticket, now)
            if wait == 0:
                if self._strict and job.lane.frontier.head is not job.claim.slot:
                    return False  # what lies before it came back in parts and goes first
                self.gate.enter(job.ticket)
                if not self._strict:  # there may be room for the one behind
                    self.bell.ring()
                return True
            await self.bell.wait(wait)
        return False

    async def _try(self, job: Job) -> Settled | SplitBatch | None:
        """One attempt, and what follows from it; None: again."""
        if job.suspected:
            await self._try_sample(job)
        seen = self.pace.failures
        size = len(job.batch.events)
        outcome = self._suspicion.examine(size, await self._outcome(job))
        verdict = judge(size, outcome)
        if isinstance(verdict, TryAgain):
            if isinstance(outcome, Misconfigured) and outcome.cluster_only:
                self._hold(job, outcome, seen)
                return None
            job.suspected = isinstance(outcome, Misconfigured) and self._suspicion.aroused
            self._in_trouble(job.lane.cluster, verdict.outcome, seen)
            return None
        self._answered(job, outcome, seen)
        if isinstance(verdict, Settled):
            if not await self._bury(job, [*job.unreadable, *self._letters(job.batch, verdict.refused)]):
                return None
            self.journal.delivered(job.claim.size)
        return verdict

    async def _outcome(self, job: Job) -> Outcome:
        try:
            if job.attempt is None:
                job.attempt = await self._destination.prepare(job.batch)
            outcome = await job.attempt()
            if not isinstance(outcome, _OUTCOMES):
                raise TypeError("an attempt must return an outcome")  # noqa: TRY301 - it is a failure like the others
        except (Exception, asyncio.CancelledError) as problem:
            if cancelled(problem):
                raise
            job.attempt = None
            outcome = Bug(f"the destination's code failed ({where(problem)}): this is a bug in auditsink, report it")
        self.journal.attempted(outcome)
        return outcome

    def _in_trouble(
        self, cluster: str, outcome: Retry | Misconfigured, seen: int, reason: RetryReason | None = None
    ) -> None:
        now = self._clock.monotonic()
        reason = reason or reason_of(outcome)
        if isinstance(outcome, Misconfigured):
            news = self.pace.misconfigured(seen, now)
            self.journal.misconfigured(cluster, outcome.why, reason, self.pace.remaining(now), news=news)
        else:
            self.pace.retry(seen, now, outcome.after)
            self.journal.retrying(cluster, outcome.why, reason, self.pace.remaining(now))

    def _hold(self, job: Job, outcome: Misconfigured, seen: int) -> None:
        """Only this cluster waits: its batch goes back, and takes no memory meanwhile."""
        now = self._clock.monotonic()
        self.pace.answered(seen, now)  # about this cluster only: whatever ailed the destination is over
        news = job.lane.hold.again(now, outcome.why)
        wait = job.lane.hold.remaining(now)
        self.journal.misconfigured(job.lane.cluster, outcome.why, RetryReason.MISCONFIGURED, wait, news=news)

    def _answered(self, job: Job, outcome: Outcome, seen: int) -> None:
        slow_down = outcome.slow_down if isinstance(outcome, Delivered) else 0.0
        recovered = self.pace.answered(seen, self._clock.monotonic(), slow_down)
        if job.lane.hold.lift() or recovered:
            self.journal.recovered(job.lane.cluster)
        if isinstance(outcome, TooLarge) and len(job.batch.events) > 1:
            self._ceiling.too_large(job.read)
            self.journal.too_large(job.lane.cluster, job.claim.size)
        elif isinstance(outcome, Delivered):
            self._ceiling.passed(job.read)

    async def _filter(self, job: Job) -> None:
        """Leave in the job what the destination is to get."""
        claim = job.claim
        if self._sift is None:
            return
        async with self._sifting:
            small = claim.size <= _SIFTED_INLINE
            sifted = self._sift(claim.batch) if small else await self._offload(self._sift, claim.batch)
        job.unreadable = self._letters(claim.batch, sifted.unreadable)
        size = sum(map(len, sifted.batch.events))
        job.claim = replace(claim, batch=sifted.batch, size=size, unreadable=len(sifted.unreadable))

    def _letters(self, batch: Batch, refused: Sequence[EventRejection]) -> list[DeadLetter]:
        refused_ns = self._clock.wall_ns()
        name = self._destination.name
        return [DeadLetter.of(name, batch, refusal.index, refusal.why, refused_ns) for refusal in refused]

    async def _bury(self, job: Job, letters: Sequence[DeadLetter]) -> bool:
        """Keep these dead letters; while that fails, the whole destination waits. False: closing."""
        cluster = job.lane.cluster
        while letters and not self.closing:
            seen = self.pace.failures
            try:
                await self._offload(self._dead_letters.append, letters)
            except DeadLettersFullError as problem:
                self._in_trouble(cluster, Misconfigured(str(problem)), seen, RetryReason.DEAD_LETTERS)
            except OSError as problem:
                why = f"dead letters cannot be written to {self._dead_letters.path}: {problem}; check the disk"
                self._in_trouble(cluster, Retry(why), seen, RetryReason.DEAD_LETTERS)
            else:
                if self.pace.answered(seen, self._clock.monotonic()):
                    self.journal.recovered(cluster)
                self.journal.buried(letters)
                return True
            await self._pause()
        return not letters

    async def _pause(self) -> None:
        while not self.closing and (wait := self.pace.remaining(self._clock.monotonic())) > 0:
            await self.bell.wait(wait)

    async def _try_sample(self, job: Job) -> None:
        """Attempt the newest event of the lane: if it is taken, the refused ones were bad and the settings are right.

        Without this, a hundred bad events in a row, which some user of the apiserver may know how to make, would stop
        the trail until a person comes. The sample is delivered again in its own turn.
        """
        batch = await newest(job.lane, self._offload)
        if batch is None or batch.sequences[0] < job.claim.slot.stop:
            return
        sample = Job(job.lane, Lease(job.claim.slot, batch, 0), job.ticket, 0)
        await self._filter(sample)
        if not sample.batch.events:
            return
        outcome = await self._outcome(sample)
        if isinstance(outcome, Delivered) and not outcome.refused:
            self._suspicion.absolve()
