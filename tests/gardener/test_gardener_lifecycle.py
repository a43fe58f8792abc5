"""What happens to a sink in the life of its shoot, and what gardenlet is told of it."""

from typing import Any

import pytest
from gardenerkit import KEY, NAMESPACE, NOW, OPERATION, OWN, SPLUNK, pending, seed

from auditsink.gardener.api.own_config import WebhookFlags
from auditsink.gardener.apiserver import deployment as mutation
from auditsink.gardener.control.reconciler import EventRecorder

pytestmark = pytest.mark.asyncio


async def test_a_first_reconcile_makes_a_sink_and_succeeds() -> None:
    async with seed() as it:
        it.fill()
        assert await it.reconcile()
        assert it.last["type"] == "Create"
        assert it.last["state"] == "Succeeded"
        assert it.last["progress"] == 100
        assert it.extension["status"]["observedGeneration"] == it.extension["metadata"]["generation"]
        assert OPERATION not in it.extension["metadata"].get("annotations", {})
        assert it.extension["metadata"]["finalizers"] == ["extensions.gardener.cloud/audit"]
        assert it.one("StatefulSet")["spec"]["replicas"] == 2


async def test_a_second_reconcile_that_changes_nothing_writes_nothing_but_the_status() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        it.ask("reconcile")
        it.api.writes.clear()
        assert await it.reconcile()
        assert it.last["type"] == "Reconcile"
        assert {(verb, plural) for verb, plural, _ in it.api.writes} == {
            ("patch", "extensions"),
            ("status", "extensions"),
        }
        assert not it.slept


async def test_our_own_group_becomes_a_sink() -> None:
    async with seed() as it:
        it.fill(OWN)
        assert await it.reconcile()
        destinations = {one["name"]: one for one in it.config()["destinations"]}
        assert destinations["siem"]["token_file"] == "/etc/auditsink/references/splunk-secret/token"
        variables = it.one("StatefulSet")["spec"]["template"]["spec"]["containers"][0]["env"]
        assert [one["valueFrom"]["secretKeyRef"] for one in variables] == [{"name": "ref-lake", "key": "token"}]
        assert destinations["lake"]["auth"]["bearer"] == "${" + variables[0]["name"] + "}"
        assert [one["name"] for one in it.extension["status"]["resources"]] == ["lake", "splunk-secret"]


async def test_a_mistake_of_the_user_is_an_error_with_the_code_for_it() -> None:
    async with seed() as it:
        it.fill({**OWN, "sink": {"destinations": [{"name": "siem", "type": "splunc"}]}})
        assert not await it.reconcile()
        status = it.extension["status"]
        assert status["lastOperation"]["state"] == "Error"
        assert status["lastError"]["codes"] == ["ERR_CONFIGURATION_PROBLEM"]
        assert "destinations[0]" in status["lastError"]["description"]
        assert status["observedGeneration"] == it.extension["metadata"]["generation"]
        it.api.put("extensions", {**it.extension, "spec": {"type": "audit", "providerConfig": OWN}})
        assert await it.reconcile()
        assert "lastError" not in it.extension["status"]


async def test_it_waits_for_the_resource_manager_and_says_what_for() -> None:
    async with seed() as it:
        it.manages = False
        it.fill()
        assert not await it.reconcile()
        assert "the resource manager has not looked at it yet" in it.extension["status"]["lastError"]["description"]
        assert "codes" not in it.extension["status"]["lastError"]
        assert it.api.find("secrets", "auditsink-webhook-kubeconfig", NAMESPACE) is None


async def test_waking_scales_up_again() -> None:
    async with seed() as it:
        it.fill(spec__hibernation={"enabled": True})
        await it.reconcile()
        assert it.one("StatefulSet")["spec"]["replicas"] == 0
        it.shoot()
        it.ask("reconcile")
        assert await it.reconcile()
        assert it.one("StatefulSet")["spec"]["replicas"] == 2


