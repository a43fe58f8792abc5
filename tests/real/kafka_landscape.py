"""Three brokers, receivers behind one address, forwarders, two destinations; and what can be done to them."""

import asyncio
import contextlib
import functools
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from arriving import NotingCollector, NotingHec
from kafka_server import SERVER, Kafka
from ledger import CLUSTERS, Arrivals, Key, Ledger
from rows import Rows
from running import PATIENCE, Sink, check_accounts
from storm import Addressed, Storm

TOKEN = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
CLIENTS = 6
RETRY_SECONDS = 1.0
"""Before a batch is posted again; an apiserver waits for ten."""
LEAVING_SECONDS = 1.0
"""For posts that are on their way to a receiver that is about to stop; the chart's preStop gives them five."""
SESSION_SECONDS = 6.0
"""After which a forwarder that stands still has lost its partitions."""
RESERVATION = "512MiB"
"""For each cluster; together less than the topic may hold."""
UNCOMMITTED_SECONDS = 8
"""What a destination got in so long can come again when a forwarder or the group's coordinator goes: places are
committed once a second, and a forwarder that cannot commit gives up after a session."""


def topic(kafka: Kafka, **settings: Any) -> dict[str, Any]:
    """A `spool` section."""
    return {"type": "kafka", "bootstrap_servers": kafka.servers, "partitions": 6, "max_bytes": "4GiB", **settings}


class Service:
    """Several receivers behind one address, as a Service does it: each request goes to the next one that is ready.

    A receiver in `leaving` is not: it is known to be gone, or about to stop, or not ready yet.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.leaving: set[Sink] = set()
        self._sinks = sinks
        self._turn = cycle(sinks)

    @property
    def receive(self) -> str:
        """Where the next request goes."""
        for _ in self._sinks:
            sink = next(self._turn)
            if sink.running and sink not in self.leaving:
                return sink.receive
        return self._sinks[0].receive


class Posting(Storm):
    """A storm that notes which posts failed, and when there were answers."""

    def __init__(self, where: Addressed, ledger: Ledger, clients: int, *, seed: int, pause: float) -> None:
        super().__init__(where, ledger, clients, seed=seed, pause=pause)
        self.failed: Counter[Key] = Counter()
        self._began = self._ended = time.monotonic()
        self._answered: set[int] = set()

    async def _post(self, key: Key, data: bytes) -> bool:
        if self.failed[key]:
            await asyncio.sleep(RETRY_SECONDS)
        taken = await super()._post(key, data)
        self._ended = time.monotonic()
        if taken:
            self._answered.add(int(self._ended - self._began))
        else:
            self.failed[key] += 1
        return taken

    @property
    def beyond_a_retry(self) -> dict[Key, int]:
        """Batches whose retry failed as well, with how many of their posts failed."""
        return {key: times for key, times in self.failed.items() if times > 1}

    @property
    def seconds(self) -> int:
        """So long it went on."""
        return int(self._ended - self._began)

    @property
    def silent_seconds(self) -> int:
        """Seconds without any 200."""
        return self.seconds - len(self._answered - {self.seconds})

    def said(self) -> str:
        """For a row of the table."""
        once = sum(1 for times in self.failed.values() if times == 1)
        return (
            f"{self.seconds} s, {once} batches needed one retry, {len(self.beyond_a_retry)} more than one; "
            f"{self.silent_seconds} s without a 200"
        )


class Destinations:
    """A HEC and an HTTP collector in this process, and how much arrived at each by when."""

    def __init__(self) -> None:
        self.collector = NotingCollector(max_body=20_000_000)
        self.splunk = NotingHec(token=TOKEN)
        self._looks: list[dict[str, int]] = []

    @property
    def arrivals(self) -> dict[str, Arrivals]:
        """By the destination's name."""
        return {"hook": self.collector.arrivals, "siem": self.splunk.arrivals}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[list[dict[str, Any]]]:
        """Gives their entries for a configuration."""
        async with self.collector, self.splunk:
            watching = asyncio.create_task(self._watch())
            common = {"batch": {"max_wait": "50ms"}, "backoff": {"initial": "100ms", "max": "1s"}}
            try:
                yield [
                    {"name": "hook", "type": "http", "url": self.collector.url, **common},
                    {"name": "siem", "type": "splunk", "url": self.splunk.url, "token": TOKEN, **common},
                ]
            finally:
                watching.cancel()

    async def _watch(self) -> None:
        while True:
            self._looks.append({name: one.total for name, one in self.arrivals.items()})
            await asyncio.sleep(1.0)

    def busiest(self, name: str) -> int:
        """The most events that came within `UNCOMMITTED_SECONDS`."""
        totals = [look[name] for look in self._looks]
        later = [*totals[UNCOMMITTED_SECONDS:], self.arrivals[name].total]
        return max(after - before for before, after in zip(totals, later, strict=False))

    async def all_of(self, ledger: Ledger) -> None:
        """Wait until all that was promised is there, and nothing comes any more."""
        before, deadline = -1, time.monotonic() + PATIENCE
        while True:
            total = sum(one.total for one in self.arrivals.values())
            if total == before:
                promised = ledger.batches()
                missing = {name: one.missing(promised) for name, one in self.arrivals.items()}
                if not any(missing.values()):
                    return
                assert time.monotonic() < deadline, {name: (len(one), one[:3]) for name, one in missing.items()}
            else:
                before, deadline = total, time.monotonic() + PATIENCE
            await asyncio.sleep(2.0)

    def note(self, rows: Rows, ledger: Ledger, server: str, thrown: str, note: str) -> None:
        """A row for each destination."""
        for name, found in self.arrivals.items():
            rows(
                server=f"{server}, to {name}",
                thrown=thrown,
                into=ledger.events(),
                out=found.distinct,
                repeated=found.repeats,
                note=note,
            )


