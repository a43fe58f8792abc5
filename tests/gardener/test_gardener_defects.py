"""What is known to go wrong with metal-stack's extension v0.5.6, and does not here: a test for each, named after it."""

import base64
import json

import pytest
from gardenerkit import NAMESPACE, SPLUNK, cluster, extension, pending, resource, rotation, secret, seed

from auditsink.gardener.api.audit_config import Backends, Splunk
from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.apiserver import deployment as mutation
from auditsink.gardener.apiserver.deployment import Known

pytestmark = pytest.mark.asyncio

MANY = {
    **SPLUNK,
    "backends": {
        **SPLUNK["backends"],
        "log": {"enabled": True},
        "s3": {
            "enabled": True,
            "bucket": "audit-logs",
            "region": "eu",
            "secretResourceName": "s3-secret",
            "useCompression": True,
        },
    },
}


async def test_an_extension_without_provider_config_succeeds() -> None:
    async with seed() as it:
        it.fill(None)
        assert await it.reconcile()
        assert it.last["state"] == "Succeeded"
        assert it.last["description"] == "No destination is configured: nothing is audited"


async def test_the_order_of_several_backends_never_changes() -> None:
    async with seed() as it:
        it.fill(MANY)
        await it.reconcile()
        first = it.api.find("managedresources", "extension-audit", NAMESPACE)
        for _ in range(6):
            it.ask("reconcile")
            assert await it.reconcile()
        assert it.api.find("managedresources", "extension-audit", NAMESPACE) == first
        assert [one["name"] for one in it.config()["destinations"]] == ["log", "splunk", "s3"]


async def test_hibernation_scales_down_at_once() -> None:
    async with seed() as it:
        it.fill(spec__hibernation={"enabled": True}, status__hibernated=False)
        assert await it.reconcile()
        assert it.one("StatefulSet")["spec"]["replicas"] == 0


async def test_a_migration_removes_everything_but_what_the_new_seed_needs() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        labels = it.one("StatefulSet")["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"]
        claim = {"metadata": {"name": "data-auditsink-0", "namespace": NAMESPACE, "labels": labels}}
        it.api.put("persistentvolumeclaims", {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **claim})
        old = {"metadata": {"name": "extension-audit-shoot", "namespace": NAMESPACE}, "spec": {"secretRefs": []}}
        it.api.put(
            "managedresources", {"apiVersion": "resources.gardener.cloud/v1alpha1", "kind": "ManagedResource", **old}
        )
        it.run_sinks(pending(0))
        it.ask("migrate")
        assert await it.reconcile()
        assert not it.api.all("managedresources")
        assert not it.api.all("persistentvolumeclaims")
        kept = [one for one in it.api.all("secrets") if one["metadata"].get("labels", {}).get("manager-identity")]
        assert [one["metadata"]["labels"]["name"] for one in kept] == ["ca-auditsink"]
        assert not it.extension["metadata"].get("finalizers")
        assert it.last["state"] == "Succeeded"
        assert "gardener.cloud/operation" not in it.extension["metadata"].get("annotations", {})
        it.api.writes.clear()
        assert await it.reconcile()  # and then it rests
        assert not it.api.writes


async def test_what_lies_in_the_shoot_does_not_block_its_migration() -> None:
    """gardenlet deletes what has its own origin while the shoot's API answers, and waits for everything else."""
    async with seed() as it:
        it.fill({**SPLUNK, "backends": {"clusterForwarding": {"enabled": True}}})
        it.manages = True
        await it.reconcile()
        there = it.api.find("managedresources", "extension-audit-shoot", NAMESPACE)
        if there is not None:  # where the sink knows `forward`
            assert there["metadata"]["labels"]["origin"] == "gardener"


async def test_a_forced_deletion_removes_everything_and_waits_for_nothing() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        annotations = {"confirmation.gardener.cloud/force-deletion": "true"}
        it.shoot(metadata__annotations=annotations, metadata__deletionTimestamp="2026-11-28T10:00:00Z")
        it.change(
            "managedresources", "extension-audit", finalizers=["resources.gardener.cloud/gardener-resource-manager"]
        )
        it.change("extensions", "audit", deletionTimestamp="2026-11-28T10:00:00Z")
        it.run_sinks(pending(9))
        it.slept.clear()
        assert await it.reconcile()
        assert not it.slept
        assert not it.api.all("extensions")
        there = it.api.find("managedresources", "extension-audit", NAMESPACE)
        assert there is not None
        assert "deletionTimestamp" in there["metadata"]


async def test_a_forced_deletion_succeeds_whatever_the_api_refuses() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        it.shoot(metadata__annotations={"confirmation.gardener.cloud/force-deletion": "true"})
        it.change("extensions", "audit", deletionTimestamp="2026-11-28T10:00:00Z")
        it.api.broken.add("persistentvolumeclaims")
        assert await it.reconcile()
        assert not it.api.all("extensions")


