"""One noisy cluster, past its share and a hundred times as loud as the others, takes nothing from them.

The quick form looks at answers and events. The long one (AUDITSINK_TORTURE=1) has 200 clusters, alternates runs with
and without the noisy one, and prints latency, lag and CPU of both.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import neighbours
from effort import Effort, Report, only_long
from running import Sink

from auditsink.spool.committer import REFUSAL_PAUSE

MIB = 2**20
ROUNDS = 10  # short ones, in turn: what else the machine does then meets both alike
DEAD = "http://127.0.0.1:1/"  # nobody listens there: what goes there only stays in the ring


class Clients:
    """The process that posts and collects."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.collector = f"http://127.0.0.1:{port}/"

    @classmethod
    async def start(cls) -> "Clients":
        process = await asyncio.create_subprocess_exec(
            sys.executable, neighbours.__file__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        return cls(process, int(await process.stdout.readline()))

    async def run(self, **asked: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        found: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return found

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


def sink_of(place: Path, collector: str, quiet: int, share: int) -> Sink:
    """A sink where the noisy cluster may have `share` bytes, and each of the others has 1 MiB for itself."""
    members = [
        {"name": f"quiet-{at:03d}", "anonymous": True, "reservation": "1MiB", "destinations": ["quick"]}
        for at in range(quiet)
    ]
    batch = {"max_wait": "100ms"}
    return Sink(
        place,
        [
            {"name": "quick", "type": "http", "url": collector, "compression": "none", "in_flight": 4, "batch": batch},
            {"name": "dead", "type": "http", "url": DEAD},
        ],
        clusters=[*members, {"name": neighbours.NOISY, "anonymous": True}],
        spool={"max_bytes": quiet * MIB + share, "segment_bytes": "1MiB"},
    )


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def together(quiet: Clients, noisy: Clients, sink: str, noise_at: str, **asked: Any) -> dict[str, Any]:
    """Both at once, each in a process of its own; the figures of the quiet ones, and the answers of the other.

    `noise_at`: where the noisy one posts; "" for nowhere.
    """
    runs = [quiet.run(url=sink, noise=False, **asked)]
    if noise_at:
        runs.append(noisy.run(url=noise_at, noise=True, **(asked | {"clusters": 0})))
    found, *beside = await asyncio.gather(*runs)
    return found | {"noisy_statuses": beside[0]["noisy_statuses"] if beside else {}}


async def test_whoever_is_past_its_share_is_refused_and_nobody_else(tmp_path: Path, effort: Effort) -> None:
    quiet, noisy = await Clients.start(), await Clients.start()
    async with sink_of(tmp_path, quiet.collector, quiet=20, share=2 * MIB) as sink:
        await begin(sink, 20)
        found = await together(
            quiet, noisy, sink.receive, sink.receive, clusters=20, per_second=5, seconds=effort.of(2, 5), settle=1
        )
        assert set(found["quiet_statuses"]) == {"200"}
        assert found["quiet_statuses"]["200"] >= 100
        assert set(found["noisy_statuses"]) == {"503"}
        assert sum(found["noisy_statuses"].values()) > found["quiet_statuses"]["200"]
        status = await sink.until(lambda now: now["destinations"][0]["pending"] == 0)
        by_name = {one["cluster"]: one for one in status["clusters"]}
        for name, one in by_name.items():
            quick, dead = one["destinations"]
            assert quick["pending"] == quick["dropped"] == dead["dropped"] == 0
            assert (dead["filtered"] == 0) is (name == neighbours.NOISY)
            assert one["reservation"]["state"] == ("full" if name == neighbours.NOISY else "ok")
    await quiet.stop()
    await noisy.stop()


@only_long
async def test_200_clusters_feel_nothing_of_a_noisy_one(tmp_path: Path, report: Report) -> None:
    """Three kinds of runs by turns: `alone`, `elsewhere` (the noisy client posts, but not to the sink), `beside`.

    The clients share the machine with the sink: what the noisy one costs just by being there shows in `elsewhere`.
    """
    quiet, noisy = await Clients.start(), await Clients.start()
    results: dict[str, list[dict[str, Any]]] = {"alone": [], "elsewhere": [], "beside": []}
    async with sink_of(tmp_path, quiet.collector, quiet=200, share=4 * MIB) as sink:
        await begin(sink, 200)
        noise_at = {"alone": "", "elsewhere": noisy.collector, "beside": sink.receive}
        for kind in [*results] * ROUNDS:
            before = cpu(sink.pid)
            found = await together(
                quiet, noisy, sink.receive, noise_at[kind], clusters=200, per_second=1, seconds=2, settle=1
            )
            results[kind].append(found | {"cpu": cpu(sink.pid) - before})
            assert set(found["quiet_statuses"]) == {"200"}
            assert set(found["noisy_statuses"]) == {"alone": set(), "elsewhere": {"200"}, "beside": {"503"}}[kind]
        memory = sink.resident // MIB
    await quiet.stop()
    await noisy.stop()
    refused = results["beside"][0]["noisy_statuses"]["503"]
    report.row(ROUNDS, "rounds of three", resident_MiB=memory, refused_in_a_run=refused)
    for name, figure in FIGURES.items():
        found = {kind: figure(runs) for kind, runs in results.items()}
        shown = {kind: f"{value:.2f}" for kind, value in found.items()}
        to_alone, to_elsewhere = (f"{found['beside'] / found[kind]:.2f}" for kind in ("alone", "elsewhere"))
        report.rows.append(f"{name}: {shown}, to alone {to_alone}, to elsewhere {to_elsewhere}")


def of_all(key: str, percentile: int) -> Callable[[list[dict[str, Any]]], float]:
    """Over the posts of all runs of a kind: one run has too few for its last hundredth to mean anything."""
    return lambda runs: quantiles(chain.from_iterable(one[key] for one in runs), n=100)[percentile - 1]


FIGURES: dict[str, Callable[[list[dict[str, Any]]], float]] = {
    **{f"{key} p{percentile}": of_all(key, percentile) for key in ("ack", "lag") for percentile in (50, 90, 99)},
    "cpu": lambda runs: median(one["cpu"] for one in runs),
}


async def begin(sink: Sink, quiet: int) -> None:
    """Each has a ring, and the noisy one's is full."""
    for at in range(quiet):
        name = f"quiet-{at:03d}"
        assert (await sink.post(neighbours.batch(name, 10**9), f"/{name}"))[0] == 200
    await fill(sink, neighbours.NOISY)


async def fill(sink: Sink, cluster: str) -> None:
    """Post what does not compress until there is no room even for a small batch."""
    number = 0
    for size in (300_000, 5_000, 500, 0):
        status = 200
        while status == 200:
            number -= 1
            noise = os.urandom(size).hex().encode()
            body = neighbours.batch(cluster, number).replace(b'"note":"', b'"note":"' + noise, 1)
            status = (await sink.post(body, f"/{cluster}"))[0]
        await asyncio.sleep(REFUSAL_PAUSE)
