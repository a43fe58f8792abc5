"""Apache Kafka: one message for each event, key = cluster, idempotent, acks=all.

All events of a cluster go to the partition that the key's hash names (the same murmur2 as in the Java client), one
Kafka batch after the other, so their order holds. What a broker refuses for good is refused alone: the attempt
cuts its batches smaller until the event stands by itself, and never sends again what is already there.
"""

import asyncio
import logging
import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer, codec
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import CoordinatorNotAvailableError, for_code
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from auditsink.audit.times import event_times, milliseconds
from auditsink.common.clock import Clock
from auditsink.config import KafkaConfig
from auditsink.delivery.destination import Attempt, Batch, Origin, UnavailableError
from auditsink.delivery.outcome import (
    Delivered,
    EventRejection,
    Misconfigured,
    Outcome,
    Poison,
    Retry,
    RetryCause,
    TooLarge,
)
from auditsink.delivery.settings import key
from auditsink.destinations import defaults
from auditsink.destinations.encoding import documents
from auditsink.kafka.brokers import Brokers, BrokerSettings
from auditsink.kafka.errors import ErrorMeaning, cause, classify
from auditsink.kafka.link import Compressed, ProducerLink

_log = logging.getLogger(__name__)

_COORDINATOR_PAUSE = 0.2  # seconds


class TransactionLog:
    """How far each cluster is, kept by Kafka in one transaction with the events themselves.

    The cursor in the spool moves after Kafka has answered, so a crash in between repeats a batch. With a transactional
    id each Kafka batch is one transaction (KIP-98) together with a committed offset: of the group
    `<transactional id>.<cluster>`, at the topic and partition of the events. The offset is the sequence of the next
    event; its metadata name the ring and the segment that hold the event before it. A producer that begins asks for it,
    and leaves out what lies before it. So who reads with `read_committed` sees each event once, wherever the sink was
    killed.

    The offset is believed only if the ring holds that very event. A spool that is new, or that was restored from an
    older copy, gives the same sequences to other events: then nothing is left out, for a repeat is better than a loss.
    Brokers forget the offsets of a group that is idle for a week (offsets.retention.minutes); the spool's cursor is
    right by then. Positions are those of one producer: after each failure there is a new one, which asks anew.
    """

    def __init__(self, transactional_id: str) -> None:
        self._id = transactional_id
        self._producer: AIOKafkaProducer | None = None
        self._positions: dict[str, int] = {}
        self._last_group = ""

    def __repr__(self) -> str:
        return f"<TransactionLog {self._id} {len(self._positions)} clusters>"

    async def check(self, producer: AIOKafkaProducer) -> None:
        """Raise KafkaError if the id or its groups may not be used. Takes the id from nobody."""
        await _coordinator(producer, CoordinationType.TRANSACTION, self._id)
        await _coordinator(producer, CoordinationType.GROUP, self._group("check"))

    async def position(
        self, producer: AIOKafkaProducer, topic: str, partitions: Sequence[int], cluster: str, origin: Origin
    ) -> int:
        """The events before this sequence are in the topic. Raises KafkaError.

        A producer that has started has ended what its predecessor left open: no offset is in doubt any more.
        """
        if producer is not self._producer:
            self._producer = producer
            self._positions.clear()
        if cluster not in self._positions:
            # All partitions: when some were added, the cluster's key may have gone to another one.
            offsets = await _committed(producer, self._group(cluster), topic, partitions)
            self._positions[cluster] = self._believed(cluster, offsets, origin)
        return self._positions[cluster]

    def _believed(self, cluster: str, offsets: Sequence[OffsetAndMetadata], origin: Origin) -> int:
        believed = [
            offset.offset for offset in offsets if offset.metadata and offset.metadata == origin(offset.offset - 1)
        ]
        if offsets and not believed:
            _log.info(
                "Kafka's position of a cluster is not of what this spool holds; the spool's own cursor counts",
                extra={"cluster": cluster, "transactional_id": self._id},
            )
        return max(believed, default=0)

    async def write(
        self,
        producer: AIOKafkaProducer,
        batch: Compressed,
        to: TopicPartition,
        *,
        cluster: str,
        stop: int,
        origin: Origin,
    ) -> None:
        """One transaction: the Kafka batch, and `stop` as the cluster's position. Raises KafkaError."""
        group = self._group(cluster)
        if group != self._last_group:  # aiokafka remembers one group's coordinator, and this one's may be another
            producer._sender._coordinator_dead(CoordinationType.GROUP)  # noqa: SLF001 - or each change costs a retry
            self._last_group = group
        await producer.begin_transaction()
        stored = await producer.send_batch(batch, to.topic, partition=to.partition)
        await stored
        await producer.send_offsets_to_transaction({to: OffsetAndMetadata(stop, origin(stop - 1) or "")}, group)
        await producer.commit_transaction()
        self._positions[cluster] = stop

    def _group(self, cluster: str) -> str:
        return f"{self._id}.{cluster}"