class Landscape:
    """Sinks on a topic. `ends` counts what was ended or stood still: each may cost repeats. `noted`: what was seen."""

    def __init__(
        self, place: Path, kafka: Kafka, destinations: list[dict[str, Any]], receivers: int = 3, forwarders: int = 2
    ) -> None:
        self.kafka = kafka
        self.ends = 0
        self.noted: Counter[str] = Counter()
        # With something reserved each receiver reads along in the topic, whatever happens to the brokers.
        several = [{"name": name, "anonymous": True, "reservation": RESERVATION} for name in CLUSTERS]
        sections: dict[str, Any] = {"spool": topic(kafka), "clusters": several}
        self.receivers = [
            Sink(place / f"receiver-{one}", destinations, roles=["receive"], **sections) for one in range(receivers)
        ]
        self.forwarders = [
            Sink(place / f"forwarder-{one}", destinations, roles=["forward"], **sections) for one in range(forwarders)
        ]
        self.service = Service(self.receivers)

    @property
    def sinks(self) -> list[Sink]:
        """All of them."""
        return [*self.receivers, *self.forwarders]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """From when all are ready and the brokers are in sync."""
        async with contextlib.AsyncExitStack() as stack:
            for sink in self.sinks:
                await stack.enter_async_context(sink)
            await self.kafka.in_sync()
            try:
                yield
            finally:
                for sink in self.sinks:  # for whoever looks for the cause of a failure
                    (sink.place / "log.txt").write_text("\n".join(map(str, sink.lines)))

    async def settled(self) -> dict[str, Counter[str]]:
        """The accounts when nothing is pending any more, and all partitions are somebody's."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = await self._accounts()
            if all(one["accepted"] == one["delivered"] for one in found.values()):
                return found
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.5)

    async def _accounts(self) -> dict[str, Counter[str]]:
        """Of each destination, over all forwarders."""
        totals: dict[str, Counter[str]] = {}
        for sink in self.forwarders:
            status = await sink.status()
            check_accounts(status)
            for one in status["destinations"]:
                some = {key: one[key] for key in ("accepted", "delivered", "dropped", "pending", "dead_lettered")}
                totals.setdefault(one["name"], Counter()).update(some)
        return totals


Fault = Callable[[Landscape, random.Random], Awaitable[None]]
"""What is done to a landscape; it ends when all is whole again, so that one thing is broken at a time."""


async def kill_a_sink(landscape: Landscape, chance: random.Random) -> None:
    """At any moment; it stays away for up to two seconds."""
    sink = chance.choice(landscape.sinks)
    landscape.ends += 1
    await sink.kill()
    landscape.service.leaving.add(sink)
    await asyncio.sleep(chance.uniform(0.0, 2.0))
    await sink.start()
    landscape.service.leaving.discard(sink)


async def kill_a_broker(landscape: Landscape, chance: random.Random) -> None:
    """At any moment; it stays away for up to ten seconds."""
    node = chance.choice(landscape.kafka.nodes)
    landscape.ends += 1
    await landscape.kafka.kill(node)
    await asyncio.sleep(chance.uniform(0.0, 10.0))
    await landscape.kafka.start(node)
    await landscape.kafka.in_sync()


async def kill_any(landscape: Landscape, chance: random.Random) -> None:
    """Each process is as likely as another."""
    brokers, sinks = len(landscape.kafka.nodes), len(landscape.sinks)
    await chance.choice([kill_a_broker] * brokers + [kill_a_sink] * sinks)(landscape, chance)


async def restart_all(landscape: Landscape, chance: random.Random) -> None:
    """One after the other, in order, each when the one before is back."""
    for sink in landscape.sinks:
        landscape.ends += 1
        landscape.service.leaving.add(sink)
        if sink in landscape.receivers:
            await asyncio.sleep(LEAVING_SECONDS)
        await sink.stop()
        await sink.start()
        landscape.service.leaving.discard(sink)
    for node in landscape.kafka.nodes:
        landscape.ends += 1
        await landscape.kafka.stop(node)
        await landscape.kafka.start(node)
        await landscape.kafka.in_sync()


async def hang_a_forwarder(landscape: Landscape, chance: random.Random) -> None:
    """It stands still until others have its partitions, and wakes."""
    sink = chance.choice(landscape.forwarders)
    landscape.ends += 1
    sink.signal(signal.SIGSTOP)
    await asyncio.sleep(SESSION_SECONDS + chance.uniform(2.0, 6.0))
    sink.signal(signal.SIGCONT)
    await asyncio.sleep(2.0)


async def fill_a_disk(landscape: Landscape, chance: random.Random) -> None:
    """Nothing more can be written to a broker's disk; then there is room again, and the broker is started anew."""
    kafka = landscape.kafka
    node = chance.choice(kafka.nodes)
    landscape.ends += 1
    filler = kafka.data(node).parent / "filler"
    for _ in range(8):  # what is freed meanwhile is taken too
        await asyncio.to_thread(_fill, filler)
        await asyncio.sleep(1.0)
    ended = not kafka.runs(node)
    await asyncio.sleep(chance.uniform(0.0, 5.0))
    filler.unlink()
    landscape.noted[f"broker {'ended' if ended else 'went on'} with a full disk"] += 1
    await kafka.kill(node)
    await kafka.start(node)
    await kafka.in_sync()


