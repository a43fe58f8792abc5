"""The file a user writes, as frozen types: validated once, unknown keys refused by path.

These types are the reference of every key and default, of what makes sense among them, and of the words in which
`check` speaks of them: one file a section. `auditsink.load` turns YAML into them and speaks of mistakes; the parts of
the sink take the section that is theirs and nothing else.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from auditsink.common.listen import parse_address
from auditsink.common.units import Size
from auditsink.config.backup import AzureBackup, BackupSection, GcsBackup, LocalBackup, S3Backup
from auditsink.config.checks import address
from auditsink.config.client import ClientTls, HttpAuth, OAuth2, Proxy
from auditsink.config.clusters import Cluster, Clusters, Rate
from auditsink.config.destination import BackoffSettings, DestinationSection, LabelledSection, Packing
from auditsink.config.destinations import BuiltIn
from auditsink.config.file import FileConfig, StdoutConfig
from auditsink.config.filters import Codes, Filter, GroupResources, NotedPolicy, Policy, PolicyRule, Rule
from auditsink.config.forward import ForwardConfig
from auditsink.config.http import Elasticsearch, HttpConfig, Loki, Meilisearch, Otlp
from auditsink.config.kafka import KafkaConfig, KafkaSecurity
from auditsink.config.kafka_spool import SpoolTopic
from auditsink.config.objects import AzureConfig, GcsConfig, LocalConfig, ObjectConfig, S3Config
from auditsink.config.receive import Receive, ServerTls
from auditsink.config.section import Broken, Section
from auditsink.config.splunk import SplunkConfig
from auditsink.config.spool import CHECKPOINTS, Encryption, Evidence, Spool

__all__ = [
    "Admin",
    "AzureBackup",
    "AzureConfig",
    "BackoffSettings",
    "BackupSection",
    "Broken",
    "BuiltIn",
    "ClientTls",
    "Cluster",
    "Clusters",
    "Codes",
    "Config",
    "DestinationSection",
    "Elasticsearch",
    "Encryption",
    "Evidence",
    "FileConfig",
    "Filter",
    "ForwardConfig",
    "GcsBackup",
    "GcsConfig",
    "GroupResources",
    "HttpAuth",
    "HttpConfig",
    "KafkaConfig",
    "KafkaSecurity",
    "LabelledSection",
    "LocalBackup",
    "LocalConfig",
    "Log",
    "Loki",
    "Meilisearch",
    "NotedPolicy",
    "OAuth2",
    "ObjectConfig",
    "Otlp",
    "Packing",
    "Policy",
    "PolicyRule",
    "Proxy",
    "Rate",
    "Receive",
    "Rule",
    "S3Backup",
    "S3Config",
    "Section",
    "ServerTls",
    "SplunkConfig",
    "Spool",
    "SpoolTopic",
    "StdoutConfig",
]


class Admin(Section, frozen=True, kw_only=True):
    """The admin port."""

    listen: str = "127.0.0.1:2020"
    token_file: Path | None = None  # who has it may read events and dead letters, and replay or drop the latter

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from address("listen", self.listen)

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return parse_address(self.listen).loopback

    def plan(self) -> Iterator[str]:
        """What it shows to whom, a sentence each."""
        yield f"tells how it is on http://{self.listen} (/livez, /readyz, /metrics, /status, a page)"
        yield f"shows events and dead letters there to {self._readers()}"

    def _readers(self) -> str:
        if self.token_file is not None:
            return f"whoever sends the token of {self.token_file}, who may also replay and drop dead letters"
        if self.loopback:
            return "whoever is on this machine; nobody can change anything (set admin.token_file)"
        return "nobody (set admin.token_file)"


class Log(Section, frozen=True, kw_only=True):
    """What the sink says on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


