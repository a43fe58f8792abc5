"""A Gardener seed without nodes: an API server, its controller manager, Gardener's resource manager, our controller.

There is no kubelet: the test plays it, by what it writes into the status of pods.
"""

import asyncio
import base64
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import gardener_programs
import kubernetes
import yaml
from ground import free_port, listens, running, tool
from kubernetes import TOKEN, Kubernetes
from running import PATIENCE

NAMESPACE = "shoot--p--n"
SYSTEM = "extension-audit"
CRDS = (
    "extensions.gardener.cloud_extensions",
    "extensions.gardener.cloud_clusters",
    "resources.gardener.cloud_managedresources",
    "monitoring.coreos.com_servicemonitors",
    "monitoring.coreos.com_prometheusrules",
    "autoscaling.k8s.io_verticalpodautoscalers",
    "operator.gardener.cloud_gardens",
)
GARDENER = Path(__file__).parents[2] / "config" / "gardener"
NO_POLICY = '{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "None"}]}'
Object = dict[str, Any]


class Seed:
    """A running one."""

    def __init__(self, cluster: Kubernetes, place: Path, kubeconfig: Path) -> None:
        self.cluster = cluster
        self.place = place
        self.kubeconfig = kubeconfig
        self.controller_log = place / "controller.out"
        self.first: asyncio.subprocess.Process
        self.controller_kubeconfig = place / "controller-kubeconfig.yaml"

    async def apply(self, *things: Object) -> None:
        """As kubectl does it, on the server."""
        text = "---\n".join(yaml.safe_dump(thing) for thing in things)
        await self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    async def install(self, *, garden: bool) -> None:
        """What the chart gives the controller: an account, and its rights, which are all that it has here."""
        words = ["template", "audit", str(GARDENER / "extension"), "--namespace", SYSTEM]
        if garden:
            words += ["--set", "gardener.runtimeCluster.enabled=true"]
        helm = await asyncio.create_subprocess_exec(kubernetes.helm(), *words, stdout=asyncio.subprocess.PIPE)
        text, _ = await helm.communicate()
        kinds = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
        objects = [one for one in yaml.safe_load_all(text) if one and one["kind"] in kinds]
        assert len(objects) == len(kinds)
        await self.apply(*objects)
        (account,) = [one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"]
        token = await self.cluster.kubectl("create", "token", account, "-n", SYSTEM)
        self.controller_kubeconfig.write_text(kubeconfig(self.cluster.url, token.strip()))

    async def get(self, kind: str, name: str = "", namespace: str = NAMESPACE) -> Object:
        """One object, or a list; {} when it is not there."""
        words = ["get", kind, *([name] if name else []), "-n", namespace, "-o", "json", "--ignore-not-found"]
        found: Object = json.loads(await self.cluster.kubectl(*words) or "{}")
        return found

    async def items(self, kind: str, namespace: str = NAMESPACE) -> list[Object]:
        """All of a kind."""
        found: list[Object] = (await self.get(kind, namespace=namespace)).get("items", [])
        return found

    async def shoot(self, **changes: Any) -> None:
        """The Cluster, with a Shoot in this state; keys are `spec` and `status`, `metadata`."""
        spec = {"resources": [_resource("splunk-secret")], **changes.get("spec", {})}
        metadata = {"name": "n", "namespace": "garden-p", "uid": "u", **changes.get("metadata", {})}
        status = {"gardener": {"version": "v1.149.3"}, **changes.get("status", {})}
        shoot = {"apiVersion": "core.gardener.cloud/v1beta1", "kind": "Shoot", "metadata": metadata, "spec": spec}
        seed = {"apiVersion": "core.gardener.cloud/v1beta1", "kind": "Seed", "metadata": {"name": "seed"}}
        profile = {"apiVersion": "core.gardener.cloud/v1beta1", "kind": "CloudProfile", "metadata": {"name": "p"}}
        whole = {"seed": seed, "shoot": {**shoot, "status": status}, "cloudProfile": profile}
        kind = {"apiVersion": "extensions.gardener.cloud/v1alpha1", "kind": "Cluster"}
        text = json.dumps({**kind, "metadata": {"name": NAMESPACE}, "spec": whole})
        if await self.cluster.kubectl("get", "cluster.extensions.gardener.cloud", NAMESPACE, "--ignore-not-found"):
            await self.cluster.kubectl("replace", "-f", "-", stdin=text)
        else:
            await self.cluster.kubectl("create", "-f", "-", stdin=text)

    async def gardenlet(self, operation: str, config: Object, *, fails: bool = False) -> str:
        """What gardenlet's own code says of it; it must be content, or with `fails` must not."""
        file = self.place / "provider-config.json"
        file.write_text(json.dumps(config))
        command = [gardener_programs.gardenlet(), self.kubeconfig, NAMESPACE, "audit", operation, file]
        called = await asyncio.create_subprocess_exec(
            *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await called.communicate()
        assert bool(called.returncode) is fails, f"{said.decode()}\n{self.controller_log.read_text()[-3000:]}"
        return said.decode().strip()

    async def secret(self, name: str, namespace: str = NAMESPACE) -> dict[str, bytes]:
        """Its values."""
        found = (await self.get("secret", name, namespace)).get("data") or {}
        return {key: base64.b64decode(value) for key, value in found.items()}

    @contextlib.asynccontextmanager
    async def kubelet(self, namespace: str = NAMESPACE) -> AsyncIterator[None]:
        """Pods become ready soon after they are there, and end when they are asked to."""
        task = asyncio.create_task(self._play(namespace))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _play(self, namespace: str) -> None:
        while True:
            for pod in await self.items("pods", namespace):
                await self._pod(pod)
            await asyncio.sleep(0.5)

    async def _pod(self, pod: Object) -> None:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        if "deletionTimestamp" in pod["metadata"]:
            words = ["delete", "pod", name, "-n", namespace, "--force", "--grace-period=0", "--ignore-not-found"]
            await self.cluster.kubectl(*words)
        elif pod.get("status", {}).get("phase") == "Pending" and "job-name" not in pod["metadata"].get("labels", {}):
            ready = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady", "Initialized")]
            patch = json.dumps({"status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": ready}})
            words = ["patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch]
            await self.cluster.kubectl(*words)

    async def until(self, what: str, condition: Any) -> Any:
        """Wait until the awaited condition is true; what it returned."""
        async with asyncio.timeout(PATIENCE):
            while not (found := await condition()):  # noqa: ASYNC110 - it is other processes that are waited for
                await asyncio.sleep(0.3)
        assert found, what
        return found


@contextlib.asynccontextmanager
async def seed(place: Path, config: Object | None = None) -> AsyncIterator[Seed]:
    """All of it, with an empty shoot namespace."""
    (place / "policy.yaml").write_text(NO_POLICY)
    async with kubernetes.cluster(place, "http://127.0.0.1:9/", place / "policy.yaml") as cluster:
        it = Seed(cluster, place, place / "kubeconfig.yaml")
        it.kubeconfig.write_text(kubeconfig(cluster.url))
        found = gardener_programs.crds()
        for name in CRDS:
            await cluster.kubectl("apply", "--server-side", "-f", str(found[name]))
        await it.apply(*_ground())
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(_controller_manager(it))
            await stack.enter_async_context(_resource_manager(it))
            await it.install(garden=(config or {}).get("class") == "garden")
            it.first = await stack.enter_async_context(controller(it, config or {}))
            yield it


@contextlib.asynccontextmanager
async def controller(it: Seed, config: Object) -> AsyncIterator[asyncio.subprocess.Process]:
    """Ours, as its chart starts it, but with the webhook by address: no Service leads to it here."""
    webhook, health = free_port(), free_port()
    file = it.place / "controller.yaml"
    file.write_text(yaml.safe_dump({"kind": "ControllerConfiguration", "image": "auditsink:test", **config}))
    monitoring = Path(__file__).parents[2] / "config" / "monitoring"
    command: list[str | Path] = [
        sys.executable, "-m", "auditsink", "gardener", "extension", "-c", file, "--namespace", SYSTEM,
        "--host", "127.0.0.1", "--webhook-port", str(webhook), "--health-port", str(health),
        "--webhook-url", f"https://127.0.0.1:{webhook}", "--monitoring", monitoring,
    ]  # fmt: skip
    environment = {"KUBECONFIG": str(it.controller_kubeconfig)}
    async with running(command, it.controller_log, lambda: listens(health), environment) as process:
        yield process


@contextlib.asynccontextmanager
async def _controller_manager(it: Seed) -> AsyncIterator[None]:
    port = free_port()
    command: list[str | Path] = [
        gardener_programs.controller_manager(), f"--kubeconfig={it.kubeconfig}", "--leader-elect=false",
        f"--secure-port={port}", f"--cert-dir={it.place / 'kcm'}", "--use-service-account-credentials=false",
        "--controllers=*,-nodelifecycle,-node-ipam-controller", "--concurrent-gc-syncs=2",
    ]  # fmt: skip
    async with running(command, it.place / "kcm.out", lambda: listens(port)):
        yield


@contextlib.asynccontextmanager
async def _resource_manager(it: Seed) -> AsyncIterator[None]:
    ports = {name: free_port() for name in ("webhooks", "healthProbes", "metrics")}
    certificates = it.place / "grm"
    certificates.mkdir()
    words = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=grm", "-days", "2",
        "-keyout", certificates / "tls.key", "-out", certificates / "tls.crt",
    ]  # fmt: skip
    openssl = tool("openssl", "makes a certificate for the resource manager")
    making = await asyncio.create_subprocess_exec(openssl, *map(str, words), stderr=asyncio.subprocess.PIPE)
    _, complaint = await making.communicate()
    assert not making.returncode, complaint
    config = {
        "apiVersion": "resourcemanager.config.gardener.cloud/v1alpha1",
        "kind": "ResourceManagerConfiguration",
        "sourceClientConnection": {"qps": 100, "burst": 130},
        "leaderElection": {"leaderElect": False},
        "logLevel": "info",
        "logFormat": "text",
        "server": {
            "webhooks": {"port": ports["webhooks"], "tls": {"serverCertDir": str(certificates)}},
            "healthProbes": {"port": ports["healthProbes"]},
            "metrics": {"port": ports["metrics"]},
        },
        "controllers": {
            "resourceClass": "seed",
            "garbageCollector": {"enabled": True, "syncPeriod": "15s"},
            "health": {"concurrentSyncs": 5, "syncPeriod": "15s"},
            "managedResources": {"concurrentSyncs": 5, "syncPeriod": "1m", "managedByLabelValue": "gardener"},
        },
    }
    file = it.place / "grm.yaml"
    file.write_text(yaml.safe_dump(config))
    command: Sequence[str | Path] = [gardener_programs.resource_manager(), f"--config={file}"]
    environment = {"KUBECONFIG": str(it.kubeconfig), "TARGET_KUBECONFIG": str(it.kubeconfig)}
    async with running(command, it.place / "grm.out", lambda: listens(ports["healthProbes"]), environment):
        yield


def _ground() -> list[Object]:
    names = {"name": NAMESPACE, "labels": {"extensions.gardener.cloud/audit": "true"}}
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 999998500}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": names},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "garden"}},
        {**priority, "metadata": {"name": "gardener-system-500"}},
        {**priority, "metadata": {"name": "gardener-garden-system-500"}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "ref-splunk-secret", "namespace": NAMESPACE},
            "stringData": {"token": "hec-token", "key": "an-id"},
        },
    ]


def _resource(name: str) -> Object:
    return {"name": name, "resourceRef": {"apiVersion": "v1", "kind": "Secret", "name": name}}


def kubeconfig(url: str, token: str = TOKEN) -> str:
    """One that leads there."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "seed",
            "clusters": [{"name": "seed", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "seed", "user": {"token": token}}],
            "contexts": [{"name": "seed", "context": {"cluster": "seed", "user": "seed"}}],
        }
    )


def missing() -> str:
    """Why a seed cannot be had, or ""."""
    if os.environ.get("AUDITSINK_REAL") != "all":
        return "builds Gardener's and Kubernetes' servers: AUDITSINK_REAL=all make test-real"
    return kubernetes.missing_tools()
