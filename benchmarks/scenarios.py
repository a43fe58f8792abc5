"""What is measured. Each scenario runs one system once and returns its figures; `benchmarks.rounds` repeats them."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median, quantiles

import zstandard
from isal import isal_zlib

from auditsink.audit.eventlist import split
from auditsink.testing.framings import FRAMINGS
from benchmarks import bodies, disk, process, rotations
from benchmarks.figures import Figures
from benchmarks.systems import Place, System, free_port
from benchmarks.trial import MOST, Bench, Trial, memory, trial
from benchmarks.wire import Load, Receiver, post, post_to

BATCH_CONNECTIONS = 8
BATCHES_PER_SECOND = 25
SECONDS = 6.0
"""Of posting in the short form."""
STORED_BATCH = 36_000
"""Bytes that a batch takes on the sink's disk: what the reference for one sync writes."""
BACKLOG_BYTES = 2**29
"""Of input behind a dead destination. What it takes must not grow with it, which `backlog-5` shows."""
RING_BYTES = 2**26
"""Of the ring that is full at a restart, in the short form; 16 times that in the long one."""
ROTATING = 2**16
"""Bytes of a segment that holds some 100 single events."""
ROTATING_RATE = 500
ROTATING_CONNECTIONS = 16
ROTATING_SECONDS = 60.0
"""So long that a p99.9 can be told of those answers alone that met a rotation."""
IDLE_SECONDS = 3.0
FRAME_SECONDS = 2.0
"""Of posting in each frame."""
USUAL = "apiserver"


@dataclass(frozen=True)
class Scenario:
    """`targets`: what the sink should reach, by metric, or by `metric/peer` for its ratio to a peer.

    `sink_only`: only another sink has the same thing. `long`: only with `--full`. `rounds`: no more of them than that,
    where one run is as good as the next.
    """

    title: str
    run: Callable[[Bench, System], Figures]
    targets: dict[str, float] = field(default_factory=dict)
    sink_only: bool = False
    long: bool = False
    rounds: int = 1000


def arrival(bench: Bench, system: System) -> Figures:
    """Everything that is posted arrives: counted by the receiver, which inflates and looks for each event."""
    posted_events = 0
    with trial(bench, system, count=True) as one:
        for load in (Load(bench.batches, 4, 30, posts=100), Load(bench.singles, 4, 30, posts=2000)):
            posted_events += post(bench.programs.load, one.running, load).events
        received = one.receiver.drained(one.running).events
    return {"missing": max(0, posted_events - received), "repeated": max(0, received - posted_events)}


def full_speed(bench: Bench, system: System) -> Figures:
    """Batches as fast as they are answered."""
    with trial(bench, system) as one:
        figures = one.run(Load(bench.batches, BATCH_CONNECTIONS, SECONDS * bench.stretch))
    work = _work(bench.batches)
    return figures | {"work_gb": work, "works": figures["cpu_gb"] / work}


def _work(batches: bodies.Bodies) -> float:
    """CPU seconds per GB of what nobody can leave out who splits, stores and compresses: the best of some turns."""
    several = [file.read_bytes() for file in batches.directory.iterdir()]
    compress = zstandard.ZstdCompressor(level=1).compress
    turns: list[float] = []
    for _ in range(5):
        began = time.process_time()
        for body in several:
            compress(body)
            isal_zlib.compress(b"\n".join(split(body).events), 1)
        turns.append(time.process_time() - began)
    return min(turns) * 1e9 / sum(map(len, several))


def rotation(bench: Bench, system: System) -> Figures:
    """Single events at a rate that leaves the sink idle in between, and segments that end many times a second."""
    seconds = ROTATING_SECONDS * bench.stretch
    load = Load(bench.singles, ROTATING_CONNECTIONS, seconds, rate=ROTATING_RATE, each=True)
    with Receiver(bench.programs.hec) as receiver, bench.place(receiver.port) as place:
        with system.run(replace(place, segment_bytes=ROTATING)) as running:
            behind = time.time_ns() - time.monotonic_ns()  # of the epoch's clock, which segments tell
            answers = post(bench.programs.load, running, load).each
        return rotations.figures(answers, [moment - behind for moment in rotations.begun(place.directory / "spool")])


def paced(bench: Bench, system: System) -> Figures:
    """Batches at the rate of a busy apiserver, beside what one sync and the transfer cost in the same minute."""
    rate = BATCHES_PER_SECOND
    with trial(bench, system) as one:
        floor = _floor(bench, one, rate)
        figures = one.run(Load(bench.batches, BATCH_CONNECTIONS, SECONDS * bench.stretch, rate=rate))
        return figures | floor | {"floors": figures["p50"] / floor["floor_p50"]} | _sync_share(one)


