"""Writes objects into the seed, and only where that changes something."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from auditsink.gardener.errors import NotYetError
from auditsink.gardener.kube import MANAGED_RESOURCE, SECRET, ConflictError, Kind, Kube
from auditsink.gardener.objects import Object, at, meta
from auditsink.gardener.render.managed_resource import Managed

Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]

POLL_SECONDS = 1.0
_HEALTHY = {"ResourcesApplied": "True", "ResourcesHealthy": "True", "ResourcesProgressing": "False"}
"""What the conditions of a ManagedResource say when all is there and nothing is being rolled out."""


async def ensure(kube: Kube, kind: Kind, wanted: Object, owned: Sequence[str]) -> bool:
    """Make it, or write its `owned` fields and our labels and annotations; True when something was written."""
    name, namespace = str(meta(wanted)["name"]), meta(wanted).get("namespace")
    there = await kube.get(kind, name, namespace)
    if there is None:
        await kube.create(kind, wanted)
        return True
    merged = _merged(there, wanted, owned)
    if merged == there:
        return False
    await kube.replace(kind, merged)
    return True


async def apply(kube: Kube, managed: Managed) -> bool:
    """The Secret first, so that the ManagedResource never refers to one that is not there."""
    wrote = False
    if await kube.get(SECRET, str(meta(managed.secret)["name"]), meta(managed.secret)["namespace"]) is None:
        try:
            await kube.create(SECRET, managed.secret)
            wrote = True
        except ConflictError:
            pass  # its name says its content
    return await ensure(kube, MANAGED_RESOURCE, managed.resource, ["spec"]) or wrote


async def healthy(kube: Kube, name: str, namespace: str, *, within: float, clock: Clock, sleep: Sleep) -> None:
    """Wait until the resource manager says so. Raises NotYetError, which says what it waits for."""
    until = clock() + within
    while why := unhealthy(await kube.get(MANAGED_RESOURCE, name, namespace)):
        if clock() >= until:
            raise NotYetError(f"ManagedResource {name}: {why}")
        await sleep(POLL_SECONDS)


def unhealthy(resource: Object | None) -> str:
    """Why it is not, in the resource manager's own words; "" when it is."""
    if resource is None:
        return "is not there"
    if at(resource, "status", "observedGeneration") != meta(resource).get("generation"):
        return "the resource manager has not looked at it yet; see whether gardener-resource-manager runs"
    conditions = {one.get("type"): one for one in at(resource, "status", "conditions") or []}
    for kind, wanted in _HEALTHY.items():
        condition = conditions.get(kind)
        if condition is None:
            return f"{kind} is not known yet"
        if condition.get("status") != wanted:
            return f"{kind} is {condition.get('status')}: {condition.get('message', '')}"
    return ""


async def gone(kube: Kube, kind: Kind, name: str, namespace: str, *, within: float, clock: Clock, sleep: Sleep) -> None:
    """Wait until it is. Raises NotYetError."""
    until = clock() + within
    while await kube.get(kind, name, namespace) is not None:
        if clock() >= until:
            raise NotYetError(f"{kind.kind} {namespace}/{name} is still there; see its finalizers and its status")
        await sleep(POLL_SECONDS)


def _merged(there: Object, wanted: Object, owned: Sequence[str]) -> Object:
    metadata = dict(meta(there))
    for key in ("labels", "annotations", "ownerReferences"):
        ours = meta(wanted).get(key)
        if isinstance(ours, Mapping):
            metadata[key] = {**_without_references(metadata.get(key) or {}), **ours}
        elif ours is not None:
            metadata[key] = ours
    return {**there, "metadata": metadata, **{key: wanted[key] for key in owned if key in wanted}}


def _without_references(annotations: Mapping[str, str]) -> dict[str, str]:
    """Without what named an earlier Secret for the garbage collector."""
    prefix = "reference.resources.gardener.cloud/"
    return {key: value for key, value in annotations.items() if not key.startswith(prefix)}
