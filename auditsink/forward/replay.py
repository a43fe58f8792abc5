"""Delivers again what a spool's files still hold, from a command and beside a running sink; no cursor is touched."""

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field

from auditsink.common.clock import Clock
from auditsink.delivery.destination import Attempt, Batch, Destination, Limits
from auditsink.delivery.filter import EventFilter
from auditsink.delivery.outcome import Delivered, Outcome, Retry
from auditsink.forward.batching import Packed, pack, section
from auditsink.forward.redelivery import deliver
from auditsink.forward.retry import Backoff
from auditsink.spool.types import Chunk, Record

MOST_NAMED = 20
"""Refused events that are told one by one; the rest is counted."""


@dataclass(slots=True)
class Replayed:
    """What came of it. `filtered`: left out by the destination's own filter.

    `cluster` and `reached_ns`: of the last batch that is through. `stopped`: why it ended early.
    """

    delivered: int = 0
    refused: int = 0
    filtered: int = 0
    named: list[str] = field(default_factory=list)
    stopped: str | None = None
    cluster: str = ""
    reached_ns: int | None = None


class Replay:
    """`done` is right at any time. `waiting` is told why an attempt failed and how long the wait is."""

    def __init__(
        self,
        destination: Destination,
        done: Replayed,
        *,
        event_filter: EventFilter | None = None,
        backoff: Backoff,
        clock: Clock,
        waiting: Callable[[str, float], None],
    ) -> None:
        self.done = done
        self._destination = destination
        self._event_filter = event_filter
        self._backoff = backoff
        self._clock = clock
        self._waiting = waiting

    async def run(self, cluster: str, records: Iterable[Record]) -> None:
        """Deliver these records of one cluster, in order, until all are or the destination is misconfigured."""
        several = batches(cluster, records, self._destination.limits)
        while (batch := await asyncio.to_thread(next, several, None)) is not None:
            batch = await self._filtered(batch)
            async for start, stop, settled, stopped in deliver(batch, self._destination, self._attempt):
                if stopped is not None:
                    self.done.stopped = stopped.why
                    return
                self.done.delivered += stop - start - len(settled.refused)
                for refusal in settled.refused:
                    self._refused(batch, start + refusal.index, refusal.why)
            self.done.cluster, self.done.reached_ns = cluster, batch.received_ns

    async def _filtered(self, batch: Batch) -> Batch:
        """What the destination's filter leaves of a batch."""
        if self._event_filter is None:
            return batch
        filtered = await asyncio.to_thread(self._event_filter, batch)
        self.done.filtered += len(batch.events) - len(filtered.batch.events) - len(filtered.unreadable)
        for refusal in filtered.unreadable:
            self._refused(batch, refusal.index, refusal.why)
        return filtered.batch

    def _refused(self, batch: Batch, index: int, why: str) -> None:
        self.done.refused += 1
        if len(self.done.named) < MOST_NAMED:
            self.done.named.append(f"cluster {batch.cluster}: event {batch.sequences[index]} is refused: {why}")

    async def _attempt(self, attempt: Attempt) -> Outcome:
        """For ever, as long as the destination asks for it: whoever started it can end it."""
        while isinstance(outcome := await attempt(), Retry):
            wait = self._backoff.next(outcome.after)
            self._waiting(outcome.why, wait)
            await self._clock.sleep(wait)
        self._backoff.reset()
        if isinstance(outcome, Delivered):
            await self._clock.sleep(outcome.slow_down)
        return outcome


def batches(cluster: str, records: Iterable[Record], limits: Limits) -> Iterator[Batch]:
    """Packed as the forwarder packs; memory holds about one batch beside the record that completes it."""
    waiting: list[Record] = []
    size = 0
    for record in records:
        waiting.append(record)
        size += record.size
        if size >= limits.max_bytes:
            rest = yield from _packed(cluster, waiting, limits, final=False)
            waiting, size = rest, sum(one.size for one in rest)
    yield from _packed(cluster, waiting, limits, final=True)


def _packed(
    cluster: str, records: list[Record], limits: Limits, *, final: bool
) -> Generator[Batch, None, list[Record]]:
    """The batches that are complete, all of them if this is the end; returns the records that are left."""
    if not records:
        return []
    chunk = Chunk(records[0].first_sequence, records[-1].first_sequence + len(records[-1].events), records)
    start = chunk.start
    while found := pack(cluster, chunk, start, max_bytes=limits.max_bytes, max_events=limits.max_events):
        if isinstance(found, Packed):
            if not (found.closed or final):
                break
            yield found.batch
        start = found.stop
    return section(chunk, start, chunk.end).records
