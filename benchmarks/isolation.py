"""What troubled neighbours cost a healthy destination: `python -m benchmarks.isolation`.

Three systems take turns: the fast destination alone, beside three that are as healthy, and beside one that is dead, one
that takes 50 ms for each request and one that refuses every hundredth event. Only the fast one's deliveries and the
answers to the poster are looked at. The work of three more destinations costs CPU however well they are kept apart, so
the healthy neighbours are the fair comparison; alone is beside it.
"""

import asyncio
import multiprocessing
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import click

from auditsink.testing.hec import reply
from auditsink.testing.scripted import Received, Reply, ScriptedServer
from benchmarks import bodies, native, process
from benchmarks.figures import METRICS, Figures
from benchmarks.systems import Running, Sink, free_port
from benchmarks.trial import MOST, Bench
from benchmarks.wire import DRAIN_SECONDS, LOOK_SECONDS, Load, Receiver, post

CONNECTIONS = 8
SLOW_SECONDS = 0.05
REFUSED_SHARE = 100
FAST = "siem0"
"""The name that `systems.Sink` gives the first destination."""


class Slow(ScriptedServer):
    """Takes everything, 50 ms after it arrived."""

    async def respond(self, request: Received) -> Reply:  # noqa: ARG002 - it does not look
        """See `ScriptedServer.respond`."""
        self.requests.clear()
        return reply(0, delay=SLOW_SECONDS)


class Picky(ScriptedServer):
    """Refuses about every hundredth event, by number; the same one each time."""

    async def respond(self, request: Received) -> Reply:
        """See `ScriptedServer.respond`."""
        self.requests.clear()
        for number, event in enumerate(request.body.split(b'"event":')[1:]):
            if zlib.crc32(event[:300]) % REFUSED_SHARE == 0:
                return reply(6, number=number)
        return reply(0)


@contextmanager
def troubled(kind: type[ScriptedServer]) -> Iterator[int]:
    """Such a receiver in a process of its own; its port."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_serve, args=(kind, theirs), daemon=True)
    child.start()
    try:
        yield ours.recv()
    finally:
        child.terminate()
        child.join()


def _serve(kind: type[ScriptedServer], parent: Connection) -> None:
    async def serve() -> None:
        async with kind() as server:
            parent.send(server.port)
            await asyncio.Event().wait()

    asyncio.run(serve())


def alone(_stack: ExitStack, _bench: Bench) -> list[int]:
    """No neighbours."""
    return []


def healthy(stack: ExitStack, bench: Bench) -> list[int]:
    """Three that take everything at once."""
    return [stack.enter_context(Receiver(bench.programs.hec)).port for _ in range(3)]


def in_trouble(stack: ExitStack, _bench: Bench) -> list[int]:
    """One that is dead, a slow one, one that refuses."""
    return [free_port(), stack.enter_context(troubled(Slow)), stack.enter_context(troubled(Picky))]


NEIGHBOURS: dict[str, Callable[[ExitStack, Bench], list[int]]] = {
    "alone": alone,
    "three healthy": healthy,
    "dead, slow, refusing": in_trouble,
}


def measure(bench: Bench, neighbours: Callable[[ExitStack, Bench], list[int]], load: Load) -> Figures:
    """One run. CPU is the whole sink's; memory its peak."""
    with ExitStack() as stack:
        fast = stack.enter_context(Receiver(bench.programs.hec))
        place = stack.enter_context(bench.place(fast.port, *neighbours(stack, bench)))
        running = stack.enter_context(Sink().run(place))
        before = process.cpu(running.pid)
        with process.Peak(running.pid) as peak:
            posted = post(bench.programs.load, running, load)
            cpu = process.cpu(running.pid) - before
            _settled(running)
            received = fast.received()
        return {
            "delivered": MOST * posted.events / (received.most_ns - posted.began_ns) * 1e9,
            "p50": posted.ack_ms["p50"],
            "p99": posted.ack_ms["p99"],
            "cpu_gb": cpu / posted.bytes * 1e9,
            "rss": peak.memory.rss / 1e6,
        }


def _settled(running: Running) -> None:
    """Wait until the fast destination has everything; the others may take as long as they like."""
    until = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < until and not running.settled(FAST):
        time.sleep(LOOK_SECONDS)


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=6.0, show_default=True, help="Of posting in each run.")
@click.option("--rate", default=25.0, show_default=True, help="Batches a second; 0: full speed.")
@click.option("--disk", type=click.Path(path_type=Path, file_okay=False), default=Path("data"), show_default=True)
def main(*, rounds: int, seconds: float, rate: float, disk: Path) -> None:
    """Print a table: medians, and in brackets the median of the rounds' ratios to alone."""
    disk.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=disk, prefix="isolation-") as name:
        directory = Path(name).resolve()
        batches = bodies.batches(directory / "batches")
        bench = Bench(native.build(directory), batches, batches, directory)
        load = Load(batches, CONNECTIONS, seconds, rate=rate)
        found: dict[str, list[Figures]] = {title: [] for title in NEIGHBOURS}
        for _ in range(rounds):
            for title, neighbours in NEIGHBOURS.items():
                found[title].append(measure(bench, neighbours, load))
                click.echo(f"{title}: {found[title][-1]}", err=True)
    click.echo(f"{rate or 'all'} batches/s, {rounds} rounds")
    for line in table(found):
        click.echo(line)


def table(found: dict[str, list[Figures]]) -> Iterator[str]:
    """Lines of Markdown: a row for each kind of neighbours, a column for each figure."""
    (reference, *_) = found.values()
    keys = list(reference[0])
    titles = [f"{METRICS[key].title}, {METRICS[key].unit}" for key in keys]
    yield f"| neighbours | {' | '.join(titles)} |"
    yield "| --- " * (len(keys) + 1) + "|"
    for title, figures in found.items():
        cells = []
        for key in keys:
            ratio = median(mine[key] / other[key] for mine, other in zip(figures, reference, strict=True))
            cells.append(f"{median(one[key] for one in figures):,.{METRICS[key].digits}f} ({ratio:.2f})")
        yield f"| {title} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
