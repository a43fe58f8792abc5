"""Takes an Extension through the operation that is due: status, finalizer and annotation in gardenlet's order.

| operation | steps |
| --- | --- |
| Create, Reconcile | annotation removed, finalizer, Processing, work, Succeeded |
| Restore | finalizer, Processing, work, Succeeded, annotation removed |
| Migrate | Processing, work, Succeeded, all finalizers removed, annotation removed |
| Delete | Processing, work, Succeeded, our finalizer removed |

What fails, and what was left, is said in an Event too.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from auditsink.gardener.control import operations
from auditsink.gardener.control.apply import Clock
from auditsink.gardener.control.landscape import Landscape
from auditsink.gardener.control.lifecycle import Outcome
from auditsink.gardener.control.operations import Mine, Operation, timestamp
from auditsink.gardener.errors import ExtensionError
from auditsink.gardener.kube import EXTENSION, ConflictError, Kind, Kube, KubeError
from auditsink.gardener.objects import Object, meta

EVENT = Kind("", "v1", "Event", "events")
LONGEST = 1024
"""Characters of a message that the API takes."""
AGAIN_SECONDS = 60.0
REMEMBERED = 1000


class EventRecorder:
    """Kubernetes Events of Extensions: what `kubectl describe` shows of failures, and of events that are left or lost.

    One object for each Extension and sentence, with a count; the API removes it an hour after the last time. The same
    sentence is written once a minute at most, so an operation that is tried again and again costs no more than that.
    `component`: who says it. `clock` gives seconds since the epoch.
    """

    def __init__(self, kube: Kube, component: str, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._component = component
        self._clock = clock
        self._written: OrderedDict[str, float] = OrderedDict()

    async def warn(self, extension: Object, reason: str, message: str) -> None:
        """Write it, or count it once more. An API that refuses it must not stop the operation: that is logged."""
        thing = self._event(extension, reason, message[:LONGEST])
        name, namespace = str(thing["metadata"]["name"]), str(thing["metadata"]["namespace"])
        now = self._clock()
        if now - self._written.get(name, float("-inf")) < AGAIN_SECONDS:
            return
        self._written[name] = now
        self._written.move_to_end(name)
        if len(self._written) > REMEMBERED:
            self._written.popitem(last=False)
        try:
            there = await self._kube.get(EVENT, name, namespace)
            if there is None:
                await self._kube.create(EVENT, thing)
            else:
                count = int(there.get("count") or 0) + 1
                await self._kube.patch(EVENT, name, {"count": count, "lastTimestamp": timestamp(now)}, namespace)
        except ConflictError:
            pass  # another replica has just said it
        except KubeError as problem:
            logger.warning("an Event cannot be written: %s", problem)

    def _event(self, extension: Object, reason: str, message: str) -> Object:
        metadata = meta(extension)
        name, namespace = str(metadata["name"]), str(metadata["namespace"])
        digest = hashlib.sha256(f"{metadata.get('uid', '')}\0{reason}\0{message}".encode()).hexdigest()[:16]
        now = timestamp(self._clock())
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{digest}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": EXTENSION.api_version,
                "kind": EXTENSION.kind,
                "name": name,
                "namespace": namespace,
                "uid": metadata.get("uid", ""),
            },
            "type": "Warning",
            "reason": reason,
            "message": message,
            "source": {"component": self._component},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }


logger = logging.getLogger(__name__)

Count = Callable[[Operation, bool, float], None]
"""Told after each operation: whether it succeeded, and the seconds that it took."""


class Work(Protocol):
    """What is done for an operation."""

    async def run(self, operation: Operation, extension: Object, /) -> Outcome:
        """Do it. Raises ExtensionError, KubeError."""


class Reconciler:
    """One per controller; called for one key at a time each."""

    def __init__(self, mine: Mine, landscape: Landscape, work: Work, clock: Clock, count: Count) -> None:
        self._mine = mine
        self._landscape = landscape
        self._kube = landscape.kube
        self._work = work
        self._clock = clock
        self._count = count
        self._recorder = EventRecorder(landscape.kube, f"extension-{mine.type}", clock)

    async def __call__(self, key: str) -> bool:
        """Do what is due for `namespace/name`; False: it failed, and is to be tried again."""
        namespace, _, name = key.partition("/")
        try:
            extension = await self._kube.get(EXTENSION, name, namespace)
            if extension is None:
                return True
            operation = operations.due(extension, self._mine)
            if operation is None or await self._rests(operation, namespace):
                return True
            return await self._do(operation, extension)
        except KubeError as problem:
            logger.warning("extension %s: %s", key, problem)
            return False

    async def _rests(self, operation: Operation, namespace: str) -> bool:
        """Gardenlet has given up on this shoot until somebody changes it; then it starts anew."""
        if operation in (Operation.DELETE, Operation.MIGRATE, Operation.RESTORE):
            return False
        try:
            place = await self._landscape.place(namespace)
        except ExtensionError:
            return False  # the operation says so in the status
        return place is not None and place.failed

    async def _do(self, operation: Operation, extension: Object) -> bool:
        if operation in (Operation.CREATE, Operation.RECONCILE):
            extension = await self._without_annotation(extension)
        if operation not in (Operation.MIGRATE, Operation.DELETE):
            extension = await self._with_finalizer(extension)
        await self._status(extension, operations.processing(operation, self._clock()))
        started = self._clock()
        try:
            outcome = await self._work.run(operation, extension)
        except (ExtensionError, KubeError) as problem:
            codes = problem.codes if isinstance(problem, ExtensionError) else ()
            await self._status(extension, operations.failed(operation, extension, str(problem), codes, self._clock()))
            logger.warning("extension %s: %s: %s", _key(extension), operation.value, problem)
            await self._recorder.warn(extension, f"{operation.value}Failed", str(problem))
            self._count(operation, False, self._clock() - started)
            return False
        except Exception as bug:
            why = f"unexpected: {type(bug).__name__}; please report it, with the controller's log"
            await self._status(extension, operations.failed(operation, extension, why, (), self._clock()))
            logger.exception("extension %s: %s", _key(extension), operation.value)
            self._count(operation, False, self._clock() - started)
            return False
        done = operations.succeeded(operation, extension, outcome.said, self._clock())
        if outcome.resources is not None:
            done["resources"] = outcome.resources
        await self._status(extension, done)
        await self._afterwards(operation, extension)
        level = logging.WARNING if str(outcome.left) else logging.INFO
        if str(outcome.left):
            await self._recorder.warn(extension, "AuditEventsLeft", outcome.said)
        logger.log(level, "extension %s: %s: %s", _key(extension), operation.value, outcome.said)
        self._count(operation, True, self._clock() - started)
        return True

    async def _afterwards(self, operation: Operation, extension: Object) -> None:
        if operation is Operation.MIGRATE:
            await self._finalizers(extension, lambda _there: [])
            await self._without_annotation(extension)
        elif operation is Operation.DELETE:
            await self._finalizers(extension, lambda there: [one for one in there if one != self._mine.finalizer])
        elif operation is Operation.RESTORE:
            await self._without_annotation(extension)

    async def _with_finalizer(self, extension: Object) -> Object:
        if self._mine.finalizer in (meta(extension).get("finalizers") or []):
            return extension
        return await self._finalizers(extension, lambda there: [*there, self._mine.finalizer])

    async def _finalizers(self, extension: Object, change: Callable[[list[str]], list[str]]) -> Object:
        """With the version that was read: another's finalizer, added meanwhile, must not get lost."""
        name, namespace = str(meta(extension)["name"]), str(meta(extension)["namespace"])
        there = await self._kube.get(EXTENSION, name, namespace)
        if there is None:
            return extension
        before = meta(there).get("finalizers") or []
        wanted = change(before)
        if wanted == before:
            return there
        version = meta(there)["resourceVersion"]
        return await self._patch(there, {"metadata": {"finalizers": wanted or None, "resourceVersion": version}})

    async def _without_annotation(self, extension: Object) -> Object:
        if operations.OPERATION not in (meta(extension).get("annotations") or {}):
            return extension
        return await self._patch(extension, {"metadata": {"annotations": {operations.OPERATION: None}}})

    async def _status(self, extension: Object, status: Object) -> None:
        await self._patch(extension, {"status": status}, status=True)

    async def _patch(self, extension: Object, changes: Object, *, status: bool = False) -> Object:
        name, namespace = str(meta(extension)["name"]), str(meta(extension)["namespace"])
        return await self._kube.patch(EXTENSION, name, changes, namespace, status=status) or extension


def _key(extension: Object) -> str:
    return f"{meta(extension)['namespace']}/{meta(extension)['name']}"
