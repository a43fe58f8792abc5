"""What changes while a sink runs on a topic: its destinations, by a reload, and the number of partitions."""

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka.admin import NewPartitions
from kafka_server import Kafka
from running import COMMAND, PATIENCE, Sink, check_accounts, eventually

from auditsink import cli
from auditsink.audit.eventlist import joined
from auditsink.testing.collector import Collector

pytestmark = pytest.mark.quick
CLUSTERS = [f"cluster-{number}" for number in range(8)]


def spool(kafka: Kafka, **more: Any) -> dict[str, Any]:
    return {
        "type": "kafka", "bootstrap_servers": kafka.servers, "partitions": 4, "replication_factor": 1,
        "accept_loss": True, "max_bytes": "4GiB", **more,
    }  # fmt: skip


def to(name: str, collector: Collector) -> dict[str, Any]:
    return {"name": name, "type": "http", "url": collector.url, "batch": {"max_wait": "20ms"}}


async def post(sink: Sink, *numbers: int) -> None:
    for number in numbers:
        for cluster in CLUSTERS:
            events = (b'{"auditID":"%b-%d-%d"}' % (cluster.encode(), number, index) for index in range(5))
            assert (await sink.post(joined(events), f"/{cluster}"))[0] == 200


def expected(*numbers: int) -> dict[str, list[str]]:
    return {cluster: [f"{number}-{index}" for number in numbers for index in range(5)] for cluster in CLUSTERS}


def arrived(collector: Collector) -> dict[str, list[str]]:
    """By cluster, in the order in which they came; repeats left out."""
    found: dict[str, dict[str, None]] = {}
    for event in collector.events:
        said = event.decode().split('"')[3]
        cluster, number, index = said.rsplit("-", 2)
        found.setdefault(cluster, {})[f"{number}-{index}"] = None
    return {cluster: list(several) for cluster, several in found.items()}