async def test_before_it_sleeps_a_sink_delivers_what_it_can_and_the_rest_is_remembered() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        it.run_sinks(pending(7), pending(5))
        it.shoot(spec__hibernation={"enabled": True})
        it.ask("reconcile")
        assert await it.reconcile()
        assert sum(it.slept) >= 60
        assert (
            it.last["description"] == "The sinks sleep; 12 events were not delivered to splunk and wait on the volumes"
        )
        noted = it.extension["metadata"]["annotations"]["auditsink.extensions.gardener.cloud/hibernated-with"]
        assert noted == "12"


async def test_sinks_that_sleep_on_a_backlog_are_woken_to_deliver_it_before_they_are_deleted() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        it.run_sinks(pending(3))
        it.shoot(spec__hibernation={"enabled": True})
        it.ask("reconcile")
        await it.reconcile()
        labels = {"app.kubernetes.io/name": "auditsink", "app.kubernetes.io/instance": "gardener"}
        claim = {"metadata": {"name": "data-auditsink-0", "namespace": NAMESPACE, "labels": labels}}
        it.api.put("persistentvolumeclaims", {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **claim})
        replicas = []
        it.api.on_change.append(
            lambda what, key, thing: (
                replicas.append(it.one("StatefulSet")["spec"]["replicas"])
                if key[1] == "managedresources" and what == "MODIFIED"
                else None
            )
        )
        it.run_sinks(pending(0))
        it.change("extensions", "audit", deletionTimestamp="2026-11-28T10:00:00Z")
        assert await it.reconcile()
        assert 2 in replicas
        assert not it.api.all("extensions")
        assert not it.api.all("persistentvolumeclaims")


async def test_deleting_drains_then_removes_everything() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        it.run_sinks(pending(0))
        it.change("extensions", "audit", deletionTimestamp="2026-11-28T10:00:00Z")
        said = []
        it.api.on_change.append(
            lambda _what, key, thing: (
                said.append(thing.get("status", {}).get("lastOperation", {}).get("description"))
                if key[1] == "extensions"
                else None
            )
        )
        assert await it.reconcile()
        assert not it.api.all("extensions")
        assert not it.api.all("managedresources")
        assert not [one for one in it.api.all("secrets") if one["metadata"].get("labels", {}).get("manager-identity")]
        assert "Deleted; nothing was left" in said


async def test_what_cannot_be_delivered_before_the_volumes_go_is_said() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        it.run_sinks(pending(41, dead_lettered=2))
        it.change("extensions", "audit", finalizers=["extensions.gardener.cloud/audit", "somebody/else"])
        it.change("extensions", "audit", deletionTimestamp="2026-11-28T10:00:00Z")
        assert await it.reconcile()
        assert it.last["description"] == (
            "Deleted; lost with the volumes: 41 events were not delivered to splunk, 2 events that splunk refused"
        )
        assert it.extension["metadata"]["finalizers"] == ["somebody/else"]


async def test_a_restore_removes_the_annotation_last() -> None:
    async with seed() as it:
        it.fill()
        it.ask("restore")
        seen = []
        it.api.on_change.append(
            lambda _what, key, thing: (
                seen.append(
                    (
                        thing.get("status", {}).get("lastOperation", {}).get("state"),
                        OPERATION in thing["metadata"].get("annotations", {}),
                    )
                )
                if key[1] == "extensions"
                else None
            )
        )
        assert await it.reconcile()
        assert seen[-2:] == [("Succeeded", True), ("Succeeded", False)]
        assert it.last["type"] == "Restore"


async def test_an_extension_that_waits_for_its_state_is_left_alone() -> None:
    async with seed() as it:
        it.fill()
        it.ask("wait-for-state")
        it.api.writes.clear()
        assert await it.reconcile()
        assert not it.api.writes


async def test_a_shoot_that_gardenlet_gave_up_on_rests() -> None:
    async with seed() as it:
        it.fill(status__lastOperation={"state": "Failed"})
        it.api.writes.clear()
        assert await it.reconcile()
        assert not it.api.writes


