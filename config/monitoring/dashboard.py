"""Makes dashboard.json for Grafana, 10 or newer: `python dashboard.py > dashboard.json`.

The panels are a table here, because 1,500 lines of JSON are for Grafana to read and not for people.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
HERE = 'job=~"$job", instance=~"$instance"'
CLUSTER = f'{HERE}, cluster=~"$cluster"'
DESTINATION = f'{HERE}, destination=~"$destination"'
BOTH = f'{CLUSTER}, destination=~"$destination"'
RATE = "$__rate_interval"
GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclass(frozen=True)
class Panel:
    """One panel. `queries` are (PromQL, legend); `steps` are (from, colour); `mappings` show numbers as words."""

    title: str
    text: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 7
    steps: tuple[tuple[float | None, str], ...] = ((None, GREEN),)
    mappings: dict[str, str] = field(default_factory=dict)


def rate(name: str, by: str, where: str) -> str:
    """A counter per second, summed."""
    return f"sum by ({by}) (rate(auditsink_{name}{{{where}}}[{RATE}]))"


def total(name: str, by: str, where: str) -> str:
    """A gauge, or a counter that runs on over restarts, summed."""
    return f"sum by ({by}) (auditsink_{name}{{{where}}})"


def in_a_day(name: str, where: str) -> str:
    """What a counter grew by."""
    return f"sum(increase({name}{{{where}}}[24h]))"


def quantiles(name: str) -> tuple[tuple[str, str], ...]:
    """The median and the slow ones."""
    rates = rate(f"{name}_bucket", "le", HERE)
    return tuple((f"histogram_quantile({q}, {rates})", f"p{q * 100:g}") for q in (0.5, 0.99, 0.999))


def fill() -> str:
    """The fullest sink's share of what it may hold."""
    return (
        f"max(sum without (cluster) (auditsink_spool_wanted_bytes{{{HERE}}}) / auditsink_spool_limit_bytes{{{HERE}}})"
    )


def accounting() -> tuple[tuple[str, str], ...]:
    """The five that add up, and what is left when they do not."""
    ends = ("accepted", "delivered", "filtered", "dead_lettered", "dropped")
    sums = {name: total(f"destination_{name}_events_total", "destination, cluster", BOTH) for name in ends}
    sums["pending"] = total("destination_pending_events", "destination, cluster", BOTH)
    unaccounted = " - ".join(sums.values())  # accepted comes first
    return (*((query, name) for name, query in sums.items()), (unaccounted, "unaccounted"))


ZERO = ((None, GREEN), (1, RED))

