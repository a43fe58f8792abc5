r"""`auditsink spool`: look into a spool, running, stopped or copied. What stands here reads only."""

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from auditsink.audit.eventlist import Mark, one_line, unsplit_document
from auditsink.cli import tables
from auditsink.cli.bar import bar
from auditsink.cli.keyfile import key_file_option, keyring
from auditsink.cli.spool_backup import backup_command
from auditsink.cli.spool_export import export_command, import_command, path_option
from auditsink.cli.spool_move import move_command
from auditsink.cli.tables import safe, table
from auditsink.common.units import Size
from auditsink.spool.cursor import CursorState
from auditsink.spool.offline import inspect
from auditsink.spool.offline.inspect import RingReport, SegmentReport
from auditsink.spool.types import Record

cluster_option = click.option("--cluster", help="Only this cluster's ring.")


@click.group("spool")
def command() -> None:
    """Look into a spool, running or not; export, import or move it, and restore its copies."""


command.add_command(backup_command)
command.add_command(export_command)
command.add_command(import_command)
command.add_command(move_command)


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
@path_option
@cluster_option
@key_file_option
def verify(path: Path, cluster: str | None, key_file: Path | None) -> None:
    """Check every record, the sequences, the seals and the chain. Exit 1 on damage.

    Needs no key for an encrypted spool; with --key-file it also tells records that somebody without the key changed.

    \b
    Example:
      auditsink spool verify --path /var/lib/auditsink
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
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
    clusters = _clusters(path, cluster)
    keys = keyring(key_file)
    _print((record for name in clusters for record in inspect.records(path, name, keys=keys)), since, limit)


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
        clusters = _clusters(path, cluster)
        with bar("Reading", inspect.size(path, clusters)) as shown:
            return [inspect.verify(path, name, keys=keys, progress=shown) for name in clusters]
    except OSError as problem:
        raise click.ClickException(f"{path}: {problem}; run it as the user that runs auditsink") from None


def _clusters(path: Path, cluster: str | None) -> list[str]:
    found = inspect.clusters(path)
    if cluster is None:
        return found
    if cluster not in found:
        raise click.ClickException(
            f"{path} has no ring of cluster {cluster!r}; there are: {', '.join(found) or 'none'}"
        )
    return [cluster]
