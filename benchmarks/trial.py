"""One run: a fresh system between a load client and a receiver, looked at from outside."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import disk, process
from benchmarks.bodies import Bodies
from benchmarks.native import Programs
from benchmarks.systems import Place, Running, System
from benchmarks.wire import Load, Posted, Received, Receiver, post

MOST = 0.95
"""Of the bytes at the receiver end the time of a run: the rest may wait for a system's flush interval."""


@dataclass(frozen=True)
class Bench:
    """What all runs share. `stretch` is 1 for the short form, more for the long one."""

    programs: Programs
    batches: Bodies
    singles: Bodies
    directory: Path
    stretch: int = 1

    @contextlib.contextmanager
    def place(self, *destinations: int, ring_bytes: int = 2**33) -> Iterator[Place]:
        """An empty directory on the measured disk, with nothing of the runs before left to be written."""
        directory = Path(tempfile.mkdtemp(dir=self.directory))
        os.sync()
        try:
            yield Place(directory, destinations, ring_bytes)
        finally:
            shutil.rmtree(directory)


@dataclass
class Trial:
    """A running system with its receiver."""

    bench: Bench
    running: Running
    receiver: Receiver

    def run(self, load: Load) -> dict[str, float]:
        """Post, wait until all is delivered, and say what it took."""
        pid = self.running.pid
        on_disk = disk.written(self.bench.directory)
        before = process.cpu(pid)
        with process.Peak(pid) as peak:
            posted = post(self.bench.programs.load, self.running, load)
            received = self.receiver.drained(self.running)
        cpu = process.cpu(pid) - before
        on_disk_now = disk.written(self.bench.directory)
        written = {}
        if on_disk is not None and on_disk_now is not None:
            written["written"] = (on_disk_now - on_disk) / posted.bytes
        return {
            **speed(posted, received),
            "cpu_gb": cpu / posted.bytes * 1e9,
            "cpu_event": cpu / posted.events * 1e6,
            **{key: posted.ack_ms[key] for key in ("p50", "p99", "p99.9")},
            **memory(peak.memory),
            **written,
            "refused": sum(posted.refused.values()) + posted.broken,
        }


def speed(posted: Posted, received: Received) -> dict[str, float]:
    """Events a second, accepted and delivered."""
    delivered = MOST * posted.events / (received.most_ns - posted.began_ns) * 1e9
    return {"delivered": delivered, "accepted": posted.events / posted.seconds}


def memory(peak: process.Memory, suffix: str = "") -> dict[str, float]:
    """In MB (10^6)."""
    return {f"rss{suffix}": peak.rss / 1e6, f"anonymous{suffix}": peak.anonymous / 1e6}


@contextlib.contextmanager
def trial(bench: Bench, system: System, *, count: bool = False) -> Iterator[Trial]:
    """The system and a receiver, fresh."""
    with (
        Receiver(bench.programs.hec, count=count) as receiver,
        bench.place(receiver.port) as place,
        system.run(place) as running,
    ):
        yield Trial(bench, running, receiver)
