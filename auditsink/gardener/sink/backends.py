"""The backends of metal-stack's AuditConfig as destinations of a sink, each in its own function; see docs/gardener.md.

What a backend's Secret has to hold is the same as for metal-stack's extension.
"""

import re
from collections.abc import Mapping, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from auditsink.fluentbit.document import FluentBitError, FluentDocument, FluentEntry, FluentSection
from auditsink.fluentbit.syntax import parse_classic
from auditsink.fluentbit.translate import RECORD, Surroundings, translate
from auditsink.gardener.api.audit_config import S3, Backends, ClusterForwarding, Part, Splunk
from auditsink.gardener.control_plane import Reference
from auditsink.gardener.errors import ConfigurationError
from auditsink.gardener.objects import Object, data
from auditsink.gardener.sink.plan import DATA, REFERENCES, Mounted, SecretSources, Variable

SOURCETYPE = "kube:apiserver:auditlog"
"""What their saved searches ask for."""
GATEWAY = "audit-cluster-forwarding-vpn-gateway"
GATEWAY_PORT = 9876
TAILER = "audittailer"
EVENTS_OF_A_LIST = 400
"""As many as an API server posts at once."""
_TAKES_LISTS = frozenset({"stdout", "splunk", "s3", "forward"})
MOST_OBJECT_BYTES = 32 * 2**20
"""Of events in one object, before they are compressed."""
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
FORWARDING = "cluster-forwarding"
"""The directory of the certificates that the gateway and the tailer know each other by."""


def enabled(backends: Backends) -> list[str]:
    """The names of those that are, in the order in which they are rendered."""
    parts: Mapping[str, Part | None] = {
        "log": backends.log,
        "clusterForwarding": backends.cluster_forwarding,
        "splunk": backends.splunk,
        "s3": backends.s3,
        "customForwarding": backends.custom_forwarding,
    }
    return [name for name, part in parts.items() if getattr(part, "enabled", False)]


def with_defaults(own: Backends | None, defaults: Backends | None, *, custom: bool) -> Backends:
    """The user's backends, and the operator's where the user left one out. S3 has no default, as theirs has none."""
    own, defaults = own or Backends(), defaults or Backends()
    return Backends(
        log=own.log or defaults.log,
        cluster_forwarding=own.cluster_forwarding or defaults.cluster_forwarding,
        splunk=own.splunk or defaults.splunk,
        s3=own.s3,
        custom_forwarding=own.custom_forwarding or (defaults.custom_forwarding if custom else None),
    )


def log() -> Object:
    """The backend that writes events to standard output."""
    return {"name": "log", "type": "stdout"}


def splunk(backend: Splunk, reference: Reference, secret: Object) -> tuple[Object, SecretSources]:
    """HEC. The token is read again when the Secret changes."""
    if not data(secret, "token"):
        raise ConfigurationError(f"backends.splunk.secretResourceName: Secret {reference.original} has no key token")
    place = f"{REFERENCES}/splunk"
    destination: Object = {
        "name": "splunk",
        "type": "splunk",
        "url": f"{'https' if backend.tls else 'http'}://{backend.host}{':' + backend.port if backend.port else ''}",
        "token_file": f"{place}/token",
        "sourcetype": SOURCETYPE,
        "host": "{cluster}",
    }
    if backend.index:
        destination["index"] = backend.index
    tls = {}
    keys = ["token"]
    if backend.tls and data(secret, "ca"):
        tls["ca_file"] = f"{place}/ca"
        keys.append("ca")
    if backend.tls and backend.tls_host:
        tls["server_name"] = backend.tls_host
    if tls:
        destination["tls"] = tls
    return destination, SecretSources(tuple(Mounted("splunk", "Secret", reference.name, key) for key in sorted(keys)))


def s3(backend: S3, reference: Reference, secret: Object) -> tuple[Object, SecretSources]:
    """A bucket. The access key's id is a variable, because the sink's file takes it as a value only."""
    for key in ("access_key_id", "secret_access_key"):
        if not data(secret, key):
            raise ConfigurationError(f"backends.s3.secretResourceName: Secret {reference.original} has no key {key}")
    destination: Object = {
        "name": "s3",
        "type": "s3",
        "bucket": backend.bucket,
        "region": backend.region,
        "key_format": backend.prefix.rstrip("/") + backend.key_format,
        "compression": "gzip" if backend.use_compression else "none",
        "time_key": "timestamp",
        "access_key_id": "${S3_ACCESS_KEY_ID}",
        "secret_access_key_file": f"{REFERENCES}/s3/secret_access_key",
        "batch": {"max_bytes": _batch_bytes(backend.total_file_size), "max_wait": backend.upload_timeout},
    }
    if backend.endpoint:
        destination["endpoint"] = _endpoint(backend)
    source = SecretSources(
        (Mounted("s3", "Secret", reference.name, "secret_access_key"),),
        (Variable("S3_ACCESS_KEY_ID", reference.name, "access_key_id"),),
    )
    return destination, source


