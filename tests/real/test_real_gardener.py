"""The extension in a seed of real servers: gardenlet's own code judges it, a real resource manager applies it, and a
real API server is started with the flags that the webhook gave.
"""

import asyncio
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import gardener_programs
import gardener_seed
import pytest
from gardener_chain import Chain
from gardener_pod import Pod, jobs
from gardener_seed import NAMESPACE, SYSTEM, Object, Seed, seed
from rows import Rows
from running import PATIENCE
from s3server import BUCKET, S3Server

from auditsink.testing.hec import HecServer

pytestmark = pytest.mark.skipif(bool(gardener_seed.missing()), reason=gardener_seed.missing())

METAL = "audit.metal.extensions.gardener.cloud/v1alpha1"
SEED = f"Gardener {gardener_programs.GARDENER}"
LAST = "2026-11-01T10:00:00Z"


def config(port: int = 8088, **more: Any) -> Object:
    splunk = {"enabled": True, "host": "127.0.0.1", "port": str(port), "secretResourceName": "splunk-secret"}
    return {"apiVersion": METAL, "kind": "AuditConfig", "backends": {"splunk": splunk}, **more}


def rotating(phase: str) -> Object:
    state = {"phase": phase, "lastInitiationTime": LAST}
    return {"credentials": {"rotation": {"certificateAuthorities": state}}}


def theirs() -> list[Object]:
    """A ManagedResource of the name that metal-stack's extension has, with its StatefulSet."""
    labels = {"app": "audit-webhook-backend"}
    container = {"name": "fluent-bit", "image": "fluent-bit"}
    spec = {
        "serviceName": "audit-webhook-backend",
        "replicas": 0,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    metadata = {"name": "audit-webhook-backend", "namespace": NAMESPACE}
    text = json.dumps({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec})
    held = {"name": "managedresource-extension-audit-old", "namespace": NAMESPACE}
    managed = {"name": "extension-audit", "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": held, "stringData": {"data.yaml": text}},
        {
            "apiVersion": "resources.gardener.cloud/v1alpha1",
            "kind": "ManagedResource",
            "metadata": managed,
            "spec": {"class": "seed", "secretRefs": [{"name": held["name"]}]},
        },
    ]


async def versions(it: Seed) -> dict[str, str]:
    """Of everything that a reconcile could write, but the Extension's status."""
    kinds = [
        "managedresource",
        "secret",
        "configmap",
        "statefulset",
        "service",
        "pdb",
        "vpa",
        "servicemonitor",
        "serviceaccount",
    ]
    found = {}
    for kind in kinds:
        for one in await it.items(kind):
            found[f"{kind}/{one['metadata']['name']}"] = one["metadata"]["resourceVersion"]
            if kind in ("managedresource", "statefulset", "pdb"):  # whose status others write
                found[f"{kind}/{one['metadata']['name']}"] = one["metadata"]["generation"]
    return found


async def said(it: Seed) -> str:
    told: str = (await it.get("extension.extensions.gardener.cloud", "audit"))["status"]["lastOperation"]["description"]
    return told


async def test_gardenlet_is_content_with_every_operation(tmp_path: Path, rows: Rows) -> None:
    async with seed(tmp_path, {"healthSeconds": 2.0}) as it, it.kubelet():
        await it.shoot()

        async def ask(operation: str, thrown: str, *, fails: bool = False, with_: Object | None = None) -> None:
            began = time.monotonic()
            answer = await it.gardenlet(operation, with_ or config(), fails=fails)
            assert fails or "content" in answer
            verdict = answer.splitlines()[-1][:90] if fails else f"content, {time.monotonic() - began:.0f} s"
            rows(server=SEED, thrown=thrown, into=0, out=0, note=f"gardenlet: {verdict}")

        await it.apply(*theirs())
        await it.until("their workload", partial(it.get, "statefulset", "audit-webhook-backend"))
        await ask("reconcile", "create, over what metal-stack's extension left")
        assert [one["metadata"]["name"] for one in await it.items("statefulset")] == ["auditsink"]
        before = await versions(it)
        await ask("reconcile", "reconcile, nothing changed")
        assert await versions(it) == before

        async def judged() -> Any:
            whole = await it.get("extension.extensions.gardener.cloud", "audit")
            return whole["status"].get("conditions")

        conditions = {one["type"]: one["status"] for one in await it.until("conditions", judged)}
        assert conditions == {"ControlPlaneHealthy": "False", "ObservabilityComponentsHealthy": "Unknown"}

        await ask("reconcile", "larger volumes", with_=config(persistence={"size": "2Gi"}))
        # The resource manager leaves the template, which cannot be changed; no volume here is bound, and so none grows.
        assert "cannot grow to 2Gi" in it.controller_log.read_text()
        await it.shoot(spec={"hibernation": {"enabled": True}})
        await ask("reconcile", "hibernate")
        assert (await it.get("statefulset", "auditsink"))["spec"]["replicas"] == 0
        await it.shoot()
        await ask("reconcile", "wake")
        assert (await it.get("statefulset", "auditsink"))["spec"]["replicas"] == 2
        for phase in ("Preparing", "Prepared", "Completing", "Completed"):
            await it.shoot(status=rotating(phase))
            await ask("reconcile", f"rotation of the CA: {phase}")
        broken = {**config(), "backends": {"splunk": {**config()["backends"]["splunk"], "host": ""}}}
        await ask("reconcile", "an AuditConfig without a host", fails=True, with_=broken)
        await ask("reconcile", "and mended")
        await ask("migrate", "migrate")
        assert not await it.items("managedresource")
        assert not await it.items("persistentvolumeclaims")
        assert not (await it.get("extension.extensions.gardener.cloud", "audit"))["metadata"].get("finalizers")
        kept = [one["metadata"]["name"] for one in await it.items("secret")]
        assert [name for name in kept if "auditsink" in name and not name.startswith("managedresource")] == [
            name for name in kept if name.startswith("ca-auditsink") and "bundle" not in name
        ]
        await ask("restore", "restore")
        await ask("destroy", "delete")
        assert not await it.items("extension.extensions.gardener.cloud")
        assert not await it.items("managedresource")

        await ask("reconcile", "create again")
        force = {"annotations": {"confirmation.gardener.cloud/force-deletion": "true"}}
        await it.shoot(metadata=force)
        await ask("destroy", "delete by force")
        heartbeat = await it.get("lease", "gardener-extension-heartbeat", SYSTEM)
        assert heartbeat["spec"]["holderIdentity"] == "extension-audit"


