"""What is rendered: beside what metal-stack's extension renders for the same AuditConfig, and for what only we have."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from gardenerkit import NAMESPACE, NOW, OWN, SPLUNK, cluster, resource, secret

from auditsink.gardener.api import controller_config, decoding
from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.apiserver import kubeconfig
from auditsink.gardener.certificates.wanted import Authority, Leaf
from auditsink.gardener.control.certificates import issued
from auditsink.gardener.control_plane import of_cluster
from auditsink.gardener.errors import ConfigurationError
from auditsink.gardener.objects import data
from auditsink.gardener.render import everything, managed_resource
from auditsink.gardener.render.monitoring import Monitoring
from auditsink.gardener.render.workload import CertificateNames
from auditsink.gardener.sink import build
from auditsink.gardener.sink.document import ring_bytes
from auditsink.gardener.sink.plan import Plan

CUSTOM_TEXT = (
    "[OUTPUT]\n  Name loki\n  Match audit\n  host loki.example.com\n  port 443\n  tls On\n  labels job=audit\n"
)
ALL: dict[str, Any] = {
    "apiVersion": SPLUNK["apiVersion"],
    "kind": "AuditConfig",
    "persistence": {"size": "1Gi", "storageClassName": "fast"},
    "webhookMode": "blocking-strict",
    "backends": {
        **SPLUNK["backends"],
        "log": {"enabled": True},
        "clusterForwarding": {"enabled": True},
        "s3": {
            "enabled": True,
            "bucket": "b",
            "region": "eu-central-1",
            "secretResourceName": "s3-secret",
            "endpoint": "s3.example.com",
            "useCompression": True,
        },
        "customForwarding": {
            "enabled": True,
            "configMapResourceName": "custom-output",
            "secretResourceName": "custom-secret",
        },
    },
}
CA = issued(Authority("ca"), None, NOW)
CERTIFICATE = issued(Leaf("c", "c", "client"), CA, NOW)
RESOURCES = [
    resource("splunk-secret"), resource("s3-secret"), resource("lake"), resource("custom-secret"),
    resource("custom-output", "ConfigMap"),
]  # fmt: skip


def planned(config: Any, text: str = CUSTOM_TEXT, controller: ControllerConfig | None = None, **more: str) -> Plan:
    controller = controller or ControllerConfig(image="auditsink:1", allow_custom_backends=True)
    fetched = {
        "splunk": secret("ref-splunk-secret", token="t", ca="c"),
        "s3": secret("ref-s3-secret", access_key_id="a", secret_access_key="s"),
        "lake": secret("ref-lake", token="t"),
        "splunk-secret": secret("ref-splunk-secret", token="t"),
        "custom-config": secret("ref-custom-output", **{"fluent-bit-output.conf": text}),
        "custom-secret": secret("ref-custom-secret", **{"ca.crt": CA.certificate.decode(), **more}),
    }
    return build.plan(
        decoding.provider_config(config), of_cluster(cluster(spec__resources=RESOURCES)), controller, fetched
    )


def rendered(plan: Plan) -> dict[tuple[str, str], Any]:
    certificates = CertificateNames("server-1", "bundle-1", "tailer-1")
    found = everything.in_seed(plan, certificates, Monitoring({"groups": []}, "{}"), "gateway:1")
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def test_every_object_that_theirs_has_has_a_counterpart() -> None:
    found = rendered(planned(ALL))
    gateway = "audit-cluster-forwarding-vpn-gateway"
    for kind in ("Deployment", "Service", "ServiceAccount", "Role", "RoleBinding"):
        assert (kind, gateway) in found
    for kind in ("StatefulSet", "Service", "PodDisruptionBudget"):  # theirs: audit-webhook-backend
        assert (kind, "auditsink") in found
    assert found["Deployment", gateway]["spec"]["template"]["spec"]["containers"][0]["env"][0] == {
        "name": "GATEWAY_SHOOT_KUBECONFIG",
        "value": "/var/run/secrets/gardener.cloud/shoot/generic-kubeconfig/kubeconfig",
    }
    shoot = everything.in_shoot(planned(ALL), "fluentd:1", {"tls.crt": ""})
    assert [(one["kind"], one["metadata"]["name"]) for one in shoot] == [
        ("ConfigMap", "audittailer-config"),
        ("Secret", "audittailer-server"),
        ("Service", "audittailer"),
        ("Deployment", "audittailer"),
        ("Role", "audittailer"),
        ("RoleBinding", "audittailer"),
    ]


def test_their_backends_as_destinations() -> None:
    by_name = {one["name"]: one for one in planned(ALL).document["destinations"]}
    assert list(by_name) == ["log", "cluster-forwarding", "splunk", "s3", "custom-forwarding"]
    assert by_name["splunk"]["url"] == "https://hec.example.com:8088"
    assert by_name["splunk"]["sourcetype"] == "kube:apiserver:auditlog"
    assert by_name["splunk"]["tls"]["server_name"] == "splunk.internal"
    assert by_name["s3"]["key_format"] == "/audit-logs/%Y/%m/%d/%H/%M/%S/$UUID"
    assert by_name["s3"]["endpoint"] == "https://s3.example.com"
    assert by_name["cluster-forwarding"]["address"] == "audit-cluster-forwarding-vpn-gateway:9876"
    assert by_name["cluster-forwarding"]["tls"]["server_name"] == "audittailer"
    assert by_name["custom-forwarding"]["tls"]["ca_file"] == "/etc/auditsink/references/custom-forwarding/ca.crt"
    assert all(one["add"] == {"stage": "prod", "region": "eu-1"} for one in by_name.values())


def test_searches_for_items_can_stay() -> None:
    splunk = {**ALL["backends"]["splunk"], "customData": {"stage": "prod", "auditsink.record": "batch"}}
    plan = planned({**ALL, "backends": {**ALL["backends"], "splunk": splunk}})
    by_name = {one["name"]: one for one in plan.document["destinations"]}
    assert by_name["splunk"]["record"] == by_name["s3"]["record"] == by_name["cluster-forwarding"]["record"] == "batch"
    assert "record" not in by_name["custom-forwarding"]  # Loki tells events apart
    assert all(one["add"] == {"stage": "prod"} for one in by_name.values())
    with pytest.raises(ConfigurationError, match="must be event or batch"):
        planned({**SPLUNK, "backends": {"splunk": {**splunk, "customData": {"auditsink.record": "x"}}}})


def test_what_would_lock_an_api_server_out_is_not_strict() -> None:
    config = decoding.provider_config(ALL)
    assert build.mode(config, ControllerConfig()) == "blocking"
    assert planned(ALL).document["spool"]["when_full"] == "drop_oldest"
    assert planned(SPLUNK).document["spool"]["when_full"] == "reject"


def test_everything_that_a_pod_mounts_is_there() -> None:
    found = rendered(planned(ALL))
    spec = found["StatefulSet", "auditsink"]["spec"]["template"]["spec"]
    volumes = {one["name"]: one for one in spec["volumes"]} | {"data": {}}
    (container,) = spec["containers"]
    assert {one["name"] for one in container["volumeMounts"]} == set(volumes)
    paths = [
        item["path"] for source in volumes["references"]["projected"]["sources"] for item in source["secret"]["items"]
    ]
    text = json.dumps(planned(ALL).document)
    for path in paths:
        assert f"/etc/auditsink/references/{path}" in text
    assert ("ConfigMap", volumes["config"]["configMap"]["name"]) in found
    annotations = found["StatefulSet", "auditsink"]["metadata"]["annotations"]
    assert volumes["config"]["configMap"]["name"] in annotations.values()


def test_the_same_input_gives_the_same_bytes() -> None:
    def once(config: Any) -> Any:
        objects = everything.in_seed(planned(config), CertificateNames("s", "b", "t"), Monitoring(), "g")
        return managed_resource.seed("extension-audit", NAMESPACE, objects)

    turned = {**ALL, "backends": dict(reversed(ALL["backends"].items()))}
    assert once(ALL) == once(turned) == once(json.loads(json.dumps(ALL)))


def test_what_only_a_restart_takes_up_restarts_the_pods() -> None:
    def checksum(token: str) -> str:
        config = decoding.provider_config(OWN)
        place = of_cluster(cluster(spec__resources=RESOURCES))
        fetched = {"lake": secret("l", token=token), "splunk-secret": secret("s", token=token)}
        return build.plan(config, place, ControllerConfig(), fetched).checksum

    assert checksum("a") != checksum("b")
    only_files = {**OWN, "sink": {"destinations": OWN["sink"]["destinations"][:1]}}
    assert planned(only_files).checksum == ""


def test_our_own_group_says_everything_that_a_sink_can_do() -> None:
    config = {
        **OWN,
        "replicas": 3,
        "labels": {"stage": "prod"},
        "identityLabels": True,
        "webhook": {"mode": "batch", "batchMaxSize": 100},
        "sink": {
            "destinations": [
                {
                    "name": "lake", "type": "http", "url": "https://lake/in",
                    "filter": {"except": [{"verbs": ["get"]}], "mask": ["secrets"]},
                },
            ],
            "spool": {"when_full": "reject", "encryption": {"key_file": "resource:lake/token"}},
            "evidence": {"key_file": "resource:lake/token"},
            "clusters": [{"name": "other", "certificates": ["cn:other"], "reservation": "100MiB"}],
        },
    }  # fmt: skip
    document = planned(config).document
    own, other = document["clusters"]["members"]
    assert own["name"] == NAMESPACE
    assert own["labels"]["stage"] == "prod"
    assert own["labels"]["shoot.gardener.cloud/name"] == "n"
    assert other["reservation"] == "100MiB"
    assert document["spool"]["encryption"]["key_file"] == "/etc/auditsink/references/lake/token"
    assert document["evidence"]["path"].startswith("/var/lib/auditsink/")


def test_the_guides_example_is_a_plan() -> None:
    text = (Path(__file__).parents[2] / "docs" / "gardener.md").read_text()
    shoot = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    config = decoding.provider_config(shoot["spec"]["extensions"][0]["providerConfig"])
    place = of_cluster(cluster(spec__resources=shoot["spec"]["resources"]))
    plan = build.plan(config, place, ControllerConfig(), {"splunk": secret("ref-my-hec", token="t")})
    assert [one["name"] for one in plan.document["destinations"]] == ["siem"]
    assert plan.source.mounted[0].name == "ref-my-hec"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"replicas": -1}, "providerConfig.replicas: -1 is negative"),
        ({"messages": {"maxEventSize": 25000}}, "messages.maxEventSize: 25000 must be more than 25000"),
        ({"persistence": {"size": "lots"}}, "persistence.size: must be a quantity"),
        ({"backends": {"splunk": {"enabled": True}}}, "backends.splunk.host: is missing"),
        ({"kind": "Other"}, "providerConfig.kind: must be AuditConfig"),
        ({"apiVersion": "v1"}, "providerConfig.apiVersion: must be"),
    ],
)
def test_mistakes_are_told_with_their_key(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=r".") as problem:
        planned({**SPLUNK, **change})
    assert why in str(problem.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no key fluent-bit-output.conf"),
        ("[SERVICE]\n  flush 1\n", "has no [OUTPUT]"),
        ("[OUTPUT]\n  name nonsense\n  match *\n", "nonsense is not taken over"),
        ("[OUTPUT]\n  name loki\n  match *\n  http_passwd ${PASSWORD}\n", "there are no variables"),
    ],
)
def test_a_custom_output_that_cannot_be_taken_over_is_told(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as problem:
        planned(ALL, text)
    assert why in str(problem.value)


def test_a_custom_certificate_that_is_none_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"tls\.crt is no certificate in PEM"):
        planned(ALL, CUSTOM_TEXT, None, **{"tls.crt": "nonsense"})


def test_custom_outputs_need_the_operators_leave() -> None:
    with pytest.raises(ConfigurationError, match="the operator does not allow it"):
        planned(ALL, controller=ControllerConfig())


@pytest.mark.parametrize(("volume", "size"), [("1Gi", 912680550), ("2G", 1700000000), ("1073741824", 912680550)])
def test_the_ring_fits_the_volume(volume: str, size: int) -> None:
    assert ring_bytes(volume) == size


def test_metal_stacks_own_configuration_of_the_controller_is_taken_loosely() -> None:
    found = controller_config.parse(
        {
            "apiVersion": controller_config.METAL_API_VERSION,
            "kind": "ControllerConfiguration",
            "defaultWebhookMode": "batch",
            "allowCustomBackends": True,
            "healthCheckConfig": {"syncPeriod": "60s"},
            "auth": {"providerTenant": "x"},
        }
    )
    assert found.default_webhook_mode == "batch"
    assert found.allow_custom_backends
    with pytest.raises(ConfigurationError, match="auth"):
        controller_config.parse({"auth": {}})


def test_the_kubeconfig_is_one_file_with_everything_in_it() -> None:
    made = kubeconfig.secret(NAMESPACE, b"bundle", b"certificate", b"key")
    assert data(made, "kubeconfig").decode() == (
        "apiVersion: v1\n"
        "clusters:\n"
        "- cluster:\n"
        "    certificate-authority-data: YnVuZGxl\n"
        f"    server: https://auditsink.{NAMESPACE}.svc:9880/audit\n"
        "  name: auditsink\n"
        "contexts:\n"
        "- context:\n"
        "    cluster: auditsink\n"
        "    user: auditsink\n"
        "  name: auditsink\n"
        "current-context: auditsink\n"
        "kind: Config\n"
        "users:\n"
        "- name: auditsink\n"
        "  user:\n"
        "    client-certificate-data: Y2VydGlmaWNhdGU=\n"
        "    client-key-data: a2V5\n"
    )
