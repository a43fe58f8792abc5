"""Answers an AdmissionReview about a Shoot or a Secret, with what has to be read for it from the garden."""

from dataclasses import dataclass

from auditsink.gardener.admission import judge
from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.api.decoding import ProviderConfig
from auditsink.gardener.control.landscape import as_secret
from auditsink.gardener.control_plane import ControlPlane
from auditsink.gardener.errors import ConfigurationError, ExtensionError
from auditsink.gardener.kube import CONFIG_MAP, SECRET, Kind, Kube
from auditsink.gardener.objects import Object, at, meta
from auditsink.gardener.sink import build

SHOOT = Kind("core.gardener.cloud", "v1beta1", "Shoot", "shoots")
DEFAULT_CONTENT = {"data": {"token": "eA==", "ca": "eA=="}}
"""Stands for an operator's default Secret, which is in the seeds and not in the garden."""


@dataclass(frozen=True)
class ShootAdmission:
    """`controller` is the configuration that the seeds' controllers have: what it allows is allowed here."""

    kube: Kube
    controller: ControllerConfig

    async def shoot(self, review: Object) -> Object:
        """About a Shoot. One that is being deleted, or whose AuditConfig did not change, is let through."""
        new, old = at(review, "request", "object"), at(review, "request", "oldObject")
        if not isinstance(new, dict) or "deletionTimestamp" in meta(new) or self._same(new, old):
            return _response(review, "")
        return _response(review, await self._mistake(new))

    async def secret(self, review: Object) -> Object:
        """About a Secret that changes: whoever refers to it must still find what they need."""
        secret = at(review, "request", "object")
        if not isinstance(secret, dict) or "deletionTimestamp" in meta(secret):
            return _response(review, "")
        namespace, name = str(at(review, "request", "namespace") or ""), str(meta(secret).get("name", ""))
        shoots, _ = await self.kube.list(SHOOT, namespace)
        for shoot in shoots:
            named = {at(one, "resourceRef", "name") for one in at(shoot, "spec", "resources") or []}
            going = "deletionTimestamp" in meta(shoot)
            if name in named and not going and (why := await self._mistake(shoot, secret)):
                return _response(review, f"Shoot {meta(shoot).get('name')} refers to this Secret: {why}")
        return _response(review, "")

    async def _mistake(self, shoot: Object, instead: Object | None = None) -> str:
        try:
            config = judge.decoded(shoot, self.controller)
            if config is None:
                return ""
            place = judge.place_of(shoot)
            fetched = await self._fetched(config, place, instead)
        except ExtensionError as problem:
            return str(problem)
        return judge.mistake(config, place, self.controller, fetched)

    async def _fetched(self, config: ProviderConfig, place: ControlPlane, instead: Object | None) -> dict[str, Object]:
        found: dict[str, Object] = {}
        for name, reference in build.needed(config, place, self.controller).items():
            if reference.kind == build.DEFAULT_SECRET:
                found[name] = DEFAULT_CONTENT
                continue
            if instead is not None and reference.kind == "Secret" and reference.name == meta(instead).get("name"):
                found[name] = instead
                continue
            kind = CONFIG_MAP if reference.kind == "ConfigMap" else SECRET
            there = await self.kube.get(kind, reference.name, place.namespace)
            if there is None:
                raise ConfigurationError(f"spec.resources[{name}]: there is no {kind.kind} {reference.name}")
            found[name] = as_secret(there) if kind is CONFIG_MAP else there
        return found

    def _same(self, new: Object, old: object) -> bool:
        """An invalid one that is stored already must not stop a Shoot from being hibernated or labelled."""
        if not isinstance(old, dict):
            return False
        kept = ("extensions", "resources")
        return all(at(new, "spec", key) == at(old, "spec", key) for key in kept)


def _response(review: Object, why: str) -> Object:
    response: Object = {"uid": at(review, "request", "uid") or "", "allowed": not why}
    if why:
        response["status"] = {"code": 422, "reason": "Invalid", "message": why}
    return {"apiVersion": review.get("apiVersion"), "kind": review.get("kind"), "response": response}
