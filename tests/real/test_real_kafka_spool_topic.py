"""The topic that is the spool, at a real broker: what is refused, how large it is, what is deleted of it."""

import asyncio
import base64
import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition
from kafka_server import Kafka
from running import PATIENCE

from auditsink import cli
from auditsink.audit.eventlist import joined, split
from auditsink.common.clock import SystemClock
from auditsink.common.units import Size
from auditsink.config import Spool
from auditsink.kafka.brokers import Brokers, BrokerSettings
from auditsink.kafka_spool import KafkaSpool, topic
from auditsink.kafka_spool.keeper import TopicKeeper
from auditsink.kafka_spool.source import TopicSource
from auditsink.kafka_spool.topic import checked_topic
from auditsink.spool import Spool as DiskSpool
from auditsink.spool import SpoolError
from auditsink.spool.types import Receipt, SpoolRejection, Tally

pytestmark = pytest.mark.quick
CLOCK = SystemClock()


def section(kafka: Kafka, **settings: Any) -> Spool:
    return Spool(type="kafka", bootstrap_servers=kafka.servers, **settings)


def brokers(spool: Spool) -> Brokers:
    return Brokers(BrokerSettings("spool", spool.bootstrap_servers, spool.security, 20.0))


async def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_topic_on_which_nothing_can_be_promised_is_refused_with_what_to_set(tmp_path: Path) -> None:
    async with Kafka(tmp_path / "kafka") as kafka:
        await kafka.create("poor", retention_ms=1000, unclean_leader_election_enable="true", max_message_bytes=50_000)
        spool = section(kafka, topic="poor")
        with pytest.raises(SpoolError) as refused:
            await checked_topic(spool, brokers(spool), 32 * 2**20, CLOCK)
        told = str(refused.value)
        for word in (
            "one replica",
            "min.insync.replicas=1",
            "unclean",
            "retention.ms=1000",
            "max.message.bytes=50000",
            "has 1 partitions",
        ):
            assert word in told
        loose = section(kafka, topic="poor", accept_loss=True)
        with pytest.raises(SpoolError, match=r"max\.message\.bytes"):
            await checked_topic(loose, brokers(loose), 32 * 2**20, CLOCK)
        assert (await checked_topic(loose, brokers(loose), None, CLOCK)).partitions == 1


async def test_what_all_have_is_deleted_and_a_full_topic_takes_nothing(tmp_path: Path) -> None:
    async with Kafka(tmp_path / "kafka") as kafka:
        config = section(kafka, partitions=2, replication_factor=1, accept_loss=True, max_bytes=Size(2**30))
        spool = await KafkaSpool.open(config, clock=CLOCK, max_rings=10, max_body=2**20)
        sources = [TopicSource(brokers(config), config.topic, name, clock=CLOCK, keys=None) for name in ("a", "b")]
        keeper = TopicKeeper(
            brokers(config), config.topic, max_bytes=1, keep=600, sources=lambda: tuple(sources), clock=CLOCK
        )
        answers: list[Receipt | SpoolRejection] = []
        for number in range(20):
            body = joined(b'{"auditID":"%d-%d"}' % (number, index) for index in range(5))
            spool.submit(spool.ring("prod"), body, split(body), "", answers.append)
        await until(lambda: len(answers) == 20)
        assert all(isinstance(answer, Receipt) for answer in answers)

        for source in sources:
            source.start()
        await until(lambda: all(sum(ring.durable for ring in source.rings.values()) == 100 for source in sources))
        await keeper.look()
        assert (keeper.problem, keeper.full, keeper.deleted) == (None, True, 0)
        for source in sources:
            (ring,) = (one for one in source.rings.values() if one.durable)
            ring.cursor("x").advance(Tally(100))
            await source.commit()
            await keeper.look()
        assert keeper.problem is None
        records = await asyncio.to_thread(deleted, kafka, config.topic)
        assert records == sum(window.next_offset for window in sources[0].windows)
        assert records > 0

        spool._keeper = keeper
        full: list[Receipt | SpoolRejection] = []
        spool.submit(spool.ring("prod"), body, split(body), "", full.append)
        await until(lambda: full)
        assert full == [SpoolRejection.FULL]
        for source in sources:
            await source.close()
        await asyncio.to_thread(spool.stop)