async def test_trouble_with_the_api_is_tried_again() -> None:
    async with seed() as it:
        it.fill()
        it.api.broken.add("managedresources")
        assert not await it.reconcile()
        assert it.last["state"] == "Error"
        it.api.broken.clear()
        assert await it.reconcile()
        assert it.counted == [("Create", False), ("Create", True)]


async def test_without_any_destination_no_sink_is_made_and_one_that_is_there_goes() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        it.api.put("extensions", {**it.extension, "spec": {"type": "audit"}})
        it.ask("reconcile")
        assert await it.reconcile()
        assert it.last["description"].startswith("No destination is configured: nothing is audited")
        assert not it.api.all("managedresources")
        assert it.extension["metadata"]["finalizers"]


async def test_a_sink_stays_as_long_as_its_api_server_posts_to_it() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        metadata = {"name": "kube-apiserver", "namespace": NAMESPACE, "annotations": {mutation.DIGEST: "x"}}
        it.api.put("deployments", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})
        it.api.put("extensions", {**it.extension, "spec": {"type": "audit"}})
        it.ask("reconcile")
        assert await it.reconcile()
        assert it.api.all("managedresources")
        assert "The sinks go with the next reconcile" in it.last["description"]
        it.change("deployments", "kube-apiserver", annotations={})
        it.ask("reconcile")
        assert await it.reconcile()
        assert not it.api.all("managedresources")


async def test_an_operation_that_fails_is_one_event_for_each_sentence_and_counts() -> None:
    async with seed() as it:
        it.fill({**SPLUNK, "backends": {"splunk": {**SPLUNK["backends"]["splunk"], "host": ""}}})
        for _ in range(3):
            it.ask("reconcile")
            assert not await it.reconcile()
        (event,) = it.api.all("events")
        assert (event["type"], event["reason"], event["count"]) == ("Warning", "CreateFailed", 1), "once a minute"
        assert event["involvedObject"]["name"] == "audit"
        assert event["message"] == it.last["description"]


async def test_an_event_that_cannot_be_written_leaves_the_status_as_it_would_be() -> None:
    async with seed() as it:
        it.fill({**SPLUNK, "backends": {"splunk": {**SPLUNK["backends"]["splunk"], "host": ""}}})
        it.api.broken.add("events")
        assert not await it.reconcile()
        assert it.last["state"] == "Error"
        assert not it.api.all("events")


async def test_the_same_sentence_is_counted_again_after_a_minute() -> None:
    now = [NOW]
    async with seed() as it:
        it.fill()
        recorder = EventRecorder(it.kube, "extension-audit", lambda: now[0])
        for seconds in (0, 59, 61, 122):
            now[0] = NOW + seconds
            await recorder.warn(it.extension, "ReconcileFailed", "x" * 5000)
        (event,) = it.api.all("events")
        assert (event["count"], len(event["message"]), event["source"]) == (3, 1024, {"component": "extension-audit"})


async def test_what_is_left_on_the_volumes_is_an_event() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        it.run_sinks(pending(41))
        it.change("extensions", "audit", deletionTimestamp="2026-11-28T10:00:00Z")
        assert await it.reconcile()
        (event,) = it.api.all("events")
        assert event["reason"] == "AuditEventsLeft"
        assert "41 events were not delivered to splunk" in event["message"]


def api_server(**status: int) -> dict[str, Any]:
    """A shoot's API server with our flags, and how far its pods are."""
    plain = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "kube-apiserver", "namespace": NAMESPACE, "generation": 1},
        "spec": {"template": {"spec": {"containers": [{"name": "kube-apiserver", "args": ["--secure-port=443"]}]}}},
    }
    return {**mutation.mutated(plain, b"k", "blocking-strict", WebhookFlags()), "status": status}


