"""Delivers again by command, beside a running sink: the forwarder's rules for one batch, and dead letters by them.

The rules are `verdicts.judge`'s, without a cursor. For dead letters a person waits: a destination that is not there is
given up after a few tries, and what is refused again simply stays a dead letter.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from auditsink.audit.eventlist import Mark
from auditsink.common.clock import Clock
from auditsink.delivery.destination import Attempt, Batch, Destination, Limits
from auditsink.delivery.filter import EventFilter
from auditsink.delivery.outcome import Misconfigured, Outcome, Retry
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.dead_letters import DeadLetterQueue
from auditsink.forward.verdicts import Settled, SplitBatch, TryAgain, judge

TRIES = 4
"""Attempts at one batch while the destination asks to retry; the waits between them are 1, 2 and 4 s, or its own."""
LONGEST_WAIT = 30.0
_FILTERED = "the destination's filter leaves it out now; `auditsink deadletter drop` removes it"


Patience = Callable[[Attempt], Awaitable[Outcome]]
"""Makes attempts until one is answered for good, or patience ends: then the last `Retry` is the answer."""


class Piece(NamedTuple):
    """What came of the events `start` to `stop` (exclusive) of a batch. `stopped`: nothing, and why; it is the last."""

    start: int
    stop: int
    settled: Settled
    stopped: Retry | Misconfigured | None = None


async def deliver(batch: Batch, destination: Destination, patience: Patience) -> AsyncIterator[Piece]:
    """Bring the batch there, in parts where some of it is refused. Pieces come in order, each once it is settled."""
    parts = deque([(0, len(batch.events))] if batch.events else [])
    while parts:
        start, stop = parts.popleft()
        verdict = judge(stop - start, await patience(await destination.prepare(batch.part(start, stop))))
        match verdict:
            case Settled():
                yield Piece(start, stop, verdict)
            case SplitBatch(cuts=cuts):
                bounds = (start, *(start + cut for cut in cuts), stop)
                parts.extendleft(reversed(list(pairwise(bounds))))
            case TryAgain(outcome=trouble):
                yield Piece(start, stop, Settled(), trouble)
                return


@dataclass(slots=True)
class Report:
    """What came of it. `stopped`: why the rest was not tried."""

    delivered: list[DeadLetter] = field(default_factory=list)
    refused: list[tuple[DeadLetter, str]] = field(default_factory=list)
    stopped: str | None = None


async def deliver_dead_letters(
    queue: DeadLetterQueue,
    dead_letters: Sequence[DeadLetter],
    destination: Destination,
    *,
    event_filter: EventFilter | None,
    clock: Clock,
    report: Report,
) -> None:
    """Deliver these dead letters of the queue again, and close the destination; note in `report` what came of each.

    The destination was built for this, so it has the configuration and the secrets of now, and a running forwarder is
    not touched. A dead letter is taken away when it has arrived, and not before.
    """
    try:
        try:
            await redeliver(dead_letters, destination, event_filter=event_filter, clock=clock, report=report)
        finally:
            await destination.close()
    finally:
        # Shielded: who gives up waiting must not leave behind what has arrived.
        delivered = frozenset(dead_letter.id for dead_letter in report.delivered)
        await asyncio.shield(asyncio.to_thread(queue.remove, delivered))


async def redeliver(
    dead_letters: Iterable[DeadLetter],
    destination: Destination,
    *,
    event_filter: EventFilter | None = None,
    clock: Clock,
    report: Report,
) -> None:
    """Try each once more, in order, and note in `report` as it goes (it is right when this is cancelled)."""
    for together in batches(dead_letters, destination.limits):
        batch, group = _filtered(together, event_filter, report)
        async for start, stop, settled, stopped in deliver(batch, destination, partial(_attempt, clock)):
            if stopped is not None:
                report.stopped = stopped.why
                return
            part = group[start:stop]
            why = {refusal.index: refusal.why for refusal in settled.refused}
            report.refused += [(part[index], why[index]) for index in sorted(why)]
            report.delivered += [dead_letter for index, dead_letter in enumerate(part) if index not in why]


def batches(dead_letters: Iterable[DeadLetter], limits: Limits) -> Iterator[Sequence[DeadLetter]]:
    """Those in a row that may travel together: same cluster, source and marks, within the destination's limits."""
    group: list[DeadLetter] = []
    size = 0
    for dead_letter in dead_letters:
        length = len(dead_letter.content)
        full = len(group) >= limits.max_events or size + length > limits.max_bytes
        if group and (full or dead_letter.marks & Mark.UNSPLIT or _kind(dead_letter) != _kind(group[0])):
            yield group
            group, size = [], 0
        group.append(dead_letter)
        size += length
    if group:
        yield group


def _kind(dead_letter: DeadLetter) -> tuple[str, str, int]:
    return dead_letter.cluster, dead_letter.source, dead_letter.marks


def _joined(dead_letters: Sequence[DeadLetter]) -> Batch:
    return replace(
        dead_letters[0].batch(),
        events=[dead_letter.content for dead_letter in dead_letters],
        sequences=[dead_letter.sequence for dead_letter in dead_letters],
    )


def _filtered(
    group: Sequence[DeadLetter], event_filter: EventFilter | None, report: Report
) -> tuple[Batch, Sequence[DeadLetter]]:
    """What the destination's filter leaves of the dead letters; the others are refused once more."""
    batch = _joined(group)
    if event_filter is None:
        return batch, group
    filtered = event_filter(replace(batch, sequences=range(len(group))))
    places = filtered.batch.sequences
    why = {refusal.index: refusal.why for refusal in filtered.unreadable}
    left_out = sorted({*range(len(group))}.difference(places))
    report.refused += [(group[place], why.get(place, _FILTERED)) for place in left_out]
    kept = [group[place] for place in places]
    return replace(filtered.batch, sequences=[dead_letter.sequence for dead_letter in kept]), kept


async def _attempt(clock: Clock, attempt: Attempt) -> Outcome:
    """The attempt, repeated while the destination asks for it and a person may be expected to wait."""
    for number in range(TRIES - 1):
        outcome = await attempt()
        if not isinstance(outcome, Retry):
            return outcome
        await clock.sleep(min(outcome.after or 2.0**number, LONGEST_WAIT))
    return await attempt()
