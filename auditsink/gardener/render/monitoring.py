"""What Gardener's Prometheus and Plutono take: scraping, alerts, a dashboard. The last two are the operator's files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditsink.gardener.objects import Object
from auditsink.gardener.render import names
from auditsink.gardener.sink.plan import Plan

KEPT = r"^(auditsink_.+|process_(cpu_seconds_total|resident_memory_bytes|open_fds|start_time_seconds))$"
"""Metrics that are stored; Gardener's Prometheus is small."""


@dataclass(frozen=True)
class Monitoring:
    """The rules of config/monitoring/alerts.yaml and the text of dashboard.json beside it; none: not rendered."""

    rules: Mapping[str, Any] | None = None
    dashboard: str = ""


def service_monitor(plan: Plan) -> Object:
    """Scrapes the admin port of each pod."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": _metadata(plan),
        "spec": {
            "selector": {"matchLabels": {**names.selector(), "app.kubernetes.io/component": "admin"}},
            "endpoints": [
                {
                    "port": "admin",
                    "path": "/metrics",
                    "metricRelabelings": [{"action": "keep", "sourceLabels": ["__name__"], "regex": KEPT}],
                }
            ],
        },
    }


def objects(plan: Plan, monitoring: Monitoring) -> list[Object]:
    """All objects by which the seed's Prometheus and Grafana know the sink."""
    found = [service_monitor(plan)]
    if monitoring.rules:
        rule = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}
        found.append({**rule, "metadata": _metadata(plan), "spec": dict(monitoring.rules)})
    if monitoring.dashboard:
        shown = {f"dashboard.monitoring.gardener.cloud/{plan.place.extension_class}": "true"}
        metadata = names.metadata(f"{names.SINK}-dashboard", plan.place.namespace, labels=shown)
        data = {"auditsink.json": monitoring.dashboard}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    return found


def _metadata(plan: Plan) -> Object:
    """As Gardener names what belongs to one of its Prometheus instances."""
    prometheus = plan.place.extension_class
    return names.metadata(f"{prometheus}-{names.SINK}", plan.place.namespace, labels={"prometheus": prometheus})
