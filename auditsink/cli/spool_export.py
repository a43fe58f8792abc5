"""`auditsink spool export` and `import`: sealed segments out of a spool, and back into one."""

from pathlib import Path

import click

from auditsink.cli.bar import bar
from auditsink.cli.keyfile import key_file_option, keyring
from auditsink.cli.tables import safe
from auditsink.cli.when import since_option, until_option
from auditsink.common.clock import SystemClock
from auditsink.spool.offline import export_format, inspect
from auditsink.spool.offline.export import Selection, export
from auditsink.spool.offline.export_format import ExportedRing
from auditsink.spool.offline.import_ import restore

_PATH = click.Path(path_type=Path)
path_option = click.option("--path", type=_PATH, required=True, help="The spool's directory (spool.path).")


@click.command("export")
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
        clusters = [one for one in inspect.clusters(path) if cluster in (None, one)]
        if not clusters:
            raise click.ClickException(
                f"{path} has no ring{f' of cluster {cluster!r}' if cluster else ''}; see spool ls"
            )
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


@click.command("import")
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
