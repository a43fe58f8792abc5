"""Delivering again by time out of a topic, and how much waits in it, as an operator sees both."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kafka_server import SERVER, Kafka
from rows import Rows
from running import PATIENCE, Sink, check_accounts

from auditsink import cli
from auditsink.audit.eventlist import joined
from auditsink.testing.collector import Collector

pytestmark = pytest.mark.quick


def spool(kafka: Kafka) -> dict[str, Any]:
    return {
        "type": "kafka", "bootstrap_servers": kafka.servers, "partitions": 4, "replication_factor": 1,
        "accept_loss": True, "max_bytes": "4GiB",
    }  # fmt: skip


async def post(sink: Sink, number: int) -> None:
    body = joined(b'{"auditID":"%d-%d"}' % (number, index) for index in range(10))
    for cluster in ("blue", "green"):
        assert (await sink.post(body, f"/{cluster}"))[0] == 200


async def test_what_is_delivered_comes_once_more_by_time(
    tmp_path: Path, rows: Rows, capfd: pytest.CaptureFixture[str]
) -> None:
    async with Kafka(tmp_path / "kafka") as kafka, Collector() as siem, Collector() as lake:
        destinations = [
            {"name": name, "type": "http", "url": one.url} for name, one in (("siem", siem), ("lake", lake))
        ]
        async with Sink(tmp_path / "sink", destinations, spool=spool(kafka)) as sink:
            for number in range(10):
                await post(sink, number)
            await sink.delivered()
            await asyncio.sleep(1.1)
            began = datetime.now(UTC).isoformat()
            for number in range(10, 20):
                await post(sink, number)
            before = await sink.delivered()
            siem.events.clear()
            replay = ["replay", "-c", str(sink.config), "--destination", "siem", "--since", began]
            assert await asyncio.to_thread(cli.run, [*replay, "--cluster", "blue"]) == 0
            assert "siem: delivered 100 events" in capfd.readouterr().err
            blue = [b'{"auditID":"%d-%d"}' % (number, index) for number in range(10, 20) for index in range(10)]
            assert siem.events == blue
            assert await asyncio.to_thread(cli.run, replay) == 0
            assert (len(siem.events), set(siem.events), len(lake.events)) == (300, set(blue), 400)
            after = await sink.status()
            assert [one["delivered"] for one in after["destinations"]] == [
                one["delivered"] for one in before["destinations"]
            ]
            check_accounts(after)
    rows(
        server=f"{SERVER}, 1 node, as the spool",
        thrown="400 events, half of them delivered again by time to one destination of two",
        into=400,
        out=400,
        repeated=300,
    )


async def test_how_much_waits_is_told_beyond_what_is_fetched(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One destination takes nothing: more waits for it than a forwarder fetches."""
    filler = b"".join(b"%032x" % (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128) for number in range(2000))
    async with Kafka(tmp_path / "kafka") as kafka, Collector() as lake:
        destinations = [
            {"name": "siem", "type": "http", "url": "http://127.0.0.1:1"},
            {"name": "lake", "type": "http", "url": lake.url},
        ]
        async with Sink(tmp_path / "sink", destinations, spool=spool(kafka)) as sink:
            posted = 0
            began = time.monotonic()
            while not (found := (await sink.status())["destinations"])[0]["unfetched"]["records"]:
                assert time.monotonic() < began + 4 * PATIENCE
                for _ in range(40):
                    events = [b'{"auditID":"%d-%d","x":"%b"}' % (posted, index, filler) for index in range(10)]
                    assert (await sink.post(joined(events), "/blue"))[0] == 200
                    posted += 10
            await sink.until(lambda status: bool(status["destinations"][1]["delivered"] == posted))

            def looked(status: dict[str, Any]) -> bool:
                """At the next look the one has nothing left, and the other all; all records are alike."""
                waits, done = status["destinations"]
                return bool(
                    (done["unfetched"], done["pending"]) == ({"records": 0, "events": 0, "bytes": 0}, 0)
                    and waits["unfetched"]["records"] > 0
                    and waits["pending"] + waits["unfetched"]["events"] == posted
                )

            status = await sink.until(looked)
            found = status["destinations"]
            text = await sink.get("/metrics")
            shown = (
                f'auditsink_destination_unfetched_records{{destination="siem"}} {found[0]["unfetched"]["records"]}.0'
            )
            assert shown in text
            check_accounts(status)
            assert await asyncio.to_thread(cli.run, ["status", "--url", sink.admin]) == 0
            assert f"+ ~{found[0]['unfetched']['events']:,}" in capfd.readouterr().out
