"""The chart, judged by helm: every set of values, every option, every typo, and the texts that are made from it."""

import base64
import re
import subprocess
from pathlib import Path

import gobuild
import pytest
import yaml
from chart import CHART, KUBERNETES, SETS, VALUES, configuration, documents, helm, pod, rendered, template, the
from ground import tool

from auditsink import cli, load

pytestmark = pytest.mark.quick
OUT = ("--set-json", 'config.destinations=[{"name":"out","type":"stdout"}]')
HELM_DOCS = ("github.com/norwoodj/helm-docs/cmd/helm-docs", "1.14.2")


@pytest.mark.parametrize("values", VALUES)
def test_the_chart_is_well_made_with_every_set_of_values(values: str) -> None:
    assert "0 chart(s) failed" in helm("lint", CHART, "--strict", "--values", VALUES[values])


@pytest.mark.parametrize("values", [name for name in VALUES if name != "own-secret-values"])
def test_its_configuration_is_one_that_the_sink_takes(values: str) -> None:
    environment = {"MAX_BODY": "16MiB", "S3_ID": "id", "S3_SECRET": "secret"}
    config = load.parse(configuration(rendered(values)).encode(), "chart", environment)
    assert str(config.spool.path).startswith("/var/lib/auditsink")
    assert config.destinations


@pytest.mark.parametrize("values", SETS)
def test_the_plain_manifests_are_what_the_chart_renders_and_kustomize_takes_them(values: str) -> None:
    assert (KUBERNETES / values / "auditsink.yaml").read_text() == rendered(f"values-{values}")
    built = subprocess.run(
        [tool("kubectl", "has kustomize"), "kustomize", KUBERNETES / values], capture_output=True, text=True, check=True
    ).stdout
    assert len(documents(built)) > 6


def test_its_readme_is_what_helm_docs_makes_of_the_values(tmp_path: Path) -> None:
    helm_docs = gobuild.installed(*HELM_DOCS)
    command: list[str | Path] = [helm_docs, "--chart-search-root", CHART, "--dry-run", "--sort-values-order", "file"]
    made = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert (CHART / "README.md").read_text().strip() == made.strip(), "make manifests"


def test_every_value_has_its_place_in_the_readme() -> None:
    def leaves(where: str, value: object) -> set[str]:
        if isinstance(value, dict) and value:
            return {leaf for key, one in value.items() for leaf in leaves(f"{where}.{key}".lstrip("."), one)}
        return {where}

    values = yaml.safe_load((CHART / "values.yaml").read_text())
    listed = set(re.findall(r"^\| (\S+) \|", (CHART / "README.md").read_text(), re.MULTILINE))
    unlisted = {leaf for leaf in leaves("", values) if not any(leaf.startswith(one) for one in listed)}
    assert not unlisted


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "say where the events go"),
        (("--set", "volume.size=1Gi,config.spool.max_bytes=1GiB"), "more than 90 % of volume.size"),
        (("--set", "volume.size=much"), "is not a size"),
        (("--set", "config.admin.listen=0.0.0.0:12020"), "config.admin.listen must end in :2020"),
        (("--set", "config.receive.listen=0.0.0.0:80"), "config.receive.listen must end in :9880"),
        (("--set", "kind=Deployment,replicas=2"), "one replica on one volume"),
        (("--set", "kind=Deployment,updateStrategy.type=OnDelete"), "a Deployment is always recreated"),
        (("--set", "existingConfigMap=mine"), "would be ignored beside existingConfigMap"),
        (("--set", "existingConfigMap=mine,existingConfigSecret=mine"), "there is one file; remove one of the two"),
        (("--set", "ingress.enabled=true"), "ingress.hosts is empty"),
        (
            ("--set", "replicas=2,ingress.enabled=true,ingress.hosts[0].host=a.example,ingress.hosts[0].port=admin"),
            "shows one replica's page",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_remedy(options: tuple[str, ...], complaint: str) -> None:
    destinations = () if complaint.startswith("say") else OUT
    assert complaint in template(*destinations, *options, fails=True)


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("replica=2", "replica"),
        ("kind=DaemonSet", "kind"),
        ("replicas=two", "replicas"),
        ("image.tags=1", "tags"),
        ("image.digest=sha256:abc", "digest"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("volume.storageclass=fast", "storageclass"),
        ("existingSecret=mine", "existingSecret"),
        ("tls.secret=mine", "secret"),
        ("adminToken.enabled=true", "enabled"),
        ("env.HTTP_PROXY=x", "env"),
        ("env[0].nam=x", "nam"),
        ("envFrom[0].secret=x", "secret"),
        ("extraVolumes[0].emptyDir.medium=Memory", "name"),
        ("extraVolumeMounts[0].name=ca", "mountPath"),
        ("serviceAccount.annotation.a=b", "annotation"),
        ("resources.limit.memory=1Gi", "limit"),
        ("resources.limits.memory=1GiB", "memory"),
        ("updateStrategy.type=Recreate", "type"),
        ("terminationGracePeriodSeconds=5", "terminationGracePeriodSeconds"),
        ("service.type=ExternalName", "type"),
        ("service.port=99999", "port"),
        ("ingress.host=a.example", "host"),
        ("ingress.hosts[0].host=a.example,ingress.hosts[0].port=metrics", "port"),
        ("networkPolicy.from=x", "from"),
        ("serviceMonitor.interval=30", "interval"),
        ("podLabels.number=1", "number"),
        ("fullnameOverride=Not_A_Name", "fullnameOverride"),
        ("config.destination=x", "destination"),
        ("config.receive.max_bodi=1MiB", "max_bodi"),
        ("config.receive.retry_after=soon", "retry_after"),
        ("config.destinations[0].typ=stdout", "typ"),
        ("config.destinations[0].in_flight=100", "in_flight"),
        ("topologySpreadConstraints[0].maxSkew=1", "topologyKey"),
    ],
)
def test_a_typo_in_the_values_is_an_error_that_names_the_key(option: str, key: str) -> None:
    said = template(*OUT, "--set", option, fails=True)
    assert "values don't meet the specifications of the schema" in said
    assert key in said


