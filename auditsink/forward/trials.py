"""Tells a batch that makes a destination fail from a destination that fails. Pure: outcomes and times in, steps out.

An attempt that failed may have failed for what is in the batch: a collector that answers 500 whenever a certain event
is in the request would stop the trail for ever if the same were sent again and again. What comes next:

=========  ======  =======================  ============================================================
cause      events  failures of this batch   next
=========  ======  =======================  ============================================================
ELSEWHERE  any     any                      again, as it is
TIMED_OUT  many    any                      halved
THROTTLED  many    fewer than `FAILURES`    again
THROTTLED  many    more, or it is a part    halved
UNKNOWN    many    fewer than `FAILURES`    again
UNKNOWN    many    more, or it is a part    halved if the destination is well, else its first event goes alone
none       many    the first                its first event goes alone: it is asked too seldom for more of the same
none       many    more, or it is a part    halved if the destination is well, else its first event goes alone
others     one     fewer than `FAILURES`    again (with no cause: heard)
others     one     more, or it is a part    heard
=========  ======  =======================  ============================================================

No cause has an answer that calls for a person (`Misconfigured`): a firewall gives it to a request for what is in it.
A **part** is what came of such a halving, or the first event and the rest. A destination is **well** while fewer than
`IN_A_ROW` attempts in a row failed. All parts are attempted in their order, and what other clusters have goes before
them where it is not known that the destination is well: one that was down and is back gets every event once, in order.

One event that fails is a dead letter only after **hearings**: it failed, and then a **control** was taken: another
event of its own cluster, best one that had been taken before (one control, the next time two, so that two servers
taking turns do not look like this). `HEARINGS` of them, over at least `SPAN` seconds, and nothing else failing
meanwhile: a restart of the destination makes other events fail as well, and the hearings begin anew. After one event
was condemned so, the next batch that fails is halved at once and the next event gets fewer hearings, as long as
nothing fails in which no such event is found.

A control is an event out of its turn. It follows at once on the failure of the event that is in turn, so it tells
nothing but what it should: a destination that comes back finds what is in turn first. Only where that failure named a
time to wait (Retry-After) it comes after the wait, and the first one after 16 failures. While a destination is not
known to be well, controls are rare: after 1 failure of the event, 4 more, 8 more, then 16 more each time; and soon
again after one that failed in another way than the event.
"""

from dataclasses import dataclass
from enum import Enum

from auditsink.delivery.outcome import RetryCause

FAILURES = 3
"""Of the same batch in a row: fewer are the everyday trouble of a network."""
IN_A_ROW = 3
"""Failures of anything in a row after which the destination is no longer taken to be well."""
HEARINGS = 5
SPAN = 5.0
"""Seconds. With the least waits that can be configured, hearings would be over before a restart is."""
THROTTLED_HEARINGS = 10
THROTTLED_SPAN = 60.0
"""For one event that is refused as too much: quotas are counted over a minute."""
FIRST_GAP = 4
LONGEST_GAP = 16
"""Failures of one event from a control to the next while the destination is not known to be well."""
LATER_HEARINGS = 3
LATER_SECONDS = 300.0
"""Since an event was condemned: so long the next ones get `LATER_HEARINGS` hearings, without a wait."""


class Step(Enum):
    """What comes next for a batch that failed."""

    AGAIN = "again, as it is"
    HALVE = "in two parts"
    FIRST_ALONE = "its first event, then the rest"
    HEAR = "again, and controls beside it"
    CONDEMN = "never: it is a dead letter"


def next_step(cause: RetryCause | None, size: int, failures: int, *, part: bool, well: bool) -> Step:
    """The table above. `size`: events in the batch; `failures` in a row, this one included."""
    if cause is RetryCause.ELSEWHERE:
        return Step.AGAIN
    if size > 1 and cause is RetryCause.TIMED_OUT:
        return Step.HALVE
    if cause is None:
        halve = well and (part or failures > 1)
    elif failures < FAILURES and not part:
        return Step.AGAIN
    else:
        halve = well or cause is RetryCause.THROTTLED
    if size == 1:
        return Step.HEAR
    return Step.HALVE if halve else Step.FIRST_ALONE


@dataclass(slots=True)
class Family:
    """The parts of one batch that was divided because it failed.

    `taken`: one of them was. `explained`: an event in it was condemned. `failed_again`: one failed after another was
    taken. `whole`, `largest`: bytes that were read for the batch, and for the largest part that was taken.
    """

    cause: RetryCause | None
    parts: int = 1
    taken: bool = False
    explained: bool = False
    failed_again: bool = False
    whole: int = 0
    largest: int = 0

    @property
    def too_much(self) -> bool:
        """All of it was taken, in parts only, and no event was to blame: it seems to have been too much at once."""
        return self.parts == 0 and self.failed_again and not self.explained


@dataclass(slots=True)
class Trial:
    """What is known of one batch that failed, or of a part of one. Times are seconds of the monotonic clock."""

    family: Family | None = None
    """Of what this is a part."""
    cause: RetryCause | None = RetryCause.UNKNOWN
    why: str = ""
    failures: int = 0
    control: bool = False
    """A control is wanted before the next attempt."""
    next_control: int = 0
    """`failures` at which one is, while the destination is not known to be well."""
    gap: int = FIRST_GAP
    candidate: int = 0
    """Which event is asked for as the next control, where several may be."""
    hearings: int = 0
    controls: int = 0
    """That were taken since it failed last."""
    since: float = 0.0
    others: int = 0
    """`Trials.others` when its hearings began."""


