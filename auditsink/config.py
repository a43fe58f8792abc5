"""The file a user writes, as frozen types: validated once, unknown keys refused by path.

These types are the reference of every key and default. `auditsink.load` turns YAML into them and speaks of mistakes;
the parts of the sink take the section that is theirs and nothing else.
"""

from pathlib import Path
from typing import Literal

import msgspec

from auditsink.secret import Secret
from auditsink.units import Duration, Size


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping of the file. `forbid_unknown_fields`: a mistyped key must not be a silent default."""


class ServerTls(Section, frozen=True, kw_only=True):
    """HTTPS on the receive port. All files are re-read when they change."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None  # set: no client certificate of this CA, no entry


class Receive(Section, frozen=True, kw_only=True):
    """The receive port."""

    listen: str = "0.0.0.0:9880"  # a Service in front of it is the usual case
    path: str = "/audit"
    cluster: str = "default"
    max_body: Size = Size(32 * 2**20)
    max_in_flight: Size = Size(64 * 2**20)
    max_connections: int = 4096
    max_clusters: int = 1000  # a ring each; without identities any client can name one
    retry_after: Duration = Duration(5)
    request_timeout: Duration = Duration(35)  # first byte to last: kube-apiserver gives up at 30 s
    idle_timeout: Duration = Duration(120)  # kube-apiserver closes idle connections at 90 s: it must be the first
    tls: ServerTls | None = None
    tokens_file: Path | None = None


class Encryption(Section, frozen=True, kw_only=True):
    """Encryption at rest of what the rings hold; see docs/encryption.md. Re-read when the file changes."""

    key_file: Path  # "name<space>base64 of 32 bytes" a line: the first key encrypts, all decrypt


class Spool(Section, frozen=True, kw_only=True):
    """The disk-backed rings."""

    path: Path = Path("/var/lib/auditsink")
    max_bytes: Size = Size(2**30)
    segment_bytes: Size = Size(16 * 2**20)
    durability: Literal["fsync", "interval", "os"] = "fsync"
    when_full: Literal["reject", "drop_oldest"] = "reject"
    encryption: Encryption | None = None


class Packing(Section, frozen=True, kw_only=True):
    """How events are packed into requests; what is left out is the destination type's own default."""

    max_bytes: Size | None = None
    max_events: int | None = None
    max_wait: Duration | None = None


class BackoffSettings(Section, frozen=True, kw_only=True):
    """Full jitter between 0 and initial * 2^n, at most max."""

    initial: Duration = Duration(1)
    max: Duration = Duration(60)


class ClientTls(Section, frozen=True, kw_only=True):
    """How a destination's certificate is checked, and what we show of ourselves. Re-read when the files change."""

    ca_file: Path | None = None
    server_name: str | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure_skip_verify: bool = False


class _Common(Section, frozen=True, kw_only=True):
    name: str
    batch: Packing = Packing()
    in_flight: int | None = None
    timeout: Duration = Duration(30)
    backoff: BackoffSettings = BackoffSettings()
    dead_letter_bytes: Size = Size(64 * 2**20)  # full: the destination pauses, nothing is thrown away


class SplunkConfig(_Common, frozen=True, kw_only=True, tag="splunk"):
    """Splunk's HTTP Event Collector."""

    url: str
    token: Secret | None = None
    token_file: Path | None = None
    index: str | None = None
    source: str | None = None
    sourcetype: str = "kube:apiserver-audit"
    host: str = "{cluster}"
    fields: dict[str, str] = {}
    acknowledge: bool = False
    compression: Literal["gzip", "none"] = "gzip"
    tls: ClientTls = ClientTls()


class KafkaSecurity(Section, frozen=True, kw_only=True):
    """How to get in: TLS, SASL, both or neither."""

    tls: ClientTls | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: Secret | None = None
    password_file: Path | None = None


class KafkaConfig(_Common, frozen=True, kw_only=True, tag="kafka"):
    """Apache Kafka: idempotent, acks=all, key = cluster."""

    bootstrap_servers: list[str]
    topic: str = "audit.{cluster}"
    compression: Literal["none", "gzip", "lz4", "zstd"] = "zstd"
    security: KafkaSecurity = KafkaSecurity()


class HttpAuth(Section, frozen=True, kw_only=True):
    """How to show who we are: a bearer token or a name and password."""

    bearer: Secret | None = None
    bearer_file: Path | None = None
    username: str | None = None
    password: Secret | None = None
    password_file: Path | None = None


class HttpConfig(_Common, frozen=True, kw_only=True, tag="http"):
    """Any HTTP collector that takes a POST."""

    url: str
    format: Literal["ndjson", "json_array", "event_list"] = "ndjson"
    headers: dict[str, str] = {}
    compression: Literal["gzip", "none"] = "gzip"
    auth: HttpAuth = HttpAuth()
    tls: ClientTls = ClientTls()


class FileConfig(_Common, frozen=True, kw_only=True, tag="file"):
    """NDJSON in a file that rotates."""

    path: Path
    rotate_bytes: Size = Size(256 * 2**20)
    keep: int = 4


class StdoutConfig(_Common, frozen=True, kw_only=True, tag="stdout"):
    """NDJSON on standard output."""


DestinationConfig = SplunkConfig | KafkaConfig | HttpConfig | FileConfig | StdoutConfig


class Evidence(Section, frozen=True, kw_only=True):
    """Signed checkpoints of what the rings hold; see docs/evidence.md. Absent: none are made."""

    path: Path
    key_file: Path | None = None  # Ed25519, PEM; without it checkpoints are not signed
    every: Duration = Duration(60)
    deliver_as: str | None = None  # a cluster's name: destinations get the checkpoints as its events


class Admin(Section, frozen=True, kw_only=True):
    """The admin port."""

    listen: str = "127.0.0.1:2020"


class Log(Section, frozen=True, kw_only=True):
    """What the sink says on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    receive: Receive = Receive()
    spool: Spool = Spool()
    destinations: list[DestinationConfig]
    evidence: Evidence | None = None
    admin: Admin = Admin()
    log: Log = Log()
