"""Writes objects into the seed, and only where that changes something."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from auditsink.gardener.errors import NotYetError
from auditsink.gardener.kube import MANAGED_RESOURCE, SECRET, ConflictError, Kind, Kube
from auditsink.gardener.objects import Object, at, meta
from auditsink.gardener.render.managed_resource import Managed

Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]
T = TypeVar("T")

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


@dataclass(frozen=True)
class Patience:
    """How long is waited for what others do: seconds, and what they are measured and slept by."""

    within: float
    clock: Clock
    sleep: Sleep

    async def until(self, done: Callable[[T], bool], look: Callable[[], Awaitable[T]]) -> T:
        """Look every `POLL_SECONDS` until it is done or the time is over; what was seen last."""
        end = self.clock() + self.within
        while not done(seen := await look()) and self.clock() < end:
            await self.sleep(POLL_SECONDS)
        return seen


async def healthy(kube: Kube, name: str, namespace: str, patience: Patience) -> None:
    """Wait until the resource manager says so. Raises NotYetError, which says what it waits for."""
    seen = await patience.until(lambda one: not unhealthy(one), lambda: kube.get(MANAGED_RESOURCE, name, namespace))
    if why := unhealthy(seen):
        raise NotYetError(f"ManagedResource {name}: {why}")


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


async def gone(kube: Kube, kind: Kind, name: str, namespace: str, patience: Patience) -> None:
    """Wait until it is. Raises NotYetError."""
    if await patience.until(lambda one: one is None, lambda: kube.get(kind, name, namespace)) is not None:
        raise NotYetError(f"{kind.kind} {namespace}/{name} is still there; see its finalizers and its status")


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
