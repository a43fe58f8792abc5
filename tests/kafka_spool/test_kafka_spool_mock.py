"""Receivers and forwarders over librdkafka's mock cluster, a Kafka endpoint that this project did not write.

It knows groups of one member and idempotent producers; it knows no settings of topics, no deletion and no sizes: for
these, and for several forwarders, see tests/real/test_real_kafka_spool*.py.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.structs import ConsumerRecord, TopicPartition
from confluent_kafka import Producer
from msgspec.structs import replace
from topickit import body, names

from auditsink.audit.eventlist import split
from auditsink.common.clock import SystemClock
from auditsink.config import Spool
from auditsink.forward.source import Unfetched
from auditsink.kafka.brokers import Brokers, BrokerSettings
from auditsink.kafka_spool import KafkaSpool, topic
from auditsink.kafka_spool import source as source_module
from auditsink.kafka_spool.moving import Moved, out_of_topic
from auditsink.kafka_spool.scanning import TopicScan, scanning
from auditsink.kafka_spool.source import TopicSource
from auditsink.kafka_spool.topic import TopicFacts
from auditsink.spool import Spool as DiskSpool
from auditsink.spool.errors import SpoolError, TooManyRingsError
from auditsink.spool.statistics import REST
from auditsink.spool.types import Receipt, SpoolRejection, Tally

PATIENCE = 60.0
PARTITIONS = 4


@pytest.fixture
def servers() -> Iterator[list[str]]:
    """Three brokers."""
    mock = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 3})
    yield [f"{one.host}:{one.port}" for one in mock.list_topics("spool", timeout=60).brokers.values()]
    del mock


@pytest_asyncio.fixture
async def receivers(servers: list[str]) -> AsyncIterator[list[KafkaSpool]]:
    """Two of them."""
    config = Spool(type="kafka", bootstrap_servers=servers, topic="spool", partitions=PARTITIONS)
    brokers = Brokers(BrokerSettings("spool", servers, config.security, 20.0))
    facts = TopicFacts(PARTITIONS, 3, {})
    several = [KafkaSpool(config, brokers, facts, clock=SystemClock(), max_rings=3, keys=None) for _ in range(2)]
    yield several
    for one in several:
        await asyncio.to_thread(one.stop)


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def post(spool: KafkaSpool, cluster: str, *numbers: int, events: int = 2) -> list[Receipt | SpoolRejection]:
    answers: list[Receipt | SpoolRejection] = []
    for number in numbers:
        content = body(cluster, number, events)
        spool.submit(spool.ring(cluster), content, split(content), "token:x", answers.append)
    await until(lambda: len(answers) == len(numbers))
    return answers


def held(source: TopicSource) -> dict[str, list[str]]:
    """What waits, by cluster."""
    found: dict[str, list[str]] = {}
    for ring in source.rings.values():
        if ring.durable > ring.cursor("d").position:
            records = ring.reader().read(ring.cursor("d").position, 10**9).records
            found[ring.cluster] = [name for record in records for name in names(record.events)]
    return found


async def test_what_receivers_were_given_is_read_once_and_in_order(receivers: list[KafkaSpool]) -> None:
    first, second = receivers
    assert await post(first, "a", *range(50)) == [Receipt(0, 2)] * 50
    assert await post(second, "b", 0, 1) == [Receipt(0, 2)] * 2
    assert await post(first, "a", 7) == [Receipt(0, 2, duplicate=True)]
    assert await post(second, "a", 8) == [Receipt(0, 2)]  # it cannot know

    source = first.source("siem")
    await until(lambda: sum(window.next_offset for window in source.windows) and len(held(source)) == 2)
    await until(lambda: sum(window.repeated for window in source.windows) == 2)
    assert held(source) == {
        "a": [f"a-{number}-{index}" for number in range(50) for index in range(2)],
        "b": ["b-0-0", "b-0-1", "b-1-0", "b-1-1"],
    }


async def test_who_comes_next_goes_on_where_the_last_one_committed(receivers: list[KafkaSpool]) -> None:
    first, second = receivers
    await post(first, "a", 0, 1, 2)
    source = first.source("siem")
    await until(lambda: "a" in held(source))
    (ring,) = (one for one in source.rings.values() if one.cluster == "a")
    ring.cursor("siem").advance(Tally(2, 1))
    await asyncio.to_thread(ring.cursor("siem").sync)
    lost: list[str] = []
    source.on_lost_ring(lambda gone: lost.append(gone.cluster))
    await source.close()
    assert (lost, source.partitions) == (["a"], [])

    again = second.source("siem")
    await until(lambda: "a" in held(again))
    assert held(again) == {"a": ["a-1-1", "a-2-0", "a-2-1"]}
    account = next(one for one in again.rings.values() if one.cluster == "a").account(None)
    assert (account.accepted, account.delivered, account.filtered, account.pending) == (6, 2, 1, 3)


async def test_each_destination_has_all(receivers: list[KafkaSpool]) -> None:
    first, second = receivers
    await post(first, "a", 0)
    siem, lake = first.source("siem"), second.source("lake")
    await until(lambda: held(siem) == held(lake) == {"a": ["a-0-0", "a-0-1"]})
    told = {one.cluster: (one.next_sequence, one.oldest_seconds > 0) for one in first.statistics().rings}
    assert told == {"a": (2, True), REST: (0, False)}


async def test_what_cannot_be_read_is_told_and_keeps_nothing_else_from_being_moved(
    receivers: list[KafkaSpool], servers: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Producer({"bootstrap.servers": ",".join(servers)})
    stranger.produce("spool", key=b"a", value=b"hello")
    assert await asyncio.to_thread(stranger.flush, PATIENCE) == 0
    await post(receivers[0], "a", 0, 1)
    config = Spool(type="kafka", bootstrap_servers=servers, topic="spool")
    rings = DiskSpool.open(Spool(path=tmp_path), destinations=["siem"])
    loop = asyncio.get_running_loop()
    rings.start(loop.call_soon_threadsafe, loop.call_soon)
    moved = Moved()
    await out_of_topic(config, ["siem"], rings, moved)
    assert (moved.events, moved.unread, rings.rings["a"].durable) == (4, 1, 4)
    assert "cannot be read and is not moved: it was not written by auditsink" in caplog.text
    with pytest.raises(SpoolError, match="there is no such topic"):
        await out_of_topic(replace(config, topic="other"), ["siem"], rings, moved)
    await asyncio.to_thread(rings.stop)


async def test_a_scan_reads_all_and_a_topic_that_is_not_there_is_told(
    receivers: list[KafkaSpool], servers: list[str]
) -> None:
    await post(receivers[0], "a", *range(20))
    config = Spool(type="kafka", bootstrap_servers=servers, topic="spool")
    async with scanning(config) as scan:
        bounds = {one: await scan.bounds(one) for one in await scan.partitions()}
        found = [
            each.key async for several in _all(scan, bounds) for each in several
        ]  # fmt: skip
        assert (len(bounds), len(found), set(found)) == (PARTITIONS, sum(end for _, end in bounds.values()), {b"a"})
    with pytest.raises(SpoolError, match="there is no such topic"):
        async with scanning(replace(config, topic="other")):
            raise AssertionError


async def _all(scan: TopicScan, bounds: dict[TopicPartition, tuple[int, int]]) -> AsyncIterator[list[ConsumerRecord]]:
    for partition, (start, end) in bounds.items():
        async for several in scan.records(partition, start, end):
            yield several


async def test_what_is_not_fetched_is_counted(receivers: list[KafkaSpool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "HELD_RECORDS", 10)
    monkeypatch.setattr(source_module, "FETCH_BYTES", 1000)
    first, second = receivers
    await asyncio.gather(*(post(first, "a", number, events=5) for number in range(10)))
    source = second.source("siem")
    await until(lambda: sum(window.held for window in source.windows) >= 1)
    held_before = sum(window.held for window in source.windows)
    for number in range(10, 60):
        await post(first, "a", number, events=5)
    await source.look()
    ahead = source.unfetched
    known = sum(window.next_offset for window in source.windows)
    held_now = sum(window.held for window in source.windows)
    end = sum(source._ends.values())
    assert (ahead.records, ahead.records > 0) == (end - known, True)
    assert 10 <= held_now < 60
    assert held_before <= 10
    assert ahead.events == round(ahead.records * sum(ring.durable for ring in source.rings.values()) / held_now)
    assert ahead.bytes > 100 * ahead.records

    for ring in source.rings.values():
        ring.cursor("siem").advance(Tally(ring.durable - ring.cursor("siem").position))
    monkeypatch.undo()
    await until(lambda: sum(ring.durable for ring in source.rings.values()) == 300)
    await source.look()
    assert source.unfetched == Unfetched(0, 0, 0)


async def test_clusters_are_bounded_and_a_stop_is_told(receivers: list[KafkaSpool]) -> None:
    spool = receivers[0]
    for cluster in "abc":
        spool.ring(cluster)
    with pytest.raises(TooManyRingsError, match="max_clusters"):
        spool.ring("d")
    await asyncio.to_thread(spool.stop)
    assert await post(spool, "a", 0) == [SpoolRejection.STOPPING]


class NewTopicAdmin:
    """Stands for aiokafka's: the broker that is asked for settings hears of the topic a moment after the others.

    The mock cluster knows no settings of topics.
    """

    asked = 0

    def __init__(self, **_arguments: object) -> None:
        pass

    async def start(self) -> None:
        """It is there."""

    async def close(self) -> None:
        """It is gone."""

    async def list_topics(self) -> list[str]:
        return ["spool"]

    async def describe_topics(self, _topics: list[str]) -> list[dict[str, object]]:
        return [{"error_code": 0, "partitions": [{"leader": 1, "replicas": [1, 2, 3]}]}]

    async def describe_configs(self, _resources: object) -> list[object]:
        NewTopicAdmin.asked += 1
        code = UnknownTopicOrPartitionError.errno if NewTopicAdmin.asked < 3 else 0
        return [SimpleNamespace(resources=[(code, "", 2, "spool", [("min.insync.replicas", "2")])])]


async def test_a_start_waits_for_a_broker_that_has_not_heard_of_a_new_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "AIOKafkaAdminClient", NewTopicAdmin)
    plan = topic.spool_topic(Spool(type="kafka", bootstrap_servers=["localhost:1"], topic="spool"), 0)
    assert await topic.look({}, plan) == TopicFacts(1, 3, {"min.insync.replicas": "2"})
    assert NewTopicAdmin.asked == 3
