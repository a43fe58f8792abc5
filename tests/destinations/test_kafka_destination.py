"""The Kafka destination against librdkafka's mock cluster: a Kafka endpoint that we did not write."""

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors
from aiokafka.client import AIOKafkaClient
from aiokafka.partitioner import murmur2
from confluent_kafka import Producer
from destinationkit import HOSTILE, RECEIVED_NS, batch, event
from kafkakit import deliver, lake

from auditsink.audit.eventlist import Mark, unsplit_document
from auditsink.common.secret import Secret
from auditsink.config import ClientTls, KafkaConfig, KafkaSecurity
from auditsink.delivery.destination import DestinationError
from auditsink.delivery.outcome import Delivered, Misconfigured, Retry, RetryCause
from auditsink.destinations.kafka import KafkaDestination, messages, topic_name
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
    return [f"{broker.host}:{broker.port}" for broker in mock.list_topics(timeout=60).brokers.values()]


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
async def test_events_arrive_in_order_with_key_time_and_headers(servers: list[str], compression: str) -> None:
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


async def test_hostile_events_arrive_byte_for_byte(servers: list[str]) -> None:
    async with lake(servers, topic="hostile") as destination:
        assert await deliver(destination, batch([*HOSTILE.values()], marks=Mark.NOT_UTF8)) == Delivered()

    assert [one.value for one in await consumed(servers, "hostile", len(HOSTILE))] == [*HOSTILE.values()]


async def test_a_body_that_could_not_be_split_is_one_document(servers: list[str]) -> None:
    async with lake(servers, topic="unsplit") as destination:
        assert await deliver(destination, batch([b"{\xff"], marks=Mark.UNSPLIT)) == Delivered()

    (found,) = await consumed(servers, "unsplit", 1)
    assert found.value == unsplit_document(b"{\xff")
    assert found.timestamp == RECEIVED_NS // 10**6


async def test_each_cluster_has_its_topic_and_more_than_one_kafka_batch_keeps_the_order(servers: list[str]) -> None:
    large = [event(number, request=b'"' + b"x" * 200_000 + b'"') for number in range(12)]
    async with lake(servers, topic="big.{cluster}") as destination:
        assert await deliver(destination, batch(large, cluster="c1")) == Delivered()
        assert await deliver(destination, batch([event(99)], cluster="c2")) == Delivered()

    assert [one.value for one in await consumed(servers, "big.c1", 12)] == large
    assert [one.value for one in await consumed(servers, "big.c2", 1)] == [event(99)]


def test_topic_names_are_fit_for_kafka() -> None:
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
def test_the_partition_is_hashed_as_in_the_java_client(key: bytes, hashed: int) -> None:
    assert murmur2(key) & 0xFFFFFFFF == hashed & 0xFFFFFFFF


def test_labels_are_headers() -> None:
    (message,) = messages(replace(batch([b"{}"], cluster="a"), labels={"stage": "prod", "team": "z\u00fc"}))
    assert message.headers[:3] == [("cluster", b"a"), ("label.stage", b"prod"), ("label.team", "z\u00fc".encode())]
    assert message.value == b"{}"


@pytest.mark.parametrize("audit_id", ["x" * 3000, 'quote"', "line\nbreak", "", "ünï", "back\\slash"])
def test_an_audit_id_that_a_client_made_up_is_no_header(audit_id: str) -> None:
    raw = json.dumps({"level": "Metadata", "auditID": audit_id}, separators=(",", ":")).encode()
    (message,) = messages(batch([raw]))

    assert [name for name, _ in message.headers] == ["cluster", "sequence"]


def test_a_usual_audit_id_is_a_header() -> None:
    raw = b'{"level":"Metadata","auditID":"04326dcf-b279-4da9-ab0b-461b319f821d","stage":"Panic"}'
    (message,) = messages(batch([raw]))

    assert message.headers[2] == ("auditID", b"04326dcf-b279-4da9-ab0b-461b319f821d")


