"""Which rule fits: a table of rules and requests, after k8s.io/apiserver, pkg/audit/policy/checker.go."""

import pytest
from filterkit import event, left, reference, sifted

POD = event()
LOGS = event(objectRef=reference("pods", namespace="ns1", name="p1", subresource="log"))
DEPLOYMENT = event(objectRef=reference("deployments", "apps", namespace="ns1", name="d1"))
SCALE = event(
    verb="update", objectRef=reference("deployments", "apps", namespace="ns1", name="d1", subresource="scale")
)
ALPHA = event(objectRef={"resource": "deployments", "namespace": "ns1", "name": "d1", "apiVersion": "apps/v1"})
"""As audit.k8s.io/v1alpha1 has the group."""
NODE = event(requestURI="/api/v1/nodes/n1", objectRef=reference("nodes", name="n1"))
HEALTH = event(requestURI="/healthz/etcd?verbose=1", objectRef=None)
SPACED = event(requestURI="/metrics/a%20b", objectRef=None)
NOBODY = event(user={}, stage="ResponseStarted")
ALONE = event(user={"username": "alone"})
NULLS = event(user={"username": "jane", "groups": None}, objectRef=None, requestURI="/version")

FITS = [
    ("{}", POD, True),
    ("{verbs: [get]}", POD, True),
    ("{verbs: [list, watch]}", POD, False),
    ("{users: [jane]}", POD, True),
    ("{users: [Jane]}", POD, False),
    ("{users: [jane]}", NOBODY, False),
    ("{users: ['']}", NOBODY, False),
    ("{userGroups: [ops, devs]}", POD, True),
    ("{userGroups: [ops]}", POD, False),
    ("{userGroups: [devs]}", NOBODY, False),
    ("{userGroups: [devs]}", ALONE, False),
    ("{userGroups: [devs]}", NULLS, False),
    ("{namespaces: [ns1]}", POD, True),
    ("{namespaces: [ns2]}", POD, False),
    ("{namespaces: ['']}", NODE, True),
    ("{namespaces: ['']}", POD, False),
    ("{namespaces: ['']}", HEALTH, False),
    ("{resources: [{}]}", POD, True),
    ("{resources: [{}]}", DEPLOYMENT, False),
    ("{resources: [{}]}", HEALTH, False),
    ("{resources: [{group: apps}]}", DEPLOYMENT, True),
    ("{resources: [{group: apps}]}", SCALE, True),
    ("{resources: [{group: '*'}]}", POD, True),
    ("{resources: [{group: '*'}]}", SCALE, True),
    ("{resources: [{group: '*'}]}", HEALTH, False),
    ("{resources: [{group: '*', resources: ['*/scale']}]}", SCALE, True),
    ("{resources: [{group: '*', resources: ['*/scale']}]}", DEPLOYMENT, False),
    ("{resources: [{group: '*', resources: [pods], resourceNames: [p1]}]}", POD, True),
    ("{resources: [{group: '*', resources: [pods], resourceNames: [p2]}]}", POD, False),
    ("{resources: [{resources: [pods]}]}", POD, True),
    ("{resources: [{resources: [pods]}]}", LOGS, False),
    ("{resources: [{resources: [pods/log]}]}", LOGS, True),
    ("{resources: [{resources: [pods/log]}]}", POD, False),
    ("{resources: [{resources: [pods/*]}]}", LOGS, True),
    ("{resources: [{resources: [pods/*]}]}", POD, True),
    ("{resources: [{resources: ['*/log']}]}", LOGS, True),
    ("{resources: [{resources: ['*/log']}]}", POD, False),
    ("{resources: [{resources: ['*/scale']}]}", LOGS, False),
    ("{resources: [{resources: ['*/*']}]}", LOGS, False),
    ("{resources: [{resources: ['*']}]}", LOGS, True),
    ("{resources: [{resources: ['*']}]}", SCALE, False),
    ("{resources: [{group: apps}]}", ALPHA, True),
    ("{resources: [{group: ''}]}", ALPHA, False),
    ("{resources: [{group: apps, resources: ['*/scale']}]}", SCALE, True),
    ("{resources: [{resources: [pods], resourceNames: [p1]}]}", POD, True),
    ("{resources: [{resources: [pods], resourceNames: [p2]}]}", POD, False),
    ("{resources: [{resources: [nodes]}, {resources: [pods]}]}", POD, True),
    ("{resources: [{resources: [pods]}], namespaces: [ns2]}", POD, False),
    ("{nonResourceURLs: ['/healthz']}", HEALTH, False),
    ("{nonResourceURLs: ['/healthz*']}", HEALTH, True),
    ("{nonResourceURLs: ['/healthz/etcd']}", HEALTH, True),
    ("{nonResourceURLs: ['/healthz/*']}", HEALTH, True),
    ("{nonResourceURLs: ['*']}", HEALTH, True),
    ("{nonResourceURLs: ['*']}", POD, False),
    ("{nonResourceURLs: ['/metrics/a b']}", SPACED, True),
    ("{nonResourceURLs: ['/metrics/a%20b']}", SPACED, False),
    ("{verbs: [get], users: [jane], userGroups: [devs], namespaces: [ns1]}", POD, True),
    ("{verbs: [get], users: [joe], userGroups: [devs], namespaces: [ns1]}", POD, False),
]


