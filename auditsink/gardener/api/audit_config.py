"""`AuditConfig` of `audit.metal.extensions.gardener.cloud/v1alpha1`, taken as metal-stack's extension takes it.

Its types and rules are those of gardener-extension-audit v0.5.6, `pkg/apis/audit/v1alpha1`. Decoding is strict.
"""

import re

import msgspec

GROUP = "audit.metal.extensions.gardener.cloud"
API_VERSION = f"{GROUP}/v1alpha1"

_CUSTOM_DATA = re.compile(r"[a-zA-Z0-9._-]+")
EVENT_OVERHEAD = 25_000
"""Bytes that their extension takes off `maxEventSize`, for what the API server adds around an event."""
MAX_EVENT_SIZE = 4_000_000


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A mapping that knows all its keys."""


class Persistence(Part, frozen=True, kw_only=True):
    """The volume of each replica."""

    size: str | int = "1Gi"
    storage_class_name: str | None = None


class LogBackend(Part, frozen=True, kw_only=True):
    """Events in the container's log."""

    enabled: bool = False


class ClusterForwarding(Part, frozen=True, kw_only=True):
    """Events into the shoot itself, through its VPN."""

    enabled: bool = False
    filesystem_buffer_size: str | None = msgspec.field(default=None, name="bufferSize")


class Splunk(Part, frozen=True, kw_only=True):
    """Splunk's HTTP Event Collector."""

    enabled: bool = False
    filesystem_buffer_size: str | None = msgspec.field(default=None, name="bufferSize")
    index: str = ""
    host: str = ""
    port: str = ""
    secret_resource_name: str = ""
    tls: bool = False
    tls_host: str = msgspec.field(default="", name="tlshost")
    custom_data: dict[str, str] = msgspec.field(default_factory=dict)


class S3(Part, frozen=True, kw_only=True):
    """The bucket that events go to, and how objects are called there."""

    enabled: bool = False
    filesystem_buffer_size: str | None = msgspec.field(default=None, name="bufferSize")
    bucket: str = ""
    region: str = ""
    prefix: str = "/audit-logs"
    key_format: str = msgspec.field(default="/%Y/%m/%d/%H/%M/%S/$UUID", name="s3KeyFormat")
    secret_resource_name: str = ""
    endpoint: str = ""
    tls_enabled: bool = True
    total_file_size: str = "100M"
    upload_timeout: str = "10m"
    use_compression: bool = False


class CustomForwarding(Part, frozen=True, kw_only=True):
    """Any output, in fluent-bit's language, from a ConfigMap."""

    enabled: bool = False
    config_map_resource_name: str = ""
    secret_resource_name: str = ""


class Backends(Part, frozen=True, kw_only=True):
    """Where events go. One that is left out may get the operator's default; `enabled: false` opts out."""

    log: LogBackend | None = None
    cluster_forwarding: ClusterForwarding | None = None
    splunk: Splunk | None = None
    s3: S3 | None = None
    custom_forwarding: CustomForwarding | None = None


class Messages(Part, frozen=True, kw_only=True):
    """How large an event may be."""

    max_event_size: int = MAX_EVENT_SIZE


class AuditConfig(Part, frozen=True, kw_only=True):
    """The providerConfig of metal-stack's extension."""

    api_version: str = API_VERSION
    kind: str = "AuditConfig"
    persistence: Persistence = Persistence()
    replicas: int = 2
    webhook_mode: str = ""
    backends: Backends | None = None
    messages: Messages | None = None

    def mistakes(self) -> list[str]:
        """A sentence for each value that their extension refuses too."""
        backends = self.backends or Backends()
        found = [f"replicas: {self.replicas} is negative"] if self.replicas < 0 else []
        if self.messages and not EVENT_OVERHEAD < self.messages.max_event_size <= MAX_EVENT_SIZE:
            found.append(
                f"messages.maxEventSize: {self.messages.max_event_size} must be more than {EVENT_OVERHEAD} "
                f"and at most {MAX_EVENT_SIZE}"
            )
        if backends.splunk and backends.splunk.enabled:
            found += _splunk(backends.splunk)
        if backends.s3 and backends.s3.enabled:
            found += _s3(backends.s3)
        custom = backends.custom_forwarding
        if custom and custom.enabled and not custom.config_map_resource_name:
            found.append("backends.customForwarding.configMapResourceName: name a ConfigMap of spec.resources")
        return found


def _splunk(splunk: Splunk) -> list[str]:
    found = [
        f"backends.splunk.{key}: is missing"
        for key, value in (("host", splunk.host), ("secretResourceName", splunk.secret_resource_name))
        if not value
    ]
    if splunk.port and not (splunk.port.isascii() and splunk.port.isdigit() and 0 < int(splunk.port) < 2**16):
        found.append("backends.splunk.port: is no port")
    for key, value in splunk.custom_data.items():
        if not _CUSTOM_DATA.fullmatch(key) or not _CUSTOM_DATA.fullmatch(value):
            found.append(f"backends.splunk.customData: {key!r}: keys and values are letters, digits, '.', '_' and '-'")
    return found


def _s3(bucket: S3) -> list[str]:
    needed = (("bucket", bucket.bucket), ("region", bucket.region), ("secretResourceName", bucket.secret_resource_name))
    found = [f"backends.s3.{key}: is missing" for key, value in needed if not value]
    paths = (("prefix", bucket.prefix), ("s3KeyFormat", bucket.key_format))
    return found + [f"backends.s3.{key}: must begin with /" for key, value in paths if not value.startswith("/")]
