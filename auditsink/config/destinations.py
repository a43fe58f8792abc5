"""`destinations`: where the events go, one type of section for each kind."""

from pathlib import Path
from typing import Literal

import msgspec

from auditsink.common.secret import Secret
from auditsink.common.units import Size
from auditsink.config.client import ClientTls, HttpAuth, Proxy
from auditsink.config.destination import DestinationSection
from auditsink.config.formats import Elasticsearch, Loki, Meilisearch, Otlp
from auditsink.config.objects import AzureConfig, GcsConfig, LocalConfig, S3Config
from auditsink.config.section import Section


class SplunkConfig(DestinationSection, frozen=True, kw_only=True, tag="splunk"):
    """Splunk's HTTP Event Collector."""

    url: str
    token: Secret | None = None
    token_file: Path | None = None
    index: str | None = None
    source: str | None = None
    sourcetype: str = "kube:apiserver-audit"
    host: str = "{cluster}"
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    acknowledge: bool = False
    compression: Literal["gzip", "none"] = "gzip"
    tls: ClientTls = ClientTls()
    proxy: Proxy | None = None


class KafkaSecurity(Section, frozen=True, kw_only=True):
    """How to get in: TLS, SASL, both or neither."""

    tls: ClientTls | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: Secret | None = None
    password_file: Path | None = None


class KafkaConfig(DestinationSection, frozen=True, kw_only=True, tag="kafka"):
    """Apache Kafka: idempotent, acks=all, key = cluster."""

    bootstrap_servers: list[str]
    topic: str = "audit.{cluster}"
    compression: Literal["none", "gzip", "lz4", "zstd"] = "zstd"
    transactional_id: str | None = None  # not None: each Kafka batch is a transaction, together with the cursor
    security: KafkaSecurity = KafkaSecurity()


class HttpConfig(DestinationSection, frozen=True, kw_only=True, tag="http"):
    """Whatever takes events in a POST: collectors, search engines, log stores."""

    url: str
    format: Literal["ndjson", "json_array", "event_list", "elasticsearch", "loki", "otlp", "meilisearch"] = "ndjson"
    elasticsearch: Elasticsearch | None = None  # each of these only beside its format
    loki: Loki | None = None
    otlp: Otlp | None = None
    meilisearch: Meilisearch | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    compression: Literal["gzip", "none"] = "gzip"
    auth: HttpAuth = HttpAuth()
    tls: ClientTls = ClientTls()
    proxy: Proxy | None = None


class FileConfig(DestinationSection, frozen=True, kw_only=True, tag="file"):
    """NDJSON in a file that rotates."""

    path: Path
    rotate_bytes: Size = Size(256 * 2**20)
    keep: int = 4


class StdoutConfig(DestinationSection, frozen=True, kw_only=True, tag="stdout"):
    """NDJSON on standard output."""


DestinationConfig = (
    SplunkConfig
    | KafkaConfig
    | HttpConfig
    | FileConfig
    | StdoutConfig
    | S3Config
    | GcsConfig
    | AzureConfig
    | LocalConfig
)
