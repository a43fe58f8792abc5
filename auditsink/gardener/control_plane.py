"""Where one sink belongs: what a Cluster (of a shoot) or the Garden says about it, as the rest of the room needs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from auditsink.gardener.errors import ConfigurationError, NotYetError
from auditsink.gardener.objects import Object, annotation, at, meta

ExtensionClass = Literal["shoot", "garden"]

FORCE_DELETION = "confirmation.gardener.cloud/force-deletion"
KUBECONFIG_NAME = "generic-token-kubeconfig.secret.gardener.cloud/name"
GENERIC_KUBECONFIG = "generic-token-kubeconfig"
GARDEN_CLUSTER = "virtual-garden"
"""What the sink calls the virtual garden's cluster."""

BOTH_TRUSTED = frozenset({"Preparing", "PreparingWithoutWorkersRollout", "WaitingForWorkersRollout", "Prepared"})
"""Phases of a CA's rotation in which the old one is trusted too (core.gardener.cloud, CredentialsRotationPhase)."""


@dataclass(frozen=True)
class Reference:
    """An object that the Shoot refers to, as it lies in the sink's namespace."""

    kind: str
    name: str
    """There: a copy under another name for shoots."""
    original: str


@dataclass(frozen=True)
class Rotation:
    """Of certificate authorities. `initiated` is what the Shoot says, verbatim; "" where there was never one."""

    initiated: str = ""
    both_trusted: bool = False


@dataclass(frozen=True)
class ControlPlane:
    """One control plane. `labels` say which, in Gardener's own words."""

    namespace: str
    extension_class: ExtensionClass = "shoot"
    cluster: str = ""
    resources: Mapping[str, Reference] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    rotation: Rotation = Rotation()
    hibernated: bool = False
    deleted: bool = False
    forced: bool = False
    failed: bool = False
    gardener_version: str = ""
    kubeconfig_secret: str = GENERIC_KUBECONFIG
    """With which what runs in the seed talks to the shoot's API."""

    def reference(self, name: str, kinds: Sequence[str], key: str) -> Reference:
        """The object that the Shoot calls `name`. Raises ConfigurationError, which says `key` of the AuditConfig."""
        found = self.resources.get(name)
        owner = "Shoot's" if self.extension_class == "shoot" else "Garden's"
        if found is None:
            raise ConfigurationError(f"{key}: the {owner} spec.resources has no entry {name!r}; add it")
        if found.kind not in kinds:
            raise ConfigurationError(f"{key}: spec.resources[{name}] is a {found.kind}; needed: {' or '.join(kinds)}")
        return found


def of_cluster(cluster: Object) -> ControlPlane:
    """What a Cluster of `extensions.gardener.cloud/v1alpha1` says; its name is the shoot's namespace in the seed."""
    shoot = at(cluster, "spec", "shoot")
    namespace = str(meta(cluster).get("name", ""))
    if not isinstance(shoot, dict):
        raise NotYetError(f"Cluster {namespace}: has no spec.shoot yet; gardenlet writes it")
    seed = at(cluster, "spec", "seed") or {}
    labels = {
        "shoot.gardener.cloud/id": meta(shoot).get("uid"),
        "shoot.gardener.cloud/name": meta(shoot).get("name"),
        "shoot.gardener.cloud/namespace": meta(shoot).get("namespace"),
        "seed.gardener.cloud/id": meta(seed).get("uid"),
        "seed.gardener.cloud/name": meta(seed).get("name"),
    }
    return ControlPlane(
        namespace=namespace,
        cluster=namespace,
        resources=_references(shoot, "ref-"),
        labels=_present(labels),
        rotation=_rotation(shoot),
        hibernated=bool(at(shoot, "spec", "hibernation", "enabled")),
        deleted="deletionTimestamp" in meta(shoot),
        forced=annotation(shoot, FORCE_DELETION) in ("1", "t", "T", "true", "TRUE", "True"),  # as Go reads a boolean
        failed=at(shoot, "status", "lastOperation", "state") == "Failed",
        gardener_version=str(at(shoot, "status", "gardener", "version") or ""),
        kubeconfig_secret=annotation(cluster, KUBECONFIG_NAME) or GENERIC_KUBECONFIG,
    )


def of_garden(garden: Object, namespace: str = "garden") -> ControlPlane:
    """What the Garden of `operator.gardener.cloud/v1alpha1` says. Its references are used where they lie."""
    labels = {
        "garden.gardener.cloud/id": meta(garden).get("uid"),
        "garden.gardener.cloud/name": meta(garden).get("name"),
        "garden.gardener.cloud/clusterIdentity": at(garden, "spec", "virtualCluster", "gardener", "clusterIdentity"),
    }
    return ControlPlane(
        namespace=namespace,
        extension_class="garden",
        cluster=GARDEN_CLUSTER,
        resources=_references(garden, ""),
        labels=_present(labels),
        rotation=_rotation(garden),
        deleted="deletionTimestamp" in meta(garden),
    )


def _references(owner: Object, prefix: str) -> dict[str, Reference]:
    found = {}
    for entry in at(owner, "spec", "resources") or []:
        kind, name = at(entry, "resourceRef", "kind"), at(entry, "resourceRef", "name")
        if kind and name:
            before = "workload-identity-ref-" if prefix and kind == "WorkloadIdentity" else prefix
            found[str(entry.get("name", ""))] = Reference(str(kind), f"{before}{name}", str(name))
    return found


def _rotation(owner: Object) -> Rotation:
    state = at(owner, "status", "credentials", "rotation", "certificateAuthorities") or {}
    return Rotation(str(state.get("lastInitiationTime") or ""), state.get("phase") in BOTH_TRUSTED)


def _present(labels: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in labels.items() if value}
