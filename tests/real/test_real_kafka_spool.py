"""A topic of Apache Kafka as the spool: what was answered 200 arrives, whatever is killed on the way."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from kafka_server import SERVER, Kafka
from ledger import Arrivals, Ledger
from rows import Rows
from running import Sink, eventually
from storm import Storm

CLIENTS = 6


def topic(kafka: Kafka, **settings: Any) -> dict[str, Any]:
    """A `spool` section."""
    return {"type": "kafka", "bootstrap_servers": kafka.servers, "partitions": 4, **settings}


def arrivals(*files: Path) -> Arrivals:
    """What stands in these files, each in its order."""
    found = Arrivals()
    for file in files:
        if file.exists():
            found.add(file.read_bytes().splitlines())
    return found


@pytest.mark.quick
async def test_a_sink_that_is_killed_loses_nothing_of_what_it_answered(tmp_path: Path, rows: Rows) -> None:
    """One broker, one sink with both roles, killed five times under load."""
    chance = random.Random(7)
    ledger = Ledger(tmp_path / "ledger")
    async with Kafka(tmp_path / "kafka") as kafka:
        spool = topic(kafka, replication_factor=1, accept_loss=True)
        out = tmp_path / "out.ndjson"
        destination = {"name": "out", "type": "file", "path": str(out), "batch": {"max_wait": "20ms"}}
        async with Sink(tmp_path / "sink", [destination], spool=spool) as sink:
            async with Storm(sink, ledger, CLIENTS, seed=7):
                for _ in range(5):
                    await asyncio.sleep(chance.uniform(0.5, 1.5))
                    await sink.kill()
                    await sink.start()
                await asyncio.sleep(1.0)
            await eventually(lambda: not arrivals(out).missing(ledger.batches()))
            status = await sink.delivered()
    found = arrivals(out)
    assert found.missing(ledger.batches()) == []
    assert (found.foreign, set(found.counts) <= ledger.posted) == ([], True)
    rows(
        server=f"{SERVER}, 1 node, as the spool",
        thrown="5 times kill -9 of the sink under load",
        into=ledger.events(),
        out=found.distinct,
        repeated=found.repeats,
        dead_lettered=status["destinations"][0]["dead_lettered"],
    )
