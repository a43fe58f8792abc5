"""The garden's own sink at a real API server, and a controller whose leader is killed."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import gardener_seed
import pytest
from gardener_seed import SYSTEM, Object, controller, seed
from rows import Rows
from test_real_gardener import SEED, config

pytestmark = pytest.mark.skipif(bool(gardener_seed.missing()), reason=gardener_seed.missing())
GARDEN: Object = {
    "apiVersion": "operator.gardener.cloud/v1alpha1",
    "kind": "Garden",
    "metadata": {"name": "g"},
    "spec": {
        "runtimeCluster": {
            "ingress": {"controller": {"kind": "nginx"}, "domains": [{"name": "g.example"}]},
            "networking": {"pods": ["10.1.0.0/16"], "services": ["10.2.0.0/16"]},
            "provider": {"zones": ["a"]},
        },
        "virtualCluster": {
            "dns": {"domains": [{"name": "v.example"}]},
            "gardener": {"clusterIdentity": "the-garden"},
            "kubernetes": {"version": "1.34.0"},
            "maintenance": {"timeWindow": {"begin": "220000+0100", "end": "230000+0100"}},
            "networking": {"services": ["10.3.0.0/16"]},
        },
        "resources": [{"name": "hec", "resourceRef": {"apiVersion": "v1", "kind": "Secret", "name": "hec"}}],
    },
}
OWN: Object = {
    "apiVersion": "auditsink.extensions.gardener.cloud/v1alpha1",
    "kind": "AuditConfig",
    "identityLabels": True,
    "sink": {
        "destinations": [{"name": "s", "type": "splunk", "url": "https://hec:8088", "token_file": "resource:hec/token"}]
    },
}


def deployment(name: str, container: str) -> Object:
    labels = {"app": name, "role": "apiserver"}
    pod = {"containers": [{"name": container, "image": "i", "args": ["--audit-policy-file=/p"]}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "garden", "labels": labels},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


async def test_the_gardens_api_servers_get_a_sink_and_lose_it(tmp_path: Path, rows: Rows) -> None:
    servers = {"gardener-apiserver": "gardener-apiserver", "virtual-garden-kube-apiserver": "kube-apiserver"}
    async with seed(tmp_path, {"class": "garden"}) as it, it.kubelet("garden"):
        await it.apply(*(deployment(name, container) for name, container in servers.items()))
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hec", "namespace": "garden"}}
        await it.apply(GARDEN, {**secret, "stringData": {"token": "t"}})

        async def registered() -> Any:
            return await it.get("mutatingwebhookconfiguration", "gardener-extension-audit-garden")

        await it.until("the webhook", registered)
        asked = {"gardener.cloud/operation": "reconcile"}
        metadata = {"name": "garden-audit", "namespace": "garden", "annotations": asked}
        spec = {"type": "audit", "class": "garden", "providerConfig": OWN}
        kind = {"apiVersion": "extensions.gardener.cloud/v1alpha1", "kind": "Extension"}
        await it.cluster.kubectl("create", "-f", "-", stdin=json.dumps({**kind, "metadata": metadata, "spec": spec}))

        async def succeeded() -> Any:
            status = (await it.get("extension.extensions.gardener.cloud", "garden-audit", "garden")).get("status") or {}
            return (status.get("lastOperation") or {}).get("state") == "Succeeded" and status

        status = await it.until("success", succeeded)
        for name in servers:
            text = json.dumps(await it.get("deployment", name, "garden"))
            assert "--audit-webhook-config-file=/var/run/secrets/auditsink/kubeconfig" in text
            assert "--audit-policy-file=/p" in text
        maps = {one["metadata"]["name"]: one for one in await it.items("configmap", "garden")}
        (config_map,) = [maps[name] for name in maps if name.startswith("auditsink-config")]
        assert "garden.gardener.cloud/clusterIdentity: the-garden" in config_map["data"]["config.yaml"]
        rows(server=SEED, thrown="the garden: create", into=0, out=0, note=status["lastOperation"]["description"])
        await it.cluster.kubectl("delete", "extension.extensions.gardener.cloud", "garden-audit", "-n", "garden")
        for name in servers:
            assert "--audit-webhook" not in json.dumps(await it.get("deployment", name, "garden"))
        assert not await it.items("statefulset", "garden")
        rows(server=SEED, thrown="the garden: delete", into=0, out=0, note="the flags are gone, and the sink")


async def test_another_replica_goes_on_when_the_leader_is_killed(tmp_path: Path, rows: Rows) -> None:
    async with seed(tmp_path) as it, it.kubelet(), controller(it, {}) as second:
        await it.shoot()
        await it.gardenlet("reconcile", config())

        async def leader() -> Any:
            lease = await it.get("lease", "extension-audit-leader-election", SYSTEM)
            return lease["spec"]["holderIdentity"].rpartition("_")[2]

        first = await it.until("a leader", leader)
        assert first != str(second.pid)
        it.first.kill()
        said = await it.gardenlet("reconcile", config(replicas=1))
        assert (await it.get("statefulset", "auditsink"))["spec"]["replicas"] == 1
        assert await it.until("the other", partial(leader)) == str(second.pid)
        rows(server=SEED, thrown="kill -9 of the controller's leader", into=0, out=0, note=f"gardenlet: {said}")
