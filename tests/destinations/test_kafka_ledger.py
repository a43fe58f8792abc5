"""Positions that Kafka keeps with the events: against librdkafka's mock cluster, which knows transactions."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, errors
from aiokafka.client import AIOKafkaClient
from aiokafka.structs import OffsetAndMetadata
from confluent_kafka import Consumer, Producer, TopicPartition
from destinationkit import batch, event
from kafkakit import deliver, lake

from auditsink.delivery.destination import Batch, Origin
from auditsink.delivery.outcome import Delivered, Misconfigured
from auditsink.destinations import kafka
from auditsink.destinations.kafka import KafkaDestination
from auditsink.kafka.errors import ErrorMeaning, classify

EVENTS = [event(number) for number in range(20)]


@pytest.fixture(scope="module")
def servers() -> Iterator[list[str]]:
    """A broker for all tests here."""
    mock = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    yield [f"{broker.host}:{broker.port}" for broker in mock.list_topics(timeout=60).brokers.values()]
    del mock


def mine(sequence: int) -> str:
    return "ring/segment"


def part(start: int, stop: int, origin: Origin | None = mine, cluster: str = "prod") -> Batch:
    return replace(batch(EVENTS[start:stop], cluster=cluster, first=start), origin=origin)


@pytest.fixture(autouse=True)
def offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mock cluster takes a transaction's offsets and forgets them: tests/real has a broker that does not."""
    committed: dict[tuple[str, str], dict[int, OffsetAndMetadata]] = {}
    asked = kafka._committed
    send = AIOKafkaProducer.send_offsets_to_transaction

    async def remember(producer: AIOKafkaProducer, several: dict[Any, OffsetAndMetadata], group: str) -> None:
        for (topic, partition), offset in several.items():
            committed.setdefault((group, topic), {})[partition] = offset
        await send(producer, several, group)

    async def remembered(producer: AIOKafkaProducer, group: str, topic: str, partitions: Any) -> list[Any]:
        assert await asked(producer, group, topic, partitions) == []
        return [*committed.get((group, topic), {}).values()]

    monkeypatch.setattr(AIOKafkaProducer, "send_offsets_to_transaction", remember)
    monkeypatch.setattr(kafka, "_committed", remembered)


def consumed(servers: list[str], topic: str) -> list[bytes]:
    """What a `read_committed` reader finds in the partitions of the mock cluster's topic."""
    settings = {"bootstrap.servers": ",".join(servers), "group.id": "g", "enable.partition.eof": True}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest"})
    try:
        partitions = consumer.list_topics(topic, timeout=60).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        found: list[bytes] = []
        ended = 0
        while ended < len(partitions):
            (message,) = consumer.consume(1, timeout=60)
            if message.error() is None:
                found.append(message.value() or b"")
            else:
                ended += 1
        return found
    finally:
        consumer.close()


def once(servers: list[str], topic: str, **settings: Any) -> AbstractAsyncContextManager[KafkaDestination]:
    return lake(servers, topic=topic, transactional_id=f"id-of-{topic}", **settings)


async def test_what_an_earlier_life_committed_is_left_out(servers: list[str]) -> None:
    async with once(servers, "life") as destination:
        assert await deliver(destination, part(0, 12)) == Delivered()
    async with once(servers, "life") as destination:
        assert await deliver(destination, part(5, 20)) == Delivered()
        assert await deliver(destination, part(5, 20)) == Delivered(), "also when it is this life's own"

    assert consumed(servers, "life") == EVENTS


async def test_positions_are_each_clusters_own(servers: list[str]) -> None:
    async with once(servers, "clusters") as destination:
        assert await deliver(destination, part(0, 12)) == Delivered()
        assert await deliver(destination, part(0, 3, cluster="test")) == Delivered()
    async with once(servers, "clusters") as destination:
        assert await deliver(destination, part(0, 5, cluster="test")) == Delivered()

    assert sorted(consumed(servers, "clusters")) == sorted([*EVENTS[:12], *EVENTS[:5]])


@pytest.mark.parametrize("other", [lambda sequence: "ring/restored", lambda sequence: None])
async def test_a_position_in_another_ring_is_not_believed(servers: list[str], other: Origin) -> None:
    topic = f"other-{other(0) is None}"
    async with once(servers, topic) as destination:
        assert await deliver(destination, part(0, 12)) == Delivered()
    async with once(servers, topic) as destination:
        assert await deliver(destination, part(0, 12, other)) == Delivered()
        assert await deliver(destination, part(12, 20, other)) == Delivered()

    assert consumed(servers, topic) == [*EVENTS[:12], *EVENTS]


async def test_what_a_person_sends_again_is_sent_and_fences_nobody(servers: list[str]) -> None:
    async with once(servers, "again") as destination, once(servers, "again") as command:
        assert await deliver(destination, part(0, 6)) == Delivered()
        assert await deliver(command, part(2, 4, None)) == Delivered()
        assert await command.probe() == Delivered()
        assert await deliver(destination, part(6, 8)) == Delivered()

    assert consumed(servers, "again") == [*EVENTS[:6], *EVENTS[2:4], *EVENTS[6:8]]


async def test_several_kafka_batches_are_several_transactions(servers: list[str]) -> None:
    large = [event(number, request=b'"' + b"x" * 300_000 + b'"') for number in range(8)]
    whole = replace(batch(large, first=0), origin=mine)
    async with once(servers, "large") as destination:
        assert await deliver(destination, whole) == Delivered()
    async with once(servers, "large") as destination:
        assert await deliver(destination, whole) == Delivered()

    assert consumed(servers, "large") == large


async def test_probing_looks_at_the_id_as_well(servers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(client: AIOKafkaClient, kind: int, name: str) -> int:
        raise errors.TransactionalIdAuthorizationFailed(name)

    async with once(servers, "probed") as destination:
        assert await destination.probe() == Delivered()
        monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", refuse)
        outcome = await destination.probe()

    assert isinstance(outcome, Misconfigured)
    assert "transactional_id" in outcome.why


async def test_the_first_to_ask_waits_until_there_is_a_coordinator(
    servers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup, refused = AIOKafkaClient.coordinator_lookup, []

    async def hesitate(client: AIOKafkaClient, kind: int, name: str) -> int:
        if name not in refused:
            refused.append(name)
            raise errors.CoordinatorNotAvailableError
        return int(await lookup(client, kind, name))

    async with once(servers, "hesitant") as destination:
        monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", hesitate)
        assert await destination.probe() == Delivered()
        assert await deliver(destination, part(0, 3)) == Delivered()
    assert refused == ["id-of-hesitant", "id-of-hesitant.check", "id-of-hesitant.prod"]


@pytest.mark.parametrize("problem", [errors.GroupAuthorizationFailedError("g"), errors.ProducerFenced()])
def test_an_id_that_may_not_be_used_or_is_used_by_another_is_told(problem: Exception) -> None:
    verdict, why = classify(problem)
    assert verdict is ErrorMeaning.MISCONFIGURED
    assert "transactional_id" in why
