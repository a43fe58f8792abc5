"""A pod of the rendered StatefulSet without a kubelet: its volumes as files, its paths and ports the test's own."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml
from gardener_seed import NAMESPACE, Object, Seed
from running import COMMAND, Sink


def own_address() -> str:
    """This machine's: an EndpointSlice may not hold 127.0.0.1. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


MACHINE = own_address()


class Pod:
    """The sink of one replica; `spool` outlives it, as a volume does."""

    def __init__(self, seed: Seed, place: Path) -> None:
        self.seed = seed
        self.place = place
        self.sink: Sink | None = None
        self.port = 0
        place.mkdir()

    async def start(self) -> Sink:
        """With what the StatefulSet says now."""
        workload = await self.seed.get("statefulset", "auditsink")
        template = workload["spec"]["template"]["spec"]
        container = template["containers"][0]
        assert container["args"] == ["serve", "-c", "/etc/auditsink/config/config.yaml"]
        mounts = {mount["name"]: self._inside(mount["mountPath"]) for mount in container["volumeMounts"]}
        for volume in template["volumes"]:
            await fill(self.seed, volume, mounts[volume["name"]])
        text = (self._inside("/etc/auditsink/config") / "config.yaml").read_text()
        for path in ("/etc/auditsink", "/var/lib/auditsink"):
            text = text.replace(path, str(self._inside(path)))
        document = yaml.safe_load(text)
        destinations = document.pop("destinations")
        document["receive"]["listen"] = f"127.0.0.1:{self.port}"
        document["admin"]["listen"] = f"{MACHINE}:0"
        self.sink = Sink(self.place / "process", destinations, **document)
        await self.sink.start()
        self.port = int(self.sink.receive.rpartition(":")[2].partition("/")[0])
        await self.announce()
        return self.sink

    async def stop(self) -> None:
        """As a kubelet does it."""
        if self.sink is not None and self.sink.running:
            await self.sink.stop()
        self.sink = None
        await self.announce()

    async def announce(self) -> None:
        """What the controller of EndpointSlices would write."""
        endpoints, ports = [], []
        if self.sink is not None:
            endpoints = [{"addresses": [MACHINE], "conditions": {"ready": True}}]
            ports = [{"name": "admin", "port": int(self.sink.admin.rpartition(":")[2].rstrip("/")), "protocol": "TCP"}]
        labels = {"kubernetes.io/service-name": "auditsink-pods", "endpointslice.kubernetes.io/managed-by": "a-test"}
        metadata = {"name": "auditsink-pods-test", "namespace": NAMESPACE, "labels": labels}
        whole: Object = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata}
        await self.seed.apply({**whole, "addressType": "IPv4", "endpoints": endpoints, "ports": ports})

    def _inside(self, path: str) -> Path:
        return self.place / path.lstrip("/")

    @property
    def volume(self) -> Path:
        """What `data` is of it."""
        return self._inside("/var/lib/auditsink")


async def fill(seed: Seed, volume: Object, place: Path) -> None:
    """As a kubelet makes the files of a ConfigMap or of projected Secrets."""
    place.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - a few small files
    if "configMap" in volume:
        for key, text in (await seed.get("configmap", volume["configMap"]["name"]))["data"].items():
            (place / key).write_text(text)
    for source in volume.get("projected", {}).get("sources", []):
        values = await seed.secret(source["secret"]["name"])
        for item in source["secret"]["items"]:
            file = place / item["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(values[item["key"]])
            file.chmod(0o440)


@contextlib.asynccontextmanager
async def jobs(seed: Seed, place: Path, data: Path) -> AsyncIterator[None]:
    """Meanwhile the pods of Jobs run, on the one volume that there is here."""
    task = asyncio.create_task(_run_jobs(seed, place, data))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _run_jobs(seed: Seed, place: Path, data: Path) -> None:
    """Until it is cancelled; tells how they ended."""
    done: set[str] = set()
    while True:
        for pod in await seed.items("pods"):
            name = pod["metadata"]["name"]
            if name not in done and "job-name" in pod["metadata"].get("labels", {}):
                done.add(name)
                phase = "Failed" if await _run(seed, pod, place / name, data) else "Succeeded"
                patch = json.dumps({"status": {"phase": phase}})
                words = ["patch", "pod", name, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", patch]
                await seed.cluster.kubectl(*words)
        await asyncio.sleep(0.5)


async def _run(seed: Seed, pod: Object, place: Path, data: Path) -> int:
    (container,) = pod["spec"]["containers"]
    inside = {mount["name"]: place / mount["mountPath"].lstrip("/") for mount in container["volumeMounts"]}
    for volume in pod["spec"]["volumes"]:
        await fill(seed, volume, inside[volume["name"]])
    words = [word.replace("/etc/auditsink", f"{place}/etc/auditsink") for word in container["args"]]
    words = [str(inside["work"]) if word == "/tmp" else word for word in words]
    config = inside["config"] / "evacuation.yaml"
    text = config.read_text().replace("/etc/auditsink", f"{place}/etc/auditsink")
    config.write_text(text.replace("/var/lib/auditsink", str(data)))
    environment = dict(os.environ)
    for one in container["env"]:
        reference = one["valueFrom"]["secretKeyRef"]
        environment[one["name"]] = (await seed.secret(reference["name"]))[reference["key"]].decode()
    process = await asyncio.create_subprocess_exec(*COMMAND, *words, env=environment)
    return await process.wait()


async def api_server_flags(seed: Seed, place: Path, port: int) -> list[str]:
    """The flags that the webhook gave to the Deployment, for an API server that runs here: the file, and the address.

    The kubeconfig is the Secret's own but for the Service's address, which nothing resolves here.
    """
    deployment = await seed.get("deployment", "kube-apiserver")
    spec = deployment["spec"]["template"]["spec"]
    (container,) = [one for one in spec["containers"] if one["name"] == "kube-apiserver"]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "auditsink-webhook-kubeconfig"]
    values = await seed.secret("auditsink-webhook-kubeconfig")
    whole: Any = yaml.safe_load(values["kubeconfig"])
    cluster = whole["clusters"][0]["cluster"]
    host = f"auditsink.{NAMESPACE}.svc"
    assert cluster["server"] == f"https://{host}:9880/audit"
    cluster |= {"server": f"https://127.0.0.1:{port}/audit", "tls-server-name": host}
    file = place / "kubeconfig"
    file.write_text(json.dumps(whole))
    flags = [one for one in container["args"] if one.startswith("--audit-webhook-")]
    return [one.replace(f"{mount['mountPath']}/kubeconfig", str(file)) for one in flags]


def api_server_deployment() -> Object:
    """As gardenlet writes it, as far as the webhook looks at it."""
    labels = {"app": "kubernetes", "role": "apiserver", "gardener.cloud/role": "controlplane"}
    container = {
        "name": "kube-apiserver",
        "image": "kube-apiserver",
        "command": ["/usr/local/bin/kube-apiserver"],
        "args": ["--audit-policy-file=/etc/kubernetes/audit/audit-policy.yaml", "--secure-port=443"],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "kube-apiserver", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
