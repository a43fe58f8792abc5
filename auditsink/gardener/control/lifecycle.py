"""The work of each operation, from the Extension to a sentence about what is there now, or what was left behind.

Before a migration and after it Jobs carry the backlog of stopped sinks into a bucket and out of it. In a garden
gardener-operator has the Deployments of the two API servers, so they are touched for the webhook to act. An Extension
that goes from a living shoot takes its flags along first: gardenlet deletes it after it has written the API server.
"""

from dataclasses import dataclass, field, replace
from functools import partial

from auditsink.gardener.api import decoding
from auditsink.gardener.apiserver import deployment as mutation
from auditsink.gardener.apiserver.deployment import DIGEST
from auditsink.gardener.control import apply, deploy
from auditsink.gardener.control.deploy import Tools, grown
from auditsink.gardener.control.drain import Backlog, Sinks, backlog
from auditsink.gardener.control.landscape import Landscape, listed
from auditsink.gardener.control.operations import Operation
from auditsink.gardener.control_plane import ControlPlane
from auditsink.gardener.errors import ExtensionError, NotYetError
from auditsink.gardener.kube import CONFIG_MAP, DEPLOYMENT, EXTENSION, JOB, STATEFUL_SET, VOLUME_CLAIM, Kube, KubeError
from auditsink.gardener.objects import Object, annotation, at, meta
from auditsink.gardener.render import evacuation, everything, names
from auditsink.gardener.render.evacuation import Action
from auditsink.gardener.render.workload import CertificateNames
from auditsink.gardener.sink import build
from auditsink.gardener.sink.plan import Plan

DEPLOYMENTS = ("gardener-apiserver", "virtual-garden-kube-apiserver")
SHOOT_API_SERVER = "kube-apiserver"


async def _touch_garden(kube: Kube, namespace: str) -> None:
    """An empty patch: an update for the webhook, and no change of its own."""
    for name in DEPLOYMENTS:
        if await _there(kube, name, namespace):
            await kube.patch(DEPLOYMENT, name, {}, namespace)


async def _strip(kube: Kube, namespace: str, *servers: str) -> None:
    """Take our flags out again, before what they point to goes. Raises ConflictError where somebody wrote meanwhile."""
    for name in servers:
        there = await _there(kube, name, namespace)
        if there is not None and annotation(there, mutation.DIGEST) is not None:
            stripped = mutation.stripped(there)
            changes = {
                "metadata": {
                    "annotations": {mutation.DIGEST: None},
                    "resourceVersion": meta(there).get("resourceVersion"),
                },
                "spec": {"template": _patch(stripped["spec"]["template"])},
            }
            await kube.patch(DEPLOYMENT, name, changes, namespace)


async def _unhook(tools: Tools, namespace: str) -> None:
    """No API server of the shoot posts to the sink any more when this returns. Raises NotYetError, ConflictError."""
    await _strip(tools.kube, namespace, SHOOT_API_SERVER)
    if not _rolled(await tools.patience.until(_rolled, lambda: _there(tools.kube, SHOOT_API_SERVER, namespace))):
        why = "its pods with our flags do not end, and in a blocking mode they would refuse all without a sink"
        raise NotYetError(f"Deployment {namespace}/{SHOOT_API_SERVER}: {why}")


def _rolled(deployment: Object | None) -> bool:
    """Whether all pods that there are are of the Deployment's present template."""
    if deployment is None:
        return True
    status = deployment.get("status") or {}
    current = int(status.get("observedGeneration") or 0) >= int(meta(deployment).get("generation") or 0)
    return current and int(status.get("replicas") or 0) == int(status.get("updatedReplicas") or 0)


async def _there(kube: Kube, name: str, namespace: str) -> Object | None:
    found = await kube.get(DEPLOYMENT, name, namespace)
    return found if found is not None and "deletionTimestamp" not in meta(found) else None


def _patch(template: Object) -> Object:
    """A merge patch leaves what it does not name, so the annotation that goes is named."""
    annotations = {**(meta(template).get("annotations") or {}), mutation.DIGEST: None}
    return {**template, "metadata": {**meta(template), "annotations": annotations}}


async def _stopped(tools: Tools, namespace: str) -> None:
    """Wait until no sink runs: its last segment is sealed when it ends. Raises NotYetError."""
    look = partial(tools.kube.get, STATEFUL_SET, names.SINK, namespace)
    if not _idle(await tools.patience.until(_idle, look)):
        raise NotYetError(f"StatefulSet {namespace}/{names.SINK}: its pods do not end")


def _idle(stateful_set: Object | None) -> bool:
    """Whether it has no pod."""
    return not at(stateful_set, "status", "replicas")


