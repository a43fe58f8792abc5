"""Three nodes of Apache Kafka that are restarted and killed under load, and a sink that is killed as well.

AUDITSINK_SEED=n repeats the random choices; AUDITSINK_TORTURE=1 makes many more rounds.
"""

import asyncio
import os
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message
from kafka_reading import read, values
from kafka_server import SERVER, Kafka
from kafkarig import figures, in_order, lake
from ledger import Arrivals, Ledger
from rows import Rows
from running import Sink
from storm import Storm

LONG = os.environ.get("AUDITSINK_TORTURE", "") not in ("", "0")
SEED = int(os.environ.get("AUDITSINK_SEED") or random.SystemRandom().randrange(10**6))
CLIENTS = 4
MAX_EVENTS = 200
"""In a batch: what one attempt can repeat."""
TOPIC = "audit"

Fault = Callable[[Kafka, Sink, random.Random], Awaitable[None]]


async def restart_a_node(kafka: Kafka, sink: Sink, chance: random.Random) -> None:
    node = chance.choice(kafka.nodes)
    await kafka.stop(node)
    await kafka.start(node)


async def kill_the_leader(kafka: Kafka, sink: Sink, chance: random.Random) -> None:
    node = await asyncio.to_thread(kafka.leader, TOPIC, chance.randrange(3))
    await kafka.kill(node)
    await asyncio.sleep(chance.uniform(0.0, 4.0))
    await kafka.start(node)


async def kill_the_sink(kafka: Kafka, sink: Sink, chance: random.Random) -> None:
    for _ in range(5):
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        await sink.kill()
        await sink.start()


async def kill_both(kafka: Kafka, sink: Sink, chance: random.Random) -> None:
    node = await asyncio.to_thread(kafka.leader, TOPIC, chance.randrange(3))
    await kafka.kill(node)
    await asyncio.sleep(chance.uniform(0.0, 2.0))
    await sink.kill()
    await sink.start()
    await kafka.start(node)


BROKER_FAULTS: list[Fault] = [restart_a_node, kill_the_leader, kill_the_leader, restart_a_node]
ALL_FAULTS: list[Fault] = [kill_the_sink, kill_both, kill_the_sink, kill_the_leader, kill_the_sink, kill_both]


async def stormed(place: Path, sink: Sink, kafka: Kafka, faults: Sequence[Fault]) -> tuple[Ledger, dict[str, Any]]:
    """What was promised while all the faults happened one after the other, and the status when all is delivered."""
    chance = random.Random(SEED)
    ledger = Ledger(place / "ledger")
    async with sink:
        async with Storm(sink, ledger, CLIENTS, seed=SEED):
            for fault in faults:
                await asyncio.sleep(1.0)
                await fault(kafka, sink, chance)
            await asyncio.sleep(1.0)
        status = await sink.delivered()
        status["retries"] = retries(await sink.get("/metrics"))
        return ledger, status


def retries(metrics: str) -> int:
    """How often an attempt was made again since the sink started."""
    found = re.findall(r"^auditsink_destination_retries_total\{.*\} ([0-9.e+]+)$", metrics, re.MULTILINE)
    return int(sum(map(float, found)))


def arrivals(messages: Sequence[Message], ledger: Ledger) -> Arrivals:
    """What arrived; it is all that was promised, nothing else, and each client's in its order."""
    found = Arrivals()
    found.add(values(messages))
    assert found.missing(ledger.batches()) == []
    assert (found.foreign, found.disorder, set(found.counts) <= ledger.posted) == ([], 0, True)
    assert in_order(messages)
    return found


def settings(kafka: Kafka, **more: Any) -> dict[str, Any]:
    return lake(kafka.servers, topic=TOPIC, batch={"max_events": MAX_EVENTS, "max_wait": "20ms"}, timeout="15s", **more)


async def test_restarts_and_killed_leaders_lose_repeat_and_disorder_nothing(tmp_path: Path, rows: Rows) -> None:
    """An idempotent producer's promise, as long as no attempt runs out of its time."""
    async with Kafka(tmp_path / "kafka", 3) as kafka:
        await kafka.create(TOPIC, 3)
        faults = BROKER_FAULTS * (10 if LONG else 1)
        sink = Sink(tmp_path / "sink", [settings(kafka)])
        ledger, status = await stormed(tmp_path, sink, kafka, faults)
        found = await read(kafka.servers, TOPIC)

    repeats = arrivals(found, ledger).repeats
    rows(
        server=f"{SERVER}, 3 nodes",
        thrown=f"{len(faults)} restarts and kill -9 of nodes under load (seed {SEED})",
        **figures(found, status),
        note=f"attempts made again: {status['retries']}",
    )
    assert repeats <= status["retries"] * MAX_EVENTS


@pytest.mark.parametrize("transactional_id", [None, "sink-of-the-test"])
async def test_sink_and_nodes_killed_at_random(tmp_path: Path, rows: Rows, transactional_id: str | None) -> None:
    """Nothing is missing or out of order; with transactions nothing is there twice for a `read_committed` reader."""
    async with Kafka(tmp_path / "kafka", 3) as kafka:
        await kafka.create(TOPIC, 3)
        faults = ALL_FAULTS * (10 if LONG else 1)
        sink = Sink(tmp_path / "sink", [settings(kafka, transactional_id=transactional_id)])
        ledger, status = await stormed(tmp_path, sink, kafka, faults)
        found = await read(kafka.servers, TOPIC)

    repeats = arrivals(found, ledger).repeats
    rows(
        server=f"{SERVER}, 3 nodes",
        thrown=f"{len(faults)} rounds of kill -9 of sink and nodes, {mode(transactional_id)} (seed {SEED})",
        **figures(found, status),
    )
    if transactional_id is not None:
        assert repeats == 0


def mode(transactional_id: str | None) -> str:
    return "transactions" if transactional_id else "idempotent"
