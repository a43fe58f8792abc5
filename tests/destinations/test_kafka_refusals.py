"""What a Kafka broker refuses is refused alone: by rule, since librdkafka's mock cluster takes everything."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.structs import TopicPartition
from destinationkit import batch
from kafkakit import deliver, lake

from auditsink.delivery.outcome import (
    Delivered,
    EventRejection,
    Misconfigured,
    Poison,
    Retry,
    TooLarge,
)
from auditsink.destinations import kafka as module
from auditsink.destinations.kafka import KafkaDestination


class Broker:
    """Stands in for the link and its producer, and answers by rule. Delivered values are in `log`."""

    def __init__(self, problem: Any) -> None:
        self.problem = problem
        self.batch_bytes = 1_000_000
        self.topics = self
        self.log: list[bytes] = []
        self.requests = 0
        self.discarded = 0

    async def producer(self) -> "Broker":
        return self

    def discard(self, producer: "Broker | None") -> None:
        self.discarded += producer is self

    async def close(self) -> None:
        pass

    def create_batch(self) -> "Builder":
        return Builder(self.batch_bytes)

    async def partitions(self, producer: "Broker", topic: str) -> list[int]:
        return [0, 1, 2]

    async def send_batch(self, compressed: Any, topic: str, *, partition: int) -> Any:
        self.requests += 1
        values = compressed._build().values
        problem = self.problem(values)
        if problem is not None:
            raise problem
        self.log += values
        return _done()


async def _done() -> None:
    return


class Builder:
    def __init__(self, room: int) -> None:
        self.room = room
        self.values: list[bytes] = []

    def append(self, *, timestamp: int, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> object:
        if self.values and sum(map(len, self.values)) + len(value) > self.room:
            return None
        self.values.append(value)
        return value

    def _build(self) -> "Builder":
        return self

    def record_count(self) -> int:
        return len(self.values)


class FakeLedger:
    """Keeps one cluster's position for as long as it lives."""

    def __init__(self, transactional_id: str) -> None:
        self.at = 0

    async def position(self, *_: object) -> int:
        return self.at

    async def write(self, producer: Broker, compressed: Any, to: TopicPartition, *, stop: int, **_: object) -> None:
        await (await producer.send_batch(compressed, to.topic, partition=to.partition))
        self.at = stop


def over(limit: int) -> Any:
    """A broker's limit on a Kafka batch."""
    return lambda values: errors.MessageSizeTooLargeError() if sum(map(len, values)) > limit else None


def refusing(kind: type[Exception], *bad: bytes) -> Any:
    return lambda values: kind() if any(value in bad for value in values) else None


@contextlib.asynccontextmanager
async def faked(
    monkeypatch: pytest.MonkeyPatch, problem: Any, **settings: Any
) -> AsyncIterator[tuple[KafkaDestination, Broker]]:
    broker = Broker(problem)
    monkeypatch.setattr(module, "ProducerLink", lambda config, **settings: broker)
    monkeypatch.setattr(module, "TransactionLog", FakeLedger)
    async with lake(["kafka:9092"], **settings) as destination:
        yield destination, broker


def sized(*sizes: int) -> list[bytes]:
    return [b'{"n":%d,"pad":"' % number + b"x" * size + b'"}' for number, size in enumerate(sizes)]


@pytest.mark.parametrize("place", [0, 3, 6])
async def test_an_event_over_the_brokers_limit_is_refused_alone(monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    sizes = [1000] * 7
    sizes[place] = 600_000
    events = sized(*sizes)
    async with faked(monkeypatch, over(500_000)) as (destination, broker):
        outcome = await deliver(destination, batch(events))

    assert isinstance(outcome, Delivered)
    assert [one.index for one in outcome.refused] == [place]
    assert str(len(events[place])) in outcome.refused[0].why
    assert "max.message.bytes" in outcome.refused[0].why
    assert broker.log == events[:place] + events[place + 1 :]


async def test_a_lower_limit_of_the_broker_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    events = sized(*[10_000] * 80)
    async with faked(monkeypatch, over(300_000)) as (destination, broker):
        assert await deliver(destination, batch(events)) == Delivered()
        refused = broker.discarded
        assert await deliver(destination, batch(events)) == Delivered()

    assert broker.log == events * 2
    assert refused == 2
    assert broker.discarded == refused


async def test_an_event_with_an_impossible_time_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    events = sized(*[10] * 20)
    async with faked(monkeypatch, refusing(errors.InvalidTimestampError, events[4], events[9])) as (
        destination,
        broker,
    ):
        outcome = await deliver(destination, batch(events))

    assert isinstance(outcome, Delivered)
    assert [one.index for one in outcome.refused] == [4, 9]
    assert broker.log == [one for number, one in enumerate(events) if number not in (4, 9)]


async def test_an_attempt_made_again_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    events = sized(*[400_000] * 6)
    down: list[bytes] = [events[3]]
    async with faked(monkeypatch, lambda values: ConnectionResetError() if down and down[0] in values else None) as (
        destination,
        broker,
    ):
        attempt = await destination.prepare(batch(events))
        assert isinstance(await attempt(), Retry)
        assert broker.log == events[:2]
        down.clear()
        assert await attempt() == Delivered()

    assert broker.log == events


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (errors.TopicAuthorizationFailedError, Misconfigured),
        (errors.UnknownTopicOrPartitionError, Misconfigured),
        (errors.NotEnoughReplicasError, Retry),
        (errors.OutOfOrderSequenceNumber, Retry),
        (TimeoutError, Retry),
        (AssertionError, Retry),
    ],
)
async def test_any_other_failure_ends_the_attempt_and_the_producer(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception], expected: type[Retry | Misconfigured]
) -> None:
    async with faked(monkeypatch, lambda values: kind()) as (destination, broker):
        outcome = await deliver(destination, batch(sized(1, 2, 3)))

    assert isinstance(outcome, expected)
    assert outcome.why.startswith("Kafka, topic audit.prod: ")
    assert (broker.requests, broker.discarded, broker.log) == (1, 1, [])


async def test_everything_refused_is_still_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    events: Sequence[bytes] = sized(50_000, 50_000, 50_000)
    async with faked(monkeypatch, over(10)) as (destination, broker):
        outcome = await deliver(destination, batch(events))

    assert isinstance(outcome, Delivered)
    assert [one.index for one in outcome.refused] == [0, 1, 2]
    assert all(isinstance(one, EventRejection) for one in outcome.refused)
    assert broker.log == []


async def test_in_transactions_the_position_waits_for_the_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    events = sized(1000, 1000, 600_000, 1000, 1000)
    whole = replace(batch(events), origin=lambda sequence: "ring/segment")
    async with faked(monkeypatch, over(500_000), transactional_id="sink-1") as (destination, broker):
        outcome = await deliver(destination, whole)
        assert isinstance(outcome, Poison)
        assert outcome.index == 2
        assert broker.log == events[:2]
        assert await deliver(destination, whole.part(0, 2)) == Delivered()
        assert isinstance(await deliver(destination, whole.part(2, 3)), TooLarge)
        assert await deliver(destination, whole.part(3, 5)) == Delivered()

    assert broker.log == events[:2] + events[3:], "nothing was sent twice"


async def test_in_transactions_an_impossible_time_is_the_events_own_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    (event,) = sized(10)
    alone = replace(batch([event]), origin=lambda sequence: "ring/segment")
    problem = refusing(errors.InvalidTimestampError, event)
    async with faked(monkeypatch, problem, transactional_id="sink-1") as (destination, _):
        outcome = await deliver(destination, alone)

    assert isinstance(outcome, Poison)
    assert outcome.index == 0