def test_the_ring_gets_most_of_the_volume_and_not_all_of_it() -> None:
    config = load.parse(configuration(template("--set", "volume.size=10Gi", *OUT)).encode(), "chart", {})
    assert config.spool.max_bytes == 10 * 2**30 * 85 // 100


def test_check_sees_what_the_sink_sees_and_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = rendered("least-values")
    (check,), (sink,) = pod(text)["initContainers"], pod(text)["containers"]
    assert all(check[key] == sink[key] for key in ("image", "volumeMounts", "resources", "securityContext"))
    place = tmp_path / "etc"
    files = {
        "config/config.yaml": configuration(text).replace("/etc/auditsink", str(place)),
        "admin/token": base64.b64decode(the("Secret", text)["data"]["token"]).decode(),
    }
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True)
        (place / name).write_text(content)
    assert cli.run([word.replace("/etc/auditsink", str(place)) for word in check["args"]]) == 0
    assert "9880" in capsys.readouterr().out


def test_the_pod_of_helm_test_asks_the_destinations_and_no_service_finds_it() -> None:
    text = template("--values", VALUES["all-values"])
    tested = the("Pod", text)
    assert tested["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert "--connect" in tested["spec"]["containers"][0]["args"]
    assert {"name": "data", "emptyDir": {}} in tested["spec"]["volumes"]
    labels = tested["metadata"]["labels"].items()
    services = [one for one in documents(text) if one["kind"] == "Service"]
    assert services
    assert not any(one["spec"]["selector"].items() <= labels for one in services)


def test_everything_that_can_be_added_to_the_pod_is_there() -> None:
    text = rendered("all-values")
    spec = pod(text)
    (_, check), (sink, beside) = spec["initContainers"], spec["containers"]
    assert (check["name"], sink["name"], beside["name"]) == ("check", "auditsink", "beside")
    for container in (check, sink):
        assert [one["name"] for one in container["env"]] == ["MAX_BODY", "S3_ID", "S3_SECRET"]
        assert container["envFrom"] == [{"secretRef": {"name": "more", "optional": True}}]
        assert {"name": "ca", "mountPath": "/etc/ssl/company", "readOnly": True} in container["volumeMounts"]
        assert container["securityContext"]["runAsUser"] == 20002
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"name": "ca", "configMap": {"name": "company-ca"}} in spec["volumes"]
    assert spec["serviceAccountName"] == the("ServiceAccount", text)["metadata"]["name"] == "audit-sink"
    assert the("StatefulSet", text)["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"partition": 1},
    }
    (spread,) = spec["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == the("StatefulSet", text)["spec"]["selector"]["matchLabels"]
    names = {one["metadata"]["name"] for one in documents(text) if one["kind"] == "ConfigMap"}
    assert {"audit-sink-extra", "auditsink-text"} <= names


def test_a_file_from_a_secret_leaves_nothing_for_the_chart_to_write() -> None:
    text = rendered("own-secret-values")
    assert {one["kind"] for one in documents(text)} == {"Service", "StatefulSet"}
    volumes = {one["name"]: one for one in pod(text)["volumes"]}
    assert volumes["config"]["secret"]["secretName"] == "audit-config"
    assert volumes["admin"]["secret"]["secretName"] == "audit-admin"
    assert pod(text)["serviceAccountName"] == "audit"
    assert "initContainers" not in pod(text)


def test_the_ingress_reaches_the_receive_port_and_the_page_by_services_that_are_there() -> None:
    text = rendered("deployment-values")
    ports = {
        (one["metadata"]["name"], port["name"])
        for one in documents(text)
        if one["kind"] == "Service"
        for port in one["spec"]["ports"]
    }
    rules = the("Ingress", text)["spec"]["rules"]
    backends = [rule["http"]["paths"][0]["backend"]["service"] for rule in rules]
    assert [(one["name"], one["port"]["name"]) for one in backends] == [
        ("auditsink", "receive"),
        ("auditsink-pods", "admin"),
    ]
    assert all((one["name"], one["port"]["name"]) in ports for one in backends)


def test_a_long_name_still_has_room_for_what_hangs_on_it() -> None:
    made = template(*OUT, "--set", "dashboard.enabled=true", release="a" * 53)
    assert max(len(one["metadata"]["name"]) for one in documents(made)) <= 63
