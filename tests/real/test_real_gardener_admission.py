"""The admission at a real API server: what it refuses is not stored, with the sentence that tells why."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import gardener_seed
import kubernetes
import pytest
import yaml
from gardener_seed import NO_POLICY, kubeconfig
from ground import free_port, listens, running
from kubernetes import Kubernetes

pytestmark = pytest.mark.skipif(bool(gardener_seed.missing()), reason=gardener_seed.missing())
SHOOTS: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "shoots.core.gardener.cloud",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1"},
    },
    "spec": {
        "group": "core.gardener.cloud",
        "names": {"kind": "Shoot", "plural": "shoots"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
"""In a garden an API server of Gardener's own has them; here any object of that name is one."""


def shoot(secret_name: str, host: str = "hec") -> str:
    splunk = {"enabled": True, "host": host, "port": "8088", "secretResourceName": "hec"}
    config = {
        "apiVersion": "audit.metal.extensions.gardener.cloud/v1alpha1",
        "kind": "AuditConfig",
        "backends": {"splunk": splunk},
    }
    reference = {"name": "hec", "resourceRef": {"apiVersion": "v1", "kind": "Secret", "name": secret_name}}
    labels = {"extensions.extensions.gardener.cloud/audit": "true"}
    return json.dumps(
        {
            "apiVersion": "core.gardener.cloud/v1beta1",
            "kind": "Shoot",
            "metadata": {"name": "s", "namespace": "garden-p", "labels": labels},
            "spec": {"resources": [reference], "extensions": [{"type": "audit", "providerConfig": config}]},
        }
    )


async def registered(cluster: Kubernetes) -> None:
    async with asyncio.timeout(60):
        while "gardener-extension-audit-admission" not in await cluster.kubectl(  # noqa: ASYNC110
            "get", "validatingwebhookconfigurations", "-o", "name"
        ):
            await asyncio.sleep(0.2)


async def test_what_cannot_become_a_sink_is_not_stored(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(NO_POLICY)
    async with kubernetes.cluster(tmp_path, "http://127.0.0.1:9/", tmp_path / "policy.yaml") as cluster:
        (tmp_path / "kubeconfig").write_text(kubeconfig(cluster.url))
        await cluster.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(SHOOTS))
        await cluster.kubectl("create", "namespace", "extension-audit")
        await cluster.kubectl("create", "namespace", "garden-p")
        await cluster.kubectl("label", "namespace", "garden-p", "gardener.cloud/role=project")
        await cluster.kubectl("create", "secret", "generic", "-n", "garden-p", "good", "--from-literal=token=t")
        await cluster.kubectl("create", "secret", "generic", "-n", "garden-p", "bad", "--from-literal=tokn=t")
        port = free_port()
        command = [
            sys.executable, "-m", "auditsink", "gardener", "admission", "--namespace", "extension-audit",
            "--host", "127.0.0.1", "--webhook-port", str(port), "--health-port", str(free_port()),
            "--webhook-url", f"https://127.0.0.1:{port}",
        ]  # fmt: skip
        environment = {"KUBECONFIG": str(tmp_path / "kubeconfig")}
        async with running(command, tmp_path / "admission.out", lambda: listens(port), environment):
            await registered(cluster)
            await cluster.kubectl("wait", "--for=condition=Established", "crd/shoots.core.gardener.cloud")
            said = await cluster.kubectl("apply", "-f", "-", stdin=shoot("bad"), fails=True)
            assert "backends.splunk.secretResourceName: Secret bad has no key token" in said
            said = await cluster.kubectl("apply", "-f", "-", stdin=shoot("good", host=""), fails=True)
            assert "backends.splunk.host: is missing" in said
            await cluster.kubectl("apply", "-f", "-", stdin=shoot("good"))
            change = json.dumps({"data": {"token": None, "other": "eA=="}})
            said = await cluster.kubectl("patch", "secret", "good", "-n", "garden-p", "-p", change, fails=True)
            assert "Shoot s refers to this Secret" in said
            await cluster.kubectl("patch", "secret", "bad", "-n", "garden-p", "-p", change)
            await cluster.kubectl("label", "shoot", "s", "-n", "garden-p", "colour=green")