async def test_no_event_is_lost_on_the_way_through_a_shoots_whole_life(tmp_path: Path, rows: Rows) -> None:
    limits = {"hibernate": 3.0, "migrate": 30.0, "delete": 30.0}
    for name in ("seed", "shoot"):
        (tmp_path / name).mkdir()
    async with (
        HecServer(token="hec-token") as hec,
        seed(tmp_path / "seed", {"drainSeconds": limits}) as it,
        it.kubelet(),
    ):
        wanted = config(hec.port, replicas=1, webhookMode="batch")
        pod = Pod(it, tmp_path / "pod")
        chain = Chain(it, tmp_path / "shoot", pod, hec)

        async def turn(thrown: str, operation: str = "reconcile") -> None:
            verdict = await it.gardenlet(operation, wanted)
            done = sum(chain.logged.values()), len(hec.events)
            note = f"{verdict.partition(': ')[2]}: {await said(it)}"
            rows(server=SEED, thrown=f"the chain: {thrown}", into=done[0], out=done[1], note=note)

        async def restarted() -> None:
            await chain.end()
            await pod.start()

        async def rotate(phase: str) -> None:
            await it.shoot(status=rotating(phase))
            await turn(f"rotation under load: {phase}")
            await restarted()

        await it.shoot()
        await turn("create")
        await pod.start()
        for phase in ("Preparing", "Completing"):
            await chain.serve(phase.lower(), partial(rotate, phase))
        await hec.stop()
        await chain.serve("while-the-hec-is-away")
        await it.shoot(status=rotating("Completed"), spec={"hibernation": {"enabled": True}})
        await turn("hibernate with a backlog")
        assert "wait on the volumes" in await said(it)
        await chain.end()
        await it.shoot(status=rotating("Completed"))
        await turn("wake")
        await pod.start()
        await chain.serve("awake")
        migrating = asyncio.create_task(turn("migrate with a backlog", "migrate"))
        await asyncio.sleep(3)
        await hec.start(hec_port(wanted))
        await migrating
        assert await said(it) == "Migrated; nothing was left"
        await chain.end()
        assert not chain.missing()
        await turn("restore", "restore")
        chain.earlier = sum(chain.logged.values())
        chain.pod = pod = Pod(it, tmp_path / "pod-of-the-new-seed")
        await pod.start()
        await chain.serve("restored")
        await it.gardenlet("destroy", wanted)
        await chain.end()
        into, missing = sum(chain.logged.values()), sum(chain.missing().values())
        rows(server=SEED, thrown="the chain: all of it", into=into, out=into - missing)
        assert not chain.missing()


