"""The admission's process: registered in the garden's API, its certificate in the cluster where it runs.

It answers an AdmissionReview about a Shoot or a Secret, with what has to be read for it from the garden. Whether a
Shoot's AuditConfig can become a sink is judged by the very code that later makes the plan; that part is pure.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from auditsink.gardener.api import decoding
from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.api.decoding import ProviderConfig
from auditsink.gardener.apiserver import webhook
from auditsink.gardener.control import apply
from auditsink.gardener.control.landscape import as_secret
from auditsink.gardener.control.leases import Leadership
from auditsink.gardener.control_plane import ControlPlane, Reference, of_cluster
from auditsink.gardener.errors import ConfigurationError, ExtensionError
from auditsink.gardener.kube import CONFIG_MAP, SECRET, VALIDATING_WEBHOOK, Kind, Kube
from auditsink.gardener.metrics import ControllerMetrics
from auditsink.gardener.objects import Object, at, meta
from auditsink.gardener.serving_certificate import ServingCertificate, WebhookServer, register
from auditsink.gardener.sink import build
from auditsink.gardener.web import probes, serving, webhooks


def entry(shoot: Object, extension_type: str) -> Object | None:
    """The Shoot's entry for this extension; None: it has none, or has disabled it."""
    for one in at(shoot, "spec", "extensions") or []:
        if one.get("type") == extension_type:
            return None if one.get("disabled") else one
    return None


def place_of(shoot: Object) -> ControlPlane:
    """As the seed will see it, but that references are the originals: in a project there are no copies."""
    name = str(meta(shoot).get("name") or "shoot")
    seen = of_cluster({"metadata": {"name": name}, "spec": {"shoot": shoot}})
    own = {key: Reference(one.kind, one.original, one.original) for key, one in seen.resources.items()}
    return ControlPlane(
        namespace=str(meta(shoot).get("namespace", "")), cluster=name, resources=own, labels=seen.labels
    )


def decoded(shoot: Object, controller: ControllerConfig) -> ProviderConfig | None:
    """Its AuditConfig, if it has the extension and any destination. Raises ConfigurationError."""
    found = entry(shoot, controller.type)
    if found is None:
        return None
    config = decoding.provider_config(found.get("providerConfig"))
    return config if build.wanted(config, controller) else None


def mistake(
    config: ProviderConfig, place: ControlPlane, controller: ControllerConfig, fetched: Mapping[str, Object]
) -> str:
    """Why no sink can be made of it; "" when one can."""
    try:
        build.plan(config, place, controller, fetched)
    except ExtensionError as problem:
        return str(problem)
    return ""


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
            config = decoded(shoot, self.controller)
            if config is None:
                return ""
            place = place_of(shoot)
            fetched = await self._fetched(config, place, instead)
        except ExtensionError as problem:
            return str(problem)
        return mistake(config, place, self.controller, fetched)

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


@dataclass(frozen=True)
class AdmissionSettings:
    """What the command line says. `url`: where the garden's API reaches us; "" for our Service in the same cluster."""

    controller: ControllerConfig
    identity: str
    service: str
    namespace: str
    webhook_port: int = 10250
    health_port: int = 8081
    host: str = "0.0.0.0"  # noqa: S104 - a pod's Service leads here
    url: str = ""


async def run(settings: AdmissionSettings, garden: Kube, runtime: Kube) -> None:
    """Until it is cancelled. Every replica answers; one keeps the certificate and registers. Raises OSError."""
    name = f"gardener-{settings.controller.name}-admission"
    host = settings.url.partition("://")[2].partition(":")[0].partition("/")[0]
    certificate = ServingCertificate(runtime, settings.service, settings.namespace, (host,) if host else (), time.time)
    admission = ShootAdmission(garden, settings.controller)
    app = webhooks({webhook.SHOOTS: admission.shoot, webhook.SECRETS: admission.secret})
    server = WebhookServer(app, certificate, settings.host, settings.webhook_port)
    leadership = Leadership(
        runtime, f"{name}-leader-election", settings.namespace, settings.identity,
        clock=time.monotonic, wall=time.time, sleep=asyncio.sleep,
    )  # fmt: skip

    async def write(bundle: bytes) -> None:
        address = webhook.WebhookAddress(bundle, settings.service, settings.namespace, settings.url)
        wanted = webhook.of_shoots(name, settings.controller.type, address, {})
        await apply.ensure(garden, VALIDATING_WEBHOOK, wanted, ["webhooks"])

    probing = probes(ControllerMetrics().registry, lambda: server.shown.ready)
    async with serving(probing, settings.host, settings.health_port), asyncio.TaskGroup() as group:
        group.create_task(server.run())
        group.create_task(leadership.lead(lambda: register(certificate, server, write)))