ROWS: dict[str, tuple[Panel, ...]] = {
    "Is the audit trail safe?": (
        Panel(
            "Sinks that keep what is posted",
            "1 is all of them; /readyz of the others says why not.",
            ((f"min(auditsink_ready{{{HERE}}})", "ready"),),
            "stat",
            width=4,
            height=4,
            steps=((None, RED), (1, GREEN)),
            mappings={"0": "not ready", "1": "ready"},
        ),
        Panel(
            "Ring that waits for destinations",
            "At 100 % batches are refused, or the oldest dropped.",
            ((fill(), "fill"),),
            "gauge",
            "percentunit",
            4,
            4,
            ((None, GREEN), (0.5, YELLOW), (0.8, RED)),
        ),
        Panel(
            "Furthest behind",
            "Age of the oldest event that is not delivered.",
            ((f"max(auditsink_destination_lag_seconds{{{DESTINATION}}})", "lag"),),
            "stat",
            "s",
            4,
            4,
            ((None, GREEN), (120, YELLOW), (600, RED)),
        ),
        Panel(
            "Need a person",
            "Destinations that refuse until a setting is changed.",
            ((f'sum(auditsink_destination_state{{{DESTINATION}, state="misconfigured"}})', "misconfigured"),),
            "stat",
            width=4,
            height=4,
            steps=ZERO,
        ),
        Panel(
            "Lost or set aside, 24 h",
            "Dropped from a full ring, and refused for good (dead letters, which are kept).",
            (
                (in_a_day("auditsink_destination_dropped_events_total", BOTH), "dropped"),
                (in_a_day("auditsink_destination_dead_lettered_events_total", BOTH), "dead letters"),
            ),
            "stat",
            width=4,
            height=4,
            steps=ZERO,
        ),
        Panel(
            "Given up by apiservers, 24 h",
            "Events that never reached a sink: apiserver_audit_error_total.",
            ((in_a_day("apiserver_audit_error_total", 'plugin="webhook"'), "lost"),),
            "stat",
            width=4,
            height=4,
            steps=ZERO,
        ),
    ),
    "Receive": (
        Panel(
            "Events accepted",
            "The ten busiest clusters.",
            ((f"topk(10, {rate('received_events_total', 'cluster', CLUSTER)})", "{{cluster}}"),),
            unit="cps",
        ),
        Panel(
            "Answer times",
            "From the last byte of a batch to the 200, the sync of the disk included.",
            quantiles("ack_seconds"),
            unit="s",
        ),
        Panel(
            "Refused requests",
            "full and disk are the ring's; unauthorized, forbidden and tls are strangers or wrong credentials.",
            ((f"{rate('rejected_requests_total', 'reason', HERE)} > 0", "{{reason}}"),),
            unit="reqps",
        ),
    ),
    "Ring": (
        Panel(
            "Bytes on the disk",
            "What waits cannot be freed; the rest is delivered, and kept for replays until its room is needed.",
            (
                (f"sum(auditsink_spool_wanted_bytes{{{HERE}}})", "waits"),
                (f"sum(auditsink_spool_bytes{{{HERE}}})", "held"),
                (f"sum(auditsink_spool_limit_bytes{{{HERE}}})", "limit"),
            ),
            unit="bytes",
        ),
        Panel(
            "Sync times",
            "One group commit: all batches that wait share it.",
            quantiles("spool_sync_seconds"),
            unit="s",
        ),
        Panel(
            "Largest rings",
            "The ten clusters for which most bytes wait.",
            ((f"topk(10, {total('spool_wanted_bytes', 'cluster', CLUSTER)})", "{{cluster}}"),),
            unit="bytes",
        ),
    ),
    "Destinations": (
        Panel(
            "Events delivered",
            "For each destination, all clusters.",
            ((rate("destination_delivered_events_total", "destination", BOTH), "{{destination}}"),),
            unit="cps",
        ),
        Panel(
            "Behind",
            "Age of the oldest event that is not delivered.",
            ((f"auditsink_destination_lag_seconds{{{DESTINATION}}}", "{{destination}} {{instance}}"),),
            unit="s",
        ),
        Panel(
            "Events that wait",
            "In the ring, for each destination.",
            ((total("destination_pending_events", "destination", BOTH), "{{destination}}"),),
        ),
        Panel(
            "State",
            "misconfigured needs a person; retrying goes on by itself.",
            ((f"auditsink_destination_state{{{DESTINATION}}} == 1", "{{destination}} {{state}}"),),
            "state-timeline",
            width=12,
            mappings={"1": " "},
        ),
        Panel(
            "Attempts",
            "What requests to the destinations came to.",
            ((rate("destination_requests_total", "destination, code", DESTINATION), "{{destination}} {{code}}"),),
            unit="reqps",
            width=12,
        ),
    ),
    "Accounting: accepted = delivered + filtered + dead-lettered + dropped + pending": (
        Panel(
            "Every event",
            "For each destination and cluster, since the ring began.",
            accounting(),
            "table",
            width=WIDTH,
            height=9,
        ),
    ),
    "Process": (
        Panel(
            "Resident memory",
            "Of each sink.",
            ((f"process_resident_memory_bytes{{{HERE}}}", "{{instance}}"),),
            unit="bytes",
        ),
        Panel("CPU", "Cores in use.", ((f"rate(process_cpu_seconds_total{{{HERE}}}[{RATE}])", "{{instance}}"),)),
        Panel(
            "Certificates end in",
            "The first to end in each file that the configuration names.",
            ((f"auditsink_certificate_expiry_timestamp_seconds{{{HERE}}} - time()", "{{key}} {{instance}}"),),
            unit="s",
            steps=((None, RED), (1209600, GREEN)),
        ),
    ),
}


def dashboard() -> dict[str, Any]:
    """The whole document."""
    return {
        "uid": "auditsink",
        "title": "auditsink",
        "description": "Whether the audit trail is safe, and where its events are.",
        "tags": ["audit", "kubernetes"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "templating": {"list": [_source(), *_variables()]},
        "annotations": {"list": []},
        "panels": list(_panels()),
    }


def _source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}


def _variables() -> Iterator[dict[str, Any]]:
    asked = {
        "job": "label_values(auditsink_build_info, job)",
        "instance": 'label_values(auditsink_build_info{job=~"$job"}, instance)',
        "cluster": f"label_values(auditsink_spool_bytes{{{HERE}}}, cluster)",
        "destination": f"label_values(auditsink_destination_up{{{HERE}}}, destination)",
    }
    for name, query in asked.items():
        yield {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "allValue": ".+",
            "current": {"text": ["All"], "value": ["$__all"]},
            "sort": 1,
        }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for title, panels in ROWS.items():
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        number, top, left, tallest = number + 1, top + 1, 0, 0
        for panel in panels:
            if left + panel.width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": panel.height})
            number, left, tallest = number + 1, left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    rendered = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": [_target(place, *query, table=panel.kind == "table") for place, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": {},
    }
    if panel.kind == "table":
        rendered["transformations"] = _joined(panel)
    if panel.kind == "timeseries":
        rendered["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return rendered


def _target(place: int, expr: str, legend: str, *, table: bool) -> dict[str, Any]:
    shape = {"instant": True, "format": "table"} if table else {"range": True, "format": "time_series"}
    return {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expr, "legendFormat": legend, **shape}


def _defaults(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {
            "mode": "absolute",
            "steps": [{"value": start, "color": colour} for start, colour in panel.steps],
        },
    }
    if panel.mappings:
        options = {value: {"text": text, "index": place} for place, (value, text) in enumerate(panel.mappings.items())}
        defaults["mappings"] = [{"type": "value", "options": options}]
    if panel.kind != "timeseries":
        defaults["color"] = {"mode": "thresholds"}
    return defaults


def _joined(panel: Panel) -> list[dict[str, Any]]:
    """One row for each destination and cluster, a column for each query."""
    names = {f"Value #{chr(ord('A') + place)}": legend for place, (_, legend) in enumerate(panel.queries)}
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": names}},
    ]


if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
