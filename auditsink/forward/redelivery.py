"""Another try for dead letters, from a command and beside a running sink: batches, attempts, what remains.

The rules are the forwarder's (`isolation.judge`), but a person waits: a destination that is not there is given up
after a few tries, and what is refused again simply stays a dead letter.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from auditsink.audit.eventlist import Mark
from auditsink.common.clock import Clock
from auditsink.delivery.destination import Attempt, Batch, Destination, Limits
from auditsink.delivery.filter import EventFilter
from auditsink.delivery.outcome import Outcome, Retry
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.direct import deliver

TRIES = 4
"""Attempts at one batch while the destination asks to retry; the waits between them are 1, 2 and 4 s, or its own."""
LONGEST_WAIT = 30.0
_FILTERED = "the destination's filter leaves it out now; `auditsink deadletter drop` removes it"


@dataclass(slots=True)
class Report:
    """What came of it. `stopped`: why the rest was not tried."""

    delivered: list[DeadLetter] = field(default_factory=list)
    refused: list[tuple[DeadLetter, str]] = field(default_factory=list)
    stopped: str | None = None


async def redeliver(
    letters: Iterable[DeadLetter],
    destination: Destination,
    *,
    sift: EventFilter | None = None,
    clock: Clock,
    report: Report,
) -> None:
    """Try each letter once more, in order, and note in `report` as it goes (it is right when this is cancelled)."""
    for letters_of_one in batches(letters, destination.limits):
        batch, group = _sifted(letters_of_one, sift, report)
        async for start, stop, settled, stopped in deliver(batch, destination, partial(_attempt, clock)):
            if stopped is not None:
                report.stopped = stopped.why
                return
            part = group[start:stop]
            why = {refusal.index: refusal.why for refusal in settled.refused}
            report.refused += [(part[index], why[index]) for index in sorted(why)]
            report.delivered += [letter for index, letter in enumerate(part) if index not in why]


def batches(letters: Iterable[DeadLetter], limits: Limits) -> Iterator[Sequence[DeadLetter]]:
    """Letters in a row that may travel together: same cluster, source and marks, within the destination's limits."""
    group: list[DeadLetter] = []
    size = 0
    for letter in letters:
        length = len(letter.content)
        full = len(group) >= limits.max_events or size + length > limits.max_bytes
        if group and (full or letter.marks & Mark.UNSPLIT or _kind(letter) != _kind(group[0])):
            yield group
            group, size = [], 0
        group.append(letter)
        size += length
    if group:
        yield group


def _kind(letter: DeadLetter) -> tuple[str, str, int]:
    return letter.cluster, letter.source, letter.marks


def _joined(letters: Sequence[DeadLetter]) -> Batch:
    return replace(
        letters[0].batch(),
        events=[letter.content for letter in letters],
        sequences=[letter.sequence for letter in letters],
    )


def _sifted(
    group: Sequence[DeadLetter], sift: EventFilter | None, report: Report
) -> tuple[Batch, Sequence[DeadLetter]]:
    """What the destination's filter leaves of the letters; the others are refused once more."""
    batch = _joined(group)
    if sift is None:
        return batch, group
    sifted = sift(replace(batch, sequences=range(len(group))))
    places = sifted.batch.sequences
    why = {refusal.index: refusal.why for refusal in sifted.unreadable}
    left_out = sorted({*range(len(group))}.difference(places))
    report.refused += [(group[place], why.get(place, _FILTERED)) for place in left_out]
    kept = [group[place] for place in places]
    return replace(sifted.batch, sequences=[letter.sequence for letter in kept]), kept


async def _attempt(clock: Clock, attempt: Attempt) -> Outcome:
    """The attempt, repeated while the destination asks for it and a person may be expected to wait."""
    for number in range(TRIES - 1):
        outcome = await attempt()
        if not isinstance(outcome, Retry):
            return outcome
        await clock.sleep(min(outcome.after or 2.0**number, LONGEST_WAIT))
    return await attempt()