async def _coordinator(producer: AIOKafkaProducer, kind: int, name: str) -> int:
    """The node that keeps a group or an id. The first to ask in a new Kafka cluster waits until there is one."""
    while True:
        try:
            return int(await producer.client.coordinator_lookup(kind, name))
        except CoordinatorNotAvailableError:
            await asyncio.sleep(_COORDINATOR_PAUSE)  # an attempt has its own end


async def _committed(
    producer: AIOKafkaProducer, group: str, topic: str, partitions: Sequence[int]
) -> list[OffsetAndMetadata]:
    """Those of a group that there are. Not by aiokafka's admin client: that takes a refusal for "there are none"."""
    node = await _coordinator(producer, CoordinationType.GROUP, group)
    asked = OffsetFetchRequest(group, [(topic, list(partitions))])
    answer = await producer.client.send(node, asked, group=ConnectionGroup.COORDINATION)
    several = [partition for _, found in answer.topics for partition in found]
    for code in (answer.error_code, *(code for *_, code in several)):
        if code:
            raise for_code(code)
    return [OffsetAndMetadata(offset, metadata) for _, offset, metadata, _ in several if offset >= 0]


_SMALLEST_BATCH = 16384  # bytes: no broker's limit is lower

_NOT_IN_TOPICS = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_TOPIC = 249

# A client chooses its Audit-ID, any string of 3,000 characters: only what looks like one becomes a header.
_AUDIT_ID = re.compile(rb'\{"level":"[A-Za-z]{1,20}","auditID":"([A-Za-z0-9._:-]{1,64})"')

_CODECS = {"none": lambda: True, "gzip": codec.has_gzip, "lz4": codec.has_lz4, "zstd": codec.has_zstd}

_partition_of = DefaultPartitioner()


class Message(NamedTuple):
    """One event as Kafka takes it: bytes, milliseconds since the epoch, headers."""

    value: bytes
    timestamp: int
    headers: list[tuple[str, bytes]]


def messages(batch: Batch) -> list[Message]:
    """The batch as messages, in order."""
    shared = [("cluster", batch.cluster.encode())]
    shared += [(f"label.{name}", value.encode()) for name, value in batch.labels.items()]
    values = documents(batch)
    return [
        Message(value, milliseconds(time), _headers(shared, sequence, value))
        for value, time, sequence in zip(values, event_times(values, batch.received_ns), batch.sequences, strict=True)
    ]


def _headers(shared: list[tuple[str, bytes]], sequence: int, event: bytes) -> list[tuple[str, bytes]]:
    headers = [*shared, ("sequence", b"%d" % sequence)]
    if found := _AUDIT_ID.match(event):
        headers.append(("auditID", found[1]))
    return headers


def topic_name(template: str, cluster: str) -> str:
    """The topic of a cluster, fit for Kafka."""
    return _NOT_IN_TOPICS.sub("_", template.replace("{cluster}", cluster))[:_LONGEST_TOPIC]


class KafkaDestination:
    """See `Destination`."""

    type = "kafka"

    def __init__(self, config: KafkaConfig, clock: Clock) -> None:  # noqa: ARG002 - what every destination is built with
        """Raises DestinationError. Connects when there is something to send."""
        if not _CODECS[config.compression]():
            where = key(config, "compression")
            raise UnavailableError(f"{where}: {config.compression} needs the extra: pip install 'auditsink[kafka]'")
        self.name = config.name
        self.limits = defaults.limits(config)
        self._topic = config.topic
        self._timeout = config.timeout
        where = f"destinations[{config.name}]"
        brokers = Brokers(BrokerSettings(where, config.bootstrap_servers, config.security, config.timeout))
        self._link = ProducerLink(brokers, compression=config.compression, batch_bytes=defaults.USUAL.max_bytes)
        self._transactions: tuple[ProducerLink, TransactionLog] | None = None
        if (own := config.transactional_id) is not None:
            self._transactions = (
                ProducerLink(
                    brokers,
                    compression=config.compression,
                    batch_bytes=defaults.USUAL.max_bytes,
                    transactional_id=own,
                ),
                TransactionLog(own),
            )

    async def prepare(self, batch: Batch) -> Attempt:
        """See `Destination.prepare`."""
        if self._transactions is None or batch.origin is None:
            # What a person has sent again goes beside the sink that runs, and must not take its transactional id.
            return _Producing(self._link, self._topic, batch, self._timeout)
        link, ledger = self._transactions
        return _Producing(link, self._topic, batch, self._timeout, ledger)

    async def probe(self) -> Outcome:
        """Connect and log in; a topic that is the same for all clusters is looked up as well."""
        producer = None
        try:
            async with asyncio.timeout(self._timeout):
                producer = await self._link.producer()
                if "{cluster}" not in self._topic:
                    await self._link.topics.partitions(producer, self._topic)
                if self._transactions is not None:
                    await self._transactions[1].check(producer)
        except Exception as problem:  # noqa: BLE001 - see _Delivery.__call__
            self._link.discard(producer)
            verdict, why = classify(problem)
            hopeless = verdict in {ErrorMeaning.MISCONFIGURED, ErrorMeaning.TOPIC}
            return Misconfigured(f"Kafka: {why}") if hopeless else Retry(f"Kafka: {why}")
        return Delivered()

    async def close(self) -> None:
        """See `Destination.close`."""
        await self._link.close()
        if self._transactions is not None:
            await self._transactions[0].close()


