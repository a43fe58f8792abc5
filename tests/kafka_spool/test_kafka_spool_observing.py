"""Receivers that read along in the topic, over librdkafka's mock cluster; it tells no sizes, so tests say them."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from confluent_kafka import Producer
from topickit import body

from auditsink.audit.eventlist import split
from auditsink.common.clock import SystemClock
from auditsink.common.units import Size
from auditsink.config import Spool
from auditsink.kafka.brokers import Brokers, BrokerSettings
from auditsink.kafka_spool import KafkaSpool
from auditsink.kafka_spool.topic import TopicFacts
from auditsink.spool.statistics import REST, RingStatistics
from auditsink.spool.types import Receipt, SpoolRejection

PATIENCE = 60.0
PARTITIONS = 4
MAX, RESERVED = 8000, 4000
NOTHING = RingStatistics("", 0, 0, 0, 0, 0, 0.0, 0, 0, 0)


@pytest.fixture
def servers() -> Iterator[list[str]]:
    """Two brokers."""
    mock = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 2})
    yield [f"{one.host}:{one.port}" for one in mock.list_topics("spool", timeout=60).brokers.values()]
    del mock


@asynccontextmanager
async def receiver(servers: list[str]) -> AsyncIterator[KafkaSpool]:
    config = Spool(type="kafka", bootstrap_servers=servers, topic="spool", partitions=PARTITIONS, max_bytes=Size(MAX))
    brokers = Brokers(BrokerSettings("spool", servers, config.security, 20.0))
    spool = KafkaSpool(config, brokers, TopicFacts(PARTITIONS, 2, {}), clock=SystemClock(), max_rings=9, keys=None)
    try:
        yield spool
    finally:
        await asyncio.to_thread(spool.stop)


@pytest_asyncio.fixture
async def receivers(servers: list[str]) -> AsyncIterator[list[KafkaSpool]]:
    """Two of them."""
    async with receiver(servers) as first, receiver(servers) as second:
        yield [first, second]


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def post(spool: KafkaSpool, cluster: str, number: int) -> Receipt | SpoolRejection:
    answers: list[Receipt | SpoolRejection] = []
    content = body(cluster, number, 2)
    spool.submit(spool.ring(cluster), content, split(content), "token:x", answers.append)
    await until(lambda: answers)
    return answers[0]


async def fill(spool: KafkaSpool, cluster: str) -> int:
    """Post until there is no room; how many were taken."""
    for number in range(100):
        answer = await post(spool, cluster, number)
        if answer is SpoolRejection.FULL:
            return number
        assert answer == Receipt(0, 2)
    raise AssertionError("it never gets full")


async def begun(spool: KafkaSpool) -> None:
    await until(lambda: spool._observer is not None)


def row(spool: KafkaSpool, cluster: str) -> RingStatistics:
    return next((one for one in spool.statistics().rings if one.cluster == cluster), NOTHING)


def knows(spool: KafkaSpool, **used: int) -> Callable[[], bool]:
    return lambda: {cluster: row(spool, cluster).bytes for cluster in used} == used


async def observed(spool: KafkaSpool) -> None:
    """A look that finds no byte beyond those that are known."""
    observer = spool._observer
    assert observer is not None
    await until(lambda: observer._assigned)
    bounds = await observer.bounds()
    assert set(bounds) == set(range(PARTITIONS))
    observer.measured(dict.fromkeys(range(PARTITIONS), 0), bounds)


async def test_each_receiver_knows_what_all_have_taken_and_leaves_what_is_reserved(
    receivers: list[KafkaSpool], servers: list[str]
) -> None:
    first, second = receivers
    for one in receivers:
        one.reserve({"a": RESERVED})
        await begun(one)
    taken = await fill(first, "b")
    held = row(first, "b").bytes
    record = held // taken
    assert MAX - RESERVED - record < held <= MAX - RESERVED
    await until(knows(second, b=held))
    assert await fill(second, "b") == 0
    assert await fill(second, "c") == 0
    assert await fill(second, "a") in range(RESERVED // record - 1, RESERVED // record + 2)
    await until(lambda: row(first, "a").bytes == row(second, "a").bytes > RESERVED - 2 * record)
    assert await fill(first, "a") == 0

    # Who comes later knows it too, once it has read what lies there; until then it says so.
    async with receiver(servers) as third:
        third.reserve({"a": RESERVED})
        await until(lambda: third._observer is not None)
        assert "whose 0 B of the topic are is not known yet" in third.statistics().worries[0]
        await until(knows(third, a=row(first, "a").bytes, b=held))
        await observed(third)
        assert third.statistics().worries == ()
        assert [await fill(third, cluster) for cluster in "abc"] == [0, 0, 0]
    await observed(first)
    told = {one.cluster: (one.bytes, one.reserved_bytes) for one in first.statistics().rings}
    assert told == {"a": (row(second, "a").bytes, RESERVED), "b": (held, 0), REST: (0, 0)}


async def test_reservations_come_change_and_go_while_it_runs(receivers: list[KafkaSpool]) -> None:
    spool = receivers[0]
    assert await post(spool, "b", 100) == Receipt(0, 2)
    await asyncio.to_thread(spool.reserve, {"a": 7900})  # as whoever looks at files does it
    await until(lambda: row(spool, "b").bytes)  # of what was posted before, too
    assert await fill(spool, "b") == 0
    spool.reserve({"b": 7900})
    await until(lambda: row(spool, "b").reserved_bytes)
    assert await fill(spool, "b") > 10
    assert await fill(spool, "a") == 0
    spool.reserve({})
    await until(lambda: spool._observer is None)
    assert await post(spool, "a", 101) == Receipt(0, 2)
    assert (row(spool, "a").bytes, row(spool, REST).room_bytes) == (0, MAX)


async def test_what_the_brokers_do_not_take_is_no_use_of_room(
    receivers: list[KafkaSpool], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = receivers[0]
    spool.reserve({"a": RESERVED})
    await until(lambda: spool._observer is not None)
    monkeypatch.setattr("auditsink.kafka_spool.producing.ANSWER_SECONDS", 0.0)
    assert await post(spool, "a", 1) is SpoolRejection.UNAVAILABLE
    assert row(spool, "a").bytes == 0


async def test_brokers_that_say_nothing_stop_nobody(servers: list[str], caplog: pytest.LogCaptureFixture) -> None:
    config = Spool(type="kafka", bootstrap_servers=["127.0.0.1:1"], topic="spool", max_bytes=Size(MAX))
    brokers = Brokers(BrokerSettings("spool", ["127.0.0.1:1"], config.security, 20.0))
    spool = KafkaSpool(config, brokers, TopicFacts(4, 2, {}), clock=SystemClock(), max_rings=9, keys=None)
    spool.reserve({"a": RESERVED})
    await until(lambda: spool._observer is not None and spool._observer.problem)
    assert await spool._observer.bounds() == {}  # type: ignore[union-attr]
    assert "it cannot be read to tell whose its bytes are" in spool.statistics().worries[0]
    assert "whose its bytes are" in caplog.text
    assert spool.refusal(spool.ring("a")) is None
    await asyncio.to_thread(spool.stop)


def test_where_nothing_is_reserved_nothing_of_it_is_loaded() -> None:
    names = "'auditsink.kafka_spool.observing', 'auditsink.kafka_spool.usage'"
    asked = f"import sys, auditsink.kafka_spool; print({{{names}}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True, timeout=PATIENCE)
    assert found.stdout.strip() == "set()"
