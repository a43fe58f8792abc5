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
UNKNOWN    many    more, or it is a part    halved if the destination is well, else something else is tried
none       many    the first                something else is tried: it is asked too seldom for more of the same
none       many    more, or it is a part    halved if the destination is well, else something else is tried
others     one     fewer than `FAILURES`    again (with no cause: something else is tried)
others     one     more, or it is a part    something else is tried
=========  ======  =======================  ============================================================

No cause has an answer that calls for a person (`Misconfigured`): a firewall gives it to a request for what is in it.
A **part** is what came of such a halving. A destination is **well** while fewer than `IN_A_ROW` attempts in a row
failed. **Something else** is the next batch of another cluster, or one event of the same cluster; it takes the place of
a repeat, so a destination that is down gets no more requests for it. Where it is taken, the batch is
attempted once more, and halved if it fails then.

One event that fails is a dead letter only after **hearings**: it failed, and then events of its own cluster that had
been taken before were taken again (one, the next time two, so that two servers taking turns do not look like this).
`HEARINGS` of them, over at least `SPAN` seconds, and nothing else failing meanwhile: a restart of the destination makes
other events fail as well, and the hearings begin anew. After one event was condemned so, the next batch that fails is
halved at once and the next event gets fewer hearings, as long as nothing fails in which no such event is found.
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
LATER_HEARINGS = 3
LATER_SECONDS = 300.0
"""Since an event was condemned: so long the next ones get `LATER_HEARINGS` hearings, without a wait."""


class Step(Enum):
    """What comes next for a batch that failed."""

    AGAIN = "again, as it is"
    HALVE = "in two parts"
    SOMETHING_ELSE = "first something else"
    CONDEMN = "never: it is a dead letter"


def next_step(cause: RetryCause | None, size: int, failures: int, *, part: bool, well: bool) -> Step:
    """The table above. `size`: events in the batch; `failures` in a row, this one included."""
    if cause is RetryCause.ELSEWHERE:
        return Step.AGAIN
    if size > 1 and cause is RetryCause.TIMED_OUT:
        return Step.HALVE
    if cause is None:
        return Step.HALVE if size > 1 and well and (part or failures > 1) else Step.SOMETHING_ELSE
    if failures < FAILURES and not part:
        return Step.AGAIN
    if size > 1 and (well or cause is RetryCause.THROTTLED):
        return Step.HALVE
    return Step.SOMETHING_ELSE


@dataclass(slots=True)
class Family:
    """The parts of one batch that was halved because it failed. `explained`: an event in it was condemned."""

    cause: RetryCause | None
    parts: int = 1
    explained: bool = False


@dataclass(slots=True)
class Trial:
    """What is known of one batch that failed, or of a part of one. Times are seconds of the monotonic clock."""

    family: Family | None = None
    """Of what this is a part."""
    cause: RetryCause | None = RetryCause.UNKNOWN
    why: str = ""
    failures: int = 0
    something_else: bool = False
    """The next attempt is one at something else."""
    taken: int = 0
    """`Trials.taken` when it failed last."""
    samples: int = 0
    hearings: int = 0
    controls: int = 0
    """Events that were taken since it failed last."""
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
        if trial is not None and trial.family is not None:
            trial.family.parts -= 1
            if trial.family.parts == 0 and not trial.family.explained:
                self.others += 1

    def failed(self, trial: Trial, cause: RetryCause | None, why: str, size: int, now: float) -> Step:
        """The batch of this trial failed."""
        trial.cause, trial.why = cause, why
        trial.failures += cause is not RetryCause.ELSEWHERE
        trial.taken = self.taken
        self._in_a_row += 1
        part = trial.family is not None or (self.well and not self.waits(now))
        step = next_step(cause, size, trial.failures, part=part, well=self.well)
        trial.something_else = step is Step.SOMETHING_ELSE
        if step is Step.HALVE:
            trial.family = trial.family or Family(cause)
            trial.family.parts += 1
        if size == 1 and trial.something_else:
            if trial.hearings == 0:
                self._begin(trial, now)
        elif not self.suspects(trial, step):
            self.others += 1
        trial.controls = 0
        return step

    def something_else_failed(self, trial: Trial) -> None:
        """So it may be the destination: the batch itself is next, and its hearings begin anew."""
        self.others += 1
        self._in_a_row += 1
        trial.something_else = False
        trial.hearings = 0

    def control_passed(self, trial: Trial, now: float) -> Step:
        """An event of the same cluster was taken after the one of this trial had failed."""
        self.delivered()
        if trial.others != self.others:
            self._begin(trial, now)
        trial.controls += 1
        if trial.controls <= trial.hearings % 2:
            return Step.SOMETHING_ELSE
        trial.hearings += 1
        enough, span = self._enough(trial.cause, now)
        if trial.hearings >= enough and now - trial.since >= span:
            self._condemned = now, self.others
            if trial.family is not None:
                trial.family.explained = True
                trial.family.parts -= 1
            return Step.CONDEMN
        trial.something_else = False
        return Step.AGAIN

    def suspects(self, trial: Trial, step: Step) -> bool:
        """Whether only this batch's cluster waits after `failed`: the destination is well and can be asked for more."""
        known = trial.cause is RetryCause.UNKNOWN or (trial.cause is None and trial.family is not None)
        return self.well and known and step in (Step.SOMETHING_ELSE, Step.HALVE)

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
