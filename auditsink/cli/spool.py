r"""`auditsink spool`: look into a spool, running, stopped or copied, and bring what it holds to another place.

`ls`, `verify` and `cat` read only; `export` and `import` take sealed segments out and back in, `move` brings all that
waits from a disk into a topic of Kafka or back.
"""

import asyncio
import sys
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from auditsink.audit.eventlist import Mark, one_line, unsplit_document
from auditsink.cli import tables
from auditsink.cli.bar import bar
from auditsink.cli.keyfile import key_file_option, keyring
from auditsink.cli.settings import config_option, config_path, read_config
from auditsink.cli.spool_backup import backup_command
from auditsink.cli.tables import safe, table
from auditsink.cli.when import since_option, until_option
from auditsink.clusters.registry import most_clusters
from auditsink.common import resolver
from auditsink.common.clock import SystemClock
from auditsink.common.units import Size
from auditsink.config import Config
from auditsink.load import ConfigError, load
from auditsink.spool import Spool, SpoolError
from auditsink.spool.cursor import CursorState
from auditsink.spool.offline import export_format, inspect
from auditsink.spool.offline.export import Selection, export
from auditsink.spool.offline.export_format import ExportedRing
from auditsink.spool.offline.import_ import restore
from auditsink.spool.offline.inspect import RingReport, SegmentReport
from auditsink.spool.types import Record
from auditsink.spooling import kafka_extra

T = TypeVar("T")

_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
path_option = click.option("--path", type=_PATH, required=True, help="The spool's directory (spool.path).")
cluster_option = click.option("--cluster", help="Only this cluster's ring.")


@click.group("spool")
def command() -> None:
    """Look into a spool, running or not; export, import or move it, and restore its copies."""


command.add_command(backup_command)


@command.command("ls")
@path_option
@cluster_option
def ls(path: Path, cluster: str | None) -> None:
    """List the segments and cursors of each ring.

    \b
    Example:
      auditsink spool ls --path /var/lib/auditsink
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    for report in _reports(path, cluster):
        click.echo(f"cluster {safe(report.cluster)}: {report.events:,} events in {report.requests:,} batches")
        rows = [
            (
                segment.path.name, f"{segment.header.first_sequence:,}", f"{segment.next_sequence - 1:,}",
                f"{segment.requests:,}", Size(segment.size), Size(segment.body_bytes), _state(segment),
            )
            for segment in report.segments
        ]  # fmt: skip
        click.echo(
            table(("SEGMENT", "FIRST", "LAST", "BATCHES", "ON DISK", "BODIES", "STATE"), rows, right=range(1, 6))
        )
        cursors = [(name, *_cursor_cells(state)) for name, state in report.cursors.items()]
        if cursors:
            header = ("CURSOR", "NEXT", "DELIVERED", "FILTERED", "DEAD", "DROPPED")
            click.echo(table(header, cursors, right=range(1, 6)))
        click.echo()


def _state(one: SegmentReport) -> str:
    state = "sealed" if one.sealed else "open"
    return f"{state}, encrypted under {safe(one.header.key_name)}" if one.header.encrypted else state


def _cursor_cells(state: CursorState | None) -> tuple[str, ...]:
    return ("lost", "", "", "", "") if state is None else tuple(f"{n:,}" for n in (state.position, *state.tally))


@command.command("verify")
@click.option("--path", type=_PATH, help="The spool's directory (spool.path).")
@config_option
@cluster_option
@key_file_option
def verify(path: Path | None, config_file: Path | None, cluster: str | None, key_file: Path | None) -> None:
    """Check every record, the sequences, the seals and the chain. Exit 1 on damage.

    Needs no key for an encrypted spool; with --key-file it also tells records that somebody without the key changed.
    With -c of a sink whose spool is a topic it reads all of that: every record, the offsets, and for each destination
    what it has got and what waits, counted event by event.

    \b
    Examples:
      auditsink spool verify --path /var/lib/auditsink
      auditsink spool verify -c kafka.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    if path is None:
        if config_path(config_file) is None:
            raise click.UsageError("Missing option '--path' (or -c FILE).")
        config = read_config(config_file)
        if config.spool.type == "kafka":
            _verify_topic(config, cluster, key_file)
            return
        path = config.spool.path
    damaged = 0
    for report in _reports(path, cluster, key_file):
        for note in report.notes:
            click.echo(f"note: {safe(note)}")
        for problem in report.problems:
            click.echo(f"DAMAGE: {safe(problem)}", err=True)
        damaged += len(report.problems)
        verdict = "whole" if not report.problems else f"{len(report.problems)} problems"
        click.echo(
            f"cluster {safe(report.cluster)}: {report.events:,} events in {report.requests:,} batches, "
            f"{len(report.segments)} segments, {verdict}"
        )
    if damaged:
        raise click.ClickException(f"{path}: {damaged} problems, named above; what is not named is whole and readable")


