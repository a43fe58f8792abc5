"""A shoot's API server, the sink that it writes to and the HEC behind it: what the one logged the other must get."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import kubernetes
from gardener_pod import Pod, api_server_deployment, api_server_flags
from gardener_seed import NAMESPACE, Seed
from kubernetes import Kubernetes
from running import PATIENCE
from test_real_apiserver import POLICY, busy, counted, events

from auditsink.testing.hec import HecServer

RETRIES = 3 * PATIENCE
"""Seconds. A batch that met a sink which was just restarted comes again after ten of them, and more each time."""


class Chain:
    """A shoot's API server with the flags of the mutated Deployment, a sink as the StatefulSet says, a HEC.

    `strict`: the API server asks the sink before it acts, refuses what it could not ask about, and gives up each event
    after some seconds; it logs those too, and counts them.
    """

    def __init__(self, it: Seed, place: Path, pod: Pod, hec: HecServer, *, strict: bool = False) -> None:
        self.it = it
        self.place = place
        self.pod = pod
        self.hec = hec
        self.strict = strict
        self.given_up = 0
        self.logged: Counter[str] = Counter()
        self.earlier = 0

    async def serve(self, name: str, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
        """One life of the API server, with load: what it logged has to be at the HEC in the end."""
        await self.it.cluster.kubectl("delete", "deployment", "kube-apiserver", "-n", NAMESPACE, "--ignore-not-found")
        await self.it.apply(api_server_deployment())
        place = self.place / name
        place.mkdir()
        flags = await api_server_flags(self.it, place, self.pod.port)
        async with kubernetes.cluster(place, "http://127.0.0.1:9/", POLICY, flags) as shoot:
            work = asyncio.create_task(self._busy(shoot, name))
            if meanwhile is not None:
                await meanwhile()
            await work
            await self._taken(shoot)
            self.logged.update(identities(events(shoot.audit_log)))

    async def _busy(self, shoot: Kubernetes, name: str) -> None:
        for number in range(5):
            try:
                return await busy(shoot, f"{name}-{number}")
            except AssertionError:
                if not self.strict or number == 4:
                    raise
        return None

    async def _taken(self, shoot: Kubernetes) -> None:
        """Until the sink has answered for everything that the API server logged and did not give up."""
        before = self.given_up
        async with asyncio.timeout(RETRIES):
            while True:
                if self.strict:
                    self.given_up = before + errors(await shoot.kubectl("get", "--raw", "/metrics"))
                logged = sum(self.logged.values()) + counted(shoot.audit_log).total()
                if await self._accepted() >= logged - self.given_up:
                    return
                await asyncio.sleep(0.5)

    async def _accepted(self) -> int:
        """By all sinks that this chain has had: a volume keeps its sink's count."""
        accepted: int = (await self._status())["accepted_events"]
        return accepted + self.earlier

    async def end(self) -> None:
        """The sink's. The next one goes on with the count that it finds on the volume."""
        await self.pod.stop()

    async def _status(self) -> Any:
        assert self.pod.sink is not None
        return await self.pod.sink.status()

    def missing(self) -> Counter[str]:
        """Of what API servers logged, what the HEC has not got."""
        return self.logged - Counter(identities(json.loads(bytes(one.event)) for one in self.hec.events))


def errors(metrics: str) -> int:
    """Events that the API server could not post, by its own count."""
    found = re.findall(r'^apiserver_audit_error_total{plugin="webhook"} (\S+)$', metrics, re.MULTILINE)
    return int(sum(map(float, found)))


def identities(found: Any) -> list[str]:
    return [f"{event['auditID']}/{event['stage']}" for event in found]