def cluster_forwarding(_backend: ClusterForwarding) -> Object:
    """Fluentd's forward protocol to the tailer in the shoot, through the gateway."""
    place = f"{REFERENCES}/{FORWARDING}"
    return {
        "name": "cluster-forwarding",
        "type": "forward",
        "address": f"{GATEWAY}:{GATEWAY_PORT}",
        "tag": "audit",
        "tls": {
            "ca_file": f"{place}/ca.crt",
            "cert_file": f"{place}/tls.crt",
            "key_file": f"{place}/tls.key",
            "server_name": TAILER,
        },
    }


def with_custom_data(destinations: Sequence[Object], custom: Mapping[str, str]) -> list[Object]:
    """Where their filter puts it: at the top of each record, for every output.

    One key is a setting, as for the image: with `auditsink.record: batch` a record is an EventList, for searches that
    say `items{}`.
    """
    added = {key: value for key, value in custom.items() if key != RECORD}
    shape: Object = {"add": added} if added else {}
    if custom.get(RECORD, "event") not in ("event", "batch"):
        raise ConfigurationError(f"backends.splunk.customData: {RECORD}: must be event or batch")
    if custom.get(RECORD) != "batch":
        return [{**destination, **shape} for destination in destinations]
    lists = {"record": "batch"}
    return [
        {**destination, **shape, **lists, "batch": {"max_events": EVENTS_OF_A_LIST, **destination.get("batch", {})}}
        if destination["type"] in _TAKES_LISTS
        else {**destination, **shape}
        for destination in destinations
    ]


def _endpoint(backend: S3) -> str:
    if "://" in backend.endpoint:
        return backend.endpoint
    return f"{'https' if backend.tls_enabled else 'http'}://{backend.endpoint}"


def _batch_bytes(text: str) -> int:
    """fluent-bit's 100M; but a batch is held in memory, so an object holds no more events than fit there."""
    match = re.fullmatch(r"([0-9]{1,12})([kKmMgG]?)[bB]?", text)
    if match is None:
        raise ConfigurationError("backends.s3.totalFileSize: is no size such as 100M")
    return min(int(match[1]) * _FACTORS[match[2].lower()], MOST_OBJECT_BYTES)


CONFIG_KEY = "fluent-bit-output.conf"
CUSTOM = "custom-forwarding"
_TLS = {"ca.crt": "tls.ca_file", "tls.crt": "tls.crt_file", "tls.key": "tls.key_file"}
_PLACE = "backends.customForwarding"


def custom_forwarding(
    config: Object, reference: Reference | None, secret: Object | None
) -> tuple[Object, SecretSources]:
    """An output in fluent-bit's language, translated as `auditsink fluentbit` does. Raises ConfigurationError.

    As in metal-stack's, the keys of all sections in the text are one output, the last of a key wins, and what the
    Secret holds for TLS comes on top. `config` is a ConfigMap, its values encoded as a Secret's.
    """
    files = _files(reference, secret)
    try:
        entries = {entry.key: entry for entry in _entries(data(config, CONFIG_KEY))}
        for key in files:
            path = f"{REFERENCES}/{CUSTOM}/{key}"
            entries[_TLS[key]] = FluentEntry(_TLS[key], path, f"Secret {reference.original if reference else ''}")
        output = FluentSection("output", tuple(entries.values()), CONFIG_KEY)
        posted = FluentSection("input", (FluentEntry("name", "http", CONFIG_KEY),), CONFIG_KEY)
        translated = translate(FluentDocument((posted, output)), Surroundings({}, storage=DATA))
    except (FluentBitError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{_PLACE}.configMapResourceName: {problem}") from None
    (made,) = translated.document["destinations"]
    name = reference.name if reference else ""
    sources = SecretSources(tuple(Mounted(CUSTOM, "Secret", name, key) for key in files))
    return {**made, "name": CUSTOM}, sources


def _entries(text: bytes) -> list[FluentEntry]:
    if not text.strip():
        raise FluentBitError(f"has no key {CONFIG_KEY}; write an [OUTPUT] into it")
    sections = [part for part in parse_classic(text.decode(), CONFIG_KEY) if isinstance(part, FluentSection)]
    if not any(section.kind == "output" for section in sections):
        raise FluentBitError("has no [OUTPUT]; write one")
    found = [entry for section in sections for entry in section.entries]
    for entry in found:
        if "${" in entry.value:
            raise FluentBitError(f"{entry.place}: {entry.key}: there are no variables; write the value")
    return found


def _files(reference: Reference | None, secret: Object | None) -> list[str]:
    """Which of the three the Secret holds; what is no PEM would stop the sink."""
    found = [key for key in sorted(_TLS) if secret is not None and data(secret, key)]
    for key in found:
        assert secret is not None
        try:
            if key.endswith(".key"):
                load_pem_private_key(data(secret, key), None)
            else:
                x509.load_pem_x509_certificates(data(secret, key))
        except (ValueError, TypeError):
            name = reference.original if reference else ""
            kind = "key" if key.endswith(".key") else "certificate"
            raise ConfigurationError(f"{_PLACE}.secretResourceName: Secret {name}: {key} is no {kind} in PEM") from None
    return found
