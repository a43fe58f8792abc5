"""The Kafka destination against librdkafka's mock cluster: a Kafka endpoint that we did not write."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors
from aiokafka.client import AIOKafkaClient
from aiokafka.partitioner import murmur2
from confluent_kafka import Producer
from destinationkit import HOSTILE, RECEIVED_NS, batch, event

from auditsink.config import ClientTls, KafkaConfig, KafkaSecurity
from auditsink.destinations import kafka as module
from auditsink.destinations.base import Batch, DestinationError
from auditsink.destinations.kafka import KafkaDestination, messages, topic_name
from auditsink.events import Mark, unsplit_document
from auditsink.forward.outcome import Delivered, Misconfigured, Outcome, Refusal, Retry
from auditsink.secret import Secret
from auditsink.testing.clock import FakeClock


@pytest.fixture(scope="module")
def servers() -> Iterator[list[str]]:
    """Brokers for all tests here."""
    mock = mock_cluster()
    yield addresses(mock)
    del mock


def mock_cluster() -> Producer:
    """Three brokers in this process, which live as long as the client that asked for them."""
    return Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 3})


def addresses(mock: Producer) -> list[str]:
    return [f"{broker.host}:{broker.port}" for broker in mock.list_topics(timeout=10).brokers.values()]


@contextlib.asynccontextmanager
async def lake(servers: list[str], **settings: Any) -> AsyncIterator[KafkaDestination]:
    settings = {"name": "lake", "bootstrap_servers": servers, "timeout": 10.0} | settings
    made = KafkaDestination(KafkaConfig(**settings), FakeClock())
    try:
        yield made
    finally:
        await made.close()


async def deliver(destination: KafkaDestination, of: Batch) -> Outcome:
    attempt = await destination.prepare(of)
    return await attempt()


async def consumed(servers: list[str], topic: str, count: int) -> list[Any]:
    """The first `count` messages of a topic; those of one partition in their order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = await consumer._client._wait_on_metadata(topic)
        consumer.assign([TopicPartition(topic, number) for number in partitions])
        return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "zstd"])
async def test_events_arrive_in_order_with_key_time_and_headers(servers: list[str], compression: str):
    topic = f"order-{compression}"
    events = [event(number) for number in range(300)]
    async with lake(servers, topic=topic, compression=compression) as destination:
        assert await deliver(destination, batch(events[:200], first=1000)) == Delivered()
        assert await deliver(destination, batch(events[200:], first=1200)) == Delivered()

    found = await consumed(servers, topic, 300)
    assert [one.value for one in found] == events
    assert {one.key for one in found} == {b"prod"}
    assert {one.timestamp for one in found} == {1795382018661}
    assert len({one.partition for one in found}) == 1
    assert [dict(one.headers)["sequence"] for one in found] == [b"%d" % (1000 + number) for number in range(300)]
    assert dict(found[7].headers) == {"cluster": b"prod", "sequence": b"1007", "auditID": b"id-7"}


async def test_hostile_events_arrive_byte_for_byte(servers: list[str]):
    async with lake(servers, topic="hostile") as destination:
        assert await deliver(destination, batch([*HOSTILE.values()], marks=Mark.NOT_UTF8)) == Delivered()

    assert [one.value for one in await consumed(servers, "hostile", len(HOSTILE))] == [*HOSTILE.values()]


async def test_a_body_that_could_not_be_split_is_one_document(servers: list[str]):
    async with lake(servers, topic="unsplit") as destination:
        assert await deliver(destination, batch([b"{\xff"], marks=Mark.UNSPLIT)) == Delivered()

    (found,) = await consumed(servers, "unsplit", 1)
    assert found.value == unsplit_document(b"{\xff")
    assert found.timestamp == RECEIVED_NS // 10**6


async def test_each_cluster_has_its_topic_and_more_than_one_kafka_batch_keeps_the_order(servers: list[str]):
    large = [event(number, request=b'"' + b"x" * 200_000 + b'"') for number in range(12)]
    async with lake(servers, topic="big.{cluster}") as destination:
        assert await deliver(destination, batch(large, cluster="c1")) == Delivered()
        assert await deliver(destination, batch([event(99)], cluster="c2")) == Delivered()

    assert [one.value for one in await consumed(servers, "big.c1", 12)] == large
    assert [one.value for one in await consumed(servers, "big.c2", 1)] == [event(99)]


def test_topic_names_are_fit_for_kafka():
    assert topic_name("audit.{cluster}", "prod-1") == "audit.prod-1"
    assert topic_name("audit.{cluster}", "a/b c:ü") == "audit.a_b_c__"
    assert len(topic_name("{cluster}", "x" * 1000)) == 249