async def test_certificates_that_nobody_needs_are_cleaned_up() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        left_by_theirs = secret("ca-audit-webhook-old")
        left_by_theirs["metadata"]["labels"] = {
            "managed-by": "secrets-manager",
            "manager-identity": "audit",
            "name": "x",
        }
        it.api.put("secrets", left_by_theirs)
        for phase in ("Preparing", "Prepared", "Completing", "Completed"):
            it.shoot(status__credentials=rotation(phase))
            it.ask("reconcile")
            assert await it.reconcile()
        named = [one["metadata"].get("labels", {}).get("name") for one in it.api.all("secrets", NAMESPACE)]
        managed = sorted(name for name in named if name)
        assert managed == ["auditsink-client", "auditsink-server", "ca-auditsink", "ca-auditsink-bundle"]


async def test_an_api_server_can_be_updated_when_the_extension_is_missing() -> None:
    deployment = {"metadata": {"name": "kube-apiserver"}, "spec": {"template": {"spec": {"containers": []}}}}
    asked = {"request": {"uid": "u", "namespace": NAMESPACE, "object": deployment}}

    async def nothing(_namespace: str) -> Known:
        return Known(None, None)

    answer = await mutation.answer(asked, nothing, ControllerConfig())
    assert answer["response"] == {"uid": "u", "allowed": True}


async def test_what_waits_for_s3_lies_on_the_volume() -> None:
    async with seed() as it:
        it.fill(MANY)
        await it.reconcile()
        pod = it.one("StatefulSet")["spec"]["template"]["spec"]
        mounts = {one["mountPath"]: one["name"] for one in pod["containers"][0]["volumeMounts"]}
        assert it.config()["spool"]["path"].startswith("/var/lib/auditsink/")
        assert mounts["/var/lib/auditsink"] == "data"
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]  # nothing can lie anywhere else


async def test_the_secret_of_an_operators_default_backend_is_where_the_pods_are() -> None:
    backends = Backends(splunk=Splunk(enabled=True, host="hec", port="8088", secret_resource_name="org"))
    async with seed(ControllerConfig(default_backends=backends)) as it:
        it.fill(None)
        it.api.put("secrets", secret("default-backend-secret-org", "extension-audit", token="the operator's"))
        assert await it.reconcile()
        copy = it.one("Secret", "default-backend-secret-org")
        assert copy["metadata"]["namespace"] == NAMESPACE
        assert base64.b64decode(copy["data"]["token"]) == b"the operator's"
        volumes = {one["name"]: one for one in it.one("StatefulSet")["spec"]["template"]["spec"]["volumes"]}
        sources = volumes["references"]["projected"]["sources"]
        assert sources == [
            {"secret": {"name": "default-backend-secret-org", "items": [{"key": "token", "path": "splunk/token"}]}}
        ]


async def test_a_mistake_in_the_operators_defaults_is_an_error_and_not_a_line_in_a_log() -> None:
    backends = Backends(splunk=Splunk(enabled=True, host="hec", port="8088", secret_resource_name="org"))
    async with seed(ControllerConfig(default_backends=backends)) as it:
        it.fill(None)
        assert not await it.reconcile()
        said = it.extension["status"]["lastError"]["description"]
        assert said.startswith("defaultBackends: Secret extension-audit/default-backend-secret-org is missing")


async def test_one_replica_does_not_block_a_drain() -> None:
    async with seed() as it:
        it.fill({**SPLUNK, "replicas": 1})
        await it.reconcile()
        budget = it.one("PodDisruptionBudget")["spec"]
        assert budget["maxUnavailable"] == 1
        assert "minAvailable" not in budget
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


async def test_pods_have_a_priority_spread_over_zones_and_no_rights() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        workload = it.one("StatefulSet")
        assert workload["metadata"]["labels"]["high-availability-config.resources.gardener.cloud/type"] == "server"
        pod = workload["spec"]["template"]["spec"]
        assert pod["priorityClassName"] == "gardener-system-500"
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert pod["automountServiceAccountToken"] is False


async def test_api_servers_post_over_tls_and_show_who_they_are() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        there = it.api.find("secrets", "auditsink-webhook-kubeconfig", NAMESPACE)
        assert there is not None
        text = base64.b64decode(there["data"]["kubeconfig"]).decode()
        assert f"https://auditsink.{NAMESPACE}.svc:9880/audit" in text
        assert "client-certificate-data" in text
        assert it.config()["receive"]["tls"]["client_ca_file"] == "/etc/auditsink/tls/ca.crt"


async def test_no_secret_of_anybody_stands_in_the_sinks_file_or_in_a_status() -> None:
    async with seed() as it:
        it.fill(MANY)
        await it.reconcile()
        text = json.dumps([it.config(), it.one("StatefulSet"), it.extension])
        for value in ("t0ken", "s3cret", "AKIA"):
            assert value not in text


async def test_a_reference_that_is_not_in_the_shoot_is_named() -> None:
    async with seed() as it:
        it.api.put("clusters", cluster(spec__resources=[resource("other")]))
        it.api.put("extensions", extension(SPLUNK))
        assert not await it.reconcile()
        assert it.extension["status"]["lastError"]["description"] == (
            "backends.splunk.secretResourceName: the Shoot's spec.resources has no entry 'splunk-secret'; add it"
        )
