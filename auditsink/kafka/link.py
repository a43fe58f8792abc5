"""A producer, what it knows of topics, and batches compressed for it: started when needed, thrown away when wrong.

An idempotent producer numbers its batches. After a batch that failed for good its next number is wrong, and after one
that timed out aiokafka would go on trying for ever behind our back. In both cases the only clean state is a new
producer. Throwing one away must not wait for a dead broker, and aiokafka has no public way to do that: what
`_dispose` touches is all that is used beyond its documented interface.
"""

import asyncio
import contextlib
import struct
from itertools import chain
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from auditsink.common.crc32c import crc32c
from auditsink.kafka.brokers import Brokers

_CREATION_SECONDS = 1.0
"""A broker with auto.create.topics.enable takes some 100 ms."""
_PAUSE_SECONDS = 0.1


class Topics:
    """Which partitions a topic has, or that it is missing, said soon.

    aiokafka's own lookup repeats itself until a request's whole time is over, and tells a missing topic from brokers
    that do not answer only by luck. While it waits no other cluster's events go; so a topic that was missing before is
    looked for once at a time, and only a new name gets the moment that a broker takes to make a topic by itself.
    Remembers the names that were missing; as many as there are clusters.
    """

    def __init__(self) -> None:
        self._missing: set[str] = set()

    def __repr__(self) -> str:
        return f"<Topics, {len(self._missing)} missing>"

    async def partitions(self, producer: AIOKafkaProducer, topic: str) -> list[int]:
        """In order. Raises KafkaError: missing, forbidden, or no broker answers."""
        looks = 1 if topic in self._missing else 1 + int(_CREATION_SECONDS / _PAUSE_SECONDS)
        for look in range(looks):
            if look:
                await asyncio.sleep(_PAUSE_SECONDS)
            found = await _look(producer, topic)
            if found:
                self._missing.discard(topic)
                return sorted(found)
            self._missing.add(topic)  # here, because an attempt's time may be over before the moment is
        raise UnknownTopicOrPartitionError(topic)


async def _look(producer: AIOKafkaProducer, topic: str) -> set[int] | None:
    """What the brokers say; at once when they have said it before."""
    client = producer.client
    found: set[int] | None = client.cluster.partitions_for_topic(topic)
    if found is None:
        # To add a topic asks for it as well; but not if an earlier look has added it.
        client.add_topic(topic)
        if not await client.force_metadata_update():
            raise KafkaConnectionError("no broker tells which topics there are")
        if topic in client.cluster.unauthorized_topics:
            raise TopicAuthorizationFailedError(topic)
        found = client.cluster.partitions_for_topic(topic)
    return found


_TRANSACTION_SECONDS = 60.0
_GOODBYE = 3.0  # seconds that closing may take when the brokers do not answer


class ProducerLink:
    """At most one started producer. Belongs to one event loop."""

    def __init__(
        self, brokers: Brokers, *, compression: str, batch_bytes: int, transactional_id: str | None = None
    ) -> None:
        """`batch_bytes`: the size before compression at which a batch is full. `compression`: "none" or a codec."""
        self._brokers = brokers
        self._compression = None if compression == "none" else compression
        self._transactional_id = transactional_id
        self.batch_bytes = batch_bytes
        self.topics = Topics()
        self._starting = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._disposals: set[asyncio.Task[None]] = set()

    async def producer(self) -> AIOKafkaProducer:
        """The producer, connected. Raises what kept it from connecting (OSError, KafkaError, TimeoutError)."""
        async with self._starting:
            if self._producer is None:
                self._producer = await self._start()
            return self._producer

    def discard(self, producer: AIOKafkaProducer | None) -> None:
        """Forget that producer and all it has not delivered, unless somebody else did; the next one starts clean."""
        if producer is not None and producer is self._producer:
            self._producer = None
            self._dispose(producer)

    async def close(self) -> None:
        """Let go of all connections, within a few seconds whatever the brokers do."""
        self.discard(self._producer)
        if self._disposals:
            await asyncio.wait(self._disposals, timeout=_GOODBYE)
        for task in tuple(self._disposals):
            task.cancel()
        await asyncio.gather(*self._disposals, return_exceptions=True)

    async def _start(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **await self._brokers.client_arguments(),
            enable_idempotence=True,
            transactional_id=self._transactional_id,
            # Longer than any attempt: a transaction that is older belongs to a sink that is no more.
            transaction_timeout_ms=int(max(_TRANSACTION_SECONDS, 2 * self._brokers.timeout) * 1000),
            acks="all",
            compression_type=self._compression,
            max_batch_size=self.batch_bytes,
        )
        try:
            await producer.start()
        except BaseException:
            self._dispose(producer)
            raise
        return producer

    def _dispose(self, producer: AIOKafkaProducer) -> None:
        queued = producer._message_accumulator  # noqa: SLF001
        queued.fail_all(KafkaTimeoutError())  # or stop() waits for delivery
        for batch in chain(*queued._batches.values(), queued._pending_batches):  # noqa: SLF001
            for future in (batch.future, batch._drain_waiter):  # noqa: SLF001
                if future.done() and not future.cancelled():
                    future.exception()  # looked at, or asyncio complains that nobody did
        transaction = producer._txn_manager._transaction_waiter  # noqa: SLF001
        if transaction is not None and transaction.done():
            transaction.exception()
        sending = producer._sender.sender_task  # noqa: SLF001
        if sending is not None:
            sending.cancel()
        task = asyncio.create_task(_stop(producer))
        self._disposals.add(task)
        task.add_done_callback(self._disposals.discard)


async def _stop(producer: AIOKafkaProducer) -> None:
    # Whatever it complains about on its way out concerns nobody any more.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_GOODBYE):  # a transaction looks for its coordinator for ever
            await producer.stop()
    with contextlib.suppress(Exception):
        await producer.client.close()


_CRC = struct.Struct(">I")
_CRC_AT, _COVERED_FROM = 17, 21
_PRODUCER = struct.Struct(">qhi")  # producer id, epoch, first sequence number
_PRODUCER_AT = 43


class Compressed:
    """A Kafka batch that is compressed in a thread, before the producer has it.

    aiokafka compresses when it sends, in the event loop, where everybody who posts waits for it. What it does not know
    before then (producer id, epoch, first sequence number) stands in the batch's header, outside of what is compressed:
    it is put in at the end, and the checksum taken again. Layout: Kafka protocol, "Record Batch", magic 2.

    Stands where aiokafka has its `BatchBuilder`, from when all messages are in it.
    """

    def __init__(self, content: bytearray, count: int) -> None:
        self._content = content
        self._count = count

    def __repr__(self) -> str:
        return f"<Compressed {self._count} messages in {len(self._content)} bytes>"

    @classmethod
    async def of(cls, builder: Any) -> "Compressed":
        """What aiokafka's builder makes of its messages, made in a thread."""
        return cls(await asyncio.to_thread(builder._build), builder.record_count())  # noqa: SLF001 - there is no other

    def record_count(self) -> int:
        """How many messages are in the batch."""
        return self._count

    def closed(self) -> bool:
        """Nothing can be added any more."""
        return True

    def close(self) -> None:
        """Called by aiokafka before it sends; this batch is whole already."""

    def _set_producer_state(self, producer_id: int, epoch: int, first: int) -> None:
        _PRODUCER.pack_into(self._content, _PRODUCER_AT, producer_id, epoch, first)
        _CRC.pack_into(self._content, _CRC_AT, crc32c(memoryview(self._content)[_COVERED_FROM:]))

    def _build(self) -> bytearray:
        return self._content