async def _carry(tools: Tools, plan: Plan, action: Action) -> None:
    """On each volume; made first where it is not there. Raises NotYetError for a Job that fails or does not end."""
    namespace = plan.place.namespace
    config_map = everything.config_map(plan)
    await apply.ensure(tools.kube, CONFIG_MAP, config_map, [])
    if action == "take-up":
        for claim in evacuation.claims(plan):
            await apply.ensure(tools.kube, VOLUME_CLAIM, claim, [])
    claims = (await tools.kube.list(VOLUME_CLAIM, namespace, names.selector()))[0]
    jobs = [
        evacuation.job(plan, action, str(meta(one)["name"]), str(meta(config_map)["name"]), CertificateNames("", ""))
        for one in claims
    ]
    for job in jobs:
        await apply.ensure(tools.kube, JOB, job, [])
    for job in jobs:
        await _ended(tools, str(meta(job)["name"]), namespace)
    for job in jobs:
        await tools.kube.delete(JOB, str(meta(job)["name"]), namespace)


async def _ended(tools: Tools, name: str, namespace: str) -> None:
    look = partial(tools.kube.get, JOB, name, namespace)
    job = await tools.patience.until(lambda one: _is(one, "Complete") or _is(one, "Failed"), look)
    if _is(job, "Failed"):
        await tools.kube.delete(JOB, name, namespace)  # the next attempt makes another
        raise NotYetError(f"Job {namespace}/{name} failed; see the log of its pods")
    if not _is(job, "Complete"):
        raise NotYetError(f"Job {namespace}/{name} does not end; see its pods")


def _is(job: Object | None, kind: str) -> bool:
    conditions = at(job, "status", "conditions") or []
    return any(condition.get("type") == kind and condition.get("status") == "True" for condition in conditions)


LEFT = "auditsink.extensions.gardener.cloud/hibernated-with"
"""On an Extension whose sinks were stopped before they had delivered everything: how many events lie on the volumes."""
NOTHING = "No destination is configured: nothing is audited"


@dataclass(frozen=True)
class Outcome:
    """What was done, for `status.lastOperation.description`, and what is left of events, if any."""

    said: str
    left: Backlog = field(default_factory=Backlog)
    resources: list[Object] | None = None


