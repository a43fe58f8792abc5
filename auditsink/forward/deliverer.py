"""Brings batches to one destination: has them prepared ahead, attempted in turn, and acts on what came of it.

One `deliver` per lease; up to `in_flight + 1` of them run at once. Between them they share the in-flight limit (who
may attempt now), the destination's pause (when), the breaker (whether refusals are to be believed) and the trials
(whether a failure is the batch's).
"""

from collections.abc import Awaitable, Callable, Sequence
from weakref import WeakKeyDictionary

from auditsink.common.clock import Clock
from auditsink.common.signal import Signal
from auditsink.delivery.destination import Destination
from auditsink.delivery.filter import EventFilter
from auditsink.delivery.outcome import (
    Delivered,
    EventRejection,
    Misconfigured,
    Outcome,
    Retry,
    RetryCause,
    TooLarge,
)
from auditsink.forward.attempts import Attempts, taken
from auditsink.forward.batching import BatchLimits
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.dead_letters import DeadLetterQueue, DeadLettersFullError
from auditsink.forward.prefetch import Offload
from auditsink.forward.reporting import Bug, Reporting, RetryReason, reason_of, where
from auditsink.forward.retry import FIRST_PROBE, Backoff, DestinationPause, InFlightLimit
from auditsink.forward.subscription import Lease, Subscription
from auditsink.forward.trials import Step, Trial, Trials
from auditsink.forward.verdicts import RejectionBreaker, Settled, SplitBatch, TryAgain, judge

FIRST_NEWS = 1.0
"""Seconds until newer events of a cluster that is refused as a whole are tried; doubled each time, up to a probe's."""

Heard = Step | Retry | Misconfigured | None
"""What a control came to: what follows for the event, how the control failed, or None where nothing was learnt."""


