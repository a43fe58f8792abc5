r"""`auditsink spool backup`: the copies in the object store, for people."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from auditsink.backup import BackupError, require
from auditsink.cli.bar import bar
from auditsink.cli.settings import config_option, read_config
from auditsink.cli.tables import safe, table
from auditsink.common import timestamps
from auditsink.common.clock import SystemClock
from auditsink.common.disk import RealDisk
from auditsink.common.units import Size
from auditsink.config import BackupSection
from auditsink.spool.lock import take_lock

if TYPE_CHECKING:
    from auditsink.backup.copies import CopyListing
    from auditsink.backup.statistics import RestoredCopy
    from auditsink.backup.store import CopyStore

T = TypeVar("T")
_output = click.option("-o", "output", type=click.Choice(["table", "json"]), default="table", help="json: one a line.")
_LARGEST = 2**62


@click.group("backup")
def backup_command() -> None:
    """List, restore and prune the copies of a spool in an object store (spool.backup)."""


@backup_command.command("ls")
@config_option
@_output
def ls(config_file: Path | None, output: str) -> None:
    """List the copies: the current one, and older ones that wait for a person.

    Exit 1 when there is none, or when something that lies there cannot be read.

    \b
    Example:
      auditsink spool backup ls -c config.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    config, _spool = _section(config_file)
    from auditsink.backup.copies import listed  # noqa: PLC0415 - its client of stores is an extra

    copies, problems = _with_store(config, lambda store: listed(store, config))
    now = SystemClock().wall_ns()
    if output == "json":
        for one in copies:
            click.echo(json.dumps(_document(one)))
    elif copies:
        header = ("COPY", "STATE", "COMPLETE", "AGE", "CLUSTERS", "SEGMENTS", "UNDELIVERED", "SIZE", "WRITER")
        click.echo(table(header, [_row(one, now) for one in copies], right=(0, 3, 4, 5, 6, 7)))
    for problem in problems:
        click.echo(f"auditsink: {safe(problem)}", err=True)
    if not copies:
        raise BackupError(f"there is no copy below {config.root} {config.where}; check spool.backup and its name")
    if problems:
        raise click.exceptions.Exit(1)


def _row(one: "CopyListing", now_ns: int) -> tuple[object, ...]:
    copy = one.manifest
    state = ("released" if copy.released else "current") if one.current else "waits"
    complete = timestamps.seconds(copy.complete_ns) if copy.complete_ns else "never"
    age = f"{max(0, now_ns - copy.complete_ns) / 1e9:,.0f} s" if copy.complete_ns else ""
    segments = sum(len(ring.segments) for ring in copy.rings)
    return (
        copy.number, state, complete, age, f"{len(copy.rings):,}", f"{segments:,}", f"{copy.undelivered:,}",
        Size(copy.size), f"{copy.holder[:8]}, fence {copy.fence}",
    )  # fmt: skip


def _document(one: "CopyListing") -> dict[str, Any]:
    copy = one.manifest
    return {
        "copy": copy.number,
        "current": one.current,
        "released": copy.released,
        "complete": timestamps.seconds(copy.complete_ns) if copy.complete_ns else None,
        "written": timestamps.seconds(copy.written_ns),
        "auditsink": copy.auditsink,
        "holder": copy.holder,
        "fence": copy.fence,
        "bytes": copy.size,
        "objects": len(copy.objects()),
        "undelivered": copy.undelivered,
        "clusters": [
            {
                "cluster": ring.cluster,
                "ring": ring.ring,
                "first_sequence": ring.segments[0].first if ring.segments else ring.end,
                "next_sequence": ring.copied,
                "segments": len(ring.segments),
                "cursors": {name: cursor.position for name, cursor in sorted(ring.cursors.items())},
            }
            for ring in copy.rings
        ],
    }


