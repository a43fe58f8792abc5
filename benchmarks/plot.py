"""Bars as SVG, without a library: one bar for each median, one dot for each round."""

from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.figures import METRICS, Summary
from benchmarks.report import Report

LABEL, WIDTH, ROW, HEAD = 330, 820, 22, 44
COLOURS = ("#1f6f8b", "#c8553d", "#d98e04", "#6a994e", "#7a5195", "#555555")

PLOTS: Mapping[str, tuple[str, Sequence[tuple[str, str]]]] = {
    "throughput": (
        "Events delivered a second (longer is better)",
        [("full-speed", "delivered"), ("single-16", "delivered"), ("single-64", "delivered"), ("backlog", "delivered")],
    ),
    "cpu": ("CPU seconds per GB of input (shorter is better)", [("full-speed", "cpu_gb"), ("paced", "cpu_gb")]),
    "latency": (
        "Milliseconds until the answer (shorter is better)",
        [("paced", "p50"), ("paced", "p99"), ("single-64", "p50"), ("single-64", "p99")],
    ),
    "memory": (
        "Peak RSS in MB (shorter is better)",
        [("idle", "rss"), ("paced", "rss"), ("full-speed", "rss"), ("full-speed", "anonymous"), ("backlog", "rss")],
    ),
}
"""By file name: a heading, and the (scenario, metric) pairs that are drawn under it."""


def plots(report: Report) -> dict[str, str]:
    """SVG by file name; plots with nothing in them are left out."""
    drawn = {}
    for name, (heading, pairs) in PLOTS.items():
        groups = [
            (f"{report.titles[scenario]}: {METRICS[key].title}", found)
            for scenario, key in pairs
            if (found := {system: of[key] for system, of in report.results.get(scenario, {}).items() if key in of})
        ]
        if groups:
            drawn[name] = bars(heading, groups)
    return drawn


def bars(heading: str, groups: Sequence[tuple[str, Mapping[str, Summary]]]) -> str:
    """Groups of horizontal bars with a common scale from 0."""
    systems = list(dict.fromkeys(system for _title, found in groups for system in found))
    largest = max(max(summary.rounds) for _title, found in groups for summary in found.values()) or 1.0
    scale = (WIDTH - LABEL - 90) / largest
    body = [_text(12, 24, heading, "font-weight:bold;font-size:15px")]
    y = HEAD
    for title, found in groups:
        body.append(_text(12, y + 14, title, "fill:#444"))
        y += ROW
        for system, summary in found.items():
            body += _bar(y, system, summary, scale, COLOURS[systems.index(system) % len(COLOURS)])
            y += ROW
        y += 8
    style = "font-family:sans-serif;font-size:12px;background:white"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 8}" style="{style}">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{y + 8}" fill="white"/>', *body, "</svg>"]) + "\n"


def _bar(y: int, system: str, summary: Summary, scale: float, colour: str) -> list[str]:
    length = summary.median * scale
    dots = [
        f'<circle cx="{LABEL + value * scale:.1f}" cy="{y + 8}" r="2.2" fill="black" fill-opacity="0.55"/>'
        for value in summary.rounds
    ]
    furthest = LABEL + max(summary.rounds) * scale
    digits = 0 if summary.median >= 100 else 1 if summary.median >= 10 else 2
    return [
        _text(LABEL - 8, y + 12, system, "text-anchor:end"),
        f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="16" fill="{colour}"/>',
        *dots,
        _text(furthest + 8, y + 12, f"{summary.median:,.{digits}f}", ""),
    ]


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" style="{style}">{escape(text)}</text>'
