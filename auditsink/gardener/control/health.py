"""Looks at every sink now and then, and writes what gardenlet should know into the conditions of its Extension.

`ControlPlaneHealthy`: the sinks take events. `ObservabilityComponentsHealthy`: destinations take them from the sinks.
What only a ManagedResource shows (pods that do not start) gardenlet sees by itself.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditsink.gardener.api import decoding
from auditsink.gardener.control.apply import Clock, Sleep
from auditsink.gardener.control.drain import Sinks, sink_addresses
from auditsink.gardener.control.landscape import Landscape
from auditsink.gardener.control.operations import Mine, timestamp
from auditsink.gardener.errors import ExtensionError
from auditsink.gardener.kube import EXTENSION, ConflictError, KubeError
from auditsink.gardener.objects import Object, at, meta
from auditsink.gardener.sink import build

CONTROL_PLANE = "ControlPlaneHealthy"
OBSERVABILITY = "ObservabilityComponentsHealthy"
OURS = (CONTROL_PLANE, OBSERVABILITY)
BEHIND_SECONDS = 300.0
"""A destination that is retried is in trouble when its oldest event is this old; before that it may be a hiccup."""
_STUCK = frozenset({"misconfigured", "stopped"})


@dataclass(frozen=True)
class Condition:
    """A condition of an Extension, as `status.conditions` has it."""

    type: str
    status: str
    reason: str
    message: str


def judge(answers: Sequence[Mapping[str, Any] | None], *, hibernated: bool) -> list[Condition]:
    """From each sink's `/status`; None for one that does not answer."""
    if hibernated:
        return [Condition(kind, "True", "HealthCheckSuccessful", "Shoot is hibernated") for kind in OURS]
    talking = [answer for answer in answers if answer is not None]
    return [_control_plane(len(answers), talking), _observability(talking)]


def due(extension: Object) -> bool:
    """None while it is created, migrated or deleted: then silence is no sign of anything."""
    last = at(extension, "status", "lastOperation") or {}
    busy = last.get("type") in ("Migrate", "Delete") or "deletionTimestamp" in meta(extension)
    return not busy and "observedGeneration" in (extension.get("status") or {})


def merged(extension: Object, found: Sequence[Condition], now: float) -> list[Object] | None:
    """All conditions of the Extension with ours as found; None when they are there already. Others' stay."""
    before = at(extension, "status", "conditions") or []
    known = {one.get("type"): one for one in before}
    time = timestamp(now)
    ours = []
    for one in found:
        old = known.get(one.type, {})
        if (old.get("status"), old.get("reason"), old.get("message")) == (one.status, one.reason, one.message):
            ours.append(old)
            continue
        turned = old.get("lastTransitionTime") if old.get("status") == one.status else None
        ours.append(
            {
                "type": one.type,
                "status": one.status,
                "reason": one.reason,
                "message": one.message,
                "lastTransitionTime": turned or time,
                "lastUpdateTime": time,
            }
        )
    whole = [one for one in before if one.get("type") not in {mine["type"] for mine in ours}] + ours
    return None if sorted(before, key=_type) == sorted(whole, key=_type) else whole


def _control_plane(wanted: int, talking: Sequence[Mapping[str, Any]]) -> Condition:
    if not talking:
        return _unwell(CONTROL_PLANE, f"none of {wanted} audit sinks answers: events wait in the API server")
    if len(talking) < wanted:
        return _unwell(CONTROL_PLANE, f"{wanted - len(talking)} of {wanted} audit sinks do not answer")
    return Condition(CONTROL_PLANE, "True", "HealthCheckSuccessful", f"{wanted} audit sinks take events")


def _observability(talking: Sequence[Mapping[str, Any]]) -> Condition:
    if not talking:
        why = "no audit sink answers, so nothing is known of its destinations"
        return Condition(OBSERVABILITY, "Unknown", "ConditionCheckError", why)
    troubles = sorted({_trouble(one) for status in talking for one in status.get("destinations") or []} - {""})
    if troubles:
        return _unwell(OBSERVABILITY, "; ".join(troubles))
    return Condition(OBSERVABILITY, "True", "HealthCheckSuccessful", "all audit destinations take events")


def _trouble(one: Mapping[str, Any]) -> str:
    """Without figures that change: each change is a write for every shoot."""
    name, state = one.get("name"), one.get("state")
    if state in _STUCK:
        return f"audit destination {name} is {state}: {one.get('last_error') or 'see the log of the sink'}"
    if state == "retrying" and float(one.get("lag_seconds") or 0) >= BEHIND_SECONDS:
        return f"audit destination {name} has not taken events for more than five minutes"
    return ""


def _unwell(kind: str, why: str) -> Condition:
    return Condition(kind, "False", "HealthCheckUnsuccessful", why)


def _type(condition: Object) -> str:
    return str(condition.get("type"))


logger = logging.getLogger(__name__)

AT_ONCE = 8
"""Extensions that are looked at together."""

Keys = Callable[[], Iterable[tuple[str, str]]]
"""Namespace and name of every Extension of ours."""


class HealthLoop:
    """Looks at all Extensions in turn; one for each controller."""

    def __init__(self, mine: Mine, landscape: Landscape, sinks: Sinks, clock: Clock) -> None:
        self._mine = mine
        self._landscape = landscape
        self._sinks = sinks
        self._clock = clock
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def run(self, keys: Keys, sleep: Sleep) -> None:
        """Until it is cancelled."""
        while True:
            await sleep(self._landscape.controller.health_seconds)
            async with asyncio.TaskGroup() as group:
                for namespace, name in keys():
                    group.create_task(self._guarded(namespace, name))

    async def _guarded(self, namespace: str, name: str) -> None:
        async with self._gate:
            try:
                await self.look(namespace, name)
            except ConflictError:
                pass  # somebody wrote meanwhile: next time
            except (KubeError, ExtensionError) as problem:
                logger.warning("health of %s/%s: %s", namespace, name, problem)

    async def look(self, namespace: str, name: str) -> None:
        """At one of them. Raises KubeError, ExtensionError."""
        kube = self._landscape.kube
        extension = await kube.get(EXTENSION, name, namespace)
        if extension is None or not self._mine.has(extension) or not due(extension):
            return
        config = decoding.provider_config(at(extension, "spec", "providerConfig"))
        place = await self._landscape.place(namespace)
        if place is None or not build.wanted(config, self._landscape.controller):
            return
        answers: list[Any] = []
        if not place.hibernated:
            addresses = await sink_addresses(kube, namespace)
            answers = [await self._sinks.status(address) for address in addresses]
        conditions = merged(extension, judge(answers, hibernated=place.hibernated), self._clock())
        if conditions is not None:
            changes: Object = {
                "metadata": {"resourceVersion": meta(extension)["resourceVersion"]},
                "status": {"conditions": conditions},
            }
            await kube.patch(EXTENSION, name, changes, namespace, status=True)