# From Kafka's own UtilsTest: the partition must be the one that every other client computes.
@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_partition_is_hashed_as_in_the_java_client(key: bytes, hashed: int):
    assert murmur2(key) & 0xFFFFFFFF == hashed & 0xFFFFFFFF


@pytest.mark.parametrize("audit_id", ["x" * 3000, 'quote"', "line\nbreak", "", "ünï", "back\\slash"])
def test_an_audit_id_that_a_client_made_up_is_no_header(audit_id: str):
    raw = json.dumps({"level": "Metadata", "auditID": audit_id}, separators=(",", ":")).encode()
    (message,) = messages(batch([raw]))

    assert [name for name, _ in message.headers] == ["cluster", "sequence"]


def test_a_usual_audit_id_is_a_header():
    raw = b'{"level":"Metadata","auditID":"04326dcf-b279-4da9-ab0b-461b319f821d","stage":"Panic"}'
    (message,) = messages(batch([raw]))

    assert message.headers[2] == ("auditID", b"04326dcf-b279-4da9-ab0b-461b319f821d")


async def test_a_broker_that_is_down_is_waited_for(servers: list[str]):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        async with lake([nobody]) as destination:
            outcome = await deliver(destination, batch([event()]))
            probed = await destination.probe()

    assert isinstance(outcome, Retry)
    assert "Connect" in outcome.why
    assert isinstance(probed, Retry)


async def test_a_producer_that_may_not_start_is_cleared_away(servers: list[str], monkeypatch: pytest.MonkeyPatch):
    async def start(producer: AIOKafkaProducer) -> None:
        raise errors.ClusterAuthorizationFailedError

    monkeypatch.setattr(AIOKafkaProducer, "start", start)
    async with lake(servers) as destination:
        outcome = await deliver(destination, batch([event()]))

    assert isinstance(outcome, Misconfigured)
    assert "IdempotentWrite" in outcome.why


async def test_a_server_that_never_answers_is_given_up_in_time():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with lake([f"127.0.0.1:{silent.getsockname()[1]}"], timeout=0.1) as destination:
            outcome = await deliver(destination, batch([event()]))

    assert outcome == Retry("Kafka, topic audit.prod: no answer in time")


async def test_brokers_that_vanish_and_come_back_elsewhere_lose_nothing():
    gone, there = mock_cluster(), mock_cluster()
    async with lake(addresses(gone), topic="moved", timeout=0.3) as destination:
        assert await deliver(destination, batch([event(0)])) == Delivered()
        attempt = await destination.prepare(batch([event(1), event(2)]))
        del gone
        outcome = await attempt()
        assert isinstance(outcome, Retry)
        destination._link._config = KafkaConfig(name="lake", bootstrap_servers=addresses(there), timeout=10.0)
        assert await attempt() == Delivered()

    assert [one.value for one in await consumed(addresses(there), "moved", 2)] == [event(1), event(2)]


async def test_one_server_of_several_is_enough(servers: list[str]):
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        dead = [f"127.0.0.1:{one.getsockname()[1]}" for one in (closed, silent)]
        async with lake([*dead, *servers[:1]], topic="several") as destination:
            assert await deliver(destination, batch([event()])) == Delivered()


async def test_a_topic_that_nobody_made_needs_a_person(servers: list[str], monkeypatch: pytest.MonkeyPatch):
    def learned_nothing(client: AIOKafkaClient) -> asyncio.Future[bool]:
        learned = asyncio.get_running_loop().create_future()
        learned.set_result(True)
        return learned

    async with lake(servers, timeout=0.2) as destination:
        await destination.probe()
        monkeypatch.setattr(AIOKafkaClient, "force_metadata_update", learned_nothing)
        outcome = await deliver(destination, batch([event()], cluster="nowhere"))

    assert isinstance(outcome, Misconfigured)
    assert outcome.why.startswith("Kafka, topic audit.nowhere: the broker answered 3, UnknownTopicOrPartitionError;")


async def test_a_cancelled_attempt_delivers_nothing_later(servers: list[str]):
    async with lake(servers, topic="cancelled") as destination:
        await destination.probe()
        attempt = asyncio.create_task(deliver(destination, batch([event(1)])))
        producer = await destination._link.producer()
        while not producer._message_accumulator._batches:  # noqa: ASYNC110 - until it is queued, and not yet sent
            await asyncio.sleep(0)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        assert await destination._link.producer() is not producer
        assert await deliver(destination, batch([event(2)])) == Delivered()

    assert [one.value for one in await consumed(servers, "cancelled", 1)] == [event(2)]


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_missing_codec_is_named(monkeypatch: pytest.MonkeyPatch, compression: str):
    monkeypatch.setattr("aiokafka.codec.cramjam", None)
    with pytest.raises(DestinationError, match=rf"destinations\[lake\].compression: {compression} needs the extra"):
        KafkaDestination(KafkaConfig(name="lake", bootstrap_servers=["k:9092"], compression=compression), FakeClock())


