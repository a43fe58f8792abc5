"""The chart and the plain manifests, judged by helm, by kustomize and by a real kube-apiserver with the real CRDs."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gobuild
import kubernetes
import pytest
import pytest_asyncio
import yaml
from ground import tool
from kubernetes import Kubernetes
from running import Sink

from auditsink import load

pytestmark = pytest.mark.skipif(bool(kubernetes.missing_tools()), reason=kubernetes.missing_tools())
beside_the_cluster = pytest.mark.asyncio(loop_scope="module")
KUBERNETES = Path(__file__).parents[2] / "config" / "kubernetes"
CHART = KUBERNETES / "chart"
POLICY = Path(__file__).parents[2] / "config" / "apiserver" / "policy.yaml"
SETS = ("shoot", "seed")
OPERATOR = ("github.com/prometheus-operator/prometheus-operator@v0.85.0", "example/prometheus-operator-crd")
AUTOSCALER = ("k8s.io/autoscaler/vertical-pod-autoscaler@v1.8.1", "deploy/vpa-v1-crd-gen.yaml")


def helm(*words: str | Path, fails: bool = False) -> str:
    program = kubernetes.helm()
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert bool(done.returncode) is fails, done.stderr
    return done.stderr if fails else done.stdout


def template(*options: str | Path) -> str:
    return helm("template", "auditsink", CHART, "--namespace", "audit", "--kube-version", "1.36", *options)


def rendered(values: str) -> str:
    return template("--values", CHART / f"values-{values}.yaml")


def documents(text: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(text) if one]


def configuration(text: str) -> str:
    found = [one["data"]["config.yaml"] for one in documents(text) if "config.yaml" in one.get("data", {})]
    (content,) = found
    return str(content)


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
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "audit", "labels": restricted}}
        await running.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(namespace))
        yield running


@beside_the_cluster
@pytest.mark.parametrize("values", SETS)
async def test_a_real_apiserver_takes_every_object(values: str, cluster: Kubernetes):
    objects = rendered(values)
    said = await cluster.kubectl("apply", "-n", "audit", "--server-side", "--validate=strict", "-f", "-", stdin=objects)
    assert len(said.splitlines()) == len(documents(objects)) > 6


@beside_the_cluster
@pytest.mark.parametrize("values", SETS)
async def test_its_pod_is_admitted_where_only_restricted_pods_are(values: str, cluster: Kubernetes):
    objects = rendered(values)
    workload = next(one for one in documents(objects) if one["kind"] in {"StatefulSet", "Deployment"})
    pod = {"apiVersion": "v1", "kind": "Pod", **workload["spec"]["template"]}
    pod["metadata"]["name"] = f"tried-{values}"
    if workload["kind"] == "StatefulSet":  # its controller adds the claim's volume
        pod["spec"]["volumes"].append({"name": "data", "persistentVolumeClaim": {"claimName": "data"}})
    await cluster.kubectl("create", "-n", "audit", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(pod))
    pod["metadata"]["name"] = "root"
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    refused = await cluster.kubectl("create", "-n", "audit", "-f", "-", stdin=yaml.safe_dump(pod), fails=True)
    assert "violates PodSecurity" in refused


@pytest.mark.parametrize("values", SETS)
def test_its_configuration_is_one_that_the_sink_takes(values: str):
    content = configuration(rendered(values))
    config = load.parse(content.encode(), "chart", {})
    assert str(config.spool.path).startswith("/var/lib/auditsink")
    assert config.destinations[0].name == "siem"


@pytest.mark.parametrize("values", SETS)
def test_the_plain_manifests_are_what_the_chart_renders_and_kustomize_takes_them(values: str):
    assert (KUBERNETES / values / "auditsink.yaml").read_text() == rendered(values)
    built = subprocess.run(
        [tool("kubectl", "has kustomize"), "kustomize", KUBERNETES / values], capture_output=True, text=True, check=True
    ).stdout
    assert len(documents(built)) > 6


@pytest.mark.parametrize("values", SETS)
def test_the_chart_is_well_made(values: str):
    assert "0 chart(s) failed" in helm("lint", CHART, "--strict", "--values", CHART / f"values-{values}.yaml")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "say where the events go"),
        (("--set", "volume.size=1Gi,config.spool.max_bytes=1GiB"), "more than 90 % of volume.size"),
        (("--set", "volume.size=much"), "is not a size"),
        (("--set", "kind=DaemonSet"), "must be StatefulSet or Deployment"),
        (("--set", "kind=Deployment,replicas=2"), "one replica on one volume"),
    ],
)
def test_a_wrong_value_is_refused_with_the_remedy(options: tuple[str, ...], complaint: str):
    destination = () if complaint.startswith("say") else ("--set-json", 'config.destinations=[{"name":"d"}]')
    assert complaint in helm(
        "template", "auditsink", CHART, "--kube-version", "1.36", *destination, *options, fails=True
    )


def test_the_ring_gets_most_of_the_volume_and_not_all_of_it():
    destinations = 'config.destinations=[{"name":"d","type":"stdout"}]'
    config = load.parse(
        configuration(template("--set", "volume.size=10Gi", "--set-json", destinations)).encode(), "chart", {}
    )
    assert config.spool.max_bytes == 10 * 2**30 * 85 // 100
