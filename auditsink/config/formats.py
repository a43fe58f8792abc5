"""What the formats of an `http` destination can be told, a section for each. `{cluster}` is the cluster's name."""

import msgspec

from auditsink.config.section import Section


class Elasticsearch(Section, frozen=True, kw_only=True):
    """Elasticsearch and OpenSearch. Index and fields are those of Elastic's own Kubernetes integration."""

    index: str = "logs-kubernetes.audit_logs-default"  # {cluster}, {date}: the event's day, 2026.11.22
    fields: dict[str, str] = msgspec.field(
        default_factory=lambda: {"event.dataset": "kubernetes.audit_logs", "orchestrator.cluster.name": "{cluster}"}
    )


class Loki(Section, frozen=True, kw_only=True):
    """Grafana Loki. Each combination of labels is a stream: few of them, and none that changes with the event."""

    labels: dict[str, str] = msgspec.field(
        default_factory=lambda: {"job": "kube-apiserver-audit", "cluster": "{cluster}"}
    )


class Otlp(Section, frozen=True, kw_only=True):
    """OpenTelemetry: the attributes of the resource that the records belong to."""

    resource: dict[str, str] = msgspec.field(
        default_factory=lambda: {"service.name": "kube-apiserver", "k8s.cluster.name": "{cluster}"}
    )


class Meilisearch(Section, frozen=True, kw_only=True):
    """Meilisearch."""

    index: str = "kube-apiserver-audit"  # {cluster}