async def test_probing_delivers_nothing(servers: list[str]):
    async with lake(servers, topic="probed") as destination:
        assert await destination.probe() == Delivered()
        assert await deliver(destination, batch([event(1)])) == Delivered()

    assert [one.value for one in await consumed(servers, "probed", 1)] == [event(1)]


async def test_a_cluster_that_speaks_no_tls_or_sasl_is_no_crash(servers: list[str]):
    for security in (
        KafkaSecurity(tls=ClientTls()),
        KafkaSecurity(mechanism="PLAIN", username="u", password=Secret("s3cr3t")),
    ):
        async with lake(servers, security=security, timeout=1.0) as destination:
            outcome = await deliver(destination, batch([event()]))
        assert isinstance(outcome, Retry | Misconfigured)
        assert "s3cr3t" not in repr(outcome)


class Broker:
    """Stands in for the link and its producer, and answers by rule. Delivered values are in `log`."""

    def __init__(self, problem: Any) -> None:
        self.problem = problem
        self.batch_bytes = 1_000_000
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

    async def partitions_for(self, topic: str) -> set[int]:
        return {0, 1, 2}

    async def send_batch(self, builder: "Builder", topic: str, *, partition: int) -> Any:
        self.requests += 1
        problem = self.problem(builder.values)
        if problem is not None:
            raise problem
        self.log += builder.values
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


def over(limit: int) -> Any:
    """A broker's limit on a Kafka batch."""
    return lambda values: errors.MessageSizeTooLargeError() if sum(map(len, values)) > limit else None


def refusing(kind: type[Exception], *bad: bytes) -> Any:
    return lambda values: kind() if any(value in bad for value in values) else None


@contextlib.asynccontextmanager
async def faked(monkeypatch: pytest.MonkeyPatch, problem: Any) -> AsyncIterator[tuple[KafkaDestination, Broker]]:
    broker = Broker(problem)
    monkeypatch.setattr(module, "Link", lambda config, batch_bytes: broker)
    async with lake(["kafka:9092"]) as destination:
        yield destination, broker


def sized(*sizes: int) -> list[bytes]:
    return [b'{"n":%d,"pad":"' % number + b"x" * size + b'"}' for number, size in enumerate(sizes)]


@pytest.mark.parametrize("place", [0, 3, 6])
async def test_an_event_over_the_brokers_limit_is_refused_alone(monkeypatch: pytest.MonkeyPatch, place: int):
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


async def test_a_lower_limit_of_the_broker_is_remembered(monkeypatch: pytest.MonkeyPatch):
    events = sized(*[10_000] * 80)
    async with faked(monkeypatch, over(300_000)) as (destination, broker):
        assert await deliver(destination, batch(events)) == Delivered()
        refused = broker.discarded
        assert await deliver(destination, batch(events)) == Delivered()

    assert broker.log == events * 2
    assert refused == 2
    assert broker.discarded == refused


async def test_an_event_with_an_impossible_time_is_refused_alone(monkeypatch: pytest.MonkeyPatch):
    events = sized(*[10] * 20)
    async with faked(monkeypatch, refusing(errors.InvalidTimestampError, events[4], events[9])) as (
        destination,
        broker,
    ):
        outcome = await deliver(destination, batch(events))

    assert isinstance(outcome, Delivered)
    assert [one.index for one in outcome.refused] == [4, 9]
    assert broker.log == [one for number, one in enumerate(events) if number not in (4, 9)]


async def test_an_attempt_made_again_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch):
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
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception], expected: type
):
    async with faked(monkeypatch, lambda values: kind()) as (destination, broker):
        outcome = await deliver(destination, batch(sized(1, 2, 3)))

    assert isinstance(outcome, expected)
    assert outcome.why.startswith("Kafka, topic audit.prod: ")
    assert (broker.requests, broker.discarded, broker.log) == (1, 1, [])


async def test_everything_refused_is_still_an_end(monkeypatch: pytest.MonkeyPatch):
    events: Sequence[bytes] = sized(50_000, 50_000, 50_000)
    async with faked(monkeypatch, over(10)) as (destination, broker):
        outcome = await deliver(destination, batch(events))

    assert isinstance(outcome, Delivered)
    assert [one.index for one in outcome.refused] == [0, 1, 2]
    assert all(isinstance(one, Refusal) for one in outcome.refused)
    assert broker.log == []
