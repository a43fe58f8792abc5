"""The chart and the plain manifests before a real kube-apiserver with the real CRDs."""

import base64
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gobuild
import kubernetes
import pytest
import pytest_asyncio
import yaml
from chart import CHART, VALUES, documents, helm, pod, rendered, template
from kubernetes import TOKEN, Kubernetes
from running import Sink

pytestmark = pytest.mark.skipif(bool(kubernetes.missing_tools()), reason=kubernetes.missing_tools())
beside_the_cluster = pytest.mark.asyncio(loop_scope="module")
POLICY = Path(__file__).parents[2] / "config" / "apiserver" / "policy.yaml"
OPERATOR = ("github.com/prometheus-operator/prometheus-operator@v0.85.0", "example/prometheus-operator-crd")
AUTOSCALER = ("k8s.io/autoscaler/vertical-pod-autoscaler@v1.8.1", "deploy/vpa-v1-crd-gen.yaml")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kubernetes]:
    place = tmp_path_factory.mktemp("kubernetes")
    disk = {"name": "disk", "type": "file", "path": str(place / "audit.ndjson")}
    async with (
        Sink(place / "sink", [disk]) as sink,
        kubernetes.cluster(place, f"{sink.receive}/real", POLICY) as running,
    ):
        operator = Path(gobuild.module(OPERATOR[0])["Dir"]) / OPERATOR[1]
        autoscaler = Path(gobuild.module(AUTOSCALER[0])["Dir"]) / AUTOSCALER[1]
        for crd in (*operator.glob("*servicemonitors.yaml"), *operator.glob("*prometheusrules.yaml"), autoscaler):
            await running.kubectl("apply", "--server-side", "-f", str(crd))
        await running.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        for name in ("gardener-system-300", "gardener-system-600"):
            await running.kubectl("create", "priorityclass", name, "--value=1000")
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        for name in ("audit", "installed"):
            metadata = {"name": name, "labels": restricted}
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
            await running.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(namespace))
        yield running


@beside_the_cluster
@pytest.mark.parametrize("values", VALUES)
async def test_a_real_apiserver_takes_every_object(values: str, cluster: Kubernetes) -> None:
    objects = rendered(values)
    said = await cluster.kubectl(
        "apply", "-n", "audit", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-", stdin=objects
    )
    assert len(said.splitlines()) == len(documents(objects)) > 2
    await cluster.kubectl("delete", "-n", "audit", "--wait=false", "-f", "-", stdin=objects)


@beside_the_cluster
@pytest.mark.parametrize("values", VALUES)
async def test_its_pods_are_admitted_where_only_restricted_pods_are(values: str, cluster: Kubernetes) -> None:
    objects = rendered(values)
    metadata = {"name": f"tried-{values}"}
    tried: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod(objects)}
    if not any(one["name"] == "data" for one in tried["spec"]["volumes"]):  # the StatefulSet's controller adds it
        tried["spec"]["volumes"].append({"name": "data", "persistentVolumeClaim": {"claimName": "data"}})
    await cluster.kubectl("create", "-n", "audit", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(tried))
    metadata["name"] = "root"
    tried["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    refused = await cluster.kubectl("create", "-n", "audit", "-f", "-", stdin=yaml.safe_dump(tried), fails=True)
    assert "violates PodSecurity" in refused
    for one in [one for one in documents(template("--values", VALUES[values])) if one["kind"] == "Pod"]:
        await cluster.kubectl("create", "-n", "audit", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(one))
        await cluster.kubectl("delete", "-n", "audit", "pod", one["metadata"]["name"], "--wait=false")


@beside_the_cluster
async def test_an_upgrade_keeps_the_admin_token_that_the_installation_made(cluster: Kubernetes, tmp_path: Path) -> None:
    # An apiserver that was built from a module does not know its version, so the chart must not ask for one.
    chart = Path(shutil.copytree(CHART, tmp_path / "chart"))
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    del described["kubeVersion"]
    (chart / "Chart.yaml").write_text(yaml.safe_dump(described))

    async def token() -> bytes:
        return base64.b64decode(
            await cluster.kubectl("get", "secret", "-n", "installed", "auditsink-admin", "-o", "jsonpath={.data.token}")
        )

    access = (
        f"--kube-apiserver={cluster.url}", f"--kube-token={TOKEN}", "--kube-insecure-skip-tls-verify",
        "--namespace=installed", "--values", VALUES["least-values"],
    )  # fmt: skip
    notes = helm("install", "auditsink", chart, *access)
    made = await token()
    assert len(made) == 48
    assert "kubectl -n installed port-forward statefulset/auditsink 2020" in notes
    assert "kubectl -n installed get secret auditsink-admin -o jsonpath='{.data.token}' | base64 -d" in notes
    assert made.decode() not in notes
    helm("upgrade", "auditsink", chart, *access, "--set", "replicas=2")
    assert await token() == made
