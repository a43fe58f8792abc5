r"""`auditsink spool move`: from rings on a disk into a topic of Kafka, or back."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from auditsink.cli.tables import safe
from auditsink.clusters.registry import most_clusters
from auditsink.common import resolver
from auditsink.common.clock import SystemClock
from auditsink.config import Config
from auditsink.load import ConfigError, load
from auditsink.spool import Spool, SpoolError

if TYPE_CHECKING:  # aiokafka is an extra
    from auditsink.kafka_spool.moving import Moved

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("move")
@click.option("--from", "old_file", type=_FILE, required=True, metavar="FILE", help="Configuration of the old spool.")
@click.option("--to", "new_file", type=_FILE, required=True, metavar="FILE", help="Configuration of the new spool.")
def move_command(old_file: Path, new_file: Path) -> int:
    """Bring what some destination has not got from one spool into the other: from a disk into a topic, or back.

    Stop the old sinks, move, start the new ones: kube-apiserver tries again for minutes. Nothing is removed from the
    old spool. Destinations that had got more than another get some events again. On a disk the time of a record is that
    of the move. What cannot be read is told, and then the exit code is 1.

    \b
    Example:
      auditsink spool move --from disk.yaml --to kafka.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    try:
        old, new = load(old_file), load(new_file)
    except ConfigError as problem:
        raise click.ClickException(str(problem)) from None
    if (old.spool.type, new.spool.type) not in {("disk", "kafka"), ("kafka", "disk")}:
        raise click.ClickException("--from and --to: one must have spool.type: kafka, and the other a disk")
    try:
        moved = resolver.run(_move(old, new))
    except ModuleNotFoundError:
        raise click.ClickException("spool.type: kafka needs the extra: pip install 'auditsink[kafka]'") from None
    except (SpoolError, OSError) as problem:
        raise click.ClickException(safe(str(problem))) from None
    click.echo(f"moved {moved.events:,} events in {moved.batches:,} batches; nothing was removed from where they lay")
    return 1 if moved.unread else 0


async def _move(old: Config, new: Config) -> "Moved":
    from auditsink.kafka_spool import KafkaSpool  # noqa: PLC0415 - aiokafka, where it is asked for
    from auditsink.kafka_spool.moving import Moved, into_topic, out_of_topic  # noqa: PLC0415

    clock, moved, loop = SystemClock(), Moved(), asyncio.get_running_loop()
    disk, topic = (old, new) if old.spool.type == "disk" else (new, old)
    names = [one.name for one in old.destinations]
    rings = Spool.open(disk.spool, clock=clock, max_rings=most_clusters(disk), destinations=names)
    rings.start(loop.call_soon_threadsafe, loop.call_soon)
    try:
        if disk is old:
            spool = await KafkaSpool.open(
                topic.spool, clock=clock, max_rings=most_clusters(topic), max_body=topic.receive.max_body
            )
            try:
                await into_topic(rings, names, spool, moved)
            finally:
                await asyncio.to_thread(spool.stop)
        else:
            await out_of_topic(topic.spool, names, rings, moved)
    finally:
        await asyncio.to_thread(rings.stop)
    return moved
