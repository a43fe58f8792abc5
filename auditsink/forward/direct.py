"""Delivers one batch for a command, beside a running sink: no cursor, no dead letters; the forwarder's own rules."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from typing import NamedTuple

from auditsink.delivery.destination import Attempt, Batch, Destination
from auditsink.delivery.outcome import Misconfigured, Outcome, Retry
from auditsink.forward.verdicts import Settled, SplitBatch, TryAgain, judge

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