ROLES: tuple[Literal["receive", "forward"], ...] = ("receive", "forward")


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    receive: Receive = Receive()
    clusters: Clusters | None = None
    spool: Spool = Spool()
    destinations: list[BuiltIn]
    evidence: Evidence | None = None
    admin: Admin = Admin()
    log: Log = Log()
    roles: list[Literal["receive", "forward"]] = msgspec.field(default_factory=lambda: list(ROLES))
    watch: bool = False  # take up this file again whenever it changes, as SIGHUP and `auditsink reload` do

    def broken(self) -> Broken:
        """What makes no sense between sections."""
        if not self.destinations:
            yield "destinations", "is empty; write at least one"
        yield from self._roles()
        if self.spool.type == "kafka":
            yield from self._beside_a_topic()
        yield from self._unique(DestinationSection, "name", "names must be unique")
        yield from self._unique(FileConfig, "path", "each file destination needs a file of its own")
        yield from self._unique(KafkaConfig, "transactional_id", "each destination needs an id of its own")
        if self.evidence is not None:
            yield from self._beside(self.evidence)
        if self.clusters is not None and self.receive.tokens_file is not None:
            yield "receive.tokens_file", "stands beside clusters; give each cluster a token_file of its own there"
        receive, admin = parse_address(self.receive.listen), parse_address(self.admin.listen)
        if receive.meets(admin):
            yield "admin.listen", "is the same as receive.listen; choose another port"

    def _unique(self, kind: type, key: str, why: str) -> Broken:
        first: dict[Any, int] = {}
        for place, one in enumerate(self.destinations):
            value = getattr(one, key) if isinstance(one, kind) else None
            if value is not None and (earlier := first.setdefault(value, place)) != place:
                yield f"destinations[{place}].{key}", f"is the same as destinations[{earlier}].{key}; {why}"

    def _roles(self) -> Broken:
        if not self.roles:
            yield "roles", "is empty; write receive, forward or both"
        elif len(set(self.roles)) < len(self.roles):
            yield "roles", "names one twice; write each once"
        elif self.spool.type == "disk" and len(self.roles) < len(ROLES):
            yield "roles", "only one needs spool.type: kafka; on a disk nobody else could do the other's work"

    def _beside_a_topic(self) -> Broken:
        """What cannot be kept where the spool is a topic that several sinks share."""
        least = Size(2 * self.spool.partitions * self.receive.max_body)
        if self.spool.max_bytes < least:
            yield (
                "spool.max_bytes",
                f"must be at least {least}: each of the partitions keeps up to two segments of receive.max_body",
            )
        if self.evidence is not None:
            yield "evidence", "needs rings on a disk: with spool.type: kafka no sink sees all of a cluster; remove it"
        for place, one in enumerate(self.destinations):
            if one.when_dead_letters_full == "drop_oldest":
                yield (
                    f"destinations[{place}].when_dead_letters_full",
                    "drop_oldest is not possible with spool.type: kafka, as forwarders could not count it; remove it",
                )
            if isinstance(one, KafkaConfig) and one.transactional_id is not None:
                yield (
                    f"destinations[{place}].transactional_id",
                    "cannot be kept with spool.type: kafka: forwarders would fence each other; remove it",
                )

    def receives(self) -> bool:
        """Whether this sink has a receive port."""
        return "receive" in self.roles

    def forwards(self) -> bool:
        """Whether this sink delivers."""
        return "forward" in self.roles

    def _beside(self, evidence: Evidence) -> Broken:
        for place, one in enumerate(self.destinations):
            if one.name == CHECKPOINTS:
                yield f"destinations[{place}].name", f"{CHECKPOINTS!r} is what evidence is called; choose another name"
            if isinstance(one, FileConfig) and one.path == evidence.path:
                yield (
                    "evidence.path",
                    f"is the same as destinations[{place}].path; checkpoints need a file of their own",
                )

    @property
    def identified(self) -> bool:
        """Whether nobody can post for a cluster of his choice without a credential, of whatever kind."""
        return bool(self.clusters or self.receive.tokens_file or self.receive.client_ca)

    def plan(self) -> Iterator[str]:
        """What would run, a sentence each. Never shows a secret, nor a URL's path or query, which may hold one."""
        if self.receives():
            yield from self.receive.plan()
            yield f"takes batches from {self.clusters.who() if self.clusters else self.receive.who()}"
            yield f"calls what comes without a cluster's name {self.receive.cluster!r}"
        yield from self.spool.plan()
        for one in self.destinations if self.forwards() else ():
            yield f"delivers to {one.name}: {one.describe()}{_labels(one)}"
        if self.evidence is not None:
            yield from self.evidence.plan()
        yield from self.admin.plan()

    def risks(self) -> Iterator[str]:
        """What an operator should know before relying on it: the key, what may happen, what to write instead."""
        yield from _below("receive.", self.receive.risks(identified=self.identified))
        if self.clusters is not None:
            yield from _below("clusters", self.clusters.risks(tls=self.receive.tls is not None))
        elif self.receive.client_ca and not self.receive.tokens_file:
            yield (
                "clusters: is not set, so whoever has any certificate of receive.tls.client_ca_file can post for any "
                "cluster; write there which certificate is whose"
            )
        yield from _below("spool.", self.spool.risks(self.receive.max_body))
        labels = None if self.clusters is None else self.clusters.labels
        for place, one in enumerate(self.destinations):
            yield from _below(f"destinations[{place}].", one.risks())
            if isinstance(one, LabelledSection):
                yield from _below(f"destinations[{place}].", one.label_risks(labels))
        if self.evidence is not None:
            yield from _below("evidence.", self.evidence.risks(self.spool.path))
        if not self.admin.loopback:
            yield "admin.listen: whoever reaches it reads the names and states of clusters and destinations"


def _below(where: str, risks: Broken) -> Iterator[str]:
    return (f"{where}{key}: {risk}" for key, risk in risks)


def _labels(one: DestinationSection) -> str:
    if not isinstance(one, LabelledSection) or one.labels_as == "none":
        return ""
    return f", with the labels of an event's cluster as {one.labels_as}"
