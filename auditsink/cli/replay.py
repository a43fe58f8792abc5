"""`auditsink replay`: deliver again what the ring still holds."""

import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import click

from auditsink.cli.bar import bar
from auditsink.cli.settings import config_option, read_config
from auditsink.cli.tables import safe
from auditsink.cli.when import since_option, until_option
from auditsink.common import resolver, timestamps
from auditsink.common.clock import SystemClock
from auditsink.common.disk import RealDisk
from auditsink.config import Config, DestinationSection
from auditsink.destinations import build
from auditsink.destinations.wrappers import WithLabels
from auditsink.filters import build as filters
from auditsink.forward.replay import Replay, Replayed
from auditsink.forward.retry import Backoff
from auditsink.spool import SpoolError, segment_file
from auditsink.spool.frame import FrameHeader
from auditsink.spool.keys import Keyring
from auditsink.spool.offline import inspect
from auditsink.spool.types import Record
from auditsink.spooling import kafka_extra


@click.command("replay")
@config_option
@click.option("--destination", required=True, metavar="NAME", help="Where to, as the configuration calls it.")
@since_option("What was received since then.", required=True)
@until_option("What was received before then.")
@click.option("--cluster", help="Only this cluster's events.")
@click.option("--path", type=click.Path(path_type=Path), metavar="DIR", help="Another spool than spool.path.")
def command(
    *, config_file: Path | None, destination: str, since: int, until: int, cluster: str | None, path: Path | None
) -> int:
    """Deliver again what the spool still holds, by the time at which it was received.

    Works while the sink runs, and leaves the destination's place in it alone: what it gets here it gets once more.
    Waits for a destination that asks to; Ctrl-C ends it. What is refused for good is told, its neighbours arrive.
    Exit code 1 when not everything was delivered.

    \b
    Example:
      auditsink replay -c /etc/auditsink/config.yaml --destination siem --since 2h
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    config = read_config(config_file)
    chosen = _chosen(config, destination)
    if config.spool.type == "kafka" and path is None:
        return _report(destination, _replay_topic(config, chosen, range(since, until), cluster))
    spool = path or config.spool.path
    clusters = inspect.chosen(spool, cluster, least=1)
    encryption = config.spool.encryption
    keys = None if encryption is None else Keyring.load(encryption.key_file)
    done = _replay(chosen, spool, clusters, range(since, until), keys)
    return _report(destination, done)


def _chosen(config: Config, name: str) -> DestinationSection:
    for one in config.destinations:
        if one.name == name:
            return one
    names = ", ".join(destination.name for destination in config.destinations)
    raise click.ClickException(f"destination {name!r} is not in the configuration; there are: {names}")


def _replay_topic(config: Config, chosen: DestinationSection, period: range, cluster: str | None) -> Replayed:
    done = Replayed()
    try:
        resolver.run(_deliver_topic(config, chosen, period, cluster, done))
    except KeyboardInterrupt:
        done.stopped = "ended by Ctrl-C"
    except SpoolError as problem:
        done.stopped = str(problem)
    if done.stopped is not None:
        done.stopped += "; what has arrived comes once more when the same command is begun again"
    done.reached_ns = None  # of one partition, which says nothing of the others
    return done


async def _deliver_topic(
    config: Config, chosen: DestinationSection, period: range, cluster: str | None, done: Replayed
) -> None:
    with kafka_extra():
        from auditsink.kafka_spool.scanning import PeriodScan, scanning  # noqa: PLC0415 - aiokafka, where it is asked for

    def told(sentence: str) -> None:
        click.echo(f"{chosen.name}: {safe(sentence)}", err=True)

    held = PeriodScan(config.spool, period, cluster, told)
    async with scanning(config.spool) as scan, _replaying(chosen, config.spool.path, done) as replay:
        with bar("Replaying", await held.look(scan)) as progress:
            async for name, records in held.read(scan, progress):
                await replay.run(name, records)
                if done.stopped is not None:
                    return


def _replay(
    config: DestinationSection, spool: Path, clusters: list[str], period: range, keys: Keyring | None
) -> Replayed:
    done = Replayed()
    with bar("Replaying", inspect.size(spool, clusters)) as progress:
        several = {name: _records(spool / "rings" / name, period, progress, keys) for name in clusters}
        try:
            resolver.run(_deliver(config, spool, several, done))
        except KeyboardInterrupt:
            done.stopped = "ended by Ctrl-C"
    return done


async def _deliver(
    config: DestinationSection, spool: Path, several: Mapping[str, Iterator[Record]], done: Replayed
) -> None:
    async with _replaying(config, spool, done) as replay:
        for cluster, records in several.items():
            if done.stopped is None:
                await replay.run(cluster, records)


@asynccontextmanager
async def _replaying(config: DestinationSection, spool: Path, done: Replayed) -> AsyncIterator[Replay]:
    clock = SystemClock()
    event_filter = filters.build(config)
    destination = WithLabels(build(config, clock=clock), spool)
    try:
        yield Replay(
            destination,
            done,
            event_filter=event_filter,
            backoff=Backoff(config.backoff.initial, config.backoff.max, random.random),
            clock=clock,
            waiting=lambda why, wait: click.echo(f"{config.name}: {safe(why)}; trying again in {wait:.1f} s", err=True),
        )
    finally:
        await destination.close()


def _records(ring: Path, period: range, progress: Callable[[int], None], keys: Keyring | None) -> Iterator[Record]:
    """What was received within the period, as far as it is still there when its turn comes."""
    disk = RealDisk()

    def wanted(header: FrameHeader) -> bool:
        return header.received_ns in period

    for segment in segment_file.segments(ring, disk):
        content = segment_file.read(segment, disk, keys)
        if content is not None:
            yield from content.records(wanted)
            progress(len(content.data))


def _report(name: str, done: Replayed) -> int:
    # Not on standard output: that may be the destination.
    for sentence in done.named:
        click.echo(f"{name}: {safe(sentence)}", err=True)
    filtered = f", {done.filtered:,} filtered" if done.filtered else ""
    refused = f", {done.refused:,} refused for good" if done.refused else ""
    click.echo(f"{name}: delivered {done.delivered:,} events{filtered}{refused}", err=True)
    if done.stopped is not None:
        on = ""
        if done.reached_ns is not None:
            on = f"; to go on: --cluster {done.cluster} --since {timestamps.text(timestamps.at(done.reached_ns))}"
        raise click.ClickException(f"{name}: {safe(done.stopped)}{on}")
    return 1 if done.refused else 0