@backup_command.command("restore")
@config_option
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="A directory without a spool.")
@click.option("--copy", "number", type=click.IntRange(1, _LARGEST), help="Its number (see ls); else the current one.")
@click.option(
    "--checkpoints", type=click.Path(path_type=Path), help="Where to put the checkpoint file, if it is there."
)
@_output
def restore_command(
    *, config_file: Path | None, target: Path, number: int | None, checkpoints: Path | None, output: str
) -> None:
    """Restore a copy into an empty directory, for a look or for a sink of its own. Exit 1 when parts of it are lost.

    Reads only from the store: the sink that writes to the copy goes on. What it delivers and what comes out of here are
    the same events. A sink restores by itself when it starts on an empty spool.path.

    \b
    Example:
      auditsink spool backup restore -c config.yaml --to /tmp/restored && auditsink spool ls --path /tmp/restored
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    config, max_bytes = _section(config_file)
    from auditsink.backup.copies import chosen  # noqa: PLC0415 - its client of stores is an extra
    from auditsink.backup.restore import RestoreTarget, restore  # noqa: PLC0415
    from auditsink.backup.start import SpoolCondition, condition  # noqa: PLC0415

    disk = RealDisk()

    async def restored(store: "CopyStore") -> "RestoredCopy":
        copy = await chosen(store, config, number)
        disk.make_directory(target)
        lock = take_lock(disk, target)  # a sink that has it open would go on in what is set aside
        try:
            if condition(target, disk) is not SpoolCondition.EMPTY:
                raise BackupError(f"--to {target} holds a spool, which is never written over; give an empty directory")
            with bar("Restoring", copy.size) as shown:
                done = 0

                def progress(now: int, _all: int) -> None:
                    nonlocal done
                    shown(now - done)
                    done = now

                where = RestoreTarget(target, max_bytes, checkpoints, disk)
                return await restore(store, copy, where, clock=SystemClock(), progress=progress)
        finally:
            lock.close()

    try:
        made = _with_store(config, restored)
    except OSError as problem:
        raise BackupError(f"--to {target}: {problem.strerror or problem}; check the disk and its permissions") from None
    _tell(made, target, output)
    if made.problems:
        raise click.exceptions.Exit(1)


def _tell(made: "RestoredCopy", target: Path, output: str) -> None:
    gaps = [
        {"cluster": cluster, "first_sequence": first, "last_sequence": stop - 1}
        for cluster, (first, stop) in sorted(made.gaps.items())
    ]
    complete = timestamps.seconds(made.complete_ns) if made.complete_ns else None
    if output == "json":
        document = {
            "copy": made.number, "complete": complete, "clusters": made.clusters, "segments": made.segments,
            "bytes": made.size, "gaps": gaps, "problems": list(made.problems),
        }  # fmt: skip
        click.echo(json.dumps(document))
        return
    click.echo(
        f"restored copy {made.number} to {target}: {made.clusters:,} clusters, {made.segments:,} segments, "
        f"{Size(made.size)}; complete up to {complete or 'no time: it never was'}"
    )
    for gap in gaps:
        click.echo(
            f"note: cluster {safe(gap['cluster'])}: events {gap['first_sequence']} to {gap['last_sequence']} are "
            "missing: the copy ends before them"
        )
    for problem in made.problems:
        click.echo(f"LOST: {safe(problem)}", err=True)


@backup_command.command("prune")
@config_option
@click.option("--copy", "unwanted", type=click.IntRange(1, _LARGEST), multiple=True, help="A copy that waits (see ls).")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@_output
def prune_command(*, config_file: Path | None, unwanted: tuple[int, ...], dry_run: bool, output: str) -> None:
    """Delete copies that wait for a person, and objects that no copy needs.

    Safe beside a running sink: what is younger than an hour, and what is not one of the copy's objects, stays.

    \b
    Example:
      auditsink spool backup prune -c config.yaml --copy 4711
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    config, _spool = _section(config_file)
    from auditsink.backup.copies import prune  # noqa: PLC0415 - its client of stores is an extra

    done = _with_store(config, lambda store: prune(store, config, unwanted, dry_run=dry_run))
    if output == "json":
        document = {"copies": list(done.copies), "objects": done.objects, "bytes": done.size, "deleted": not dry_run}
        click.echo(json.dumps(document))
    else:
        verb = "would delete" if dry_run else "deleted"
        click.echo(
            f"{verb} {len(done.copies)} copies and {done.objects:,} objects that nothing needs, {Size(done.size)}"
        )


def _section(config_file: Path | None) -> tuple[BackupSection, int]:
    config = read_config(config_file)
    if config.spool.backup is None:
        raise BackupError("spool.backup: is not set in this configuration, so there is no copy; see docs/backup.md")
    require()
    return config.spool.backup, config.spool.max_bytes


def _with_store(config: BackupSection, call: "Callable[[CopyStore], Coroutine[Any, Any, T]]") -> T:
    from auditsink.backup.store import CopyStore  # noqa: PLC0415 - its client of stores is an extra

    async def called() -> T:
        store = CopyStore(config)
        try:
            return await call(store)
        finally:
            store.close()

    return asyncio.run(called())
