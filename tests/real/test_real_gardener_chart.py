"""The extension's charts and registration objects: a real API server with Gardener's CRDs takes them."""

import asyncio
from pathlib import Path

import gardener_programs
import gardener_seed
import kubernetes
import pytest
import yaml
from gardener_seed import GARDENER, NO_POLICY

pytestmark = pytest.mark.skipif(bool(gardener_seed.missing()), reason=gardener_seed.missing())
CRDS = (
    "operator.gardener.cloud_extensions",
    "autoscaling.k8s.io_verticalpodautoscalers",
    "fluentbit.fluent.io_clusterparsers",
    "fluentbit.fluent.io_clusterfilters",
)
RUNTIME = "gardener.runtimeCluster.enabled=true,gardener.runtimeCluster.priorityClassName=gardener-garden-system-500"
PROJECTED = "projectedKubeconfig.baseMountPath=/garden,projectedKubeconfig.genericKubeconfigSecretName=k"
ADMISSION = f"{PROJECTED},projectedKubeconfig.tokenSecretName=t"


async def template(chart: str, values: str) -> str:
    words = [kubernetes.helm(), "template", "audit", GARDENER / chart, "--namespace", "audit"]
    if values:
        words += ["--set", values]
    helm = await asyncio.create_subprocess_exec(*map(str, words), stdout=asyncio.subprocess.PIPE)
    text, _ = await helm.communicate()
    assert not helm.returncode
    return text.decode()


async def test_a_real_api_server_takes_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(NO_POLICY)
    async with kubernetes.cluster(tmp_path, "http://127.0.0.1:9/", tmp_path / "policy.yaml") as cluster:
        found = gardener_programs.crds()
        for name in CRDS:
            await cluster.kubectl("apply", "--server-side", "-f", str(found[name]))
        metadata = {"name": "audit", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        await cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(namespace))
        for chart, values in (
            ("extension", ""),
            ("extension", RUNTIME),
            ("admission/charts/runtime", ADMISSION),
            ("admission/charts/application", ""),
        ):
            text = await template(chart, values)
            words = ("apply", "-n", "audit", "--dry-run=server", "--warnings-as-errors", "-f", "-")
            await cluster.kubectl(*words, stdin=text)  # a pod that is not restricted enough is a warning
        registration = (GARDENER / "extension.yaml").read_text()
        await cluster.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=registration)


async def test_the_registrations_say_the_same() -> None:
    operator = yaml.safe_load((GARDENER / "extension.yaml").read_text())
    deployment, registration = yaml.safe_load_all((GARDENER / "controller-registration.yaml").read_text())
    (ours,), (theirs,) = operator["spec"]["resources"], registration["spec"]["resources"]
    assert ours.pop("clusterCompatibility") == ["shoot", "garden"]
    assert ours == theirs
    chart = operator["spec"]["deployment"]["extension"]["helm"]["ociRepository"]
    assert chart == deployment["helm"]["ociRepository"]
