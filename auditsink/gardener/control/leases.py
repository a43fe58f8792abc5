"""Two Leases: one tells gardenlet that this controller lives, the other lets one replica of it do the work."""

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import Awaitable, Callable

from auditsink.gardener.control.apply import Clock, Sleep
from auditsink.gardener.kube import LEASE, ConflictError, Kube, KubeError
from auditsink.gardener.objects import Object, at, meta

logger = logging.getLogger(__name__)

HEARTBEAT = "gardener-extension-heartbeat"
HEARTBEAT_SECONDS = 30
LEADER_SECONDS = 15
"""After so long without a renewal another replica takes over ..."""
RENEW_SECONDS = 10.0
"""... so who has not renewed for this long ends itself before that ..."""
RETRY_SECONDS = 2.0
"""... and tries that often."""
RELEASE_SECONDS = 5.0
"""For telling the others that they may begin at once."""


class LostLeadershipError(Exception):
    """Another replica may be at work now: this one has to end."""


async def heartbeat(kube: Kube, namespace: str, holder: str, clock: Clock, sleep: Sleep) -> None:
    """Renew it until it is cancelled. gardenlet takes what we report for outdated when it is not renewed."""
    while True:
        try:
            there = await kube.get(LEASE, HEARTBEAT, namespace)
            spec = {"holderIdentity": holder, "leaseDurationSeconds": HEARTBEAT_SECONDS, "renewTime": _time(clock())}
            await _write(kube, HEARTBEAT, namespace, there, spec)
        except KubeError as problem:
            logger.warning("heartbeat: %s", problem)
        await sleep(HEARTBEAT_SECONDS)


class Leadership:
    """Of one name. `identity` is this replica's. `clock` measures, and never jumps; `wall` is what others read."""

    def __init__(
        self, kube: Kube, name: str, namespace: str, identity: str, *, clock: Clock, wall: Clock, sleep: Sleep
    ) -> None:
        self._kube = kube
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._observed: tuple[str, float] = ("", 0.0)

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait until it is ours, then work for as long as it is. Raises LostLeadershipError in a group."""
        await self.acquire()
        logger.info("leading", extra={"lease": self._name, "identity": self._identity})
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.hold())
                await work()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_SECONDS):
                    await self.release()

    async def acquire(self) -> None:
        """Wait until it is ours."""
        while not await self._tried():
            await self._sleep(RETRY_SECONDS)

    async def hold(self) -> None:
        """Renew it until it is cancelled. Raises LostLeadershipError."""
        renewed = self._clock()
        while True:
            await self._sleep(RETRY_SECONDS)
            if await self._tried():
                renewed = self._clock()
            elif self._clock() - renewed >= RENEW_SECONDS:
                raise LostLeadershipError(f"the lease {self._namespace}/{self._name} could not be renewed")

    async def release(self) -> None:
        """Let another replica begin at once."""
        try:
            there = await self._kube.get(LEASE, self._name, self._namespace)
            if there is not None and at(there, "spec", "holderIdentity") == self._identity:
                spec = {**there["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await _write(self._kube, self._name, self._namespace, there, spec)
        except KubeError:
            pass  # it runs out

    async def _tried(self) -> bool:
        try:
            there = await self._kube.get(LEASE, self._name, self._namespace)
            spec = (there or {}).get("spec") or {}
            if not self._free(there, spec):
                return False
            mine = spec.get("holderIdentity") == self._identity
            now = _time(self._wall())
            wanted = {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": LEADER_SECONDS,
                "acquireTime": spec.get("acquireTime", now) if mine else now,
                "renewTime": now,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if mine or there is None else 1),
            }
            await _write(self._kube, self._name, self._namespace, there, wanted)
        except ConflictError:
            return False
        except KubeError as problem:
            logger.warning("leader election: %s", problem)
            return False
        return True

    def _free(self, there: Object | None, spec: Object) -> bool:
        """By our own clock since the last change that we saw: clocks of machines differ."""
        if there is None or spec.get("holderIdentity") in (None, "", self._identity):
            return True
        version = str(meta(there).get("resourceVersion"))
        if version != self._observed[0]:
            self._observed = (version, self._clock())
        return self._clock() - self._observed[1] >= float(spec.get("leaseDurationSeconds") or LEADER_SECONDS)


async def _write(kube: Kube, name: str, namespace: str, there: Object | None, spec: Object) -> None:
    if there is None:
        metadata = {"name": name, "namespace": namespace}
        await kube.create(LEASE, {"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": metadata, "spec": spec})
    else:
        await kube.replace(LEASE, {**there, "spec": spec})


def _time(now: float) -> str:
    """The time in the form of Kubernetes' MicroTime."""
    return dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