async def test_a_body_of_many_megabytes_that_does_not_compress_is_a_record(tmp_path: Path) -> None:
    async with Kafka(tmp_path / "kafka") as kafka:
        config = section(kafka, partitions=1, replication_factor=1, accept_loss=True)
        spool = await KafkaSpool.open(config, clock=CLOCK, max_rings=10, max_body=16 * 2**20)
        event = b'{"auditID":"%b"}' % base64.b64encode(random.Random(1).randbytes(11 * 2**20))
        body = joined([event])
        answers: list[Receipt | SpoolRejection] = []
        spool.submit(spool.ring("prod"), body, split(body), "", answers.append)
        await until(lambda: answers)
        assert answers == [Receipt(0, 1)]
        source = spool.source("out")
        await until(lambda: any(ring.durable for ring in source.rings.values()))
        (ring,) = source.rings.values()
        chunk = await asyncio.to_thread(ring.reader().read, 0, 1)
        assert chunk.records[0].events == [event]
        await asyncio.to_thread(spool.stop)


async def test_a_disk_is_moved_into_the_topic_and_back(tmp_path: Path) -> None:
    async with Kafka(tmp_path / "kafka") as kafka:
        kinds = {
            "disk": {"path": str(tmp_path / "disk")},
            "back": {"path": str(tmp_path / "back")},
            "topic": {
                "type": "kafka", "bootstrap_servers": kafka.servers, "partitions": 2, "replication_factor": 1,
                "accept_loss": True,
            },
        }  # fmt: skip
        for name, one in kinds.items():
            text = yaml.safe_dump({"spool": one, "destinations": [{"name": "out", "type": "stdout"}]})
            (tmp_path / f"{name}.yaml").write_text(text)
        rings = DiskSpool.open(Spool(path=tmp_path / "disk"), destinations=["out"])
        loop = asyncio.get_running_loop()
        rings.start(loop.call_soon_threadsafe, loop.call_soon)
        answers: list[Receipt | SpoolRejection] = []
        for number in range(40):
            body = joined(b'{"auditID":"%d-%d"}' % (number, index) for index in range(5))
            rings.submit(rings.ring(f"c{number % 2}"), body, split(body), "cert:x", answers.append)
        await until(lambda: len(answers) == 40)
        rings.rings["c0"].cursor("out").advance(Tally(12))
        await asyncio.to_thread(rings.stop)

        await moved(tmp_path, "disk", "topic")
        config = section(kafka, partitions=2, replication_factor=1, accept_loss=True)
        source = TopicSource(brokers(config), config.topic, "out", clock=CLOCK, keys=None)
        source.start()
        await until(lambda: sum(ring.durable for ring in source.rings.values()) == 200 - 12)
        (first,) = (ring for ring in source.rings.values() if ring.cluster == "c0")
        chunk = await asyncio.to_thread(first.reader().read, 0, 10**6)
        assert [event for one in chunk.records for event in one.events][:2] == [
            b'{"auditID":"4-2"}', b'{"auditID":"4-3"}'
        ]  # fmt: skip
        assert {one.source for one in chunk.records} == {"cert:x"}
        first.cursor("out").advance(Tally(3))
        await source.close()

        await moved(tmp_path, "topic", "back")
        again = DiskSpool.open(Spool(path=tmp_path / "back"), destinations=["out"])
        assert {name: ring.durable for name, ring in again.rings.items()} == {"c0": 100 - 12 - 3, "c1": 100}
        assert again.rings["c0"].reader().read(0, 1).records[0].events[0] == b'{"auditID":"6-0"}'
        again.stop()


async def moved(place: Path, old: str, new: str) -> None:
    command = ["spool", "move", "--from", str(place / f"{old}.yaml"), "--to", str(place / f"{new}.yaml")]
    assert await asyncio.to_thread(cli.run, command) == 0


def deleted(kafka: Kafka, name: str) -> int:
    """Records that were deleted of all partitions."""
    consumer = Consumer({"bootstrap.servers": ",".join(kafka.servers), "group.id": "looks"})
    try:
        return sum(consumer.get_watermark_offsets(TopicPartition(name, number), 10)[0] for number in range(2))
    finally:
        consumer.close()


def test_what_a_topic_is_made_with_is_what_is_asked_of_one() -> None:
    spool = Spool(type="kafka", bootstrap_servers=["k:1"])
    facts = topic.TopicFacts(12, 3, topic.settings_of(spool, 2**20))
    assert list(topic.broken_promises(facts)) == []
    plan = topic.spool_topic(spool, 2**20)
    assert list(topic.mistakes(facts, plan, 2**20)) == []
    (said,) = topic.mistakes(facts._replace(partitions=6), plan, 2**20)
    assert said.startswith("has 6 partitions, and spool.partitions says 12: write 6 in all files")
