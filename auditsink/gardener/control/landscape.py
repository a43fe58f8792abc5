"""Reads what a sink's plan depends on: the Cluster or the Garden, and the objects that an AuditConfig refers to."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.api.decoding import ProviderConfig
from auditsink.gardener.control_plane import ControlPlane, Reference, of_cluster, of_garden
from auditsink.gardener.errors import ConfigurationError, NotYetError
from auditsink.gardener.kube import CLUSTER, CONFIG_MAP, GARDEN, SECRET, Kube
from auditsink.gardener.objects import Object
from auditsink.gardener.sink import build


@dataclass(frozen=True)
class Landscape:
    """`namespace` is the controller's own, where an operator's default Secrets lie."""

    kube: Kube
    controller: ControllerConfig
    namespace: str

    async def place(self, namespace: str) -> ControlPlane | None:
        """What the Cluster of that namespace, or the Garden, says; None where there is none."""
        if self.controller.extension_class == "garden":
            gardens, _ = await self.kube.list(GARDEN)
            return of_garden(gardens[0], namespace) if gardens else None
        cluster = await self.kube.get(CLUSTER, namespace)
        return of_cluster(cluster) if cluster else None

    async def fetched(self, config: ProviderConfig, place: ControlPlane) -> dict[str, Object]:
        """The objects that the plan asks for. Raises ConfigurationError, NotYetError for one that is not there."""
        needed = build.needed(config, place, self.controller)
        return {name: await self._fetch(needed[name], place) for name in needed}

    async def _fetch(self, reference: Reference, place: ControlPlane) -> Object:
        if reference.kind == build.DEFAULT_SECRET:
            secret = await self.kube.get(SECRET, reference.name, self.namespace)
            if secret is None:
                raise ConfigurationError(
                    f"defaultBackends: Secret {self.namespace}/{reference.name} is missing; the operator must make it"
                )
            return secret
        kind = CONFIG_MAP if reference.kind == "ConfigMap" else SECRET
        found = await self.kube.get(kind, reference.name, place.namespace)
        if found is None:
            raise NotYetError(
                f"{kind.kind} {place.namespace}/{reference.name} is missing: the copy of {reference.original}, which "
                "Gardener makes of what spec.resources names; see whether the original is there"
            )
        return as_secret(found) if kind is CONFIG_MAP else found


def listed(config: ProviderConfig, place: ControlPlane, controller: ControllerConfig) -> list[Object]:
    """`status.resources` of the Extension: what it refers to, so that Gardener takes it along in a migration."""
    needed = build.needed(config, place, controller)
    return [
        {"name": name, "resourceRef": {"apiVersion": "v1", "kind": reference.kind, "name": reference.name}}
        for name, reference in sorted(needed.items())
        if reference.kind != build.DEFAULT_SECRET
    ]


def as_secret(config_map: Mapping[str, object]) -> Object:
    """With its values encoded as a Secret's are."""
    plain = config_map.get("data") or {}
    assert isinstance(plain, dict)
    return {**config_map, "data": {key: base64.b64encode(str(plain[key]).encode()).decode() for key in plain}}
