"""Reads for the subscriptions of one destination: from memory if it is there, else from the disk in a thread.

The chunks that were read last are kept while they hold something that is not settled: where a record was only taken in
part (a large one, or one event of it in an isolation), the rest need not be decompressed and split again. Most of it
are the very bytes of the batches under way. Each holds about twice `max_bytes`, whatever the number of clusters.
"""

import errno
import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from auditsink.delivery.destination import Batch
from auditsink.forward.batching import Packed, pack, section
from auditsink.forward.source import SourceRing
from auditsink.forward.subscription import Subscription
from auditsink.spool.types import Chunk

T = TypeVar("T")

KEPT = 3
"""Chunks: as many as there are batches between two attempts and the next one's preparation."""


class Offload(Protocol):
    """Runs what blocks where it does not block the loop: `asyncio.to_thread`, or at once in a test."""

    def __call__(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        """The function's result, or its exception."""
        ...


class Prefetch:
    """One reading at a time: its caller sees to that."""

    def __init__(self, max_bytes: int, offload: Offload) -> None:
        self._max_bytes = max_bytes
        self._offload = offload
        self._kept: list[tuple[Subscription, Chunk]] = []

    def __repr__(self) -> str:
        return f"<Prefetch {[(subscription.cluster, chunk.start, chunk.end) for subscription, chunk in self._kept]}>"

    async def read(self, subscription: Subscription) -> Chunk:
        """What the subscription needs next, at least as much as fills a batch if there is so much. Raises OSError.

        The chunk may begin before that, with the record in which it begins.
        """
        start, stop, record = subscription.next_reading()
        chunk = subscription.reader.cached(record, self._max_bytes)
        if chunk is None:
            chunk = self._found(subscription, start)
        else:  # memory has taken over: a file that stays open keeps the room of a segment that was removed
            subscription.reader.close()
        while chunk.end < stop and _size(chunk, start) < self._max_bytes:
            chunk = await self._extended(subscription, chunk)
        self._kept = [*self._kept[1 - KEPT :], (subscription, chunk)]
        return chunk

    def let_go(self, subscription: Subscription) -> None:
        """Keep nothing that is settled: an idle destination must not hold the largest lists it saw."""
        settled = subscription.frontier.position
        self._kept = [one for one in self._kept if one[0] is not subscription or one[1].end > settled]

    def _found(self, subscription: Subscription, start: int) -> Chunk:
        """What is kept with `start` in it, without what is settled; empty if that is nothing."""
        for one in reversed(self._kept):
            if one[0] is subscription and one[1].start <= start < one[1].end:
                break
        else:
            return Chunk(start, start, [])
        self._kept.remove(one)  # what comes of this reading takes its place
        _, kept = one
        settled = max(kept.start, subscription.frontier.position)
        records = [record for record in kept.records if record.first_sequence + len(record.events) > settled]
        return Chunk(min([settled, *(record.first_sequence for record in records[:1])]), kept.end, records)

    async def _extended(self, subscription: Subscription, chunk: Chunk) -> Chunk:
        more = subscription.reader.cached(chunk.end, self._max_bytes)
        if more is None:
            more = await self._offload(subscription.reader.read, chunk.end, self._max_bytes)
        if more.end <= chunk.end:
            raise OSError(errno.EIO, f"the spool has nothing at sequence {chunk.end}, which it should hold")
        return Chunk(chunk.start, more.end, chunk.records + more.records)


def _size(chunk: Chunk, start: int) -> int:
    """Bytes of the events from a sequence on."""
    return sum(
        record.size if record.first_sequence >= start else sum(map(len, record.events[start - record.first_sequence :]))
        for record in chunk.records
    )


def peek(ring: SourceRing, sequence: int) -> Chunk:
    """What stands at a sequence, read past everything else by a reader of its own. Blocks. Raises OSError."""
    reader = ring.reader()
    try:
        return reader.read(sequence, 1)
    finally:
        reader.close()


async def single(subscription: Subscription, sequence: int, offload: Offload) -> Batch | None:
    """The event at a sequence of the subscription's ring as a batch of its own; None when it cannot be had."""
    try:
        chunk = await offload(peek, subscription.ring, sequence)
    except OSError:
        return None
    found = pack(
        subscription.cluster, section(chunk, sequence, sequence + 1), sequence, max_bytes=math.inf, max_events=1
    )
    return found.batch if isinstance(found, Packed) else None