@dataclass(frozen=True)
class Lifecycle:
    """What each operation does with the sinks of a control plane; one for each controller."""

    tools: Tools
    landscape: Landscape
    sinks: Sinks

    async def run(self, operation: Operation, extension: Object) -> Outcome:
        """Do it. Raises ExtensionError, KubeError."""
        namespace = str(meta(extension)["namespace"])
        place = await self.landscape.place(namespace)
        if operation is Operation.DELETE:
            if place is not None and place.forced:
                return await self._force_delete(place)
            return await self._take_away(extension, place or ControlPlane(namespace), migrate=False)
        if place is None:
            raise NotYetError(f"there is no Cluster {namespace} yet; gardenlet writes it")
        if operation is Operation.MIGRATE:
            return await self._take_away(extension, place, migrate=True)
        return await self._reconcile(extension, place, restore=operation is Operation.RESTORE)

    async def _reconcile(self, extension: Object, place: ControlPlane, *, restore: bool) -> Outcome:
        plan = await self._plan(extension, place)
        if plan is None:
            if await self._posts(place):
                return Outcome(
                    f"{NOTHING}. The sinks go with the next reconcile, when no API server posts", resources=[]
                )
            if await deploy.deployed(self.tools, place.namespace):
                outcome = await self._take_away(extension, place, migrate=False)
                return replace(outcome, said=f"{NOTHING}. {outcome.said}", resources=[])
            return Outcome(NOTHING, resources=[])
        if restore and plan.evacuation is not None:
            await _carry(self.tools, plan, "take-up")
        left = await self._before_sleep(extension, place, plan)
        made = await deploy.deploy(self.tools, plan)
        if place.extension_class == "garden":
            await _touch_garden(self.tools.kube, place.namespace)
        await self.tools.store(place.namespace).cleanup(made.used)
        await self._note(extension, left)
        config = decoding.provider_config(at(extension, "spec", "providerConfig"))
        resources = listed(config, place, self.tools.controller)
        lies = f"; {left} and wait on the volumes" if not left.empty else ""
        if place.hibernated:
            return Outcome(f"The sinks sleep{lies}", left, resources)
        destinations = ", ".join(str(one.get("name")) for one in plan.document["destinations"])
        count = "1 sink delivers" if plan.replicas == 1 else f"{plan.replicas} sinks deliver"
        return Outcome(f"{count} to {destinations}{lies}", left, resources)

    async def _plan(self, extension: Object, place: ControlPlane) -> Plan | None:
        config = decoding.provider_config(at(extension, "spec", "providerConfig"))
        if not build.wanted(config, self.tools.controller):
            return None
        fetched = await self.landscape.fetched(config, place)
        volume = await grown(self.tools.kube, place.namespace, str(config.persistence.size))
        return build.plan(config, place, self.tools.controller, fetched, volume)

    async def _posts(self, place: ControlPlane) -> bool:
        """Whether the shoot's API server has our flags still. In a blocking mode it would refuse all without a sink."""
        if place.extension_class == "garden" or place.hibernated or place.deleted:
            return False
        deployment = await self.tools.kube.get(DEPLOYMENT, SHOOT_API_SERVER, place.namespace)
        return deployment is not None and annotation(deployment, DIGEST) is not None

    async def _before_sleep(self, extension: Object, place: ControlPlane, plan: Plan) -> Backlog:
        """A sink that is about to stop, and keeps its volume, delivers first, as far as the time goes."""
        there = await self.tools.kube.get(STATEFUL_SET, names.SINK, place.namespace)
        shrinks = plan.replicas < int(at(there or {}, "spec", "replicas") or 0)
        if not place.hibernated and not shrinks:
            return Backlog()
        left = await self._drain(place, self.tools.controller.drain_seconds.hibernate)
        noted = annotation(extension, LEFT)
        if not left.sinks and noted:  # asleep already
            return Backlog(pending={"its destinations": int(noted)} if noted.isdigit() else {})
        return left

    async def _note(self, extension: Object, left: Backlog) -> None:
        count = sum(left.pending.values())
        wanted = str(count) if count or left.silent else None
        if annotation(extension, LEFT) != wanted:
            name, namespace = str(meta(extension)["name"]), str(meta(extension)["namespace"])
            await self.tools.kube.patch(EXTENSION, name, {"metadata": {"annotations": {LEFT: wanted}}}, namespace)

    async def _take_away(self, extension: Object, place: ControlPlane, *, migrate: bool) -> Outcome:
        """Deliver what is left, then remove everything. What cannot be delivered is lost with the volumes, and said."""
        seconds = self.tools.controller.drain_seconds
        if not migrate and await self._posts(place):
            await _unhook(self.tools, place.namespace)
        if annotation(extension, LEFT) is not None:
            await self._wake(extension, place)
        left = await self._drain(place, seconds.migrate if migrate else seconds.delete)
        saved = migrate and not left.empty and await self._evacuated(extension, place)
        if place.extension_class == "garden":
            await _strip(self.tools.kube, place.namespace, *DEPLOYMENTS)
        gone = migrate or place.deleted
        await deploy.remove(self.tools, place, wait=True, keep_persisted=migrate, shoot_api=not gone)
        what = "Migrated" if migrate else "Deleted"
        if saved:
            return Outcome(f"{what}; {left} and lie in the bucket of `evacuation` for the new seed", left)
        return Outcome(f"{what}; lost with the volumes: {left}" if str(left) else f"{what}; nothing was left", left)

    async def _evacuated(self, extension: Object, place: ControlPlane) -> bool:
        """Whether a bucket is named, and has the backlog now. Raises NotYetError: a migration is tried again."""
        plan = await self._plan(extension, replace(place, hibernated=True))
        if plan is None or plan.evacuation is None:
            return False
        await deploy.deploy(self.tools, plan)
        await _stopped(self.tools, place.namespace)
        await _carry(self.tools, plan, "evacuate")
        return True

    async def _wake(self, extension: Object, place: ControlPlane) -> None:
        """Sinks that sleep on a backlog have to run once more to deliver it; if they cannot, the removal goes on."""
        try:
            plan = await self._plan(extension, replace(place, hibernated=False))
            if plan is not None and await deploy.has_volumes(self.tools, place.namespace):
                await deploy.deploy(self.tools, plan)
        except ExtensionError:
            pass  # `_drain` says what was left

    async def _drain(self, place: ControlPlane, within: float) -> Backlog:
        """Wait until the sinks hold nothing, at most `within` seconds; what they hold then."""
        look = partial(backlog, self.tools.kube, self.sinks, place.namespace)
        return await replace(self.tools.patience, within=within).until(lambda left: left.empty, look)

    async def _force_delete(self, place: ControlPlane) -> Outcome:
        """Nothing is waited for and nothing stops it: gardenlet finishes what is left of ManagedResources."""
        left = Backlog()
        try:
            left = await backlog(self.tools.kube, self.sinks, place.namespace)
            await deploy.remove(self.tools, place, wait=False, keep_persisted=False, shoot_api=False)
        except KubeError as problem:
            return Outcome(f"Deleted by force, but not everything: {problem}", left)
        return Outcome(f"Deleted by force; lost with the volumes: {left}" if str(left) else "Deleted by force", left)