async def reload(sink: Sink, destinations: list[dict[str, Any]], times: int) -> None:
    config = yaml.safe_load(sink.config.read_text())
    sink.config.write_text(yaml.safe_dump(config | {"destinations": destinations}))
    sink.signal(signal.SIGHUP)
    taken = f'auditsink_reloads_total{{result="applied"}} {times}.0'
    deadline = time.monotonic() + PATIENCE
    while taken not in await sink.get("/metrics"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def verified(config: Path, capfd: pytest.CaptureFixture[str], wanted: list[int]) -> str:
    """What `spool verify` says, once siem's row is the one that is wanted: a place is committed about once a second."""
    deadline = time.monotonic() + PATIENCE
    while True:
        capfd.readouterr()
        assert await asyncio.to_thread(cli.run, ["spool", "verify", "-c", str(config)]) == 0
        said = capfd.readouterr().out
        (row,) = (line.split() for line in said.splitlines() if line.startswith("siem"))
        if row[1:] == [f"{count:,}" for count in wanted]:
            return said
        assert time.monotonic() < deadline, said
        await asyncio.sleep(0.5)


async def test_destinations_come_change_and_go_and_partitions_are_added(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with Kafka(tmp_path / "kafka") as kafka, Collector() as siem, Collector() as moved, Collector() as lake:
        first = [to("siem", siem)]
        async with Sink(tmp_path / "sink", first, spool=spool(kafka)) as sink:
            await post(sink, 0, 1)
            await sink.delivered()
            await reload(sink, [*first, to("lake", lake)], 1)
            await post(sink, 2)
            await sink.until(lambda status: status["destinations"][1]["accepted"] == 3 * 5 * len(CLUSTERS))
            check_accounts(await sink.delivered())
            assert arrived(siem) == arrived(lake) == expected(0, 1, 2)

            await reload(sink, [to("siem", moved), to("lake", lake)], 2)
            await post(sink, 3)
            check_accounts(await sink.delivered())
            assert arrived(moved) == expected(3)
            await reload(sink, [to("siem", moved)], 3)

            admin = kafka.admin()
            grown = admin.create_partitions([NewPartitions("auditsink.spool", 8)])
            await asyncio.to_thread(grown["auditsink.spool"].result, 30)
            for number in range(4, 40):
                await post(sink, number)
            status = await sink.delivered()
            check_accounts(status)
            assert arrived(moved) == expected(*range(3, 40))
            one = status["destinations"][0]
            ends = ("accepted", "delivered", "filtered", "dead_lettered", "dropped", "pending")
            said = await verified(sink.config, capfd, [one[key] for key in ends])
            assert "topic auditsink.spool: 8 partitions, whole" in said
            assert (one["accepted"], one["pending"]) == (40 * 5 * len(CLUSTERS), 0)
            used = {cluster["cluster"] for cluster in (await sink.status())["clusters"]}
            assert used == {*CLUSTERS, "*"}
            await sink.stop()

        # Now they are used: clusters go elsewhere, and nothing is lost on the way.
        async with Sink(tmp_path / "other", [to("siem", moved)], spool=spool(kafka, partitions=8)) as sink:
            await post(sink, 40, 41)
            await sink.until(lambda status: status["spool"]["segments"] == 8)
            await eventually(lambda: arrived(moved) == expected(*range(3, 42)))
            check_accounts(await sink.delivered())


async def total(forwarders: list[Sink]) -> dict[str, int]:
    """The destination's accounts, over all who deliver to it."""
    found: Counter[str] = Counter()
    for sink in forwarders:
        status = await sink.status()
        if status["clusters"]:
            check_accounts(status)
        (one,) = status["destinations"]
        found.update({key: one[key] for key in ("accepted", "delivered", "dead_lettered", "dropped", "pending")})
    return dict(found)


async def test_accounts_hold_over_forwarders_that_come_and_go(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    everything = 12 * 5 * len(CLUSTERS)
    done = {"accepted": everything, "delivered": everything, "dead_lettered": 0, "dropped": 0, "pending": 0}
    async with Kafka(tmp_path / "kafka") as kafka, Collector() as siem:
        receiver = Sink(tmp_path / "receiver", [to("siem", siem)], spool=spool(kafka), roles=["receive"])
        first, second, third = (
            Sink(tmp_path / f"forwarder-{number}", [to("siem", siem)], spool=spool(kafka), roles=["forward"])
            for number in range(3)
        )
        async with receiver, first, second:
            await post(receiver, *range(4))
            async with third:
                await post(receiver, *range(4, 8))
                await second.kill()
                await post(receiver, *range(8, 12))
                deadline = time.monotonic() + PATIENCE
                while await total([first, third]) != done:
                    assert time.monotonic() < deadline, await total([first, third])
                    await asyncio.sleep(0.5)
                await third.stop()
                deadline = time.monotonic() + PATIENCE
                while await total([first]) != done:
                    assert time.monotonic() < deadline, await total([first])
                    await asyncio.sleep(0.5)
            await verified(first.config, capfd, [everything, everything, 0, 0, 0, 0])
    found = arrived(siem)
    assert {cluster: sorted(several) for cluster, several in found.items()} == {
        cluster: sorted(several) for cluster, several in expected(*range(12)).items()
    }


async def test_a_move_that_waits_for_brokers_says_so_at_once_and_ends_with_a_sentence(tmp_path: Path) -> None:
    """No broker is there."""
    spools: dict[str, dict[str, Any]] = {
        "disk": {"path": str(tmp_path / "disk")},
        "topic": {"type": "kafka", "bootstrap_servers": ["127.0.0.1:1"]},
    }
    for name, one in spools.items():
        text = yaml.safe_dump({"spool": one, "destinations": [{"name": "out", "type": "stdout"}]})
        (tmp_path / f"{name}.yaml").write_text(text)
    move = ["spool", "move", "--from", str(tmp_path / "disk.yaml"), "--to", str(tmp_path / "topic.yaml")]
    process = await asyncio.create_subprocess_exec(*COMMAND, *move, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    async with asyncio.timeout(30):
        line = await process.stderr.readline()
    assert b"waiting for the brokers, for up to 60 s: spool.topic auditsink.spool: 127.0.0.1:1: " in line
    async with asyncio.timeout(120):
        rest = await process.stderr.read()
        assert await process.wait() == 1
    assert b"spool.topic auditsink.spool: 127.0.0.1:1: " in rest
