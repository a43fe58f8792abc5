"""Results as text and JSON. Pure, but for `machine`."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.figures import METRICS, Metric, Summary, ratio

Results = Mapping[str, Mapping[str, Summary]]
"""Of one scenario: by system, then by metric. The first system is the sink."""


@dataclass
class Report:
    """All that was measured in one call of the command."""

    machine: dict[str, str]
    versions: dict[str, str]
    rounds: int
    titles: dict[str, str] = field(default_factory=dict)
    targets: dict[str, Mapping[str, float]] = field(default_factory=dict)
    results: dict[str, Results] = field(default_factory=dict)
    soak: list[Mapping[str, float]] = field(default_factory=list)


def machine(directory: Path) -> dict[str, str]:
    """Where it was measured; `directory` is on the measured disk."""
    model = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ": unknown")
    memory = next(line for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": f"{os.cpu_count()} x {model.partition(': ')[2]}",
        "memory": f"{int(memory.split()[1]) / 1e6:.0f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": file_system(directory),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def file_system(directory: Path) -> str:
    """The type of the file system that holds the directory."""
    mounts = [line.split()[1:3] for line in _lines("/proc/mounts")]
    holding = [(point, kind) for point, kind in mounts if directory.is_relative_to(point.replace("\\040", " "))]
    return max(holding, key=lambda mount: len(mount[0]))[1]


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def text(report: Report) -> str:
    """Markdown: where, what, and a table for each scenario."""
    parts = ["; ".join(f"{key}: {value}" for key, value in {**report.machine, **report.versions}.items())]
    if verdicts := _verdicts(report):
        parts.append(f"## Targets\n\n{verdicts}")
    for name, results in report.results.items():
        parts.append(f"## {report.titles[name]}\n\n{table(results, report.targets[name])}")
    if report.soak:
        parts.append(f"## Minute after minute of 25 batches a second\n\n{_soak_table(report.soak)}")
    return "\n\n".join(parts) + "\n"


def _verdicts(report: Report) -> str:
    """A row for each target: what was measured, and whether that reaches it."""
    rows = [
        [report.titles[name], *row]
        for name, results in report.results.items()
        for key, target in report.targets[name].items()
        if (row := _verdict(key, target, results)) is not None
    ]
    return _rows([["", "", "target", "measured"], ["---", "---", "---", "---:"], *rows]) if rows else ""


def _verdict(key: str, target: float, results: Results) -> list[str] | None:
    """One row; a key `metric/peer` is a target for the sink's ratio to that peer. None where nothing was measured.

    Nor for a metric that is no more, of results that are kept from before.
    """
    name, _, peer = key.partition("/")
    metric, ours = METRICS.get(name), next(iter(results.values())).get(name)
    if metric is None:
        return None
    if not peer:
        return None if ours is None else [metric.label, _target_cell(metric, target, ours), _cell(metric, ours)]
    theirs = results.get(peer, {}).get(name)
    found = ratio(ours, theirs) if ours is not None and theirs is not None else None
    if found is None:
        return None
    return [f"{metric.title}, beside {peer}", _ratio_target(metric, target, found), f"{found:.2f}"]


def _rows(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def table(results: Results, targets: Mapping[str, float]) -> str:
    """A row for each metric; medians with the span of the rounds, and the sink divided by each peer."""
    ours, *theirs = results
    keys = [key for key in METRICS if any(key in several for several in results.values())]
    header = ["", "target", *results, *(f"{ours} / {peer}" for peer in theirs)]
    rows = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for key in keys:
        metric = METRICS[key]
        mine = results[ours].get(key)
        cells = [_cell(metric, several.get(key)) for several in results.values()]
        ratios = [_ratio_cell(metric, mine, results[peer].get(key), targets.get(f"{key}/{peer}")) for peer in theirs]
        rows.append([metric.label, _target_cell(metric, targets.get(key), mine), *cells, *ratios])
    return _rows(rows)


def _cell(metric: Metric, summary: Summary | None) -> str:
    if summary is None:
        return ""
    low, high = min(summary.rounds), max(summary.rounds)
    span = f" ({_number(metric, low)} to {_number(metric, high)})" if low != high else ""
    return f"{_number(metric, summary.median)}{span}"


def _target_cell(metric: Metric, target: float | None, mine: Summary | None) -> str:
    if target is None or mine is None:
        return ""
    verdict = "reached" if metric.reached(mine.median, target) else "missed"
    return f"{'at least' if metric.higher else 'at most'} {_number(metric, target)}: {verdict}"


def _ratio_cell(metric: Metric, ours: Summary | None, theirs: Summary | None, target: float | None) -> str:
    found = ratio(ours, theirs) if ours is not None and theirs is not None else None
    if found is None:
        return ""
    return f"{found:.2f}" if target is None else f"{found:.2f} ({_ratio_target(metric, target, found)})"


def _ratio_target(metric: Metric, target: float, found: float) -> str:
    verdict = "reached" if metric.reached(found, target) else "missed"
    return f"{'at least' if metric.higher else 'at most'} {target:.2f}: {verdict}"


def _number(metric: Metric, value: float) -> str:
    return f"{value:,.{metric.digits}f}"


def _soak_table(minutes: list[Mapping[str, float]]) -> str:
    known = ("rss", "anonymous", "descriptors", "p50", "p99", "p99.9", "cpu_gb")
    keys = [key for key in known if key in minutes[0]]
    rows = [["minute", *(METRICS[key].label for key in keys)], ["---:"] * (len(keys) + 1)]
    rows += [
        [str(number), *(_number(METRICS[key], minute[key]) for key in keys)] for number, minute in enumerate(minutes, 1)
    ]
    return _rows(rows)


def document(report: Report) -> dict[str, Any]:
    """For JSON: every figure of every round."""
    return {
        "machine": report.machine,
        "versions": report.versions,
        "rounds": report.rounds,
        "scenarios": {
            name: {
                "title": report.titles[name],
                "targets": report.targets[name],
                "systems": {
                    system: {
                        key: {"median": summary.median, "rounds": summary.rounds} for key, summary in found.items()
                    }
                    for system, found in results.items()
                },
            }
            for name, results in report.results.items()
        },
        "soak": report.soak,
    }


def restored(document: Mapping[str, Any]) -> Report:
    """The report that `document` made this of."""
    scenarios: Mapping[str, Any] = document["scenarios"]
    return Report(
        document["machine"],
        document["versions"],
        document["rounds"],
        {name: one["title"] for name, one in scenarios.items()},
        {name: one["targets"] for name, one in scenarios.items()},
        {
            name: {
                system: {key: Summary(tuple(found["rounds"])) for key, found in metrics.items()}
                for system, metrics in one["systems"].items()
            }
            for name, one in scenarios.items()
        },
        document["soak"],
    )


def comparable(one: Report, other: Report) -> bool:
    """Whether their figures may stand in one report: the same machine and the same versions."""
    passing = ("date", "load before")
    fixed = [{key: value for key, value in each.machine.items() if key not in passing} for each in (one, other)]
    return fixed[0] == fixed[1] and one.versions == other.versions
