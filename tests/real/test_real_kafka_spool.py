"""A topic of Apache Kafka as the spool: what was answered 200 arrives, whatever is killed on the way."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from kafka_server import SERVER, Kafka
from ledger import Arrivals, Key, Ledger
from rows import Rows
from running import PATIENCE, Sink, check_accounts
from storm import Storm

CLIENTS = 6
LONG = os.environ.get("AUDITSINK_TORTURE", "") not in ("", "0")
SEED = int(os.environ.get("AUDITSINK_SEED") or random.SystemRandom().randrange(10**6))
RETRY_SECONDS = 1.0
"""Before a batch is posted again; an apiserver waits for ten."""
SESSION_SECONDS = 6.0
"""After which a forwarder that stands still has lost its partitions."""


def topic(kafka: Kafka, **settings: Any) -> dict[str, Any]:
    """A `spool` section."""
    return {"type": "kafka", "bootstrap_servers": kafka.servers, "partitions": 4, "max_bytes": "4GiB", **settings}


async def arrived(ledger: Ledger, *files: Path) -> Arrivals:
    """What stands in these files, each in its order, once all that was promised does."""
    found = Arrivals()
    read = dict.fromkeys(files, 0)
    deadline = time.monotonic() + PATIENCE
    while True:
        before = found.total
        for file in files:
            with file.open("rb") as stream:
                stream.seek(read[file])
                lines = stream.read().split(b"\n")
                found.add(lines[:-1])
                read[file] = stream.tell() - len(lines[-1])
        if found.total == before and not (missing := found.missing(ledger.batches())):
            return found
        deadline = time.monotonic() + PATIENCE if found.total > before else deadline
        assert time.monotonic() < deadline, f"{len(missing)} events are missing, the first: {missing[:5]}"
        await asyncio.sleep(1.0)


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
            found = await arrived(ledger, out)
            status = await sink.delivered()
    assert (found.foreign, set(found.counts) <= ledger.posted) == ([], True)
    rows(
        server=f"{SERVER}, 1 node, as the spool",
        thrown="5 times kill -9 of the sink under load",
        into=ledger.events(),
        out=found.distinct,
        repeated=found.repeats,
        dead_lettered=status["destinations"][0]["dead_lettered"],
    )


class Service:
    """Several receivers behind one address: each request goes to the next one that runs and is not told to stop."""

    def __init__(self, sinks: list[Sink]) -> None:
        self.sinks = sinks
        self.leaving: set[Sink] = set()
        self._turn = cycle(range(len(sinks)))

    @property
    def receive(self) -> str:
        """Where the next request goes."""
        for _ in self.sinks:
            sink = self.sinks[next(self._turn)]
            if sink.running and sink not in self.leaving:
                return sink.receive
        return self.sinks[0].receive


class Posting(Storm):
    """A storm that counts how often each batch was posted."""

    def __init__(self, service: Service, ledger: Ledger, clients: int, *, seed: int) -> None:
        super().__init__(service, ledger, clients, seed=seed)  # type: ignore[arg-type]  # it asks for the address only
        self.tries: Counter[Key] = Counter()

    async def _post(self, key: Key, data: bytes) -> bool:
        self.tries[key] += 1
        if self.tries[key] > 1:
            await asyncio.sleep(RETRY_SECONDS)
        return await super()._post(key, data)


class Landscape:
    """Three brokers, receivers, forwarders."""

    def __init__(self, place: Path, kafka: Kafka, receivers: int = 3, forwarders: int = 2) -> None:
        self.kafka = kafka
        spool = topic(kafka, partitions=6)
        self.files = [place / f"out-{number}.ndjson" for number in range(forwarders)]
        self.receivers = [
            self._sink(place / f"receiver-{number}", "receive", spool, None) for number in range(receivers)
        ]
        self.forwarders = [
            self._sink(place / f"forwarder-{number}", "forward", spool, file) for number, file in enumerate(self.files)
        ]

        self.service = Service(self.receivers)

    @staticmethod
    def _sink(place: Path, role: str, spool: dict[str, Any], file: Path | None) -> Sink:
        out = {"name": "out", "type": "file", "path": str(file or place / "unused"), "batch": {"max_wait": "20ms"}}
        out["rotate_bytes"] = "64GiB"  # the test reads one file
        return Sink(place, [out], spool=spool, roles=[role])

    @property
    def sinks(self) -> list[Sink]:
        """All of them."""
        return [*self.receivers, *self.forwarders]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """From when all are ready."""
        async with contextlib.AsyncExitStack() as stack:
            for sink in self.sinks:
                await stack.enter_async_context(sink)
            try:
                yield
            finally:
                for sink in self.sinks:  # for whoever looks for the cause of a failure
                    (sink.place / "log.txt").write_text("\n".join(map(str, sink.lines)))

    async def accounts(self) -> dict[str, int]:
        """Of the destination, over all forwarders."""
        total: Counter[str] = Counter()
        for sink in self.forwarders:
            status = await sink.status()
            check_accounts(status)
            (one,) = status["destinations"]
            total.update({key: one[key] for key in ("accepted", "delivered", "dropped", "pending", "dead_lettered")})
        return dict(total)


Fault = Callable[[Landscape, random.Random], Awaitable[None]]


async def kill_a_sink(landscape: Landscape, chance: random.Random) -> None:
    sink = chance.choice(landscape.sinks)
    await sink.kill()
    landscape.service.leaving.add(sink)  # from when it is known to be gone until it is ready, as of a Service
    await asyncio.sleep(chance.uniform(0.0, 1.0))
    await sink.start()
    landscape.service.leaving.discard(sink)


async def kill_a_broker(landscape: Landscape, chance: random.Random) -> None:
    node = chance.choice(landscape.kafka.nodes)
    await landscape.kafka.kill(node)
    await asyncio.sleep(chance.uniform(0.0, 4.0))
    await landscape.kafka.start(node)


async def restart_all(landscape: Landscape, chance: random.Random) -> None:
    for sink in landscape.sinks:
        landscape.service.leaving.add(sink)
        await sink.stop()
        await sink.start()
        landscape.service.leaving.discard(sink)
    for node in landscape.kafka.nodes:
        await landscape.kafka.stop(node)
        await landscape.kafka.start(node)


async def stop_a_forwarder_in_time(landscape: Landscape, chance: random.Random) -> None:
    """It hangs until others have its partitions, and wakes."""
    sink = chance.choice(landscape.forwarders)
    sink.signal(signal.SIGSTOP)
    await asyncio.sleep(SESSION_SECONDS + chance.uniform(2.0, 4.0))
    sink.signal(signal.SIGCONT)


FAULTS: list[Fault] = [
    kill_a_sink, kill_a_broker, stop_a_forwarder_in_time, kill_a_sink, restart_all, kill_a_broker, kill_a_sink
]  # fmt: skip


async def test_whatever_is_killed_nothing_is_lost_and_no_post_fails_twice(tmp_path: Path, rows: Rows) -> None:
    """Three brokers, three receivers, two forwarders; see the faults."""
    chance = random.Random(SEED)
    ledger = Ledger(tmp_path / "ledger")
    faults = FAULTS * (12 if LONG else 1)
    async with Kafka(tmp_path / "kafka", 3) as kafka:
        landscape = Landscape(tmp_path, kafka)
        async with landscape.running():
            async with Posting(landscape.service, ledger, CLIENTS, seed=SEED) as storm:
                for fault in faults:
                    await asyncio.sleep(1.0)
                    await fault(landscape, chance)
                await asyncio.sleep(1.0)
            found = await arrived(ledger, *landscape.files)
            accounts = await landscape.accounts()
    rows(
        server=f"{SERVER}, 3 nodes, as the spool",
        thrown=f"{len(faults)} faults under load: kill -9, SIGSTOP, restarts (seed {SEED})",
        into=ledger.events(),
        out=found.distinct,
        repeated=found.repeats,
        note=f"{ledger.requests} posts, at most {max(storm.tries.values())} for a batch; {storm.refused}; {accounts}",
    )
    assert (found.foreign, set(found.counts) <= ledger.posted) == ([], True)
    assert max(storm.tries.values()) <= 2, storm.tries.most_common(5)
