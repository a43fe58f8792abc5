"""What an outcome means for the events of the batch that was attempted. Pure: sizes and outcomes in, verdicts out.

The rules, for a batch of `size` events:

==============================  ==============================================  ==================================
outcome                         several events                                  one event
==============================  ==============================================  ==================================
Delivered()                     settled                                         settled
Delivered(refused)              settled; the refused ones are dead letters      settled; a dead letter
Delivered(refused), an index
that is not in the batch        halved: who was refused is not known            a dead letter
Poison(index)                   split: before it, it alone, after it            a dead letter
Poison(None), Poison(nonsense)  halved                                          a dead letter
TooLarge                        halved                                          a dead letter
Retry, Misconfigured            again, as it is                                 again
==============================  ==============================================  ==================================

So an event is condemned only when it was refused **alone**, or by name in an answer that took the others. A receiver
whose index is wrong therefore costs no innocent event, only requests: parts always get smaller, so a batch of `n`
events takes at most `2n - 1` attempts that were answered for good. Parts are attempted in order.
"""

from dataclasses import dataclass

from auditsink.delivery.outcome import (
    Delivered,
    EventRejection,
    Misconfigured,
    Outcome,
    Poison,
    Retry,
    TooLarge,
)
from auditsink.forward.trials import Family

LONE_REFUSALS = 100
"""Refusals in a row after which the destination is suspected instead of the events: enough to get through a burst of
truly bad events, few enough to be replayed with one command when it was the configuration after all."""


RUN = 8
RUN_SIZE = 32
"""After so many lone refusals in a row, a batch of up to so many events is attempted one by one: half the requests."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The batch is done with: these are dead letters (in order, each once), all others are delivered."""

    refused: tuple[EventRejection, ...] = ()


@dataclass(frozen=True, slots=True)
class SplitBatch:
    """Attempt the parts between these cuts (ascending, within the batch), each as a batch of its own, in order.

    `family`: of the parts, where the batch was not refused but failed (see `trials`).
    """

    cuts: tuple[int, ...]
    family: Family | None = None


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Attempt the same batch again, after a wait."""

    outcome: Retry | Misconfigured


Verdict = Settled | SplitBatch | TryAgain

_SIZE = "the other side, or a proxy before it, calls everything too large (nginx: client_max_body_size)"


def judge(size: int, outcome: Outcome, *, in_a_row: int = 0) -> Verdict:
    """The table above. `size` is at least 1; `in_a_row`: events that were refused alone since the last one was taken.

    Where many were, the rest of a small batch is likely to be refused too: it is taken apart at once.
    """
    match outcome:
        case Retry() | Misconfigured():
            return TryAgain(outcome)
        case Delivered(refused=refused):
            if all(0 <= refusal.index < size for refusal in refused):
                return Settled(_once_each(refused))
            return _halve(size, refused[0].why)
        case Poison(index=index, why=why):
            if size > 1 and index is not None and 0 <= index < size:
                return SplitBatch(tuple(cut for cut in (index, index + 1) if 0 < cut < size))
            run = index is None and in_a_row >= RUN and 1 < size <= RUN_SIZE
            return SplitBatch(tuple(range(1, size))) if run else _halve(size, why)
    return _halve(size, outcome.why)


def _halve(size: int, why: str) -> Verdict:
    return SplitBatch((size // 2,)) if size > 1 else Settled((EventRejection(0, why),))


def _once_each(refused: tuple[EventRejection, ...]) -> tuple[EventRejection, ...]:
    by_index = {refusal.index: refusal for refusal in reversed(refused)}
    return tuple(by_index[index] for index in sorted(by_index))


class RejectionBreaker:
    """Tells a destination that refuses everything (wrong index, broken proxy) from events that deserve it.

    The rule: count the events that were refused for good since the last one that was taken, over all clusters of the
    destination: an event refused alone (`Poison`, `TooLarge`), or all events of a batch refused by name. Once
    `LONE_REFUSALS` is reached, the next such refusal is not believed but turned into `Misconfigured`: the events stay
    where they are, the destination is paused, and the same event is the probe. One event taken (that one, or `reset`
    after another was taken as a sample) closes the breaker; so whoever may send bad or large requests to the apiserver
    brings nothing to a halt with them.
    """

    def __init__(self) -> None:
        self.refusals = 0

    def __repr__(self) -> str:
        return f"<RejectionBreaker {self.refusals} refused in a row>"

    @property
    def open(self) -> bool:
        """Whether the next refusal would be taken for a misconfiguration."""
        return self.refusals >= LONE_REFUSALS

    def would_open(self, size: int, outcome: Outcome) -> bool:
        """Whether `examine` would not believe this outcome."""
        alone = isinstance(outcome, Poison | TooLarge) and size == 1
        return self.open and (alone or (isinstance(outcome, Delivered) and len(set(outcome.refused)) >= size))

    def examine(self, size: int, outcome: Outcome) -> Outcome:
        """The outcome as it may be believed, for a batch of `size` events."""
        if isinstance(outcome, Delivered):
            refused = len({refusal.index for refusal in outcome.refused})
            if refused < size:
                self.refusals = 0
                return outcome
        elif isinstance(outcome, Poison | TooLarge) and size == 1:
            refused = 1
        else:
            return outcome
        if self.open:
            wrong = _SIZE if isinstance(outcome, TooLarge) else "the destination's settings are wrong"
            return Misconfigured(
                f"the last {self.refusals} events were each refused for good and none was taken: either {wrong}, "
                "or so many bad events came in a row; `auditsink deadletter ls` shows the reasons"
            )
        self.refusals += refused
        return outcome

    def reset(self) -> None:
        """An event was taken: the refusals were about the events."""
        self.refusals = 0