@pytest.mark.parametrize(("rule", "one", "fits"), FITS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_rule_fits_as_in_kube_apiserver(rule: str, one: bytes, fits: bool) -> None:
    assert (left(f"{{only: [{rule}]}}", one) == one) is fits
    assert (left(f"{{except: [{rule}]}}", one) is None) is fits


def test_the_first_rule_that_fits_decides() -> None:
    policy = "{policy: {rules: [{level: None, users: [jane]}, {level: RequestResponse}]}}"
    assert left(policy, POD) is None
    assert left(policy, ALONE) == ALONE


def test_what_no_rule_fits_is_left_out() -> None:
    assert left("{policy: {rules: [{level: Metadata, users: [joe]}]}}", POD) is None


def test_exceptions_come_before_what_is_wanted() -> None:
    text = "{only: [{userGroups: [devs]}], except: [{users: [jane]}]}"
    assert left(text, POD) is None


@pytest.mark.parametrize(
    "where",
    [
        "omitStages: [ResponseComplete], rules: [{level: Metadata}]",
        "rules: [{level: Metadata, omitStages: [ResponseComplete]}]",
    ],
)
def test_stages_are_omitted_by_the_policy_and_by_its_rules(where: str) -> None:
    assert left(f"{{policy: {{{where}}}}}", POD) is None
    started = event(stage="ResponseStarted", level="Metadata")
    assert left(f"{{policy: {{{where}}}}}", started) == started


CREATED = "/api/v1/namespaces/ns1/pods"
BY_BODY = [
    # What is created has no name in its URL: the one in the event came out of the body, after the policy was asked.
    (event(verb="create", requestURI=CREATED, objectRef=reference("pods", namespace="ns1", name="p1")), "p1", False),
    (event(verb="create", requestURI=f"{CREATED}/p1/eviction", objectRef=reference(
        "pods", namespace="ns1", name="p1", subresource="eviction")), "p1", True),
    (event(verb="update", requestURI=f"{CREATED}/p1?dryRun=All", objectRef=reference(
        "pods", namespace="ns1", name="p1")), "p1", True),
    (event(verb="list", requestURI=f"{CREATED}?fieldSelector=metadata.name%3Dp1", objectRef=reference(
        "pods", namespace="ns1", name="p1")), "p1", True),
    (event(verb="create", requestURI="/apis/apps/v1/namespaces/ns1/deployments/d1/scale", objectRef=reference(
        "deployments", "apps", namespace="ns1", name="d1", subresource="scale")), "d1", True),
]  # fmt: skip


@pytest.mark.parametrize(("one", "name", "fits"), BY_BODY)
def test_a_name_that_only_the_body_carries_was_unknown_to_the_policy(one: bytes, name: str, fits: bool) -> None:
    rule = f"{{group: GROUP, resources: ['*'], resourceNames: [{name}]}}"
    rules = ", ".join(rule.replace("GROUP", group) for group in ("''", "apps"))
    assert (left(f"{{only: [{{resources: [{rules}]}}]}}", one) is not None) is fits


@pytest.mark.parametrize(
    ("uri", "namespace", "fits"),
    [
        ("/api/v1/nodes/n1", "kube-system", False),
        ("/api/v1/nodes/n1", "", True),
        ("/api/v1/namespaces/kube-system", "kube-system", True),
        ("/api/v1/namespaces/kube-system/finalize", "kube-system", True),
        ("/apis/x.io/v1/namespaces/kube-system/things/t1", "kube-system", True),
    ],
)
def test_a_namespace_that_a_client_wrote_into_a_body_fits_no_rule(uri: str, namespace: str, fits: bool) -> None:
    claimed = event(verb="update", requestURI=uri, objectRef=reference("nodes", namespace="kube-system", name="n1"))
    assert (left(f"{{only: [{{namespaces: ['{namespace}']}}]}}", claimed) is not None) is fits


def test_sequences_stay_with_their_events() -> None:
    found = sifted("{only: [{verbs: [get]}]}", POD, event(verb="list"), LOGS, event(verb="list"))
    assert list(zip(found.batch.sequences, found.batch.events, strict=True)) == [(100, POD), (102, LOGS)]
    assert sifted("{only: [{verbs: [get]}]}", POD, LOGS).batch.sequences == range(100, 102)
