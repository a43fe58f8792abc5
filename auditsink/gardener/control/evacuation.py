"""Runs the Jobs that carry the backlog of stopped sinks into a bucket before a migration, and out of it afterwards."""

from auditsink.gardener.control import apply
from auditsink.gardener.control.deploy import Tools
from auditsink.gardener.errors import NotYetError
from auditsink.gardener.kube import CONFIG_MAP, JOB, STATEFUL_SET, VOLUME_CLAIM
from auditsink.gardener.objects import Object, at, meta
from auditsink.gardener.render import evacuation, everything, names
from auditsink.gardener.render.evacuation import Action
from auditsink.gardener.render.workload import CertificateNames
from auditsink.gardener.sink.plan import Plan


async def stopped(tools: Tools, namespace: str) -> None:
    """Wait until no sink runs: its last segment is sealed when it ends. Raises NotYetError."""
    until = tools.clock() + tools.waits
    while at(await tools.kube.get(STATEFUL_SET, names.SINK, namespace) or {}, "status", "replicas"):
        if tools.clock() >= until:
            raise NotYetError(f"StatefulSet {namespace}/{names.SINK}: its pods do not end")
        await tools.sleep(apply.POLL_SECONDS)


async def carry(tools: Tools, plan: Plan, action: Action) -> None:
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
    until = tools.clock() + tools.waits
    while True:
        conditions = at(await tools.kube.get(JOB, name, namespace) or {}, "status", "conditions") or []
        if _is(conditions, "Complete"):
            return
        if _is(conditions, "Failed"):
            await tools.kube.delete(JOB, name, namespace)  # the next attempt makes another
            raise NotYetError(f"Job {namespace}/{name} failed; see the log of its pods")
        if tools.clock() >= until:
            raise NotYetError(f"Job {namespace}/{name} does not end; see its pods")
        await tools.sleep(apply.POLL_SECONDS)


def _is(conditions: list[Object], kind: str) -> bool:
    return any(one.get("type") == kind and one.get("status") == "True" for one in conditions)
