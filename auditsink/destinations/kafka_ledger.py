"""How far each cluster is, kept by Kafka in one transaction with the events themselves.

The cursor in the spool moves after Kafka has answered, so a crash in between repeats a batch. With a transactional id
each Kafka batch is one transaction (KIP-98) together with a committed offset: of the group
`<transactional id>.<cluster>`, at the topic and partition of the events. The offset is the sequence of the next event;
its metadata name the ring and the segment that hold the event before it. A producer that begins asks for it, and leaves
out what lies before it. So who reads with `read_committed` sees each event once, wherever the sink was killed.

The offset is believed only if the ring holds that very event. A spool that is new, or that was restored from an older
copy, gives the same sequences to other events: then nothing is left out, for a repeat is better than a loss. Brokers
forget the offsets of a group that is idle for a week (offsets.retention.minutes); the spool's cursor is right by then.
"""

import asyncio
import logging
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import CoordinatorNotAvailableError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from auditsink.delivery.destination import Origin
from auditsink.destinations.kafka_batch import Compressed

_log = logging.getLogger(__name__)

_COORDINATOR_PAUSE = 0.2  # seconds


class TransactionLog:
    """Positions by cluster. They are those of one producer: after each failure there is a new one, which asks anew."""

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
