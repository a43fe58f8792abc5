"""Dead letters of a sink whose spool is a topic: they outlive the sink, and what cannot be kept is not passed over."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from kafka_server import SERVER, Kafka
from rows import Rows
from running import Sink, check_accounts

from auditsink import cli
from auditsink.audit.eventlist import joined
from auditsink.testing.collector import Collector

pytestmark = pytest.mark.quick
REFUSED = 10


def spool(kafka: Kafka) -> dict[str, Any]:
    return {
        "type": "kafka", "bootstrap_servers": kafka.servers, "partitions": 4, "replication_factor": 1,
        "accept_loss": True, "max_bytes": "4GiB",
    }  # fmt: skip


def bodies() -> list[bytes]:
    """Twenty batches of ten events; in every other one an event is bad."""
    return [
        joined(
            b'{"auditID":"%s-%d-%d"}' % (b"bad" if index == 3 and number % 2 else b"good", number, index)
            for index in range(10)
        )
        for number in range(2 * REFUSED)
    ]


def to(collector: Collector) -> dict[str, Any]:
    return {"name": "siem", "type": "http", "url": collector.url, "backoff": {"initial": "100ms", "max": "500ms"}}


async def listed(config: Path, capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capfd.readouterr()
    assert await asyncio.to_thread(cli.run, ["deadletter", "ls", "-c", str(config), "-o", "json"]) == 0
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


async def test_they_outlive_whoever_delivered(tmp_path: Path, rows: Rows, capfd: pytest.CaptureFixture[str]) -> None:
    good_now = asyncio.Event()

    def refuse(event: bytes) -> bool:
        return b"bad" in event and not good_now.is_set()

    async with Kafka(tmp_path / "kafka") as kafka, Collector(refuse=refuse) as collector:
        async with Sink(tmp_path / "first", [to(collector)], spool=spool(kafka)) as first:
            for body in bodies():
                assert (await first.post(body))[0] == 200
            await first.until(lambda status: bool(status["destinations"][0]["dead_lettered"] == REFUSED))
            check_accounts(await first.status())
            await first.kill()
        assert not (tmp_path / "first" / "spool").exists()
        shutil.rmtree(tmp_path / "first")

        (tmp_path / "token").write_text("admin-token-of-the-test")
        bearer = {"Authorization": "Bearer admin-token-of-the-test"}
        admin = {"token_file": str(tmp_path / "token")}
        async with Sink(tmp_path / "second", [to(collector)], spool=spool(kafka), admin=admin) as second:
            status = await second.until(lambda found: bool(found["destinations"][0]["dead_letters"]["waiting"]))
            assert status["destinations"][0]["dead_letters"]["waiting"] == REFUSED
            letters = await listed(second.config, capfd)
            ids = [one["id"] for one in letters]
            async with aiohttp.ClientSession(second.admin, headers=bearer) as page:
                async with page.get("/letters") as answer:
                    shown = (await answer.json())["destinations"]
                async with page.get("/letters/event", params={"destination": "siem", "id": ids[0]}) as answer:
                    assert b"bad" in await answer.read()
                assert [one["count"] for one in shown] == [REFUSED] == [len(letters)]

                good_now.set()
                drop = ["deadletter", "drop", "-c", str(second.config), "--yes", ids[0]]
                assert await asyncio.to_thread(cli.run, drop) == 0
                replay = ["deadletter", "replay", "-c", str(second.config), ids[1], ids[2]]
                assert await asyncio.to_thread(cli.run, replay) == 0
                async with page.post("/letters/replay", json={"destination": "siem", "ids": None}) as answer:
                    assert (await answer.json())["delivered"] == REFUSED - 3
            assert await listed(second.config, capfd) == []
            status = await second.until(lambda found: not found["destinations"][0]["dead_letters"]["waiting"])
            check_accounts(status)
    arrived = {event for event in collector.events if b"bad" in event}
    assert len(arrived) == REFUSED - 1
    rows(
        server=f"{SERVER}, 1 node, as the spool",
        thrown=f"{REFUSED} events refused; the sink killed, its directory deleted; replayed elsewhere",
        into=20 * REFUSED,
        out=len(set(collector.events)),
        repeated=len(collector.events) - len(set(collector.events)),
        dead_lettered=REFUSED,
    )


async def set_most(kafka: Kafka, topic: str, count: int) -> None:
    """How many bytes a batch of records may have: with very few nothing fits."""
    entry = ConfigEntry("max.message.bytes", str(count), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = kafka.admin()
    await asyncio.to_thread(admin.incremental_alter_configs([resource])[resource].result, 30)


async def test_what_cannot_be_kept_waits_and_holds_up_nobody_else(tmp_path: Path) -> None:
    async with (
        Kafka(tmp_path / "kafka") as kafka,
        Collector(refuse=lambda event: b"bad" in event) as strict,
        Collector() as other,
    ):
        destinations = [to(strict), to(other) | {"name": "other"}]
        async with Sink(tmp_path / "sink", destinations, spool=spool(kafka)) as sink:
            await set_most(kafka, "auditsink.spool.dead", 50)
            for body in bodies():
                assert (await sink.post(body))[0] == 200
            status = await sink.until(lambda found: "dead letters" in (found["destinations"][0]["last_error"] or ""))
            error = status["destinations"][0]["last_error"]
            assert "topic auditsink.spool.dead" in error
            assert "raise max.message.bytes" in error
            status = await sink.until(lambda found: bool(found["destinations"][1]["delivered"] == 20 * REFUSED))
            assert (status["destinations"][0]["dead_lettered"], status["destinations"][0]["pending"] > 0) == (0, True)
            await set_most(kafka, "auditsink.spool.dead", 2**20)
            status = await sink.until(lambda found: bool(found["destinations"][0]["dead_lettered"] == REFUSED))
            check_accounts(await sink.delivered())
    assert len(set(strict.events)) == 20 * REFUSED - REFUSED
