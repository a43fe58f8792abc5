"""Puts one sink into the seed as its plan says, in an order that an API server can follow, and takes it away again.

Volumes that are there already grow when more is asked for, and no ring outgrows them. A StatefulSet's template for
volumes cannot be changed, and Gardener's resource manager leaves it as it was made; so each volume is asked to grow,
those of later replicas too.
"""

import logging
from dataclasses import dataclass
from decimal import Decimal

from lightkube.utils.quantity import parse_quantity

from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.apiserver import kubeconfig
from auditsink.gardener.certificates.decide import Made
from auditsink.gardener.control import apply, certificates
from auditsink.gardener.control.apply import Clock, Patience, Sleep
from auditsink.gardener.control.certificates import CertificateStore, Issue
from auditsink.gardener.control_plane import ControlPlane
from auditsink.gardener.kube import MANAGED_RESOURCE, SECRET, VOLUME_CLAIM, Kube, KubeError
from auditsink.gardener.objects import Object, at, data, encoded, meta
from auditsink.gardener.render import everything, forwarding, managed_resource, names
from auditsink.gardener.render.monitoring import Monitoring
from auditsink.gardener.render.workload import CertificateNames
from auditsink.gardener.sink.plan import Plan

logger = logging.getLogger(__name__)


async def grown(kube: Kube, namespace: str, wanted: str) -> str:
    """Ask for more where a volume is smaller than `wanted`. The size that every volume has: what a ring may count on.

    A storage class that does not grow volumes refuses; then the ring stays as it is.
    """
    smallest = wanted
    for claim in (await kube.list(VOLUME_CLAIM, namespace, names.selector()))[0]:
        asked = str(at(claim, "spec", "resources", "requests", "storage") or wanted)
        if _bytes(asked) < _bytes(wanted):
            await _grow(kube, claim, wanted)
        has = str(at(claim, "status", "capacity", "storage") or asked)
        smallest = min(smallest, has, key=_bytes)
    return smallest


async def _grow(kube: Kube, claim: Object, wanted: str) -> None:
    name, namespace = str(meta(claim)["name"]), str(meta(claim)["namespace"])
    changes = {"spec": {"resources": {"requests": {"storage": wanted}}}}
    try:
        await kube.patch(VOLUME_CLAIM, name, changes, namespace)
    except KubeError as problem:
        logger.warning("volume %s/%s cannot grow to %s: %s", namespace, name, wanted, problem)


def _bytes(quantity: str) -> Decimal:
    """What is no quantity is checked elsewhere."""
    try:
        return parse_quantity(quantity) or Decimal(0)
    except ValueError:
        return Decimal(0)


METAL_PODS = {"app": "audit-webhook-backend"}
"""The labels of metal-stack's sinks, and so of their volumes."""


@dataclass(frozen=True)
class Tools:
    """What the steps are done with; `clock` is in seconds since 1970."""

    kube: Kube
    controller: ControllerConfig
    monitoring: Monitoring
    clock: Clock
    sleep: Sleep
    make: Issue

    def store(self, namespace: str) -> CertificateStore:
        """The certificates there. The identity is metal-stack's for the same type, so that `cleanup` finds its too."""
        return CertificateStore(self.kube, namespace, self.controller.type, self.make)

    @property
    def patience(self) -> Patience:
        """How long one step waits."""
        return Patience(self.controller.healthy_within_seconds, self.clock, self.sleep)


async def deploy(tools: Tools, plan: Plan) -> Made:
    """Objects, wait, then the kubeconfig: the sinks know an API server's new certificate before it has it."""
    place, kube = plan.place, tools.kube
    leaves = certificates.leaves(place.namespace, forwarding=plan.forwarding)
    store = tools.store(place.namespace)
    made = await store.ensure(certificates.AUTHORITY, leaves, place.rotation, tools.clock())
    if plan.forwarding:
        await apply.ensure(kube, SECRET, forwarding.access_secret(place), [])
    mounted = CertificateNames(
        server=certificates.name(made, certificates.SERVER),
        bundle=str(meta(made.bundle)["name"]),
        forwarding=certificates.name(made, certificates.TAILER_CLIENT),
    )
    in_seed = everything.in_seed(plan, mounted, tools.monitoring, tools.controller.gateway_image)
    await apply.apply(kube, managed_resource.seed(tools.controller.name, place.namespace, in_seed))
    await _in_shoot(tools, plan, made)
    await apply.healthy(kube, tools.controller.name, place.namespace, tools.patience)
    client = made.leaves[certificates.CLIENT]
    wanted = kubeconfig.secret(
        place.namespace, data(made.bundle, "bundle.crt"), data(client, "tls.crt"), data(client, "tls.key")
    )
    await apply.ensure(kube, SECRET, wanted, ["data"])
    return made


async def _in_shoot(tools: Tools, plan: Plan, made: Made) -> None:
    """Not waited for: the shoot's API comes later than we do."""
    name = f"{tools.controller.name}-shoot"
    if plan.forwarding:
        server = made.leaves[certificates.TAILER_SERVER]
        content = {key: data(server, key) for key in ("tls.crt", "tls.key")}
        content["ca.crt"] = data(made.bundle, "bundle.crt")
        objects = everything.in_shoot(plan, tools.controller.tailer_image, encoded(content))
        await apply.apply(tools.kube, managed_resource.shoot(name, plan.place.namespace, objects))
    elif plan.place.extension_class == "shoot":
        await _delete_managed(tools, name, plan.place.namespace)


async def remove(tools: Tools, place: ControlPlane, *, wait: bool, keep_persisted: bool, shoot_api: bool) -> None:
    """Everything that `deploy` and metal-stack's extension made. Without the shoot's API its objects are left there."""
    namespace, kube = place.namespace, tools.kube
    shoot, seed = f"{tools.controller.name}-shoot", tools.controller.name
    if not shoot_api and await kube.get(MANAGED_RESOURCE, shoot, namespace):
        await kube.patch(MANAGED_RESOURCE, shoot, {"spec": {"keepObjects": True}}, namespace)
    for name in (shoot, seed):
        await _delete_managed(tools, name, namespace)
    if wait:
        for name in (shoot, seed):
            await apply.gone(kube, MANAGED_RESOURCE, name, namespace, tools.patience)
    for labels in (names.selector(), METAL_PODS):
        await kube.delete_all(VOLUME_CLAIM, namespace, labels)
    for name in (names.KUBECONFIG, forwarding.ACCESS_SECRET):
        await kube.delete(SECRET, name, namespace)
    await tools.store(namespace).cleanup((), keep_persisted=keep_persisted)


async def _delete_managed(tools: Tools, name: str, namespace: str) -> None:
    there = await tools.kube.get(MANAGED_RESOURCE, name, namespace)
    if there is not None and "deletionTimestamp" not in meta(there):
        await tools.kube.delete(MANAGED_RESOURCE, name, namespace)


async def deployed(tools: Tools, namespace: str) -> bool:
    """Whether there is anything of ours, or of metal-stack's extension."""
    return await tools.kube.get(MANAGED_RESOURCE, tools.controller.name, namespace) is not None


async def has_volumes(tools: Tools, namespace: str) -> bool:
    """Whether there is a ring at all."""
    return bool((await tools.kube.list(VOLUME_CLAIM, namespace, names.selector()))[0])
