"""The file a user writes, as frozen types: validated once, unknown keys refused by path.

These types are the reference of every key and default. `auditsink.load` turns YAML into them and speaks of mistakes;
the parts of the sink take the section that is theirs and nothing else.
"""

from pathlib import Path
from typing import Literal

from auditsink.config.client import ClientTls, HttpAuth, OAuth2, Proxy
from auditsink.config.clusters import Cluster, Clusters, Rate
from auditsink.config.destination import BackoffSettings, DestinationSection, Packing
from auditsink.config.destinations import (
    DestinationConfig,
    FileConfig,
    HttpConfig,
    KafkaConfig,
    KafkaSecurity,
    SplunkConfig,
    StdoutConfig,
)
from auditsink.config.filters import Filter, GroupResources, Policy, PolicyRule
from auditsink.config.formats import Elasticsearch, Loki, Meilisearch, Otlp
from auditsink.config.objects import AzureConfig, GcsConfig, LocalConfig, ObjectConfig, S3Config
from auditsink.config.receive import Receive, ServerTls
from auditsink.config.section import Section
from auditsink.config.spool import Encryption, Evidence, Spool

__all__ = [
    "Admin",
    "AzureConfig",
    "BackoffSettings",
    "ClientTls",
    "Cluster",
    "Clusters",
    "Config",
    "DestinationConfig",
    "DestinationSection",
    "Elasticsearch",
    "Encryption",
    "Evidence",
    "FileConfig",
    "Filter",
    "GcsConfig",
    "GroupResources",
    "HttpAuth",
    "HttpConfig",
    "KafkaConfig",
    "KafkaSecurity",
    "LocalConfig",
    "Log",
    "Loki",
    "Meilisearch",
    "OAuth2",
    "ObjectConfig",
    "Otlp",
    "Packing",
    "Policy",
    "PolicyRule",
    "Proxy",
    "Rate",
    "Receive",
    "S3Config",
    "Section",
    "ServerTls",
    "SplunkConfig",
    "Spool",
    "StdoutConfig",
]


class Admin(Section, frozen=True, kw_only=True):
    """The admin port."""

    listen: str = "127.0.0.1:2020"
    token_file: Path | None = None  # who has it may read events and dead letters, and replay or drop the latter


class Log(Section, frozen=True, kw_only=True):
    """What the sink says on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    receive: Receive = Receive()
    clusters: Clusters | None = None
    spool: Spool = Spool()
    destinations: list[DestinationConfig]
    evidence: Evidence | None = None
    admin: Admin = Admin()
    log: Log = Log()
