"""Reads along in the topic, as a member of no group, so that a receiver knows whose its bytes are (see `usage`).

Only where something is reserved for a cluster. All that is asked of the brokers may fail or stand still: then what is
not read counts as shared, and it goes on from there when they are back.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from auditsink.common.clock import Clock
from auditsink.kafka.brokers import Brokers
from auditsink.kafka_spool import record
from auditsink.kafka_spool.membership import ended, explained, reader, told_to_end
from auditsink.kafka_spool.usage import RecordSize, TopicUsage

log = logging.getLogger("auditsink.spool")

FETCH_BYTES = 2**18
"""Of one partition in one answer of a broker; a larger record comes alone."""
ANSWER_BYTES = 4 * 2**20
"""Of all partitions in one answer of a broker."""
GATHERED_BYTES = 2**17
GATHERED_MS = 250
"""A broker answers when there is so much, or after so long: an answer costs more than what is in it."""
AT_ONCE = 500
"""Records that are counted before others have their turn."""
POLL_SECONDS = 0.5
AGAIN_SECONDS = 2.0
"""Before the next try, where one failed."""
BOUNDS_SECONDS = 3.0
"""For the brokers to say where the partitions begin and end."""


class TopicObserver:
    """Belongs to the loop's thread."""

    def __init__(
        self, brokers: Brokers, topic: str, usage: TopicUsage, *, partitions: Callable[[], int], clock: Clock
    ) -> None:
        """`partitions`: how many the topic has by now."""
        self.usage = usage
        self.problem: str | None = None
        """Why nothing is read, while that is so."""
        self._brokers = brokers
        self._topic = topic
        self._partitions = partitions
        self._clock = clock
        self._consumer: AIOKafkaConsumer | None = None
        self._assigned: tuple[TopicPartition, ...] = ()
        self._run: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<TopicObserver {self._topic} {self.usage}>"

    def start(self) -> None:
        """Begin to read along."""
        self._run = asyncio.create_task(self._stay())

    async def close(self) -> None:
        """End, and let go of all connections."""
        if self._run is not None:
            self._run.cancel()
            await asyncio.wait([self._run])
        await self._leave()

    async def bounds(self) -> Mapping[int, tuple[int, int]]:
        """Of each partition its first offset, and the one behind its last; nothing where they cannot be told now."""
        consumer, ours = self._consumer, self._assigned
        if consumer is None or not ours:
            return {}
        try:
            async with asyncio.timeout(BOUNDS_SECONDS):
                first, end = await consumer.beginning_offsets(ours), await consumer.end_offsets(ours)
        except (Exception, asyncio.CancelledError) as problem:  # aiokafka lets much out; all is tried again
            if told_to_end():
                raise
            log.debug("where the partitions begin and end cannot be told: %s", explained(problem)[1])
            return {}
        return {one.partition: (first[one], end[one]) for one in ours}

    def measured(self, sizes: Mapping[int, int], bounds: Mapping[int, tuple[int, int]]) -> None:
        """What each partition takes of the brokers' disks; `bounds` are those of the moment before."""
        for partition, size in sizes.items():
            self.usage.measured(partition, size, bounds.get(partition))

    async def _stay(self) -> None:
        while True:
            try:
                self._consumer = await reader(
                    self._brokers,
                    FETCH_BYTES,
                    fetch_max_bytes=ANSWER_BYTES,
                    fetch_min_bytes=GATHERED_BYTES,
                    fetch_max_wait_ms=GATHERED_MS,
                )
                while True:
                    await self._place(self._consumer)
                    self.problem = None
                    while self._partitions() == len(self._assigned):
                        await self._read(self._consumer)
            except (Exception, asyncio.CancelledError) as problem:  # aiokafka lets much out; all is tried again
                if told_to_end():
                    raise
                self._complain(problem)
            await self._leave()
            await self._clock.sleep(AGAIN_SECONDS)

    async def _place(self, consumer: AIOKafkaConsumer) -> None:
        """Where it left off, or where the partitions begin."""
        ours = tuple(TopicPartition(self._topic, number) for number in range(self._partitions()))
        first, end = await consumer.beginning_offsets(ours), await consumer.end_offsets(ours)
        consumer.assign(ours)
        for one in ours:
            at = self.usage.next_offset(one.partition)
            if not first[one] <= at <= end[one]:
                at = first[one]
            consumer.seek(one, at)
            self.usage.begin(one.partition, at)
        self._assigned = ours

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        found = await consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000), max_records=AT_ONCE)
        for partition, several in found.items():
            self.usage.read(partition.partition, _sizes(several))
        if found:
            await asyncio.sleep(0)  # what lies there already must not keep those waiting who post

    def _complain(self, problem: BaseException) -> None:
        why = f"Kafka, topic {self._topic}: it cannot be read to tell whose its bytes are: {explained(problem)[1]}"
        if self.problem != why:
            log.warning(why)
        self.problem = why

    async def _leave(self) -> None:
        consumer, self._consumer, self._assigned = self._consumer, None, ()
        if consumer is not None:
            await ended(consumer)


def _sizes(several: Sequence[ConsumerRecord]) -> list[RecordSize]:
    """As they count. A record without a key was written by somebody else."""
    return [
        RecordSize(
            one.offset,
            (one.key or b"").decode(errors="replace"),
            record.stored_size(one.key or b"", one.value or b"", one.headers),
        )
        for one in several
    ]
