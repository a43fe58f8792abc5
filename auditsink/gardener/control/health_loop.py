"""Looks at every sink now and then, and writes what gardenlet should know into the conditions of its Extension."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from auditsink.gardener.api import decoding
from auditsink.gardener.control import health
from auditsink.gardener.control.apply import Clock, Sleep
from auditsink.gardener.control.drain import Sinks, sink_addresses
from auditsink.gardener.control.landscape import Landscape
from auditsink.gardener.control.operations import Mine
from auditsink.gardener.errors import ExtensionError
from auditsink.gardener.kube import EXTENSION, ConflictError, KubeError
from auditsink.gardener.objects import Object, at, meta
from auditsink.gardener.sink import build

logger = logging.getLogger(__name__)

AT_ONCE = 8
"""Extensions that are looked at together."""

Keys = Callable[[], Iterable[tuple[str, str]]]
"""Namespace and name of every Extension of ours."""


class HealthLoop:
    """One per controller."""

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
        if extension is None or not self._mine.has(extension) or not health.due(extension):
            return
        config = decoding.provider_config(at(extension, "spec", "providerConfig"))
        place = await self._landscape.place(namespace)
        if place is None or not build.wanted(config, self._landscape.controller):
            return
        answers: list[Any] = []
        if not place.hibernated:
            addresses = await sink_addresses(kube, namespace)
            answers = [await self._sinks.status(address) for address in addresses]
        conditions = health.merged(extension, health.judge(answers, hibernated=place.hibernated), self._clock())
        if conditions is not None:
            changes: Object = {
                "metadata": {"resourceVersion": meta(extension)["resourceVersion"]},
                "status": {"conditions": conditions},
            }
            await kube.patch(EXTENSION, name, changes, namespace, status=True)
