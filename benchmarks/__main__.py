"""The command: `python -m benchmarks --help`."""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click
import orjson

from benchmarks import bodies, native, plot, report
from benchmarks.figures import METRICS, Figures, summarize
from benchmarks.report import Report
from benchmarks.scenarios import SCENARIOS, Scenario, soak
from benchmarks.systems import Sink, System, SystemFailedError, peers
from benchmarks.trial import Bench

STRETCH = 3
"""How much longer the runs of the long form are."""
RESULTS = Path(__file__).parent / "results"
LATEST = "latest.json"


@click.command(context_settings={"max_content_width": 120})
@click.option(
    "--peer",
    "peer_paths",
    multiple=True,
    metavar="KIND=PATH",
    help="Compare with this binary: fluent-bit, otelcol, vector, or another auditsink.",
)
@click.option("--full", is_flag=True, help="Longer runs, more scenarios, more variants of the peers.")
@click.option("--rounds", default=5, show_default=True, help="Of every system in every scenario, alternating.")
@click.option("--only", default="", metavar="NAME,...", help=f"Just these: {', '.join(SCENARIOS)}.")
@click.option(
    "--soak",
    "soak_minutes",
    default=0,
    metavar="MINUTES",
    help="And then the sink at 25 batches a second; nothing else with --only soak.",
)
@click.option(
    "--disk",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data"),
    show_default=True,
    help="A directory on the disk to measure.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, help="For the tables, plots and JSON."
)
@click.option("--add", is_flag=True, help="Keep what --out holds of other scenarios; same machine and versions only.")
def main(
    *,
    peer_paths: tuple[str, ...],
    full: bool,
    rounds: int,
    only: str,
    soak_minutes: int,
    disk: Path,
    out: Path,
    add: bool,
) -> None:
    """Measure the sink, beside peers if there are any, and write what came of it.

    Example: python -m benchmarks --peer fluent-bit=/usr/bin/fluent-bit --only full-speed,paced
    """
    systems = [Sink(), *_peers(peer_paths, full=full)]
    chosen = _chosen(only, full=full)
    disk.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=disk, prefix="bench-") as name:
        directory = Path(name).resolve()
        if (kind := report.file_system(directory)) in ("tmpfs", "ramfs"):
            raise click.ClickException(f"{disk} is {kind}: a sync costs nothing there; choose a disk with --disk")
        try:
            programs = native.build(directory)
        except native.NativeError as problem:
            raise click.ClickException(str(problem)) from None
        batches, singles = bodies.batches(directory / "batches"), bodies.singles(directory / "singles")
        bench = Bench(programs, batches, singles, directory, STRETCH if full else 1)
        versions = {system.name: system.version() for system in systems}
        done = Report(report.machine(directory), versions, rounds)
        if add:
            done = _kept(out, done)
        for scenario_name, scenario in chosen.items():
            _measure(scenario_name, scenario, systems, bench, done)
            _write(done, out)
        if soak_minutes:
            done.soak = []
        for minute in soak(soak_minutes, bench, systems[0]):
            _say("soak", len(done.soak) + 1, systems[0], minute)
            done.soak.append(minute)
            _write(done, out)
    click.echo(f"written to {out}")


def _kept(out: Path, new: Report) -> Report:
    """What earlier calls measured, to be added to."""
    try:
        kept = report.restored(orjson.loads((out / LATEST).read_bytes()))
    except (OSError, ValueError, LookupError) as problem:
        raise click.ClickException(f"--add: {out / LATEST} cannot be read ({problem}); leave --add out") from None
    if not report.comparable(kept, new):
        raise click.ClickException(
            f"--add: {out / LATEST} is of another machine or other versions; leave --add out, or choose another --out"
        )
    return replace(kept, rounds=new.rounds)


def _measure(name: str, scenario: Scenario, systems: Sequence[System], bench: Bench, done: Report) -> None:
    """All rounds of a scenario; the systems take turns within each."""
    mine = [one for one in systems if isinstance(one, Sink)] if scenario.sink_only else systems
    rounds: dict[str, list[Figures]] = {system.name: [] for system in mine}
    for number in range(min(done.rounds, scenario.rounds)):
        for system in mine:
            try:
                figures = scenario.run(bench, system)
            except SystemFailedError as problem:
                raise click.ClickException(f"{name}: {problem}") from None
            rounds[system.name].append(figures)
            _say(name, number + 1, system, figures)
    done.titles[name], done.targets[name] = scenario.title, scenario.targets
    done.results[name] = {system: summarize(figures) for system, figures in rounds.items()}
    click.echo(f"\n{scenario.title}\n\n{report.table(done.results[name], scenario.targets)}\n")


def _say(scenario: str, number: int, system: System, figures: Mapping[str, float]) -> None:
    """Progress, on standard error."""
    some = ", ".join(f"{key} {value:,.{METRICS[key].digits}f}" for key, value in figures.items())
    print(f"{scenario} {number} {system.name}: {some}", file=sys.stderr, flush=True)


def _peers(paths: Sequence[str], *, full: bool) -> list[System]:
    found: list[System] = []
    for one in paths:
        kind, _, path = one.partition("=")
        if not Path(path).is_file():
            raise click.BadParameter(f"{one!r}: no such file; write it as fluent-bit=/path/to/fluent-bit")
        try:
            found += peers(kind, Path(path).resolve(), full=full)
        except ValueError as problem:
            raise click.BadParameter(str(problem)) from None
    return found


def _chosen(only: str, *, full: bool) -> dict[str, Scenario]:
    names = [name for name in only.split(",") if name]
    if names == ["soak"]:
        return {}
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise click.BadParameter(f"--only {','.join(unknown)}: there is {', '.join(SCENARIOS)}")
    return {name: one for name, one in SCENARIOS.items() if (name in names if names else full or not one.long)}


def _write(done: Report, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / LATEST).write_bytes(orjson.dumps(report.document(done), option=orjson.OPT_INDENT_2))
    (out / "latest.md").write_text(report.text(done))
    for name, drawing in plot.plots(done).items():
        (out / f"{name}.svg").write_text(drawing)


if __name__ == "__main__":
    main()
