"""`auditsink verify`: whether what is there is what was signed."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from auditsink.cli.bar import bar
from auditsink.cli.keyfile import key_file_option, keyring
from auditsink.cli.tables import safe
from auditsink.cli.when import since_option, until_option
from auditsink.common.disk import RealDisk
from auditsink.evidence.verify.archive import Archive, Period, open_keys
from auditsink.evidence.verify.findings import MOST_PROBLEMS, EnoughError, Findings
from auditsink.evidence.verify.line_matcher import Files, LineMatcher
from auditsink.evidence.verify.verify_spool import SpoolVerifier
from auditsink.spool.keys import Keyring
from auditsink.spool.offline import export_format, inspect

_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("verify")
@click.option("--checkpoints", type=_FILE, multiple=True, required=True, help="The sink's evidence.path. Repeatable.")
@click.option("--public-key", type=_FILE, multiple=True, help="PEM; each key that ever signed. Repeatable.")
@click.option("--spool", type=_PATH, help="Verify a spool's directory, in use or not.")
@key_file_option
@click.option("--export", "export_path", type=_PATH, help="Verify what `spool export` wrote.")
@click.option("--file", type=_FILE, help="Verify a file destination's output; its rotated files follow as arguments.")
@click.argument("more", type=_FILE, nargs=-1, metavar="[FILE]...")
@click.option("--cluster", help="Only this cluster must be there.")
@since_option("Only what was stated since then must be there.")
@until_option("Only what was stated before then must be there.")
@click.option("--mismatches", type=click.IntRange(1), default=MOST_PROBLEMS, help="End after so many (20).")
def command(
    *,
    checkpoints: tuple[Path, ...],
    public_key: tuple[Path, ...],
    spool: Path | None,
    key_file: Path | None,
    export_path: Path | None,
    file: Path | None,
    more: tuple[Path, ...],
    cluster: str | None,
    since: int,
    until: int,
    mismatches: int,
) -> int:
    """Prove that a spool, an export or a file destination's output is what the sink stated in its checkpoints.

    Nothing removed, added or changed, in order. Exit code 1 when something does not match; what and where is named.
    Files may be .gz or .zst; lines that a crash or a replay wrote again are allowed and counted.

    \b
    Examples:
      auditsink verify --checkpoints checkpoints.ndjson --public-key public.pem --file audit.ndjson*
      auditsink verify --checkpoints checkpoints.ndjson --public-key public.pem --spool /var/lib/auditsink
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    if sum(one is not None for one in (spool, export_path, file)) != 1 or (more and file is None):
        raise click.UsageError("Give one of --spool, --export and --file (with further files after it).")
    findings = Findings(most=mismatches)
    try:
        with Archive(checkpoints, open_keys(public_key, findings), findings) as archive, suppress(EnoughError):
            archive.read(Period(since, until), cluster)
            if cluster is not None and cluster not in archive.clusters:
                raise click.ClickException(
                    f"no checkpoint speaks of cluster {cluster!r}; there are: {', '.join(archive.clusters) or 'none'}"
                )
            if spool is not None:
                _check_spool(archive, findings, spool, cluster, keyring(key_file))
            elif export_path is not None:
                _check_export(archive, findings, export_path, cluster)
            elif file is not None:
                _check_files(archive, findings, [file, *more])
    except OSError as problem:
        raise click.ClickException(f"{problem.filename or 'the disk'}: {problem.strerror}; check the path") from None
    return _report(findings, signed=bool(public_key))


def _check_spool(archive: Archive, findings: Findings, path: Path, cluster: str | None, keys: Keyring | None) -> None:
    clusters = [cluster] if cluster else archive.clusters
    with bar("Verifying", inspect.size(path, clusters)) as progress:
        SpoolVerifier(archive, findings, progress).check_spool(path, clusters, RealDisk(), keys)


def _check_export(archive: Archive, findings: Findings, path: Path, cluster: str | None) -> None:
    manifest = export_format.load(path)
    clusters = [cluster] if cluster else [ring.cluster for ring in manifest.rings]
    sizes = [(path / segment.events).stat().st_size for ring in manifest.rings for segment in ring.segments]
    with bar("Verifying", sum(sizes)) as progress:
        SpoolVerifier(archive, findings, progress).check_export(path, manifest, clusters)


def _check_files(archive: Archive, findings: Findings, paths: Sequence[Path]) -> None:
    with bar("Verifying", sum(path.stat().st_size for path in paths)) as progress:
        LineMatcher(archive, findings).check(Files(paths, progress))


def _report(findings: Findings, *, signed: bool) -> int:
    for note in findings.notes:
        click.echo(f"note: {safe(note)}")
    for problem in findings.problems:
        click.echo(f"MISMATCH: {safe(problem)}", err=True)
    checked = "signatures and chain" if signed else "chain"
    click.echo(f"checkpoints:  {findings.checkpoints:,} read, {checked} checked")
    click.echo(f"proven:       {findings.proven:,} events are exactly what was stated")
    for count, text in (
        (findings.repeats, "repeats:      {:,} lines are there again, as after a crash or a replay"),
        (findings.uncovered, "not covered:  {:,} events are here that no checkpoint can speak for"),
        (findings.elsewhere, "not here:     {:,} events were stated that this input does not claim to hold"),
    ):
        if count:
            click.echo(text.format(count))
    if findings.problems:
        count = len(findings.problems)
        more = " or more" if count >= findings.most else ""
        raise click.ClickException(f"{count}{more} {'mismatch' if count == 1 else 'mismatches'}, named above")
    if not findings.proven:
        raise click.ClickException("nothing was proven: no checkpoint covers what is here")
    return 0