def _fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while shutil.disk_usage(path).free:
            file.write(bytes(2**16))
        while file.write(bytes(512)):
            pass


@functools.cache
def seed() -> int:
    """Of all random choices."""
    return int(os.environ.get("AUDITSINK_SEED") or random.SystemRandom().randrange(10**6))


async def throw(
    place: Path,
    kafka: Kafka,
    faults: Iterable[Fault],
    rows: Rows,
    what: str,
    *,
    pause: float = 0.1,
) -> None:
    """All of it, under load: nothing is lost, no post fails after its retry, and what comes twice has a bound."""
    ledger, there, chance = Ledger(place / "ledger"), Destinations(), random.Random(seed())
    thrown = 0
    async with there.running() as destinations:
        landscape = Landscape(place, kafka, destinations)
        async with landscape.running():
            async with Posting(landscape.service, ledger, CLIENTS, seed=seed(), pause=pause) as storm:
                for fault in faults:
                    thrown += 1
                    await asyncio.sleep(chance.uniform(0.5, 3.0))
                    await fault(landscape, chance)
                await asyncio.sleep(1.0)
            await there.all_of(ledger)
            accounts = await landscape.settled()
    bounds = {name: landscape.ends * there.busiest(name) for name in there.arrivals}
    seen = "".join(f"; {count} x {noted}" for noted, count in landscape.noted.items())
    note = f"{storm.said()}; {storm.refused or 'none refused'}; repeats at most {bounds}{seen}"
    there.note(rows, ledger, f"{SERVER}, 3 nodes, as the spool", f"{thrown} x {what} (seed {seed()})", note)
    for name, found in there.arrivals.items():
        assert (found.foreign, set(found.counts) <= ledger.posted) == ([], True)
        assert found.repeats <= bounds[name]
        assert accounts[name]["accepted"] == accounts[name]["delivered"] == found.distinct
    assert not storm.beyond_a_retry
