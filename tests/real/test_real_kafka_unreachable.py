"""Brokers that cannot be reached, or that stand still: the sink waits within its bounds, and says for what."""

import asyncio
import signal
import socket
from collections.abc import Iterable
from pathlib import Path

import corpus
import pytest
from kafka_reading import read
from kafka_server import SERVER, Kafka
from kafkarig import figures, in_order, lake, trouble
from ledger import Arrivals, Ledger
from rows import Rows
from running import Sink
from storm import Storm

GROWTH = 48 * 2**20
"""Bytes of memory that a sink may gain over a backlog of 60 MB that nobody takes."""
FAULTS = ["a name that DNS does not know", "a port where nobody listens", "a port that never answers"]


async def posted(sink: Sink, numbers: Iterable[int]) -> None:
    for number in numbers:
        assert (await sink.post(corpus.plain_body(f"b{number}", count=20, padding=50_000).data))[0] == 200


@pytest.mark.parametrize("fault", FAULTS)
async def test_nobody_there(tmp_path: Path, rows: Rows, fault: str) -> None:
    """A backlog far larger than its memory, the reason with the server's name; and then a broker, and all arrives."""
    words = {FAULTS[0]: "Name or service not known", FAULTS[1]: "Connect call failed", FAULTS[2]: "no answer in time"}
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        servers = {
            FAULTS[0]: "no-such-host.invalid:9092",
            FAULTS[1]: f"127.0.0.1:{closed.getsockname()[1]}",
            FAULTS[2]: f"127.0.0.1:{silent.getsockname()[1]}",
        }
        spool = {"path": str(tmp_path / "spool"), "max_bytes": "256MiB"}
        nowhere = lake([servers[fault]], topic="later", timeout="1s")
        async with Sink(tmp_path / "sink", [nowhere], spool=spool) as sink:
            await posted(sink, range(2))
            before = sink.resident
            await posted(sink, range(2, 62))
            status = await trouble(sink, "retrying", words[fault], servers[fault])
            assert status["pending"] == 62 * 20
            await asyncio.sleep(5.0)  # a few dozen attempts
            assert sink.resident - before < GROWTH
            assert (await sink.stop())[0] == 0
    async with Kafka(tmp_path / "kafka") as kafka:
        await kafka.create("later")
        async with Sink(tmp_path / "again", [lake(kafka.servers, topic="later")], spool=spool) as sink:
            status = await sink.delivered()
        found = await read(kafka.servers, "later")
    assert in_order(found)
    rows(server=SERVER, thrown=fault, **figures(found, status), note=status["destinations"][0]["state"])
    assert len(found) == 62 * 20


@pytest.mark.parametrize("transactional_id", [None, "frozen"])
async def test_a_broker_that_stands_still(tmp_path: Path, rows: Rows, transactional_id: str | None) -> None:
    """Its port takes connections and nothing answers; longer than an attempt may take, so the producer is replaced."""
    ledger = Ledger(tmp_path / "ledger")
    async with Kafka(tmp_path / "kafka") as kafka:
        await kafka.create("frozen")
        own = lake(kafka.servers, topic="frozen", timeout="2s", transactional_id=transactional_id)
        async with Sink(tmp_path / "sink", [own]) as sink:
            async with Storm(sink, ledger, 3):
                for _ in range(3):
                    await asyncio.sleep(2.0)
                    kafka.signal(1, signal.SIGSTOP)
                    await trouble(sink, "retrying")
                    await asyncio.sleep(4.0)
                    kafka.signal(1, signal.SIGCONT)
                    await trouble(sink, "delivering")
            status = await sink.delivered()
        found = await read(kafka.servers, "frozen")
    arrived = Arrivals()
    arrived.add(message.value() or b"" for message in found)
    mode = "transactions" if transactional_id else "idempotent"
    rows(server=SERVER, thrown=f"3 times SIGSTOP for longer than an attempt, {mode}", **figures(found, status))
    assert (arrived.missing(ledger.batches()), arrived.foreign, arrived.disorder) == ([], [], 0)
    assert not transactional_id or not arrived.repeats
