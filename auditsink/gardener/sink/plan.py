"""The plan of one sink: everything that decides how it is rendered, worked out from an AuditConfig and its place."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

from auditsink.gardener.api.audit_config import Persistence
from auditsink.gardener.api.own_config import Resources
from auditsink.gardener.control_plane import ControlPlane

REFERENCES = "/etc/auditsink/references"
"""Referenced Secrets and ConfigMaps are mounted below, each in a directory of its name."""
CONFIG = "/etc/auditsink/config"
CERTIFICATES = "/etc/auditsink/tls"
DATA = "/var/lib/auditsink"
RECEIVE_PORT = 9880
ADMIN_PORT = 2020
CLIENT_NAME = "kube-apiserver"
"""The common name in the certificate with which API servers show who they are."""


@dataclass(frozen=True)
class Mounted:
    """A key of a Secret or ConfigMap that is the file `REFERENCES/directory/key`."""

    directory: str
    kind: str
    name: str
    key: str


@dataclass(frozen=True)
class Variable:
    """An environment variable out of a Secret, for what the sink's file can only have as a value."""

    name: str
    secret: str
    key: str


@dataclass(frozen=True)
class SecretSources:
    """Where a destination's secrets come from: mounted objects, variables, and Secrets to be made for it."""

    mounted: tuple[Mounted, ...] = ()
    variables: tuple[Variable, ...] = ()
    copies: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)

    def __add__(self, other: "SecretSources") -> "SecretSources":
        """Both, in a fixed order and each once."""
        return SecretSources(
            tuple(sorted({*self.mounted, *other.mounted}, key=astuple)),
            tuple(sorted({*self.variables, *other.variables}, key=lambda one: one.name)),
            {**self.copies, **other.copies},
        )


@dataclass(frozen=True)
class Plan:
    """One sink. `document` is its configuration file; `checksum` changes with Secrets that only a restart takes up."""

    place: ControlPlane
    image: str
    document: Mapping[str, Any]
    replicas: int
    persistence: Persistence
    resources: Resources
    source: SecretSources = field(default_factory=SecretSources)
    forwarding: bool = False
    evacuation: Mapping[str, Any] | None = None
    """The file of the Jobs that carry a backlog into a bucket; None where no bucket is named."""
    checksum: str = ""