async def test_a_broker_that_is_down_is_waited_for(servers: list[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        async with lake([nobody]) as destination:
            outcome = await deliver(destination, batch([event()]))
            probed = await destination.probe()

    assert isinstance(outcome, Retry)
    assert "Connect" in outcome.why
    assert isinstance(probed, Retry)


async def test_a_producer_that_may_not_start_is_cleared_away(
    servers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(producer: AIOKafkaProducer) -> None:
        raise errors.ClusterAuthorizationFailedError

    monkeypatch.setattr(AIOKafkaProducer, "start", start)
    async with lake(servers) as destination:
        outcome = await deliver(destination, batch([event()]))

    assert isinstance(outcome, Misconfigured)
    assert "IdempotentWrite" in outcome.why


async def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        async with lake([server], timeout=0.5) as destination:
            outcome = await deliver(destination, batch([event()]))

    assert outcome == Retry(f"Kafka, topic audit.prod: {server}: no answer in time", cause=RetryCause.ELSEWHERE)


async def test_brokers_that_vanish_and_come_back_elsewhere_lose_nothing() -> None:
    gone, there = mock_cluster(), mock_cluster()
    async with lake(addresses(gone), topic="moved") as destination:
        assert await deliver(destination, batch([event(0)])) == Delivered()
        attempt: Any = await destination.prepare(batch([event(1), event(2)]))
        del gone
        attempt._timeout = 0.3  # only what is to fail is hurried
        assert isinstance(await attempt(), Retry)
        attempt._timeout = 60.0
        brokers = destination._link._brokers
        brokers._settings = brokers._settings._replace(servers=addresses(there), timeout=60.0)
        assert await attempt() == Delivered()

    assert [one.value for one in await consumed(addresses(there), "moved", 2)] == [event(1), event(2)]


async def test_one_server_of_several_is_enough(servers: list[str]) -> None:
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        dead = [f"127.0.0.1:{one.getsockname()[1]}" for one in (closed, silent)]
        async with lake([*dead, *servers[:1]], topic="several") as destination:
            assert await deliver(destination, batch([event()])) == Delivered()


async def test_a_topic_that_nobody_made_needs_a_person(servers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def learned_nothing(client: AIOKafkaClient) -> asyncio.Future[bool]:
        learned = asyncio.get_running_loop().create_future()
        learned.set_result(True)
        return learned

    async with lake(servers) as destination:
        await destination.probe()
        first = await destination._link.producer()
        monkeypatch.setattr(AIOKafkaClient, "force_metadata_update", learned_nothing)
        outcome = await deliver(destination, batch([event()], cluster="nowhere"))
        monkeypatch.undo()
        assert await deliver(destination, batch([event()], cluster="nowhere")) == Delivered()
        assert await destination._link.producer() is first, "a missing topic is no reason to connect anew"

    assert isinstance(outcome, Misconfigured)
    assert outcome.cluster_only
    assert outcome.why.startswith("Kafka, topic audit.nowhere: the broker answered 3, UnknownTopicOrPartitionError;")


async def test_a_cancelled_attempt_delivers_nothing_later(servers: list[str]) -> None:
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
def test_a_missing_codec_is_named(monkeypatch: pytest.MonkeyPatch, compression: Literal["lz4", "zstd"]) -> None:
    monkeypatch.setattr("aiokafka.codec.cramjam", None)
    with pytest.raises(DestinationError, match=rf"destinations\[lake\].compression: {compression} needs the extra"):
        KafkaDestination(KafkaConfig(name="lake", bootstrap_servers=["k:9092"], compression=compression), FakeClock())


async def test_probing_delivers_nothing(servers: list[str]) -> None:
    async with lake(servers, topic="probed") as destination:
        assert await destination.probe() == Delivered()
        assert await deliver(destination, batch([event(1)])) == Delivered()

    assert [one.value for one in await consumed(servers, "probed", 1)] == [event(1)]


async def test_a_cluster_that_speaks_no_tls_or_sasl_is_no_crash(servers: list[str]) -> None:
    for security in (
        KafkaSecurity(tls=ClientTls()),
        KafkaSecurity(mechanism="PLAIN", username="u", password=Secret("s3cr3t")),
    ):
        async with lake(servers, security=security, timeout=1.0) as destination:
            outcome = await deliver(destination, batch([event()]))
        assert isinstance(outcome, Retry | Misconfigured)
        assert "s3cr3t" not in repr(outcome)
