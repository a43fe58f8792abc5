"""What a topic as the spool costs beside a disk: `python -m benchmarks.topic --servers HOST:PORT,...`.

The shapes take turns: one sink with a disk, then so many receivers and two forwarders on a topic of three replicas.
Each is given the same number of batches, by one load client for each receiver. The brokers are somebody else's:
`python tests/real/kafka_server.py 3` starts three on this machine.
"""

import tempfile
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import mean

import click

from benchmarks import bodies, native, process, report
from benchmarks.figures import METRICS, Figures, summarize
from benchmarks.systems import Running, Sink
from benchmarks.trial import Bench
from benchmarks.wire import DRAIN_SECONDS, LOOK_SECONDS, Load, Posted, Receiver, post

CONNECTIONS = 8
FORWARDERS = 2
RECEIVERS = (1, 2, 4)
SECONDS = 300.0
"""A run ends with its posts; this is for a machine that does not get that far."""


def on_a_disk(stack: ExitStack, bench: Bench, port: int) -> tuple[list[Running], list[Running]]:
    """One sink receives and forwards."""
    one = stack.enter_context(Sink().run(stack.enter_context(bench.place(port))))
    return [one], [one]


def on_a_topic(
    receivers: int, servers: Sequence[str], stack: ExitStack, bench: Bench, port: int
) -> tuple[list[Running], list[Running]]:
    """So many receivers, and the forwarders."""
    spool = {
        "type": "kafka",
        "bootstrap_servers": list(servers),
        "topic": f"bench-{uuid.uuid4().hex[:8]}",
        "partitions": 12,
        "max_bytes": "8GiB",
    }

    def started(role: str) -> Running:
        system = Sink(role, sections={"spool": spool, "roles": [role]})
        return stack.enter_context(system.run(stack.enter_context(bench.place(port))))

    return [started("receive") for _ in range(receivers)], [started("forward") for _ in range(FORWARDERS)]


def measure(shape: "Shape", bench: Bench, load: Load) -> Figures:
    """One run. Answer times: the mean of the load clients' p50, and the worst of their p99."""
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver(bench.programs.hec))
        intake, out = shape(stack, bench, receiver.port)
        together = list({one.pid: one for one in (*intake, *out)}.values())
        before = {one.pid: process.cpu(one.pid) for one in together}
        peaks = {one.pid: stack.enter_context(process.Peak(one.pid)) for one in together}
        posted = _post(bench, intake, load)
        events, size = sum(one.events for one in posted), sum(one.bytes for one in posted)
        delivered = _delivered(out, events)
        cpu = {one.pid: (process.cpu(one.pid) - before[one.pid]) / size * 1e9 for one in together}
        rss = {pid: peak.memory.rss / 1e6 for pid, peak in peaks.items()}
        took = max(one.seconds for one in posted)
    figures = {
        "accepted": events / took,
        "cpu_gb": sum(cpu.values()),
        "p50": mean(one.ack_ms["p50"] for one in posted),
        "p99": max(one.ack_ms["p99"] for one in posted),
        "refused": sum(sum(one.refused.values()) + one.broken for one in posted),
        "missing": events - delivered,
        "rss_receive": max(rss[one.pid] for one in intake),
        "rss_forward": max(rss[one.pid] for one in out),
    }
    if intake[0] is not out[0]:
        figures |= {
            "cpu_gb_receive": sum(cpu[one.pid] for one in intake),
            "cpu_gb_forward": sum(cpu[one.pid] for one in out),
        }
    return figures


def _post(bench: Bench, intake: list[Running], load: Load) -> list[Posted]:
    connections, posts = load.connections // len(intake), load.posts // len(intake)
    part = Load(load.bodies, connections, load.seconds, posts=posts, rate=load.rate / len(intake), clusters=12)
    with ThreadPoolExecutor(len(intake)) as pool:
        return list(pool.map(lambda one: post(bench.programs.load, one, part), intake))


def _delivered(out: list[Running], events: int) -> int:
    """Events that are delivered by the sinks' own account, once that is as many as were accepted."""
    until = time.monotonic() + DRAIN_SECONDS
    while True:
        done = int(sum(one.metric("auditsink_destination_delivered_events_total") for one in out))
        if done >= events or time.monotonic() > until:
            return done
        time.sleep(LOOK_SECONDS)


Shape = partial[tuple[list[Running], list[Running]]]


@click.command()
@click.option("--servers", required=True, metavar="HOST:PORT,...", help="Three brokers, which nobody else uses.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--posts", default=800, show_default=True, help="Batches of about 400 kB in each run.")
@click.option("--rate", default=0.0, show_default=True, help="Batches a second; 0: full speed.")
@click.option("--disk", type=click.Path(path_type=Path, file_okay=False), default=Path("data"), show_default=True)
def main(*, servers: str, rounds: int, posts: int, rate: float, disk: Path) -> None:
    """Print a table: medians and spans."""
    disk.mkdir(parents=True, exist_ok=True)
    shapes = {"a disk": Shape(on_a_disk)} | {
        f"{count} + {FORWARDERS} on a topic": Shape(on_a_topic, count, servers.split(",")) for count in RECEIVERS
    }
    with tempfile.TemporaryDirectory(dir=disk, prefix="topic-") as name:
        directory = Path(name).resolve()
        batches = bodies.batches(directory / "batches")
        bench = Bench(native.build(directory), batches, batches, directory)
        load = Load(batches, CONNECTIONS, SECONDS, posts=posts, rate=rate)
        found: dict[str, list[Figures]] = {title: [] for title in shapes}
        for _ in range(rounds):
            for title, shape in shapes.items():
                found[title].append(measure(shape, bench, load))
                some = ", ".join(f"{key} {value:,.{METRICS[key].digits}f}" for key, value in found[title][-1].items())
                click.echo(f"{title}: {some}", err=True)
    click.echo(report.table({title: summarize(figures) for title, figures in found.items()}, {}))


if __name__ == "__main__":
    main()
