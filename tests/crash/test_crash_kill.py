"""kill -9 at random moments while clients post: what was answered 200 arrives everywhere, and the figures add up."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from arriving import NotedFile, NotingCollector, NotingHec
from effort import Effort, Report
from ledger import CLUSTERS, Arrivals, Ledger
from running import Sink, check_accounts
from storm import Storm

CLIENTS = 8
TOKEN = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
BATCH = 200
"""Events in a batch of a destination: what one attempt in flight can repeat."""
SMALL = {"max_bytes": "4MiB", "segment_bytes": "128KiB"}
"""Segments that are full many times a second, so that a kill finds one being opened, sealed or removed."""
START_SECONDS = 1.0
STORM_SECONDS = 0.6

Kill = Callable[[Sink, random.Random], Awaitable[None]]


async def in_a_storm(sink: Sink, chance: random.Random) -> None:
    """Any moment."""
    await asyncio.sleep(chance.uniform(0.01, STORM_SECONDS))


async def at_a_rotation(sink: Sink, chance: random.Random) -> None:
    """As soon as a segment has come or gone since the last look."""
    await asyncio.sleep(chance.uniform(0.01, STORM_SECONDS))
    before = segments(sink)
    deadline = time.monotonic() + STORM_SECONDS
    while segments(sink) == before and time.monotonic() < deadline:  # noqa: ASYNC110 - another process's doing
        await asyncio.sleep(0)
    await asyncio.sleep(chance.choice([0.0, 0.0, 0.001, 0.003]))


async def while_stopping(sink: Sink, chance: random.Random) -> None:
    """Between SIGTERM and the end that it leads to."""
    await asyncio.sleep(chance.uniform(0.01, STORM_SECONDS / 2))
    sink.signal(signal.SIGTERM)
    await asyncio.sleep(chance.uniform(0.0, 0.6))


KILLS: tuple[Kill, ...] = (in_a_storm, in_a_storm, at_a_rotation, while_stopping)


def segments(sink: Sink) -> set[str]:
    return {place.name for ring in (sink.spool / "rings").iterdir() for place in ring.iterdir()}


async def killed_while_starting(sink: Sink, chance: random.Random) -> None:
    """Several times in a row, each recovery cut short at another place."""
    for _ in range(chance.randint(1, 2)):
        await sink.launch()
        await asyncio.sleep(chance.uniform(0.0, START_SECONDS))
        await sink.kill()


def peak_of(sink: Sink) -> int:
    """0 when it has just ended by itself."""
    try:
        return sink.peak
    except (OSError, AssertionError):
        return 0


async def check_restart(sink: Sink, ledger: Ledger) -> None:
    """After a start: the identity holds, and each ring counts at least what its clients were promised."""
    promised = {cluster: ledger.events(cluster) for cluster in CLUSTERS}  # first: the storm goes on meanwhile
    status = await sink.status()
    check_accounts(status)
    accepted = {one["cluster"]: one["spool"]["next_sequence"] for one in status["clusters"]}
    for cluster in CLUSTERS:
        assert accepted.get(cluster, 0) >= promised[cluster], cluster


async def test_kill_9_at_any_moment_loses_nothing(tmp_path: Path, effort: Effort, report: Report):
    """Storms, rotations, recoveries and orderly stops are cut short; three destinations are compared in the end."""
    rounds = effort.of(12, 200)
    chance = random.Random(effort.seed)
    ledger = Ledger(tmp_path / "ledger")
    noted = NotedFile(tmp_path / "audit.ndjson")
    starts: list[float] = []
    peak = kills = 0
    async with NotingCollector(max_body=20_000_000) as collector, NotingHec(token=TOKEN) as splunk:
        common = {"batch": {"max_wait": "50ms", "max_events": BATCH}, "backoff": {"initial": "50ms", "max": "200ms"}}
        destinations = [
            {"name": "disk", "type": "file", "path": str(noted.path), "rotate_bytes": "1TiB", **common},
            {"name": "hook", "type": "http", "url": collector.url, "in_flight": 1, **common},
            {"name": "siem", "type": "splunk", "url": splunk.url, "token": TOKEN, "in_flight": 3, **common},
        ]
        sink = Sink(tmp_path / "sink", destinations, spool=SMALL, receive={"retry_after": "1s"})
        starts.append(await sink.start())
        async with Storm(sink, ledger, CLIENTS, seed=effort.seed):
            for number in range(rounds):
                await KILLS[number % len(KILLS)](sink, chance)
                peak = max(peak, peak_of(sink))
                await sink.kill()
                kills += 1
                if number % 4 == 3:
                    await killed_while_starting(sink, chance)
                starts.append(await sink.start())
                await check_restart(sink, ledger)
                noted.look()
        status = await sink.delivered()
        peak = max(peak, sink.peak)
        assert (await sink.stop())[0] == 0
    everywhere = {"disk": noted.look(), "hook": collector.arrivals, "siem": splunk.arrivals}
    promised = ledger.batches()
    report.row(
        kills=kills,
        batches_answered_200=len(promised),
        events_answered_200=ledger.events(),
        missing=sum(len(one.missing(promised)) for one in everywhere.values()),
        repeats={name: one.repeats for name, one in everywhere.items()},
        peak_MiB=peak // 2**20,
        slowest_start=f"{max(starts):.2f}s",
    )
    assert ledger.events() > 50 * rounds
    allowed = {"disk": 1, "hook": 1, "siem": 3}
    for one in status["destinations"]:
        check_arrivals(everywhere[one["name"]], ledger, repeats=kills * allowed[one["name"]] * BATCH)
        assert one["delivered"] == everywhere[one["name"]].distinct
    assert everywhere["disk"].disorder == everywhere["hook"].disorder == 0


def check_arrivals(arrivals: Arrivals, ledger: Ledger, *, repeats: int) -> None:
    """Nothing promised is missing, nothing was invented, and no more came twice than was in flight."""
    assert not arrivals.missing(ledger.batches())
    assert not arrivals.foreign
    assert set(arrivals.counts) <= ledger.posted
    assert arrivals.repeats <= repeats
