"""Flags are read in every form in which people keep them, and what cannot be read is said."""

import pytest

from auditsink.doctor import Urgency, apiserver, flags

POLICY = {"audit-policy-file": "/p"}
BOTH = POLICY | {"audit-webhook-config-file": "/w"}
TRUNCATE = {"audit-webhook-truncate-enabled": "true"}

FORMS: dict[str, tuple[str, dict[str, str], str]] = {
    "a unit": (
        "ExecStart=/usr/bin/kube-apiserver --audit-policy-file=/p --audit-webhook-config-file=/w",
        BOTH,
        "command line",
    ),
    "continued lines": (
        "ExecStart=/usr/bin/kube-apiserver \\\n  --audit-policy-file=/p \\\n  --audit-webhook-config-file=/w\n",
        BOTH,
        "command line",
    ),
    "a variable of an environment file": (
        'KUBE_API_ARGS="--audit-policy-file=/p --audit-webhook-config-file=/w"\n',
        BOTH,
        "command line",
    ),
    "/proc/PID/cmdline": (
        "kube-apiserver\0--audit-policy-file=/p\0--audit-webhook-config-file\0/w\0",
        BOTH,
        "command line",
    ),
    "values apart": ("--audit-policy-file /p --audit-webhook-config-file /w", BOTH, "command line"),
    "a bare boolean": (
        "kube-apiserver --audit-webhook-truncate-enabled --audit-policy-file=/p --audit-webhook-config-file=/w",
        BOTH | TRUNCATE,
        "command line",
    ),
    "a list with comments": (
        "- --audit-policy-file=/p\n- --audit-webhook-config-file=/w # here\n# - --audit-webhook-mode=blocking\n",
        BOTH,
        "a list of flags",
    ),
    "JSON": (
        'command: ["kube-apiserver", "--audit-policy-file=/p", "--audit-webhook-config-file=/w"]',
        BOTH,
        "command",
    ),
    "a static pod": (
        (
            "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n"
            "  - command:\n    - kube-apiserver\n    - --audit-policy-file=/p\n"
            "    #- --audit-webhook-mode=blocking\n    - --audit-webhook-truncate-enabled\n"
            "    - --audit-webhook-config-file\n    - /w\n"
        ),
        BOTH | TRUNCATE,
        "Pod (v1), a list of flags at spec.containers.command",
    ),
    "RKE2": (
        (
            "write-kubeconfig-mode: 644\nkube-apiserver-arg:\n"
            "- audit-policy-file=/p\n- --audit-webhook-config-file=/w\n"
            "- audit-webhook-truncate-enabled\n"
        ),
        BOTH | TRUNCATE,
        "RKE2's or k3s's kube-apiserver-arg",
    ),
    "RKE2's own key": ("profile: cis\naudit-policy-file: /p\n", POLICY, "RKE2's own keys"),
    "Rancher": (
        "spec:\n  rkeConfig:\n    machineGlobalConfig:\n      kube-apiserver-arg: [audit-policy-file=/p]\n",
        POLICY,
        "RKE2's or k3s's",
    ),
    "k3s's unit": (
        (
            "[Service]\nExecStart=/usr/local/bin/k3s \\\n"
            "  server \\\n  '--kube-apiserver-arg=audit-policy-file=/p' \\\n"
            "  '--kube-apiserver-arg' 'audit-webhook-config-file=/w' "
            "--kube-apiserver-arg=audit-webhook-truncate-enabled\n"
        ),
        BOTH | TRUNCATE,
        "--kube-apiserver-arg",
    ),
    "kubeadm v1beta3": (
        (
            "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\napiServer:\n"
            "  extraArgs:\n    audit-policy-file: /p\n"
            '    audit-webhook-config-file: /w\n    audit-webhook-truncate-enabled: "true"\n'
        ),
        BOTH | TRUNCATE,
        "ClusterConfiguration (kubeadm.k8s.io/v1beta3), extraArgs as a map",
    ),
    "kubeadm v1beta4": (
        (
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\napiServer:\n  extraArgs:\n"
            "  - {name: audit-policy-file, value: /p}\n  - {name: audit-webhook-config-file, value: /old}\n"
            "  - {name: audit-webhook-config-file, value: /w}\n"
        ),
        BOTH,
        "ClusterConfiguration (kubeadm.k8s.io/v1beta4), extraArgs as a list",
    ),
    "kubeadm's ConfigMap": (
        (
            "kind: ConfigMap\ndata:\n  ClusterConfiguration: |\n"
            "    apiServer:\n      extraArgs: {audit-policy-file: /p}\n"
            "    kind: ClusterConfiguration\n"
        ),
        POLICY,
        "ClusterConfiguration, extraArgs as a map",
    ),
    "kind": (
        (
            "kind: Cluster\nnodes:\n- kubeadmConfigPatches:\n  - |\n"
            "    kind: ClusterConfiguration\n    apiServer:\n      extraArgs:\n"
            "        audit-policy-file: /p\n"
        ),
        POLICY,
        "extraArgs as a map",
    ),
    "Cluster API": (
        (
            "kind: KubeadmControlPlane\nspec: {kubeadmConfigSpec: {clusterConfiguration: {apiServer: {extraArgs: "
            "{audit-policy-file: /p}}}}}\n"
        ),
        POLICY,
        "KubeadmControlPlane, extraArgs as a map",
    ),
    "Talos": (
        "cluster:\n  apiServer:\n    extraArgs:\n      audit-policy-file: /p\n",
        POLICY,
        "cluster.apiServer.extraArgs",
    ),
    "RKE": (
        "services:\n  kube-api:\n    extra_args: {audit-policy-file: /p}\n",
        POLICY,
        "services.kube-api.extra_args",
    ),
    "kOps": (
        (
            "apiVersion: kops.k8s.io/v1alpha2\nkind: Cluster\nspec:\n  kubeAPIServer:\n    auditPolicyFile: /p\n"
            "    auditWebhookConfigFile: /w\n    auditWebhookBatchThrottleQps: 50\n"
            "    auditWebhookBatchThrottleEnable: true\n"
        ),
        BOTH | {"audit-webhook-batch-throttle-qps": "50", "audit-webhook-batch-throttle-enable": "true"},
        "kOps's kubeAPIServer",
    ),
    "minikube": (
        (
            "minikube start \\\n  --extra-config=apiserver.audit-policy-file=/p \\\n"
            '  --extra-config="apiserver.audit-webhook-config-file=/w"  --extra-config scheduler.v=3\n'
        ),
        BOTH,
        "minikube's --extra-config",
    ),
    "minikube's profile": (
        '{"KubernetesConfig":{"ExtraOptions":[{"Component":"apiserver","Key":"audit-policy-file","Value":"/p"}]}}',
        POLICY,
        "minikube's ExtraOptions",
    ),
    "kubespray": (
        (
            "kubernetes_audit_webhook: true\naudit_policy_file: /p\naudit_webhook_config_file: /w\n"
            "kube_kubeadm_apiserver_extra_args: {audit-webhook-truncate-enabled: true}\n"
        ),
        BOTH
        | TRUNCATE
        | {"audit-webhook-mode": "batch", "audit-webhook-batch-max-size": "100", "audit-webhook-batch-max-wait": "1s"},
        "kubespray's variables",
    ),
    "kubespray without the webhook": ("kubernetes_audit_webhook: false\naudit_webhook_mode: batch\n", {}, ""),
    "OpenShift": ("apiServerArguments:\n  audit-policy-file: [/old, /p]\n", POLICY, "OpenShift's apiServerArguments"),
    "KubeOne": (
        "features:\n  webhookAuditLog: {enable: true, config: {policyFilePath: /p, configFilePath: /w}}\n",
        BOTH,
        "KubeOne's features",
    ),
    "a patch": (
        "- {op: add, path: /spec/containers/0/command/-, value: --audit-policy-file=/p}\n",
        POLICY,
        "a text at value",
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_flags_are_read_wherever_they_stand(name: str) -> None:
    text, expected, form = FORMS[name]
    found = flags.read(text)
    assert found.given == expected
    assert form in "; ".join(found.forms)
    assert not found.unread or not expected


@pytest.mark.parametrize(
    ("text", "unread"),
    [
        ("- --audit-policy-file={{ .Values.policy }}\n- --audit-webhook-config-file=/w\n", [(1, "audit-policy-file")]),
        ("#!/bin/sh\nexec kube-apiserver --audit-policy-file=$POLICY\n", [(2, "audit-policy-file")]),
        ("a: 1\n--audit-policy-file\n--audit-webhook-mode=batch\n", [(2, "audit-policy-file")]),
        ("my_own_values:\n  audit-webhook-mode: blocking\n", [(2, "audit-webhook-mode")]),
    ],
)
def test_what_looks_like_a_flag_and_cannot_be_read_is_told_with_its_line(
    text: str, unread: list[tuple[int, str]]
) -> None:
    found = flags.read(text)
    assert found.unread == unread
    told = [finding for finding in apiserver.in_file(found) if finding.about == f"--{unread[0][1]}"]
    assert [finding.urgency for finding in told] == [Urgency.SOON]
    assert f"line {unread[0][0]}" in told[0].what


def test_a_manifest_with_a_mistake_is_told_and_read_as_far_as_it_goes() -> None:
    found = flags.read("apiVersion: v1\nkind: Pod\nspec:\n\tcontainers:\n\t- --audit-policy-file=/p\n")
    assert found.given == POLICY
    assert found.problem.startswith("is no YAML from line 4 on")


def test_a_flag_that_no_apiserver_has_is_told() -> None:
    found = flags.read("--audit-policy-file=/p --audit-webhook-config-file=/w --audit-webhook-max-wait=2s")
    assert (Urgency.LOSING, "--audit-webhook-max-wait") in [
        (one.urgency, one.about) for one in apiserver.in_file(found)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "\x00\xff",
        "[" * 5000,
        "&a [*a, *a]",
        "kube-apiserver-arg: &a [&b [*a, *b], *b]\n",
        "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10) if n else 'x'}]\n" for n in range(20)),
        "apiServer: {extraArgs: [1, null, {name: 3}, {name: audit-policy-file}]}\n",
        "kubeAPIServer: {audit: {a: b}}\n",
    ],
)
def test_a_file_without_flags_gives_none_and_ends(text: str) -> None:
    assert flags.read(text).given == {}