class Deliverer:
    """`changed` is notified whenever a lease is done or may go on, `dead_lettered` when dead letters were kept."""

    def __init__(
        self,
        destination: Destination,
        dead_letters: DeadLetterQueue,
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
        self.dead_lettered = Signal(clock)
        self.times_dead_lettered = 0
        self.reporting = Reporting(destination.name, clock)
        self.closing = False
        self._name = destination.name
        self._attempts = Attempts(destination, event_filter, reporting=self.reporting, clock=clock, offload=offload)
        self._dead_letters = dead_letters
        self._strict = destination.limits.in_flight == 1
        self._breaker = RejectionBreaker()
        self._trials = Trials()
        self._refused_cluster: str | None = None
        self._news_wait = FIRST_NEWS
        # Weak: a ring that somebody else delivers from now on takes its subscription along.
        self._waits: WeakKeyDictionary[Subscription, Backoff] = WeakKeyDictionary()
        self._batch_limits = batch_limits
        self._clock = clock
        self._offload = offload

    def __repr__(self) -> str:
        return f"<Deliverer to {self._name} {self.in_flight} {self.pause} {self._trials}>"

    def accept(self, lease: Lease) -> None:
        """Give it its place in the order of attempts. `release` it in the end."""
        lease.ticket = self.in_flight.ticket()

    def release(self, lease: Lease) -> None:
        """It is over, whatever came of it, and its slot says so: the next may go."""
        self.in_flight.leave(lease.ticket)
        self.changed.notify()

    def news(self, cluster: str) -> None:
        """The cluster has newer events: where its refusals paused the destination, they may show that it is well."""
        if self._refused_cluster == cluster:
            self._refused_cluster = None
            now = self._clock.monotonic()
            self.pause.probe_by(now + self._news_wait)
            self._news_wait = min(2 * self._news_wait, FIRST_PROBE)
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
        await self._attempts.prepare(lease)
        if not lease.batch.events:
            return Settled() if await self._dead_letter(lease, lease.unreadable) else None
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
                if self._strict and subscription.frontier.head is not lease.slot and not subscription.sets_aside:
                    return False  # what lies before it came back in parts and goes first
                self.in_flight.enter(lease.ticket)
                if not self._strict:  # there may be room for the one behind
                    self.changed.notify()
                return True
            await self.changed.wait(wait)
        return False

    async def _try(self, lease: Lease) -> Settled | SplitBatch | None:
        """One attempt, and what follows from it; None: again."""
        lease.leave_out_done()
        trial = lease.slot.trial
        if not lease.batch.events:
            if trial is not None:
                self._trials.over(trial)
            return Settled() if await self._dead_letter(lease, lease.unreadable) else None
        if trial is not None and trial.control:
            heard = await self._hear(lease, trial)
            if isinstance(heard, Retry) and heard.cluster_only:
                wait = self._wait_of(lease.subscription).next(heard.after)
                lease.subscription.pause.back_off(self._clock.monotonic() + wait)
                return None
            if isinstance(heard, Retry | Misconfigured):
                self._in_trouble(lease.subscription.cluster, heard, self.pause.failures)
                return None
            if heard is Step.CONDEMN:
                return await self._condemn(lease, trial)
        return await self._attempt(lease)

    async def _attempt(self, lease: Lease) -> Settled | SplitBatch | None:
        trial = lease.slot.trial
        if trial is not None and trial.cause is not RetryCause.ELSEWHERE:
            self.reporting.repeated(len(lease.batch.events))
        seen = self.pause.failures
        size = len(lease.batch.events)
        answered = await self._attempts.outcome(lease)
        if self._breaker.would_open(size, answered) and taken(await self._attempts.newest(lease)):
            self._breaker.reset()
            lease.subscription.sets_aside = True
        believed = self._breaker.examine(size, answered)
        if believed is not answered:
            self._refused_cluster = lease.subscription.cluster
        verdict = judge(size, believed, in_a_row=self._breaker.refusals)
        if isinstance(verdict, TryAgain):
            return await self._failed(lease, verdict.outcome, seen, disbelieved=believed is not answered)
        self._answered(lease, believed, seen)
        if isinstance(verdict, Settled):
            if not await self._dead_letter(lease, self._rejected(lease, verdict)):
                return None
            self.reporting.delivered(lease.size)
        return verdict

    async def _failed(
        self, lease: Lease, outcome: Retry | Misconfigured, seen: int, *, disbelieved: bool
    ) -> Settled | SplitBatch | None:
        """The batch was neither taken nor refused, or its refusal is `disbelieved`."""
        cluster, size = lease.subscription.cluster, len(lease.batch.events)
        if isinstance(outcome, Misconfigured) and outcome.cluster_only:
            self._pause_cluster(lease, outcome, seen)
            return None
        if disbelieved:
            self._in_trouble(cluster, outcome, seen)
            return None
        if isinstance(outcome, Retry) and outcome.cluster_only:
            return self._set_back(lease, outcome, seen)
        trial = lease.slot.trial = lease.slot.trial or Trial()
        cause, after = (outcome.cause, outcome.after) if isinstance(outcome, Retry) else (None, None)
        step = self._trials.failed(trial, cause, outcome.why, size, self._clock.monotonic(), asked=bool(after))
        heard = await self._hear(lease, trial) if trial.control and not after else None
        if heard is Step.CONDEMN:
            return await self._condemn(lease, trial)
        now = self._clock.monotonic()
        control_failed = isinstance(heard, Retry | Misconfigured)
        if heard is Step.AGAIN or (self._trials.suspects(trial, step) and not control_failed):
            self.reporting.suspected(cluster, outcome.why, size)
            wait = self._wait_of(lease.subscription).next(after) if self._trials.waits(now) else 0.0
            if heard is Step.AGAIN:
                wait = max(wait, self._trials.spacing(trial, now))
        else:
            self._in_trouble(cluster, outcome, seen)
            if isinstance(heard, Retry | Misconfigured) and isinstance(outcome, Retry):
                self._in_trouble(cluster, heard, self.pause.failures, behind=self.pause.remaining(now))
            wait = self.pause.remaining(now) if isinstance(outcome, Retry) else 0.0
        if step in {Step.HEAR, Step.FIRST_ALONE}:
            lease.subscription.pause.back_off(now + wait)  # its batch goes back, and others come first
        return self._parts(lease, trial, step)

    def _parts(self, lease: Lease, trial: Trial, step: Step) -> SplitBatch | None:
        size = len(lease.batch.events)
        if trial.family is not None:
            trial.family.whole = max(trial.family.whole, lease.read)
        if step is Step.FIRST_ALONE:
            return SplitBatch((1,), trial.family)
        return SplitBatch((size // 2,), trial.family) if step is Step.HALVE else None

    def _set_back(self, lease: Lease, outcome: Retry, seen: int) -> SplitBatch | None:
        """Only this cluster waits: its batch goes back, and the others' go on."""
        now, subscription = self._clock.monotonic(), lease.subscription
        self.pause.answered(seen, now)  # about this cluster only: whatever ailed the destination is over
        trial = lease.slot.trial = lease.slot.trial or Trial()
        step = self._trials.failed(trial, outcome.cause, outcome.why, len(lease.batch.events), now, asked=True)
        wait = self._wait_of(subscription).next(outcome.after)
        subscription.pause.back_off(now + wait)
        self.reporting.retrying(subscription.cluster, outcome.why, reason_of(outcome), wait, alone=True)
        return self._parts(lease, trial, step)

    def _wait_of(self, subscription: Subscription) -> Backoff:
        return self._waits.setdefault(subscription, self.pause.backoff())

    async def _hear(self, lease: Lease, trial: Trial) -> Heard:
        """Attempt controls beside the lease's only event."""
        heard = Step.HEAR
        while heard is Step.HEAR:
            seen = self.pause.failures
            found = await self._attempts.control(lease, trial)
            sequence, outcome = found or (0, None)
            if isinstance(outcome, Retry | Misconfigured):
                self._trials.control_failed(trial, outcome.cause if isinstance(outcome, Retry) else None)
                return outcome
            if outcome is not None:
                self._recovered(lease, seen)
            if not taken(outcome):  # it says nothing of the destination, another one may
                trial.control = False
                return None
            lease.subscription.taken = sequence
            heard = self._trials.control_passed(trial, self._clock.monotonic())
        return heard

    async def _condemn(self, lease: Lease, trial: Trial) -> Settled | None:
        seconds = self._clock.monotonic() - trial.since
        why = (
            f"{trial.why}: so it ended {trial.failures} times in {seconds:.0f} s, while other events of the cluster "
            "were taken: it is what is in this event"
        )
        verdict = Settled((EventRejection(0, why),))
        self._waits.pop(lease.subscription, None)
        return verdict if await self._dead_letter(lease, self._rejected(lease, verdict)) else None

    def _rejected(self, lease: Lease, verdict: Settled) -> list[DeadLetter]:
        return [*lease.unreadable, *self._attempts.rejected(lease.batch, verdict.refused)]

    def _in_trouble(
        self,
        cluster: str,
        outcome: Retry | Misconfigured,
        seen: int,
        reason: RetryReason | None = None,
        behind: float = 0.0,
    ) -> None:
        """`behind`: seconds that are to pass before the wait begins: what was asked twice waits twice."""
        now = self._clock.monotonic()
        reason = reason or reason_of(outcome)
        if isinstance(outcome, Misconfigured):
            news = self.pause.misconfigured(seen, now + behind)
            self.reporting.misconfigured(cluster, outcome.why, reason, self.pause.remaining(now), news=news)
        else:
            self.pause.retry(seen, now + behind, outcome.after)
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
            self._delivered(lease, outcome)

    def _delivered(self, lease: Lease, outcome: Delivered) -> None:
        trial = lease.slot.trial
        family = None if trial is None else trial.family
        self._trials.delivered(trial)
        self._news_wait = FIRST_NEWS
        self._waits.pop(lease.subscription, None)
        if family is not None:
            family.largest = max(family.largest, lease.read)
            if family.cause in (RetryCause.TIMED_OUT, RetryCause.THROTTLED):
                self._batch_limits.fits(lease.read)
            elif family.too_much:
                self._batch_limits.divided(family.whole, family.largest)
        self._batch_limits.passed(lease.read)
        if outcome.diverted:
            self.reporting.diverted(lease.subscription.cluster, outcome.diverted)
        refused = {one.index for one in outcome.refused}
        if (last := len(lease.batch.events) - 1) not in refused:
            lease.subscription.taken = lease.batch.sequences[last]

    def _recovered(self, lease: Lease, seen: int) -> None:
        if self.pause.answered(seen, self._clock.monotonic()):
            self.reporting.recovered(lease.subscription.cluster)

    async def _dead_letter(self, lease: Lease, dead_letters: Sequence[DeadLetter]) -> bool:
        """Keep these dead letters; while that fails, the whole destination waits. False: closing."""
        cluster = lease.subscription.cluster
        while dead_letters and not self.closing:
            seen = self.pause.failures
            try:
                dropped = await self._offload(self._dead_letters.append, dead_letters)
            except DeadLettersFullError as problem:
                self._in_trouble(cluster, Misconfigured(str(problem)), seen, RetryReason.DEAD_LETTERS)
            except OSError as problem:
                why = f"dead letters cannot be kept in {self._dead_letters.where}: {problem}"
                self._in_trouble(cluster, Retry(why), seen, RetryReason.DEAD_LETTERS)
            else:
                if self.pause.answered(seen, self._clock.monotonic()):
                    self.reporting.recovered(cluster)
                self.reporting.dead_lettered(dead_letters)
                self.times_dead_lettered += 1
                self.dead_lettered.notify()
                if dropped:
                    self.reporting.dead_letters_dropped(dropped)
                return True
            await self._wait_out_pause()
        return not dead_letters

    async def _wait_out_pause(self) -> None:
        while not self.closing and (wait := self.pause.remaining(self._clock.monotonic())) > 0:
            await self.changed.wait(wait)