def _floor(bench: Bench, one: Trial, rate: float) -> dict[str, float]:
    """What nobody who syncs before the answer can beat: the transfer to a receiver that does nothing, and a sync."""
    times = disk.sync_times(bench.directory, STORED_BATCH, rate=rate, count=50)
    with Receiver(bench.programs.hec) as nothing:
        load = Load(bench.batches, BATCH_CONNECTIONS, 2, rate=rate)
        transfer = post_to(bench.programs.load, nothing.port, one.running.path, load)
    return {
        "floor_p50": median(times) * 1e3 + transfer.ack_ms["p50"],
        "floor_p99": quantiles(times, n=100)[98] * 1e3,
    }


def _sync_share(one: Trial) -> dict[str, float]:
    ack, count = (one.running.metric(f"auditsink_ack_seconds_{part}") for part in ("sum", "count"))
    sync, syncs = (one.running.metric(f"auditsink_spool_sync_seconds_{part}") for part in ("sum", "count"))
    return {"sync_share": 100 * (sync / syncs) / (ack / count)} if ack and syncs else {}


def single(connections: int, bench: Bench, system: System) -> Figures:
    """One event a request, as an apiserver in blocking mode posts: its API calls wait for these answers."""
    with trial(bench, system) as one:
        return one.run(Load(bench.singles, connections, SECONDS / 2 * bench.stretch))


def idle(bench: Bench, system: System) -> Figures:
    """Started with nothing stored, and left alone."""
    with trial(bench, system) as one:
        time.sleep(IDLE_SECONDS)
        return {"ready": one.running.ready_seconds, **memory(process.memory(one.running.pid))}


def backlog(size: int, bench: Bench, system: System) -> Figures:
    """So many bytes of input behind a dead destination, then it comes back while the intake goes on."""
    port = free_port()
    figures: dict[str, float] = {}
    with bench.place(port) as place, system.run(place) as running:
        posts = int(size / bench.batches.mean_size)
        with process.Peak(running.pid) as peak:
            waiting = post(bench.programs.load, running, Load(bench.batches, BATCH_CONNECTIONS, 600, posts=posts))
            time.sleep(IDLE_SECONDS)
        figures |= memory(peak.memory) | {"stored": _stored(place) / waiting.bytes}
        with Receiver(bench.programs.hec, port=port) as receiver, process.Peak(running.pid) as peak:
            more = post(
                bench.programs.load,
                running,
                Load(bench.batches, BATCH_CONNECTIONS, SECONDS, rate=BATCHES_PER_SECOND),
            )
            received = receiver.drained(running)
        events = MOST * (waiting.events + more.events)
        figures |= memory(peak.memory, "_catching_up")
        figures["delivered"] = events / (received.most_ns - received.first_ns) * 1e9
        figures |= {key: more.ack_ms[key] for key in ("p50", "p99")}
    return figures


def _stored(place: Place) -> int:
    """Bytes of the directory on the disk."""
    return sum(file.stat().st_blocks * 512 for file in place.directory.rglob("*") if file.is_file())


def restart(bench: Bench, system: System) -> Figures:
    """Killed with a full ring, and started again."""
    ring_bytes = RING_BYTES * (16 if bench.stretch > 1 else 1)
    filling = Load(bench.batches, BATCH_CONNECTIONS, 2)
    with bench.place(free_port(), ring_bytes=ring_bytes) as place:
        with system.run(place) as running:
            while not post(bench.programs.load, running, filling).refused:
                pass
            running.kill()
        with system.run(place) as again:
            return {"ready": again.ready_seconds, **memory(process.memory(again.pid))}


def frames(bench: Bench, system: System) -> Figures:
    """The same batches in every frame: what the split alone takes, and the whole sink beside the apiserver's frame."""
    figures: dict[str, float] = {}
    for name, framing in FRAMINGS.items():
        batches = bodies.framed(bench.batches, bench.directory / "framed", framing)
        try:
            figures[f"split {name}"] = _split_ms(batches)
            with trial(bench, system) as one:
                taken = one.run(Load(batches, BATCH_CONNECTIONS, FRAME_SECONDS * bench.stretch))
        finally:
            shutil.rmtree(batches.directory)
        figures[f"frame {name}"] = taken["cpu_gb"]
    usual = figures[f"frame {USUAL}"]
    return {key: value / usual if key.startswith("frame ") else value for key, value in figures.items()} | {
        "cpu_gb": usual
    }


