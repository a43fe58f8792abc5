"""Kubernetes Events of Extensions: what `kubectl describe` shows of failures, and of events that are left or lost.

One object for each Extension and sentence, with a count; the API removes it an hour after the last time. The same
sentence is written once a minute at most, so an operation that is tried again and again costs no more than that.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable

from auditsink.gardener.control.operations import timestamp
from auditsink.gardener.kube import EXTENSION, ConflictError, Kind, Kube, KubeError
from auditsink.gardener.objects import Object, meta

logger = logging.getLogger(__name__)

EVENT = Kind("", "v1", "Event", "events")
LONGEST = 1024
"""Characters of a message that the API takes."""
AGAIN_SECONDS = 60.0
REMEMBERED = 1000


class EventRecorder:
    """`component`: who says it. `clock` gives seconds since the epoch."""

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