async def test_an_extension_that_goes_from_a_living_shoot_takes_its_flags_along_before_its_sink() -> None:
    """In a blocking mode an API server that posts to nobody would refuse every request."""
    async with seed() as it:
        it.fill()
        await it.reconcile()
        it.run_sinks(pending(0))
        it.api.put("deployments", api_server(observedGeneration=1, replicas=2, updatedReplicas=1))
        it.change("extensions", "audit", deletionTimestamp="2026-11-28T10:00:00Z")
        assert not await it.reconcile()
        assert "kube-apiserver: its pods with our flags do not end" in it.last["description"]
        deployment = it.api.find("deployments", "kube-apiserver", NAMESPACE)
        assert deployment is not None
        assert "--audit-webhook" not in str(deployment)
        assert it.api.all("managedresources"), "the sink is there as long as somebody posts"
        done = {"observedGeneration": deployment["metadata"]["generation"], "replicas": 2, "updatedReplicas": 2}
        it.api.put("deployments", {**deployment, "status": done})
        assert await it.reconcile()
        assert not it.api.all("managedresources")
        assert not it.api.all("extensions")


async def test_the_api_server_of_a_shoot_that_is_deleted_or_migrates_is_left_alone() -> None:
    async with seed() as it:
        it.fill()
        await it.reconcile()
        it.run_sinks(pending(0))
        it.api.put("deployments", api_server())
        it.ask("migrate")
        assert await it.reconcile()
        assert not it.api.all("managedresources")
        assert "--audit-webhook" in str(it.api.find("deployments", "kube-apiserver", NAMESPACE))


async def test_a_deleted_extension_that_was_never_ours_is_left_alone() -> None:
    async with seed() as it:
        it.fill()
        it.change("extensions", "audit", deletionTimestamp="2026-11-28T10:00:00Z", finalizers=["somebody/else"])
        it.api.writes.clear()
        assert await it.reconcile(KEY)
        assert not it.api.writes


def claim(number: int, size: str, **status: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "auditsink", "app.kubernetes.io/instance": "gardener"}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"data-auditsink-{number}", "namespace": NAMESPACE, "labels": labels},
        "spec": {"resources": {"requests": {"storage": size}}},
        **({"status": status} if status else {}),
    }


async def test_a_ring_grows_when_every_volume_has_grown() -> None:
    async with seed() as it:
        it.fill(SPLUNK)
        await it.reconcile()
        before = it.config()["spool"]["max_bytes"]
        for number in range(2):
            it.api.put("persistentvolumeclaims", claim(number, "1Gi", capacity={"storage": "1Gi"}))
        larger = {**SPLUNK, "persistence": {"size": "4Gi"}}
        it.api.put("extensions", {**it.extension, "spec": {"type": "audit", "providerConfig": larger}})
        it.ask("reconcile")
        assert await it.reconcile()
        claims = it.api.all("persistentvolumeclaims")
        assert [one["spec"]["resources"]["requests"]["storage"] for one in claims] == ["4Gi", "4Gi"]
        assert it.config()["spool"]["max_bytes"] == before
        for number in range(2):
            it.api.put("persistentvolumeclaims", claim(number, "4Gi", capacity={"storage": "4Gi"}))
        it.ask("reconcile")
        assert await it.reconcile()
        assert it.config()["spool"]["max_bytes"] // before == 4


async def test_fewer_replicas_deliver_before_the_others_stop() -> None:
    async with seed() as it:
        it.fill(SPLUNK)
        await it.reconcile()
        stateful = it.one("StatefulSet")
        it.api.put("statefulsets", stateful)
        it.run_sinks(pending(2), pending(0))
        it.api.put(
            "extensions", {**it.extension, "spec": {"type": "audit", "providerConfig": {**SPLUNK, "replicas": 1}}}
        )
        it.ask("reconcile")
        assert await it.reconcile()
        assert sum(it.slept) >= 60
        assert it.last["description"] == (
            "1 sink delivers to splunk; 2 events were not delivered to splunk and wait on the volumes"
        )