async def test_a_living_shoot_in_blocking_strict_outlives_restarts_and_the_end_of_its_extension(
    tmp_path: Path, rows: Rows
) -> None:
    """Its API server refuses what it cannot post. So the flags go, and its pods with them, before the sink does."""
    for name in ("seed", "shoot"):
        (tmp_path / name).mkdir()
    async with HecServer(token="hec-token") as hec, seed(tmp_path / "seed") as it, it.kubelet():
        wanted = config(hec.port, replicas=1, webhookMode="blocking-strict")
        pod = Pod(it, tmp_path / "pod")
        chain = Chain(it, tmp_path / "shoot", pod, hec, strict=True)
        await it.shoot()
        await it.gardenlet("reconcile", wanted)
        await pod.start()

        async def restarted() -> None:
            await chain.end()
            await pod.start()

        await chain.serve("strict", restarted)
        sink = pod.sink
        assert sink is not None
        await sink.delivered()
        into, missing = sum(chain.logged.values()), sum(chain.missing().values())
        note = f"{chain.given_up} given up by the API server itself"
        rows(
            server=SEED,
            thrown="blocking-strict, the sink restarted under load",
            into=into,
            out=into - missing,
            note=note,
        )
        assert missing <= chain.given_up

        await it.cluster.kubectl("scale", "deployment", "kube-apiserver", "-n", NAMESPACE, "--replicas=1")
        await it.until("its pod", partial(pods_of, it, flags=True))
        watching = asyncio.create_task(watch(it))
        verdict = await it.gardenlet("destroy", wanted)
        seen = await watching
        await chain.end()
        rows(server=SEED, thrown="the Extension goes, the shoot lives", into=0, out=0, note=f"{verdict}; seen: {seen}")
        assert seen[-1] == (False, False)
        assert (True, False) not in seen, "no API server with our flags is left without a sink"
        assert (False, True) in seen


async def pods_of(it: Seed, *, flags: bool) -> bool:
    """Whether there is a pod of the API server, with or without our flags."""
    found = [one for one in await it.items("pods") if one["metadata"].get("labels", {}).get("role") == "apiserver"]
    return any(("--audit-webhook" in json.dumps(one)) is flags for one in found)


async def watch(it: Seed) -> list[tuple[bool, bool]]:
    """Whether a pod of the API server has our flags, and whether the sink is there, until it is not."""
    seen: list[tuple[bool, bool]] = []
    async with asyncio.timeout(2 * PATIENCE):
        while not seen or seen[-1][1]:
            sink = bool(await it.get("statefulset", "auditsink"))
            now = await pods_of(it, flags=True), sink  # looked at afterwards: it can only have gone meanwhile
            if not seen or seen[-1] != now:
                seen.append(now)
            await asyncio.sleep(0.1)
    return seen


async def test_a_backlog_that_cannot_be_delivered_moves_through_a_bucket(tmp_path: Path, rows: Rows) -> None:
    limits = {"hibernate": 3.0, "migrate": 3.0, "delete": 30.0}
    for name in ("seed", "shoot"):
        (tmp_path / name).mkdir()
    with S3Server() as s3:
        async with (
            HecServer(token="hec-token") as hec,
            seed(tmp_path / "seed", {"drainSeconds": limits}) as it,
            it.kubelet(),
        ):
            await move(it, tmp_path, hec, s3, rows)


async def move(it: Seed, tmp_path: Path, hec: HecServer, s3: S3Server, rows: Rows) -> None:
    """Out of one seed, with the HEC away, and into another: the same here, with volumes of its own."""
    wanted = own(hec.url, s3)
    pod = Pod(it, tmp_path / "pod")
    chain = Chain(it, tmp_path / "shoot", pod, hec)
    await it.shoot()
    await it.gardenlet("reconcile", wanted)
    await pod.start()
    port = hec.port
    await hec.stop()
    await chain.serve("while-the-hec-is-away")
    async with jobs(it, tmp_path / "jobs", pod.volume):
        migrating = asyncio.create_task(it.gardenlet("migrate", wanted))
        await it.until("the sink is told to stop", partial(asleep, it))
        await chain.end()
        assert "content" in await migrating
    note = await said(it)
    assert "lie in the bucket" in note
    rows(server=SEED, thrown="migrate while the HEC is away", into=chain.logged.total(), out=0, note=note)
    chain.pod = pod = Pod(it, tmp_path / "pod-of-the-new-seed")
    async with jobs(it, tmp_path / "jobs-of-the-new-seed", pod.volume):
        await it.gardenlet("restore", wanted)
    await hec.start(port)
    sink = await pod.start()
    await sink.delivered()
    into, missing = chain.logged.total(), chain.missing().total()
    rows(server=SEED, thrown="and restore, with the HEC back", into=into, out=into - missing)
    assert not chain.missing()
    await it.gardenlet("destroy", wanted)
    await chain.end()


async def asleep(it: Seed) -> bool:
    found = await it.get("statefulset", "auditsink")
    return bool(found.get("spec", {}).get("replicas") == 0)


def own(hec: str, s3: S3Server) -> Object:
    """In our own group, with a bucket."""
    keys = {"access_key_id": "${resource:splunk-secret/key}", "secret_access_key_file": "resource:splunk-secret/token"}
    return {
        "apiVersion": "auditsink.extensions.gardener.cloud/v1alpha1",
        "kind": "AuditConfig",
        "replicas": 1,
        "webhook": {"mode": "batch"},
        "evacuation": {"type": "s3", "bucket": BUCKET, "region": "us-east-1", "endpoint": s3.url, **keys},
        "sink": {
            "destinations": [
                {"name": "siem", "type": "splunk", "url": hec, "token_file": "resource:splunk-secret/token"},
            ]
        },
    }


def hec_port(wanted: Object) -> int:
    return int(wanted["backends"]["splunk"]["port"])
