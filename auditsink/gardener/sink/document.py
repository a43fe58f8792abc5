"""The sink's configuration file inside a pod: what the user says about destinations, and what the place decides.

In the `sink` of our own AuditConfig references become files and variables; everything else stays as it is.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lightkube.utils.quantity import parse_quantity

from auditsink.gardener.control_plane import ControlPlane, Reference
from auditsink.gardener.errors import ConfigurationError
from auditsink.gardener.objects import Object, as_yaml, data, digest
from auditsink.gardener.sink.plan import (
    ADMIN_PORT,
    CERTIFICATES,
    CLIENT_NAME,
    DATA,
    RECEIVE_PORT,
    REFERENCES,
    Mounted,
    SecretSources,
    Variable,
)
from auditsink.load import ConfigError, parse

SECTIONS = ("clusters", "destinations", "evidence", "log", "receive", "spool")
"""What a user may say; the rest is the place's."""
TAKEN = {
    "receive": ("listen", "path", "cluster", "tls", "tokens_file"),
    "spool": ("path", "max_bytes"),
}
"""Keys of those sections that the place decides."""
OBJECT_STORES = ("s3", "gcs", "azure", "local")
RING_PERCENT = 85
"""Of the volume; the rest is for cursors, dead letters and the file system."""
_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def complete(
    sink: Mapping[str, Any], place: ControlPlane, labels: Mapping[str, str], volume: str, when_full: str
) -> Object:
    """The whole file: the user's sections, completed. Raises ConfigurationError for a key that is not the user's."""
    for section in sink:
        if section not in SECTIONS:
            raise ConfigurationError(f"sink.{section}: is not yours to set here; these are: {', '.join(SECTIONS)}")
    for section, keys in TAKEN.items():
        for key in keys:
            if key in _mapping(sink, section):
                raise ConfigurationError(f"sink.{section}.{key}: is decided by the extension; remove it")
    tls = {
        "cert_file": f"{CERTIFICATES}/tls.crt",
        "key_file": f"{CERTIFICATES}/tls.key",
        "client_ca_file": f"{CERTIFICATES}/ca.crt",
    }
    receive = {"listen": f"0.0.0.0:{RECEIVE_PORT}", "path": "/audit", "cluster": place.cluster, "tls": tls}
    spool = {
        "when_full": when_full,
        **_mapping(sink, "spool"),
        "path": f"{DATA}/spool",
        "max_bytes": ring_bytes(volume),
    }
    document: Object = {
        "receive": {**_mapping(sink, "receive"), **receive},
        "spool": spool,
        "destinations": sink.get("destinations") or [],
        "admin": {"listen": f"0.0.0.0:{ADMIN_PORT}"},
        "log": {"level": "info", **_mapping(sink, "log")},
    }
    if "evidence" in sink:
        document["evidence"] = {"path": f"{DATA}/evidence/checkpoints.ndjson", **_mapping(sink, "evidence")}
    clusters = sink.get("clusters")
    if labels or clusters:
        document["clusters"] = _clusters(clusters, place, labels)
    return document


def evacuation(section: Mapping[str, Any], sink: Mapping[str, Any]) -> Object:
    """The file of the Jobs that work on the volume of a stopped sink. Raises ConfigurationError."""
    if section.get("type") not in OBJECT_STORES:
        raise ConfigurationError(f"evacuation.type: must be one of {', '.join(OBJECT_STORES)}")
    if "encryption" in _mapping(sink, "spool"):
        raise ConfigurationError("evacuation: an export is not encrypted, and sink.spool.encryption is; remove one")
    return {"spool": {"path": f"{DATA}/spool"}, "destinations": [{**section, "name": "evacuation"}]}


def check(document: Object) -> None:
    """By the sink's own rules. Raises ConfigurationError with all mistakes, none of which shows a value."""
    text = as_yaml(document)
    variables = dict.fromkeys(_VARIABLE.findall(text), "a-value")
    try:
        parse(text.encode(), "sink", variables)
    except ConfigError as problem:
        raise ConfigurationError("; ".join(problem.mistakes)) from None


def ring_bytes(volume: str) -> int:
    """What the rings may take of a volume, given as a Kubernetes quantity. Raises ConfigurationError."""
    try:
        size = parse_quantity(str(volume))
    except (ValueError, ArithmeticError):
        size = None
    if size is None or not size.is_finite() or size < 2**20:
        raise ConfigurationError("persistence.size: must be a quantity of at least 1Mi, such as 1Gi")
    return int(size) * RING_PERCENT // 100


