"""What the webhook makes of an API server's Deployment, and when it lets one pass as it is."""

import base64
import copy
import json
from typing import Any

import pytest
from gardenerkit import NAMESPACE, SPLUNK, extension, secret

from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.api.own_config import WebhookFlags
from auditsink.gardener.apiserver import deployment as mutation
from auditsink.gardener.apiserver.deployment import Known

KUBECONFIG = secret("auditsink-webhook-kubeconfig", kubeconfig="a kubeconfig")
CONTROLLER = ControllerConfig()


def api_server(**container: Any) -> dict[str, Any]:
    main = {
        "name": "kube-apiserver",
        "command": ["/usr/local/bin/kube-apiserver"],
        "args": ["--a=b", "--audit-policy-file=/p", "--audit-webhook-batch-max-size=3", "--audit-log-path=-"],
        **container,
    }
    spec = {"containers": [{"name": "vpn"}, main], "volumes": [{"name": "ca"}]}
    return {"metadata": {"name": "kube-apiserver", "namespace": NAMESPACE}, "spec": {"template": {"spec": spec}}}


def arguments(deployment: dict[str, Any]) -> list[str]:
    found: list[str] = deployment["spec"]["template"]["spec"]["containers"][1]["args"]
    return found


def test_flags_volume_and_digest_are_put_in_and_other_audit_flags_but_the_policys_go() -> None:
    before = api_server()
    kept = copy.deepcopy(before)
    after = mutation.mutated(before, b"k", "batch", WebhookFlags())
    assert before == kept
    assert arguments(after) == [
        "--a=b",
        "--audit-policy-file=/p",
        "--audit-webhook-config-file=/var/run/secrets/auditsink/kubeconfig",
        "--audit-webhook-mode=batch",
        "--audit-webhook-batch-max-wait=2s",
        "--audit-webhook-batch-max-size=400",
        "--audit-webhook-batch-buffer-size=50000",
        "--audit-webhook-batch-throttle-qps=50",
        "--audit-webhook-batch-throttle-burst=100",
        "--audit-webhook-initial-backoff=10s",
        "--audit-webhook-truncate-enabled=false",
    ]
    template = after["spec"]["template"]
    assert template["metadata"]["annotations"] == after["metadata"]["annotations"]
    assert template["spec"]["volumes"][-1]["secret"]["secretName"] == "auditsink-webhook-kubeconfig"


def test_twice_is_as_once() -> None:
    once = mutation.mutated(api_server(), b"k", "blocking", WebhookFlags())
    assert mutation.mutated(once, b"k", "blocking", WebhookFlags()) == once
    assert mutation.patch(once, once) == []


def test_another_kubeconfig_rolls_the_pods() -> None:
    one = mutation.mutated(api_server(), b"k", "batch", WebhookFlags())
    other = mutation.mutated(api_server(), b"K", "batch", WebhookFlags())
    assert one["spec"]["template"]["metadata"] != other["spec"]["template"]["metadata"]


def test_what_metal_stacks_extension_put_there_goes() -> None:
    theirs = api_server(
        command=["kube-apiserver", "--audit-webhook-mode=batch"],
        volumeMounts=[{"name": "audit-webhook-config", "mountPath": "/etc/audit-webhook/config"}],
    )
    theirs["spec"]["template"]["spec"]["volumes"].append({"name": "audit-webhook-config"})
    after = mutation.mutated(theirs, b"k", "batch", WebhookFlags())
    text = json.dumps(after)
    assert 'audit-webhook-config"' not in text
    assert after["spec"]["template"]["spec"]["containers"][1]["command"] == ["kube-apiserver"]


def test_a_flag_whose_value_is_a_word_of_its_own_leaves_no_word_behind() -> None:
    ours = ["--audit-webhook-config-file", "/x", "--audit-log-compress"]
    words = ["kube-apiserver", *ours, "--audit-policy-file", "/p", "--audit-log-compress", "-v"]
    after = mutation.stripped(api_server(command=words))
    kept = after["spec"]["template"]["spec"]["containers"][1]["command"]
    assert kept == ["kube-apiserver", "--audit-policy-file", "/p", "-v"]


def test_without_batches_there_are_no_flags_for_them_and_nobody_waits_ten_seconds() -> None:
    found = mutation.flags("blocking-strict", WebhookFlags())
    assert not [flag for flag in found if "batch" in flag]
    assert "--audit-webhook-initial-backoff=1s" in found