class Trials:
    """Of one destination."""

    def __init__(self) -> None:
        self.taken = 0
        """Requests, ever."""
        self.others = 0
        """Failures, but for those of events under hearing and of batches in which one is found."""
        self._in_a_row = 0
        self._condemned: tuple[float, int] | None = None

    def __repr__(self) -> str:
        return f"<Trials {self._in_a_row} failures in a row>"

    @property
    def well(self) -> bool:
        """Whether the destination is known to work, as far as that can be said."""
        return self._in_a_row < IN_A_ROW

    def delivered(self, trial: Trial | None = None) -> None:
        """The destination took a request: that of this trial, if it is one."""
        self.taken += 1
        self._in_a_row = 0
        if trial is not None:
            self.over(trial, taken=True)

    def over(self, trial: Trial, *, taken: bool = False) -> None:
        """Nothing of this trial is left to be attempted."""
        if trial.family is not None:
            trial.family.taken |= taken
            trial.family.parts -= 1
            if trial.family.parts == 0 and not trial.family.explained:
                self.others += 1

    def failed(
        self, trial: Trial, cause: RetryCause | None, why: str, size: int, now: float, *, asked: bool = False
    ) -> Step:
        """The batch of this trial failed. `trial.control` says whether a control is to follow.

        `asked`: the other side named a time to wait, so that a control has to wait too.
        """
        trial.cause, trial.why = cause, why
        trial.failures += cause is not RetryCause.ELSEWHERE
        trial.controls = 0
        if trial.family is not None:
            trial.family.failed_again |= trial.family.taken
        self._in_a_row += 1
        part = trial.family is not None or (self.well and not self.waits(now))
        step = next_step(cause, size, trial.failures, part=part, well=self.well)
        trial.control = step is Step.HEAR and self._wants_control(trial, asked=asked)
        if step in {Step.HALVE, Step.FIRST_ALONE}:
            trial.family = trial.family or Family(cause)
            trial.family.parts += 1
        if step is Step.FIRST_ALONE:
            self._in_a_row = max(self._in_a_row, IN_A_ROW)  # that event is to show whether it is well
        if step is Step.HEAR:
            if trial.hearings == 0:
                self._begin(trial, now)
        elif not self.suspects(trial, step):
            self.others += 1
        return step

    def _wants_control(self, trial: Trial, *, asked: bool) -> bool:
        if self.well and self.taken:
            return True
        if asked and not trial.next_control:
            trial.next_control = trial.failures + LONGEST_GAP
        if trial.failures < trial.next_control:
            return False
        trial.next_control = trial.failures + trial.gap
        trial.gap = min(2 * trial.gap, LONGEST_GAP)
        return True

    def control_failed(self, trial: Trial, cause: RetryCause | None) -> None:
        """So it may be the destination: the hearings begin anew."""
        if cause is not trial.cause:
            trial.next_control, trial.gap = 0, FIRST_GAP
        self.others += 1
        self._in_a_row += 1
        trial.control = False
        trial.hearings = 0

    def control_passed(self, trial: Trial, now: float) -> Step:
        """An event of the same cluster was taken after the one of this trial had failed. `HEAR`: one more control."""
        self.delivered()
        if trial.others != self.others:
            self._begin(trial, now)
        trial.controls += 1
        if trial.controls <= trial.hearings % 2:
            return Step.HEAR
        trial.control = False
        trial.hearings += 1
        enough, span = self._enough(trial.cause, now)
        if trial.hearings >= enough and now - trial.since >= span:
            self._condemned = now, self.others
            if trial.family is not None:
                trial.family.explained = True
                trial.family.parts -= 1
            return Step.CONDEMN
        return Step.AGAIN

    def spacing(self, trial: Trial, now: float) -> float:
        """Seconds from one hearing to the next, so that no more than are needed are held in the time that they need."""
        enough, span = self._enough(trial.cause, now)
        return span / enough

    def suspects(self, trial: Trial, step: Step) -> bool:
        """Whether only this batch's cluster waits after `failed`: the destination is well and can be asked for more.

        Halves that begin with the event at fault fail in a row; where other parts were taken, its first event is next.
        """
        known = trial.cause is RetryCause.UNKNOWN or (trial.cause is None and trial.family is not None)
        if step is Step.FIRST_ALONE:
            return known and trial.family is not None and trial.family.taken
        return self.well and known and step in {Step.HEAR, Step.HALVE}

    def waits(self, now: float) -> bool:
        """Whether an event under hearing waits before it is heard again."""
        return self._enough(RetryCause.UNKNOWN, now)[0] == HEARINGS

    def _begin(self, trial: Trial, now: float) -> None:
        trial.hearings, trial.since, trial.others = 0, now, self.others

    def _enough(self, cause: RetryCause | None, now: float) -> tuple[int, float]:
        if cause is RetryCause.THROTTLED:
            return THROTTLED_HEARINGS, THROTTLED_SPAN
        if self._condemned is not None:
            at, others = self._condemned
            if others == self.others and now - at < LATER_SECONDS:
                return LATER_HEARINGS, 0.0
        return HEARINGS, SPAN
