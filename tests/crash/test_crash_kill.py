"""kill -9 at random moments while clients post: what was answered 200 arrives everywhere, and the figures add up."""

import asyncio
import base64
import random
import signal
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arriving import NotedFile, NotingCollector, NotingHec
from effort import Effort, Report
from ledger import CLUSTERS, Arrivals, Ledger
from running import Sink, check_accounts
from storm import Storm

from auditsink.config.spool import CHECKPOINTS
from auditsink.spool.offline import inspect

CLIENTS = 8
TOKEN = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
BATCH = 200
"""Events in a batch of a destination: what one attempt in flight can repeat."""
SMALL = {"max_bytes": "4MiB", "segment_bytes": "128KiB"}
"""Segments that are full many times a second, so that a kill finds one being opened, sealed or removed."""
COMMON = {"batch": {"max_wait": "50ms", "max_events": BATCH}, "backoff": {"initial": "50ms", "max": "200ms"}}
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


async def check_restart(sink: Sink, ledger: Ledger) -> dict[str, Any]:
    """After a start: the identity holds, each ring counts at least what its clients were promised; what it said."""
    promised = {cluster: ledger.events(cluster) for cluster in CLUSTERS}  # first: the storm goes on meanwhile
    status = await sink.status()
    check_accounts(status)
    accepted = {one["cluster"]: one["spool"]["next_sequence"] for one in status["clusters"]}
    for cluster in CLUSTERS:
        assert accepted.get(cluster, 0) >= promised[cluster], cluster
    return status


