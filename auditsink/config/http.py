"""`type: http`: whatever takes events in a POST, and what each format can be told.

`{cluster}` is the cluster's name.
"""

import re
from collections.abc import Mapping
from typing import ClassVar, Literal

import msgspec

from auditsink.config.checks import given, in_the_clear, origin, url
from auditsink.config.client import HEADER, ClientTls, HttpAuth, Proxy
from auditsink.config.destination import LabelledSection
from auditsink.config.section import Broken, Section

HttpFormat = Literal["ndjson", "json_array", "event_list", "elasticsearch", "loki", "otlp", "meilisearch"]

_OUR_HEADERS = {
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "proxy-authorization",
    "transfer-encoding",
}
_FORMATS = ("elasticsearch", "loki", "otlp", "meilisearch")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# What Elasticsearch allows, without what begins a system index; what Meilisearch allows.
_INDEX = re.compile(r"(?![-_+.])(?:[^A-Z\\/*?\"<>|\s,#:{}]|\{cluster\}|\{date\})+\Z")
_INDEX_UID = re.compile(r"(?:[A-Za-z0-9_-]|\{cluster\})+\Z")
_LONGEST_INDEX = 128  # characters: Elasticsearch allows 255 bytes, and a cluster's name takes up to 63


class Elasticsearch(Section, frozen=True, kw_only=True):
    """Elasticsearch and OpenSearch. Index and fields are those of Elastic's own Kubernetes integration."""

    index: str = "logs-kubernetes.audit_logs-default"  # {cluster}, {date}: the event's day, 2026.11.22
    fields: dict[str, str] = msgspec.field(
        default_factory=lambda: {"event.dataset": "kubernetes.audit_logs", "orchestrator.cluster.name": "{cluster}"}
    )

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if not _INDEX.match(self.index) or len(self.index) > _LONGEST_INDEX:
            yield "index", "write lower-case letters, digits, dots, dashes, underscores, {cluster} and {date}"
        yield from _templates("fields", self.fields)
        if "@timestamp" in self.fields or "kubernetes.audit" in self.fields:
            yield "fields", "must not hold @timestamp or kubernetes.audit; those are the event's"


class Loki(Section, frozen=True, kw_only=True):
    """Grafana Loki. Each combination of labels is a stream: few of them, and none that changes with the event."""

    labels: dict[str, str] = msgspec.field(
        default_factory=lambda: {"job": "kube-apiserver-audit", "cluster": "{cluster}"}
    )

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if not self.labels:
            yield "labels", "is empty; a stream needs at least one"
        for name in self.labels:
            if not _LABEL.match(name):
                yield f"labels.{name}", "is no label; write letters, digits and underscores, and no digit first"
        yield from _templates("labels", self.labels)


class Otlp(Section, frozen=True, kw_only=True):
    """OpenTelemetry: the attributes of the resource that the records belong to."""

    resource: dict[str, str] = msgspec.field(
        default_factory=lambda: {"service.name": "kube-apiserver", "k8s.cluster.name": "{cluster}"}
    )

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from _templates("resource", self.resource)


class Meilisearch(Section, frozen=True, kw_only=True):
    """Meilisearch: the index that gets the documents."""

    index: str = "kube-apiserver-audit"  # {cluster}

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if not _INDEX_UID.match(self.index) or len(self.index) > _LONGEST_INDEX:
            yield "index", "write letters, digits, dashes, underscores and {cluster}"


def _templates(key: str, values: Mapping[str, str]) -> Broken:
    for name, value in values.items():
        if re.search(r"[{}]", value.replace("{cluster}", "")):
            yield f"{key}.{name}", "has a {...} that is not known; {cluster} is"


class HttpConfig(LabelledSection, frozen=True, kw_only=True, tag="http"):
    """Whatever takes events in a POST: collectors, search engines, log stores."""

    IMPLEMENTATION: ClassVar[str] = "auditsink.destinations.http:HttpDestination"
    LISTS: ClassVar[bool] = True

    url: str
    format: HttpFormat = "ndjson"
    elasticsearch: Elasticsearch | None = None  # each of these only beside its format
    loki: Loki | None = None
    otlp: Otlp | None = None
    meilisearch: Meilisearch | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    compression: Literal["gzip", "none"] = "gzip"
    auth: HttpAuth = HttpAuth()
    tls: ClientTls = ClientTls()
    proxy: Proxy | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from url("url", self.url, tls=self.tls.given)
        for name, value in self.headers.items():
            where = f"headers.{name}"
            if not HEADER.match(name) or not value.isprintable():
                yield where, "is no header; a name is letters, digits and dashes, a value is one line"
            elif name.lower() in _OUR_HEADERS:
                yield where, "is set by the sink itself; for credentials write auth"
        for name in _FORMATS:
            if given(self, name) and self.format != name:
                yield name, f"has no effect with format {self.format}; write format: {name} or remove it"
        if self.record == "batch" and self.format not in ("ndjson", "json_array"):
            yield "record", "batch goes with format ndjson and json_array; event_list is an EventList a request already"
        yield from super().broken()

    def describe(self) -> str:
        """Where events go; see `DestinationSection`."""
        way = f" through the proxy {origin(self.proxy.url)}" if self.proxy else ""
        return f"HTTP at {origin(self.url)}{way}, as {self.format}"

    def risks(self) -> Broken:
        """See `DestinationSection.risks`."""
        yield from self.tls.risks("tls")
        if in_the_clear(self.url):
            yield "url", "is plain http: events and credentials travel in the clear; use https"
        if self.auth.oauth2 is not None:
            yield from self.auth.oauth2.risks("auth.oauth2")