def _split_ms(batches: bodies.Bodies) -> float:
    """CPU ms per MB of the best of a few turns."""
    several = [file.read_bytes() for file in batches.directory.iterdir()]
    turns: list[float] = []
    for _ in range(5):
        began = time.process_time()
        for body in several:
            split(body)
        turns.append(time.process_time() - began)
    return min(turns) * 1e9 / sum(batches.sizes)


def clusters(count: int, bench: Bench, system: System) -> Figures:
    """Batches at full speed, each for the next of so many clusters."""
    with trial(bench, system) as one:
        return one.run(Load(bench.batches, BATCH_CONNECTIONS, SECONDS, clusters=count))


def destinations(count: int, bench: Bench, system: System) -> Figures:
    """Batches at full speed to so many destinations: each gets everything."""
    with ExitStack() as stack:
        receivers = [stack.enter_context(Receiver(bench.programs.hec)) for _ in range(count)]
        place = stack.enter_context(bench.place(*(receiver.port for receiver in receivers)))
        running = stack.enter_context(system.run(place))
        return Trial(bench, running, receivers[-1]).run(Load(bench.batches, BATCH_CONNECTIONS, SECONDS))


def soak(minutes: int, bench: Bench, system: System) -> Iterator[Figures]:
    """Minute after minute of paced batches on one system, to see whether anything grows."""
    with trial(bench, system) as one:
        for _ in range(minutes):
            minute = one.run(Load(bench.batches, BATCH_CONNECTIONS, 60, rate=BATCHES_PER_SECOND))
            # The receiver counts from its own beginning, and so over all minutes.
            kept = {name: value for name, value in minute.items() if name != "delivered"}
            yield kept | {"descriptors": process.descriptors(one.running.pid)}


SCENARIOS = {
    "arrival": Scenario("What is posted arrives", arrival, {"missing": 0}, rounds=1),
    "idle": Scenario("Idle", idle, {"rss": 40, "ready": 0.7}, rounds=2),
    "full-speed": Scenario(
        "Batches at full speed, 8 connections",
        full_speed,
        {"delivered/fluent-bit": 3, "works": 2, "rss": 64, "written": 0.15},
    ),
    "paced": Scenario("25 batches a second, 8 connections", paced, {"floors": 1.8, "rss": 50}),
    "rotation": Scenario(
        "500 events a second, one a request, where segments end",
        rotation,
        {"rotation_p99.9": 1.2},
        sink_only=True,
        long=True,
        rounds=3,
    ),
    "single-1": Scenario(
        "One event a request, 1 connection", partial(single, 1), {"cpu_event/fluent-bit": 2.5}, long=True
    ),
    "single-4": Scenario(
        "One event a request, 4 connections", partial(single, 4), {"cpu_event/fluent-bit": 1.4}, long=True
    ),
    "single-16": Scenario(
        "One event a request, 16 connections", partial(single, 16), {"cpu_event/fluent-bit": 1, "rss": 60}
    ),
    "single-64": Scenario(
        "One event a request, 64 connections", partial(single, 64), {"cpu_event/fluent-bit": 0.6, "rss": 60}
    ),
    "single-256": Scenario("One event a request, 256 connections", partial(single, 256), long=True, rounds=2),
    "backlog": Scenario(
        "0.5 GiB behind a dead destination, and catching up",
        partial(backlog, BACKLOG_BYTES),
        {"rss": 112, "rss_catching_up": 112},
        rounds=1,
    ),
    "backlog-5": Scenario(
        "5 GiB behind a dead destination, and catching up",
        partial(backlog, 10 * BACKLOG_BYTES),
        {"rss": 112, "rss_catching_up": 112},
        sink_only=True,
        long=True,
        rounds=1,
    ),
    "frames": Scenario(
        "The same batches in the frames that others write",
        frames,
        {f"frame {name}": 1.5 for name in FRAMINGS if name != USUAL},
        sink_only=True,
        rounds=3,
    ),
    "restart": Scenario("Killed with a full ring", restart, {"ready": 1.0}, sink_only=True, rounds=3),
    **{
        f"clusters-{count}": Scenario(
            f"Batches at full speed for {count} clusters", partial(clusters, count), sink_only=True, long=True
        )
        for count in (1, 10, 100)
    },
    **{
        f"destinations-{count}": Scenario(
            f"Batches at full speed to {count} destinations", partial(destinations, count), sink_only=True, long=True
        )
        for count in (1, 2, 4)
    },
}