@command.command("cat")
@path_option
@cluster_option
@key_file_option
@click.option("--since", type=click.IntRange(0), default=0, help="Begin at this sequence (see `spool ls`).")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many events.")
def cat(path: Path, cluster: str | None, key_file: Path | None, since: int, limit: int | None) -> None:
    """Print the events as they were received, one a line.

    To a terminal go no control characters: they stand as `?` there, and only there.

    \b
    Example:
      auditsink spool cat --path /var/lib/auditsink --cluster default | jq .verb
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    clusters = inspect.chosen(path, cluster)
    keys = keyring(key_file)
    _print((record for name in clusters for record in inspect.records(path, name, keys=keys)), since, limit)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """What it comes to. Raises ClickException for what a topic or a disk is in the way of."""
    try:
        return resolver.run(work)
    except (SpoolError, OSError) as problem:
        raise click.ClickException(safe(str(problem))) from None


def _verify_topic(config: Config, cluster: str | None, key_file: Path | None) -> None:
    report = _run(_read_topic(config, key_file))
    for said in report.problems:
        click.echo(f"DAMAGE: {safe(said)}", err=True)
    for name, held in sorted(report.clusters.items()):
        if cluster in (None, name):
            click.echo(f"cluster {safe(name)}: {held.events:,} events in {held.requests:,} batches")
    accounts = [(one.name, report.account(one.name)) for one in config.destinations]
    keys = ("accepted", "delivered", "filtered", "dead_lettered", "dropped", "pending")
    rows = [(name, *(f"{getattr(account, key):,}" for key in keys)) for name, account in accounts]
    header = ("DESTINATION", "ACCEPTED", "DELIVERED", "FILTERED", "DEAD", "DROPPED", "PENDING")
    click.echo(table(header, rows, right=range(1, 7)))
    verdict = "whole" if not report.problems else f"{len(report.problems)} problems"
    click.echo(f"topic {config.spool.topic}: {report.partitions} partitions, {verdict}")
    if report.problems:
        raise click.ClickException(f"{len(report.problems)} problems, named above; what is not named is whole")


async def _read_topic(config: Config, key_file: Path | None) -> "TopicReport":
    with kafka_extra():
        from auditsink.kafka_spool.scanning import scanning, verified  # noqa: PLC0415 - aiokafka, where it is asked for

    encryption = config.spool.encryption
    keys = keyring(key_file or (None if encryption is None else encryption.key_file))
    async with scanning(config.spool) as scan:
        bounds = [await scan.bounds(one) for one in await scan.partitions()]
        with bar("Reading", sum(end - start for start, end in bounds)) as progress:
            return await verified(scan, [one.name for one in config.destinations], keys, progress)


def _print(records: Iterable[Record], since: int, limit: int | None) -> None:
    shown = tables.shown if sys.stdout.isatty() else bytes
    out = sys.stdout.buffer
    left = limit
    for record in records:
        events = record.events[max(0, since - record.first_sequence) :]
        if left is not None:
            events, left = events[:left], left - len(events[:left])
        write = unsplit_document if record.marks & Mark.UNSPLIT else one_line
        out.writelines(shown(write(event)) + b"\n" for event in events)
        if left == 0:
            return


def _reports(path: Path, cluster: str | None, key_file: Path | None = None) -> list[RingReport]:
    try:
        keys = keyring(key_file)
        clusters = inspect.chosen(path, cluster)
        with bar("Reading", inspect.size(path, clusters)) as shown:
            return [inspect.verify(path, name, keys=keys, progress=shown) for name in clusters]
    except OSError as problem:
        raise click.ClickException(f"{path}: {problem}; run it as the user that runs auditsink") from None


@command.command("export")
@path_option
@click.option("--to", "target", type=_PATH, required=True, help="A directory of its own, made if need be.")
@click.option("--cluster", help="Only this cluster's ring.")
@key_file_option
@click.option("--include-open", is_flag=True, help="Also what the current segments hold at this moment.")
@since_option("Segments that hold something received since then.")
@until_option("Segments that hold something received before then.")
def export_command(
    *,
    path: Path,
    target: Path,
    cluster: str | None,
    key_file: Path | None,
    include_open: bool,
    since: int,
    until: int,
) -> None:
    """Write the events of sealed segments as NDJSON, with a manifest and digests.

    Safe on a running sink. What its current segments hold is left out: a stop seals them, and --include-open takes
    what stands in them now (the newest of it perhaps not answered yet). One file for each segment,
    one event a line; `auditsink verify --export` checks it against the checkpoints, `spool import` restores it.
    An export of an encrypted spool is plain: keep it accordingly.

    \b
    Example:
      auditsink spool export --path /var/lib/auditsink --to /backup/2026-11-22 --since 24h
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    try:
        clusters = inspect.chosen(path, cluster, least=1)
        keys = keyring(key_file)
        with bar("Exporting", inspect.size(path, clusters)) as shown:
            selection = Selection(since, until)
            manifest = export(
                path,
                clusters,
                target,
                made_ns=SystemClock().wall_ns(),
                selection=selection,
                keys=keys,
                include_open=include_open,
                progress=shown,
            )
    except OSError as problem:
        raise click.ClickException(_sentence(problem)) from None
    for ring in manifest.rings:
        _tell(ring)