def test_events_are_cut_only_for_those_who_say_a_size() -> None:
    found = mutation.flags("blocking", WebhookFlags(truncate_max_event_size=100_000))
    assert found[-3:] == [
        "--audit-webhook-truncate-enabled=true",
        "--audit-webhook-truncate-max-event-size=100000",
        "--audit-webhook-truncate-max-batch-size=10000000",
    ]


async def asked(
    known: Known, thing: dict[str, Any] | None = None, controller: ControllerConfig = CONTROLLER
) -> dict[str, Any]:
    async def look(namespace: str) -> Known:
        assert namespace == NAMESPACE
        return known

    body = {"request": {"uid": "u", "namespace": NAMESPACE, "object": thing or api_server()}}
    answer: dict[str, Any] = (await mutation.answer(body, look, controller))["response"]
    return answer


async def test_the_answer_is_a_patch_that_gives_the_deployment() -> None:
    answer = await asked(Known(extension(SPLUNK), KUBECONFIG))
    operations = json.loads(base64.b64decode(answer["patch"]))
    assert answer["allowed"]
    assert [one["path"] for one in operations] == ["/metadata/annotations", "/spec/template"]
    assert "--audit-webhook-mode=blocking-strict" in json.dumps(operations)
    after = {
        **api_server(),
        "metadata": {"annotations": operations[0]["value"]},
        "spec": {"template": operations[1]["value"]},
    }
    assert "patch" not in await asked(Known(extension(SPLUNK), KUBECONFIG), after)


async def test_a_sink_that_is_wanted_and_not_there_yet_is_waited_for() -> None:
    answer = await asked(Known(extension(SPLUNK), None))
    assert not answer["allowed"]
    assert "kubeconfig is not there yet" in answer["status"]["message"]


@pytest.mark.parametrize(
    "known", [Known(extension(SPLUNK), None, hibernated=True), Known(extension(SPLUNK), None, deleted=True)]
)
async def test_a_shoot_that_sleeps_or_goes_is_not_held_up(known: Known) -> None:
    assert await asked(known) == {"uid": "u", "allowed": True}


async def test_without_a_destination_the_flags_go() -> None:
    before = mutation.mutated(api_server(), b"k", "batch", WebhookFlags())
    answer = await asked(Known(extension(None), KUBECONFIG), before)
    assert "--audit-webhook" not in base64.b64decode(answer["patch"]).decode()


async def test_a_deployment_that_is_being_deleted_is_left_alone() -> None:
    thing = api_server()
    thing["metadata"]["deletionTimestamp"] = "2026-11-28T10:00:00Z"
    assert await asked(Known(extension(SPLUNK), None), thing) == {"uid": "u", "allowed": True}


async def test_in_the_garden_an_extension_that_goes_takes_its_flags_along() -> None:
    controller = ControllerConfig(extension_class="garden")
    before = mutation.mutated(api_server(), b"k", "batch", WebhookFlags())
    going = extension(SPLUNK, deletionTimestamp="2026-11-28T10:00:00Z")
    answer = await asked(Known(going, KUBECONFIG), before, controller)
    assert "--audit-webhook" not in base64.b64decode(answer["patch"]).decode()


async def test_in_a_living_shoot_an_extension_that_goes_takes_its_flags_along_and_in_one_that_goes_it_does_not() -> (
    None
):
    before = mutation.mutated(api_server(), b"k", "batch", WebhookFlags())
    going = extension(SPLUNK, deletionTimestamp="2026-11-28T10:00:00Z")
    answer = await asked(Known(going, KUBECONFIG), before)
    assert "--audit-webhook" not in base64.b64decode(answer["patch"]).decode()
    answer = await asked(Known(going, KUBECONFIG, deleted=True), api_server())
    assert "--audit-webhook" in base64.b64decode(answer["patch"]).decode()


async def test_an_audit_config_that_nobody_can_read_is_a_refusal_with_a_reason() -> None:
    answer = await asked(Known(extension({"apiVersion": "x/v1", "kind": "AuditConfig"}), KUBECONFIG))
    assert not answer["allowed"]
    assert "providerConfig.apiVersion" in answer["status"]["message"]
