"""A real kube-apiserver posts to the sink; its own audit log is the ledger: every event in it arrives, unchanged."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
from ground import free_port
from kubernetes import Kubernetes
from rows import Rows
from running import PATIENCE, Sink

pytestmark = pytest.mark.skipif(bool(kubernetes.missing_tools()), reason=kubernetes.missing_tools())
POLICY = Path(__file__).parents[2] / "config" / "apiserver" / "policy.yaml"
HOSTILE = json.dumps(
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "h"}, "data": {"k": "\u2028<b>\U0001f600\u0000"}}
)


def events(path: Path) -> Iterator[dict[str, Any]]:
    """Each whole line; the log adds its kind, which a list's items do not have."""
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        if line.endswith(b"\n"):
            event: dict[str, Any] = json.loads(line)
            event.pop("kind", None)
            event.pop("apiVersion", None)
            yield event


def counted(path: Path) -> Counter[str]:
    return Counter(json.dumps(event, sort_keys=True) for event in events(path))


async def busy(cluster: Kubernetes, name: str) -> None:
    """What people and controllers do: objects made, changed, listed, refused, gone."""
    await cluster.kubectl("create", "namespace", name)
    await cluster.kubectl("apply", "-n", name, "-f", "-", stdin=HOSTILE)
    await cluster.kubectl("create", "secret", "generic", "-n", name, "password", "--from-literal=p=very-secret")
    await cluster.kubectl("annotate", "configmap", "-n", name, "h", "note=" + "n" * 5000)
    await cluster.kubectl("get", "pods,secrets,configmaps", "-A")
    await cluster.kubectl("get", "nodes", "--as=nobody", fails=True)
    await cluster.kubectl("delete", "namespace", name, "--wait=false")


async def all_arrived(cluster: Kubernetes, disk: Path) -> Counter[str]:
    """Waits until everything that the apiserver has logged by now is in the file; what is there then."""
    logged = counted(cluster.audit_log)
    async with asyncio.timeout(PATIENCE):
        while logged - (arrived := counted(disk)):  # noqa: ASYNC110 - a file of another process has no event
            await asyncio.sleep(0.2)
    return arrived


@pytest.mark.parametrize("mode", ["batch", "blocking", "blocking-strict"])
async def test_what_the_apiserver_logs_is_what_arrives(mode: str, tmp_path: Path, rows: Rows) -> None:
    disk = tmp_path / "audit.ndjson"
    (tmp_path / "kubernetes").mkdir()
    flags = [f"--audit-webhook-mode={mode}"]
    if mode == "batch":
        flags.append("--audit-webhook-batch-max-wait=1s")
    async with Sink(tmp_path / "sink", [{"name": "disk", "type": "file", "path": str(disk)}]) as sink:
        async with kubernetes.cluster(tmp_path / "kubernetes", f"{sink.receive}/real", POLICY, flags) as cluster:
            await busy(cluster, "first")
            arrived = await all_arrived(cluster, disk)
            logged = counted(cluster.audit_log)
        assert len(arrived) > 30
        assert max(arrived.values()) == 1
        status = await sink.delivered()
        assert {one["cluster"] for one in status["clusters"]} == {"real"}
    rows(
        server=f"kube-apiserver {kubernetes.APISERVER}", thrown=f"{mode} mode, kubectl at work",
        into=len(logged), out=len(arrived & logged),
    )  # fmt: skip


async def test_nothing_is_missing_when_the_sink_is_killed_under_a_real_apiserver(tmp_path: Path, rows: Rows) -> None:
    disk, port = tmp_path / "audit.ndjson", free_port()
    (tmp_path / "kubernetes").mkdir()
    receive = {"listen": f"127.0.0.1:{port}"}
    flags = ["--audit-webhook-mode=batch", "--audit-webhook-batch-max-wait=1s"]
    async with (
        Sink(tmp_path / "sink", [{"name": "disk", "type": "file", "path": str(disk)}], receive=receive) as sink,
        kubernetes.cluster(tmp_path / "kubernetes", f"{sink.receive}/real", POLICY, flags) as cluster,
    ):
        for turn in range(3):
            work = asyncio.create_task(busy(cluster, f"turn-{turn}"))
            await asyncio.sleep(1)
            await sink.kill()
            await work
            await sink.start()
        arrived = await all_arrived(cluster, disk)
        logged = counted(cluster.audit_log)
    repeated = sum(arrived.values()) - len(arrived)
    rows(
        server=f"kube-apiserver {kubernetes.APISERVER}", thrown="kill -9 of the sink, 3 times",
        into=len(logged), out=len(arrived & logged), repeated=repeated,
    )  # fmt: skip