class _Producing:
    """An attempt that remembers what is already there: trying again goes on where it stopped."""

    def __init__(
        self, link: ProducerLink, template: str, batch: Batch, timeout: float, ledger: TransactionLog | None = None
    ) -> None:
        self._link = link
        self._ledger = ledger
        self._batch = batch
        self._topic = topic_name(template, batch.cluster)
        self._topic_of_its_own = "{cluster}" in template
        self._key = batch.cluster.encode()
        self._messages = messages(batch)
        self._timeout = timeout
        self._done = 0
        self._alone_until = 0
        self._refused: list[EventRejection] = []

    async def __call__(self) -> Outcome:
        while self._done < len(self._messages):
            count, producer = 0, None
            try:
                async with asyncio.timeout(self._timeout):
                    producer = await self._link.producer()
                    partitions = await self._link.topics.partitions(producer, self._topic)
                    await self._pass_over(producer, partitions)
                    builder, count = self._next(producer)
                    if count:
                        to = TopicPartition(self._topic, _partition_of(self._key, partitions, partitions))
                        await self._send(producer, await Compressed.of(builder), to, count)
            except asyncio.CancelledError:
                self._link.discard(producer)  # or it would go on delivering behind our back
                raise
            except Exception as problem:  # noqa: BLE001 - aiokafka lets assertions and ValueErrors of its parsers out
                if count or classify(problem)[0] is not ErrorMeaning.TOPIC:  # other clusters' topics may be there
                    self._link.discard(producer)
                outcome = self._failed(problem, count)
                if outcome is not None:
                    return outcome
            else:
                self._done += count
        return Delivered(tuple(self._refused))

    async def _pass_over(self, producer: AIOKafkaProducer, partitions: list[int]) -> None:
        """Leave out what an earlier attempt, perhaps of an earlier life, has committed."""
        if self._ledger is not None and self._batch.origin is not None:
            position = await self._ledger.position(
                producer, self._topic, partitions, self._batch.cluster, self._batch.origin
            )
            self._done = max(self._done, bisect_left(self._batch.sequences, position))

    def _next(self, producer: AIOKafkaProducer) -> tuple[Any, int]:
        """A Kafka batch of what comes next, and how many messages it holds. The first one always fits."""
        end = self._done + 1 if self._done < self._alone_until else len(self._messages)
        builder = producer.create_batch()
        for number, message in enumerate(self._messages[self._done : end]):
            value, timestamp, headers = message
            if builder.append(timestamp=timestamp, key=self._key, value=value, headers=headers) is None:
                return builder, number
        return builder, end - self._done

    async def _send(self, producer: AIOKafkaProducer, compressed: Compressed, to: TopicPartition, count: int) -> None:
        batch = self._batch
        if self._ledger is not None and batch.origin is not None:
            stop = batch.sequences[self._done + count - 1] + 1
            await self._ledger.write(producer, compressed, to, cluster=batch.cluster, stop=stop, origin=batch.origin)
        else:
            stored = await producer.send_batch(compressed, to.topic, partition=to.partition)
            await stored

    def _failed(self, problem: Exception, count: int) -> Outcome | None:
        """What the failure of the next `count` messages means; None when going on will settle it."""
        verdict, why = classify(problem)
        why = f"Kafka, topic {self._topic}: {why}"
        if verdict in {ErrorMeaning.MISCONFIGURED, ErrorMeaning.TOPIC}:
            return Misconfigured(why, cluster_only=verdict is ErrorMeaning.TOPIC and self._topic_of_its_own)
        if verdict is ErrorMeaning.RETRY or count == 0:
            return Retry(why, cause=cause(problem) if count else RetryCause.ELSEWHERE)
        size = sum(len(message.value) for message in self._messages[self._done : self._done + count])
        if count == 1:
            return self._refuse(verdict, f"{why} (the event has {size} bytes)")
        if verdict is ErrorMeaning.TOO_LARGE and size > 2 * _SMALLEST_BATCH:
            # For good: the limit is the broker's, and the next batch would run into it too.
            self._link.batch_bytes = size // 2
        else:
            self._alone_until = self._done + count
        return None

    def _refuse(self, verdict: ErrorMeaning, why: str) -> Outcome | None:
        """The next event, alone, is refused for good."""
        if self._ledger is None:
            self._refused.append(EventRejection(self._done, why))
            self._done += 1
            return None
        # Kafka's position must not pass an event that is no dead letter yet: whoever starts after a crash believes it.
        if len(self._messages) > 1 or verdict is not ErrorMeaning.TOO_LARGE:
            return Poison(self._done, why)
        return TooLarge(why)
