"""Fetches records once more that memory let go of: a cluster that waits must not keep what comes behind it from others.

A consumer of no group, so that it moves nobody's place. One fetch at a time.
"""

import asyncio
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from auditsink.kafka.brokers import Brokers
from auditsink.kafka.errors import classify
from auditsink.kafka_spool.membership import ended, reader

FETCH_BYTES = 4 * 2**20
FETCH_SECONDS = 20.0


class Refetching:
    """Belongs to the loop's thread."""

    def __init__(self, brokers: Brokers, topic: str) -> None:
        self._brokers = brokers
        self._topic = topic
        self._fetching = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None

    async def values(self, partition: int, wanted: Collection[int]) -> dict[int, bytes]:
        """The values of the first of these offsets, and of others as far as they came along. Raises OSError."""
        first, last = min(wanted), max(wanted)
        async with self._fetching:
            try:
                async with asyncio.timeout(FETCH_SECONDS):
                    consumer = await self._started()
                    one = TopicPartition(self._topic, partition)
                    consumer.assign([one])
                    consumer.seek(one, first)
                    found: dict[int, bytes] = {}
                    while first not in found:
                        records = (await consumer.getmany(one, timeout_ms=1000)).get(one, [])
                        found |= {each.offset: each.value for each in records if each.offset in wanted}
                        if (records and records[-1].offset >= last) or any(each.offset > first for each in records):
                            break
                    return found
            except Exception as problem:  # noqa: BLE001 - aiokafka lets errors of its parsers out; all are tried again
                await self.close()
                why = f"Kafka, topic {self._topic}: a record that waits cannot be fetched: {classify(problem)[1]}"
                raise OSError(why) from None

    async def close(self) -> None:
        """Let go of the connections."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await ended(consumer)

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = await reader(self._brokers, FETCH_BYTES)
        return self._consumer