def _tell(ring: ExportedRing) -> None:
    count = sum(segment.count for segment in ring.segments)
    damaged = sum(segment.next - segment.first for segment in ring.segments) - count
    click.echo(f"cluster {safe(ring.cluster)}: {count:,} events of {len(ring.segments)} segments")
    if damaged:
        click.echo(f"cluster {safe(ring.cluster)}: {damaged:,} events are lost to damage; see spool verify", err=True)
    for first, stop in ring.gone:
        click.echo(
            f"cluster {safe(ring.cluster)}: events {first} to {stop - 1} were removed by the ring's limit meanwhile",
            err=True,
        )
    if ring.open_from is not None:
        click.echo(f"cluster {safe(ring.cluster)}: events from {ring.open_from} on are not sealed yet and not exported")


@command.command("import")
@path_option
@click.option("--cluster", help="Only this cluster's events.")
@key_file_option
@click.argument("source", type=_PATH, metavar="FROM")
def import_command(*, path: Path, cluster: str | None, key_file: Path | None, source: Path) -> None:
    """Restore an export into a spool that no sink runs on, under the same sequences.

    Everything is checked before anything is written. Where the ring has these events already they are compared and
    left; so it can be repeated. Run it as the user that runs auditsink. A sink that is then started delivers what its
    destinations have not had; to deliver to one of them only, `auditsink replay --path`. With --key-file what is
    written is encrypted.

    \b
    Example:
      auditsink spool import --path /var/lib/auditsink-restored /backup/2026-11-22
    """  # noqa: D301
    try:
        rings = export_format.load(source).rings
        size = sum(segment.count for ring in rings for segment in ring.segments)
        with bar("Importing", 2 * size) as shown:
            keys = keyring(key_file)
            done = restore(source, path, cluster=cluster, keys=keys, progress=lambda one: shown(one.count))
    except OSError as problem:
        raise click.ClickException(_sentence(problem)) from None
    for name, restored in done.items():
        click.echo(
            f"cluster {safe(name)}: {restored.written:,} events restored, {restored.present:,} were there already"
        )
    if not done:
        raise click.ClickException(f"{source} holds no event{f' of cluster {cluster!r}' if cluster else ''}")


def _sentence(problem: OSError) -> str:
    return f"{problem.filename or 'the disk'}: {problem.strerror}; check the disk, the path and its permissions"


if TYPE_CHECKING:  # aiokafka is an extra
    from auditsink.kafka_spool.moving import Moved
    from auditsink.kafka_spool.scanning import TopicReport


@command.command("move")
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
    moved = _run(_move(old, new))
    click.echo(f"moved {moved.events:,} events in {moved.batches:,} batches; nothing was removed from where they lay")
    return 1 if moved.unread else 0


async def _move(old: Config, new: Config) -> "Moved":
    with kafka_extra():
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
