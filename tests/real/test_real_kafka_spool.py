"""A topic of Apache Kafka as the spool: what was answered 200 arrives, whatever is killed on the way."""

import asyncio
import random
from pathlib import Path

import pytest
from kafka_landscape import (
    Destinations,
    Fault,
    hang_a_forwarder,
    kill_a_broker,
    kill_a_sink,
    restart_all,
    throw,
    topic,
)
from kafka_server import SERVER, Kafka
from ledger import Ledger
from rows import Rows
from running import Sink
from storm import Storm

CLIENTS = 6
FAULTS: list[Fault] = [
    kill_a_sink, kill_a_broker, hang_a_forwarder, kill_a_sink, restart_all, kill_a_broker, kill_a_sink
]  # fmt: skip


@pytest.mark.quick
async def test_a_sink_that_is_killed_loses_nothing_of_what_it_answered(tmp_path: Path, rows: Rows) -> None:
    """One broker, one sink with both roles, killed five times under load."""
    chance = random.Random(7)
    ledger = Ledger(tmp_path / "ledger")
    there = Destinations()
    async with Kafka(tmp_path / "kafka") as kafka, there.running() as destinations:
        spool = topic(kafka, replication_factor=1, accept_loss=True)
        async with Sink(tmp_path / "sink", destinations, spool=spool) as sink:
            async with Storm(sink, ledger, CLIENTS, seed=7):
                for _ in range(5):
                    await asyncio.sleep(chance.uniform(0.5, 1.5))
                    await sink.kill()
                    await sink.start()
                await asyncio.sleep(1.0)
            await there.all_of(ledger)
            await sink.delivered()
    for name, found in there.arrivals.items():
        assert (found.foreign, set(found.counts) <= ledger.posted) == ([], True)
        rows(
            server=f"{SERVER}, 1 node, as the spool, to {name}",
            thrown="5 times kill -9 of the sink under load",
            into=ledger.events(),
            out=found.distinct,
            repeated=found.repeats,
        )


async def test_whatever_is_killed_nothing_is_lost_and_no_post_fails_twice(tmp_path: Path, rows: Rows) -> None:
    """Three brokers, three receivers, two forwarders; see the faults."""
    async with Kafka(tmp_path / "kafka", 3) as kafka:
        await throw(tmp_path, kafka, FAULTS, rows, "kills, a hang, a rolling restart")