def strings(value: Any, path: str = "sink") -> Iterator[tuple[str, str]]:
    """Every string in it, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key in value:
            yield from strings(value[key], f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from strings(inner, f"{path}[{number}]")


def _clusters(clusters: Any, place: ControlPlane, labels: Mapping[str, str]) -> Object:
    """Once clusters are declared nobody else may post, so this place's own API server is one of them."""
    declared = {"members": clusters} if isinstance(clusters, list) else clusters or {}
    if not isinstance(declared, Mapping) or not isinstance(declared.get("members") or [], list):
        raise ConfigurationError("sink.clusters: must be a list of clusters")
    if "directory" in declared:
        raise ConfigurationError("sink.clusters.directory: a pod has no such directory; list the members")
    members = list(declared.get("members") or [])
    if any(isinstance(member, Mapping) and member.get("name") == place.cluster for member in members):
        raise ConfigurationError(f"sink.clusters: {place.cluster} is this control plane's own, and always declared")
    own: Object = {"name": place.cluster, "certificates": [f"cn:{CLIENT_NAME}"]}
    if labels:
        own["labels"] = dict(labels)
    return {**declared, "members": [own, *members]}


def _mapping(sink: Mapping[str, Any], section: str) -> Object:
    found = sink.get(section) or {}
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"sink.{section}: must be a mapping")
    return dict(found)


KINDS = ("ConfigMap", "Secret")
"""Of resources that can be files; a variable is out of a Secret."""
_NAME = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_KEY = r"[A-Za-z0-9._-]{1,253}"
_FILE = re.compile(rf"resource:({_NAME})/({_KEY})")
_REFERENCED = re.compile(r"(?<!\$)\$\{([^}]*)\}")


def referenced(sink: Mapping[str, Any]) -> dict[str, str]:
    """The names of resources that it refers to, each with the path of a key that does. Raises ConfigurationError."""
    found: dict[str, str] = {}
    for path, text in strings(sink, ""):
        for name, _key in _in(path, text):
            found.setdefault(name, path)
    return dict(sorted(found.items()))


def resolved(
    sink: Mapping[str, Any], references: Mapping[str, Reference], fetched: Mapping[str, Object]
) -> tuple[Object, SecretSources]:
    """The sections as the sink's file has them, and what they need. Raises ConfigurationError for a missing key."""
    source = SecretSources()
    for path, text in strings(sink, ""):
        for name, key in _in(path, text):
            reference = references[name]
            if not data(fetched[name], key):
                raise ConfigurationError(f"{path}: {reference.kind} {reference.original} has no key {key}")
            if text.startswith("resource:"):
                source += SecretSources(mounted=(Mounted(name, reference.kind, reference.name, key),))
            elif reference.kind != "Secret":
                raise ConfigurationError(f"{path}: spec.resources[{name}] is a {reference.kind}; a Secret is needed")
            else:
                source += SecretSources(variables=(Variable(_variable(name, key), reference.name, key),))
    changed = _change(sink)
    assert isinstance(changed, dict)
    return changed, source


def _in(path: str, text: str) -> list[tuple[str, str]]:
    """The references in a string, as name and key."""
    key = re.sub(r"\[\d+\]$", "", path).rpartition(".")[2]
    if text.startswith("resource:"):
        match = _FILE.fullmatch(text)
        if match is None or not key.endswith("_file"):
            raise ConfigurationError(f"{path}: a reference is resource:NAME/KEY, as the value of a key ending in _file")
        return [(match[1], match[2])]
    if key.endswith("_file"):
        raise ConfigurationError(f"{path}: a pod has no such file; write resource:NAME/KEY of spec.resources")
    found = []
    for variable in _REFERENCED.findall(text):
        match = _FILE.fullmatch(variable)
        if match is None:
            raise ConfigurationError(f"{path}: a variable is ${{resource:NAME/KEY}}; write $${{ for a literal ${{")
        found.append((match[1], match[2]))
    return found


def _change(value: Any) -> Any:
    if isinstance(value, str):
        if value.startswith("resource:"):
            return f"{REFERENCES}/{value.removeprefix('resource:')}"
        return _REFERENCED.sub(
            lambda match: "${" + _variable(*match[1].removeprefix("resource:").split("/")) + "}", value
        )
    if isinstance(value, Mapping):
        return {str(key): _change(inner) for key, inner in value.items()}
    return [_change(inner) for inner in value] if isinstance(value, list) else value


def _variable(name: str, key: str) -> str:
    """A name that is one in a shell too, and another for every reference."""
    return f"RESOURCE_{digest([name, key]).upper()}"
