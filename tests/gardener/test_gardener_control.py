"""Which operation is due and when, the queue, leases, health: what turns changes into work, and work into words."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from gardenerkit import KEY, NAMESPACE, NOW, OPERATION, SPLUNK, extension, pending, seed

from auditsink.gardener.control import health, leases
from auditsink.gardener.control.changes import Watching, WorkQueue
from auditsink.gardener.control.health import HealthLoop
from auditsink.gardener.control.leases import Leadership, LostLeadershipError
from auditsink.gardener.control.operations import Mine, Operation, due, starts
from auditsink.gardener.kube import EXTENSION, GoneError, Kind, Kube, KubeError
from auditsink.gardener.objects import Object

MINE = Mine("audit")
FINALIZER = MINE.finalizer
GOING = {"deletionTimestamp": "2026-11-28T10:00:00Z", "finalizers": [FINALIZER]}


def last(kind: str, state: str) -> dict[str, Any]:
    return {"lastOperation": {"type": kind, "state": state}}


def seen(operation: str | None = None, status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    annotations = {OPERATION: operation} if operation else {}
    whole = extension(SPLUNK, annotations=annotations, **metadata)
    return {**whole, "status": status} if status else whole


@pytest.mark.parametrize(
    ("extension_", "operation"),
    [
        (seen(), Operation.CREATE),
        (seen("reconcile"), Operation.CREATE),
        (seen("reconcile", last("Create", "Error")), Operation.CREATE),
        (seen("reconcile", last("Create", "Succeeded")), Operation.RECONCILE),
        (seen("reconcile", last("Reconcile", "Processing")), Operation.RECONCILE),
        (seen("restore"), Operation.RESTORE),
        (seen(None, last("Restore", "Error")), Operation.RESTORE),
        (seen("restore", last("Migrate", "Succeeded")), Operation.RESTORE),
        (seen("migrate", last("Reconcile", "Succeeded")), Operation.MIGRATE),
        (seen(None, last("Migrate", "Processing")), Operation.MIGRATE),
        (seen("migrate", last("Reconcile", "Succeeded"), **GOING), Operation.MIGRATE),
        (seen("reconcile", last("Migrate", "Succeeded")), None),
        (seen(None, last("Migrate", "Succeeded"), **GOING), None),
        (seen(None, last("Reconcile", "Succeeded"), **GOING), Operation.DELETE),
        (seen(None, None, deletionTimestamp="2026-11-28T10:00:00Z"), None),
        (seen("wait-for-state"), None),
    ],
)
def test_which_operation_is_due(extension_: dict[str, Any], operation: Operation | None) -> None:
    assert due(extension_, MINE) is operation


def test_other_types_and_classes_are_others() -> None:
    for spec in ({"type": "other"}, {"type": "audit", "class": "garden"}):
        assert due({**seen("reconcile"), "spec": spec}, MINE) is None
        assert not starts({**seen("reconcile"), "spec": spec}, None, MINE)
    assert due({**seen("reconcile"), "spec": {"type": "audit", "class": "shoot"}}, MINE)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (None, seen(None, last("Reconcile", "Succeeded")), False),
        (None, seen(None, last("Reconcile", "Error")), True),
        (seen(), seen("reconcile"), True),
        (seen("migrate"), seen("migrate", last("Migrate", "Processing")), False),
        (seen("reconcile"), seen(None, last("Reconcile", "Processing")), False),
        (seen(), seen(None, None, **GOING), True),
        (seen(None, last("Delete", "Processing"), **GOING), seen(None, last("Delete", "Error"), **GOING), False),
    ],
)
def test_which_changes_are_a_reason_to_look(before: Any, after: Any, reason: bool) -> None:
    assert starts(after, before, MINE) is reason


def test_without_annotations_a_new_generation_is_a_reason() -> None:
    mine = Mine("audit", ignore_annotation=True)
    assert starts(seen(generation=2), seen(generation=1), mine)
    assert not starts(seen(generation=1), seen(generation=1), mine)


class Later:
    """Remembers what is to be called, and when."""

    def __init__(self) -> None:
        self.delays: list[float] = []

    def __call__(self, delay: float, call: Any, key: str) -> None:
        self.delays.append(delay)
        asyncio.get_running_loop().call_soon(call, key)


async def test_a_key_that_fails_comes_later_each_time_and_never_twice_at_once() -> None:
    later, running, most, turns = Later(), 0, 0, 0

    async def work(_key: str) -> bool:
        nonlocal running, most, turns
        running, turns = running + 1, turns + 1
        most = max(most, running)
        queue.add(KEY)  # a change while it is worked on
        await asyncio.sleep(0)
        running -= 1
        return turns > 8

    queue = WorkQueue(work, later)
    queue.add(KEY)
    queue.add(KEY)
    assert queue.statistics() == {"waiting": 1, "active": 0, "failing": 0}
    task = asyncio.create_task(queue.run(3))
    while turns < 10:  # noqa: ASYNC110
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert most == 1
    assert later.delays[:8] == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_one_of_two_leads_and_the_other_takes_over_when_it_is_silent() -> None:
    async with seed() as it:
        clock = [0.0]
        parts: dict[str, Any] = {"clock": lambda: clock[0], "wall": lambda: NOW + clock[0], "sleep": it.sleep}
        first = Leadership(it.kube, "lease", "ns", "first", **parts)
        second = Leadership(it.kube, "lease", "ns", "second", **parts)
        assert await first._tried()
        assert not await second._tried()
        clock[0] = 10.0
        assert await first._tried()
        clock[0] = 20.0
        assert not await second._tried()  # it has just seen a renewal
        clock[0] = 36.0
        assert await second._tried()
        assert not await first._tried()
        lease = it.api.find("leases", "lease", "ns")
        assert lease is not None
        assert lease["spec"]["leaseTransitions"] == 1
        await second.release()
        assert await first._tried()


async def test_who_cannot_renew_ends_before_another_may_begin() -> None:
    async with seed() as it:
        leader = Leadership(it.kube, "lease", "ns", "me", clock=lambda: it.now, wall=lambda: it.now, sleep=it.sleep)
        await leader.acquire()
        it.api.broken.add("leases")
        started = it.now
        with pytest.raises(LostLeadershipError):
            await leader.hold()
        assert it.now - started < leases.LEADER_SECONDS


async def test_the_heartbeat_is_what_gardenlet_looks_for() -> None:
    async with seed() as it:
        task = asyncio.create_task(leases.heartbeat(it.kube, "ns", "extension-audit", lambda: NOW, asyncio.sleep))
        while it.api.find("leases", "gardener-extension-heartbeat", "ns") is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        lease = it.api.find("leases", "gardener-extension-heartbeat", "ns")
        assert lease is not None
        assert lease["spec"] == {
            "holderIdentity": "extension-audit",
            "leaseDurationSeconds": 30,
            "renewTime": "2026-05-28T20:26:40.000000Z",
        }


@pytest.mark.parametrize(
    ("answers", "control_plane", "observability"),
    [
        ([pending(0), pending(9)], "True", "True"),
        ([None, pending(0)], "False", "True"),
        ([None, None], "False", "Unknown"),
        ([], "False", "Unknown"),
        ([pending(3, state="misconfigured", last_error="token refused")], "True", "False"),
        ([pending(3, state="retrying", lag_seconds=20)], "True", "True"),
        ([pending(3, state="retrying", lag_seconds=900)], "True", "False"),
    ],
)
def test_how_sinks_are_judged(answers: Any, control_plane: str, observability: str) -> None:
    found = health.judge(answers, hibernated=False)
    assert [one.status for one in found] == [control_plane, observability]
    assert all(one.message for one in found)


async def test_conditions_are_written_once_and_others_stay() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        other = {"type": "EveryNodeReady", "status": "True"}
        it.api.put("extensions", {**it.extension, "status": {**it.extension["status"], "conditions": [other]}})
        it.run_sinks(pending(0))
        loop = HealthLoop(it.mine, it.landscape, it.sinks, lambda: it.now)
        await loop.look(NAMESPACE, "audit")
        conditions = it.extension["status"]["conditions"]
        assert conditions[0] == other
        assert [one["type"] for one in conditions[1:]] == ["ControlPlaneHealthy", "ObservabilityComponentsHealthy"]
        it.now += 60
        it.api.writes.clear()
        await loop.look(NAMESPACE, "audit")
        assert not it.api.writes
        it.run_sinks(pending(0, state="misconfigured", last_error="token refused"))
        await loop.look(NAMESPACE, "audit")
        assert (
            it.extension["status"]["conditions"][2]["message"]
            == "audit destination splunk is misconfigured: token refused"
        )


async def test_nobody_is_judged_while_it_comes_or_goes() -> None:
    async with seed() as it:
        it.fill()
        loop = HealthLoop(it.mine, it.landscape, it.sinks, lambda: it.now)
        it.api.writes.clear()
        await loop.look(NAMESPACE, "audit")
        await it.reconcile()
        it.change("extensions", "audit", deletionTimestamp="2026-11-28T10:00:00Z")
        it.api.writes.clear()
        await loop.look(NAMESPACE, "audit")
        assert not it.api.writes


class _Ending:
    """An API whose watches are over as soon as they begin."""

    def __init__(self, problem: Exception | None) -> None:
        self._problem = problem
        self.watches = 0

    async def list(self, _: Kind) -> tuple[list[Object], str]:
        return [], "1"

    async def watch(self, _kind: Kind, _version: str) -> AsyncIterator[tuple[str, Object]]:
        self.watches += 1
        if self._problem is not None:
            raise self._problem
        for change in list[tuple[str, Object]]():
            yield change


@pytest.mark.parametrize("problem", [None, GoneError("gone"), KubeError("500")], ids=["ended", "gone", "failed"])
async def test_a_watch_that_ends_at_once_is_not_begun_again_in_a_hot_loop(problem: Exception | None) -> None:
    api, slept = _Ending(problem), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Watching(cast("Kube", api), EXTENSION, lambda _now, _before: None, dict).run(sleep)

    assert (api.watches, slept) == (3, [2.0, 2.0, 2.0])