@dataclass(slots=True)
class Rounds:
    """Kill after kill, with a start and a check after each. `look` is called while the sink runs."""

    sink: Sink
    ledger: Ledger
    chance: random.Random
    kills: int = 0
    peak: int = 0
    starts: list[float] = field(default_factory=list)

    async def run(
        self, rounds: int, look: Callable[[], object], enough: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> None:
        """Clients post all the time. More rounds, up to ten times as many, until the last status is `enough`."""
        self.starts.append(await self.sink.start())
        async with Storm(self.sink, self.ledger, CLIENTS, seed=self.chance.randrange(2**32)):
            status: dict[str, Any] = {}
            for number in range(10 * rounds):
                if number >= rounds and enough(status):
                    break
                await KILLS[number % len(KILLS)](self.sink, self.chance)
                self.peak = max(self.peak, peak_of(self.sink))
                await self.sink.kill()
                self.kills += 1
                if number % 5 == 4:
                    await killed_while_starting(self.sink, self.chance)
                self.starts.append(await self.sink.start())
                status = await check_restart(self.sink, self.ledger)
                look()

    async def end(self) -> dict[str, Any]:
        """All delivered, an orderly stop, an unbroken chain, and what `/status` said last."""
        status = await self.sink.delivered()
        self.peak = max(self.peak, self.sink.peak)
        assert (await self.sink.stop())[0] == 0
        for cluster in CLUSTERS:
            assert inspect.verify(self.sink.spool, cluster).problems == []
        assert self.ledger.events() > 50 * self.kills
        return status

    def figures(self) -> dict[str, object]:
        """For the report."""
        return {
            "batches_answered_200": len(self.ledger.batches()),
            "answered": self.ledger.events(),
            "peak_MiB": self.peak // 2**20,
            "starts": f"{statistics.median(self.starts):.2f}s, slowest {max(self.starts):.2f}s",
        }


async def proof(place: Path, output: Path) -> list[str]:
    """What `auditsink verify` says of a file destination's output; exit code 0, or the assertion shows why not."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auditsink", "verify", "--checkpoints", place / "checkpoints.ndjson", "--file", output,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode().splitlines()


async def test_kill_9_at_any_moment_loses_nothing(tmp_path: Path, effort: Effort, report: Report) -> None:
    """Storms, rotations, recoveries and orderly stops are cut short; three destinations are compared in the end.

    What the ring holds is encrypted, and checkpoints state it once a second.
    """
    ledger = Ledger(tmp_path / "ledger")
    noted = NotedFile(tmp_path / "audit.ndjson")
    async with NotingCollector(max_body=20_000_000) as collector, NotingHec(token=TOKEN) as splunk:
        destinations = [
            {"name": "disk", "type": "file", "path": str(noted.path), "rotate_bytes": "1TiB", **COMMON},
            {"name": "hook", "type": "http", "url": collector.url, "in_flight": 1, **COMMON},
            {"name": "siem", "type": "splunk", "url": splunk.url, "token": TOKEN, "in_flight": 3, **COMMON},
        ]
        keys = tmp_path / "spool.keys"
        keys.write_text(f"key {base64.b64encode(random.Random(effort.seed).randbytes(32)).decode()}\n")
        sink = Sink(
            tmp_path / "sink",
            destinations,
            spool=SMALL | {"encryption": {"key_file": str(keys)}},
            receive={"retry_after": "1s"},
            evidence={"path": str(tmp_path / "checkpoints.ndjson"), "every": "1s"},
        )
        rounds = Rounds(sink, ledger, random.Random(effort.seed))
        await rounds.run(effort.of(12, 200), noted.look)
        status = await rounds.end()
    everywhere = {"disk": noted.look(), "hook": collector.arrivals, "siem": splunk.arrivals}
    promised = ledger.batches()
    proven = await proof(tmp_path, noted.path)
    report.row(
        rounds.kills,
        "kills",
        **rounds.figures(),
        missing=sum(len(one.missing(promised)) for one in everywhere.values()),
        repeated=sum(one.repeats for one in everywhere.values()),
        repeats={name: one.repeats for name, one in everywhere.items()},
        proof=proven,
    )
    allowed = {"disk": 1, "hook": 1, "siem": 3}
    *delivering, checkpoints = status["destinations"]
    assert checkpoints["name"] == CHECKPOINTS
    assert checkpoints["delivered"] == checkpoints["accepted"]
    assert f"proven:       {checkpoints['accepted']:,} events are exactly what was stated" in proven
    assert not any(line.startswith("not covered") for line in proven)
    for one in delivering:
        arrivals = everywhere[one["name"]]
        assert not arrivals.missing(promised)
        check_arrivals(arrivals, ledger, repeats=rounds.kills * allowed[one["name"]] * BATCH)
        assert one["delivered"] == one["accepted"] == arrivals.distinct
    assert everywhere["disk"].disorder == everywhere["hook"].disorder == 0


async def test_what_drop_oldest_drops_is_counted_to_the_event_over_kills(
    tmp_path: Path, effort: Effort, report: Report, keep_port: Callable[[int], None]
) -> None:
    """One destination is down for all of it: what it gets in the end and what was dropped make up what was accepted."""
    ledger = Ledger(tmp_path / "ledger")
    noted = NotedFile(tmp_path / "audit.ndjson")
    async with NotingCollector(max_body=20_000_000) as collector:
        await collector.stop()
        keep_port(collector.port)
        destinations = [
            {"name": "disk", "type": "file", "path": str(noted.path), "rotate_bytes": "1TiB", **COMMON},
            {"name": "hook", "type": "http", "url": collector.url, "in_flight": 1, **COMMON},
        ]
        spool = {"max_bytes": "384KiB", "segment_bytes": "16KiB", "when_full": "drop_oldest"}
        rounds = Rounds(Sink(tmp_path / "sink", destinations, spool=spool), ledger, random.Random(effort.seed))
        await rounds.run(effort.of(3, 60), noted.look, lambda said: said["destinations"][1]["dropped"] > 0)
        await collector.start(collector.port)
        status = await rounds.end()
    everywhere = {"disk": noted.look(), "hook": collector.arrivals}
    promised = ledger.batches()
    dropped = {one["name"]: one["dropped"] for one in status["destinations"]}
    missing = {name: len(one.missing(promised)) for name, one in everywhere.items()}
    report.row(
        rounds.kills,
        "kills",
        **rounds.figures(),
        dropped_and_counted=dropped,
        not_there=missing,
        missing=sum(max(0, missing[name] - dropped[name]) for name in missing),
        repeated=sum(one.repeats for one in everywhere.values()),
    )
    for one in status["destinations"]:
        arrivals = everywhere[one["name"]]
        check_arrivals(arrivals, ledger, repeats=rounds.kills * BATCH)
        assert one["accepted"] - one["dropped"] == one["delivered"] == arrivals.distinct
        assert missing[one["name"]] <= one["dropped"]
        assert arrivals.disorder == 0
    assert dropped["hook"] > 0


def check_arrivals(arrivals: Arrivals, ledger: Ledger, *, repeats: int) -> None:
    """Nothing was invented, and no more came twice than was in flight."""
    assert not arrivals.foreign
    assert set(arrivals.counts) <= ledger.posted
    assert arrivals.repeats <= repeats
