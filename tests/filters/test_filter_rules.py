"""What `only` and `except` can say and no Policy can: which events a rule fits, and what cannot make it fit."""

import json
from collections.abc import Callable
from typing import Any

import corpus
import pytest
from filterkit import configured, event, left, reference, sifted
from hypothesis import given
from hypothesis import strategies as st

from auditsink import load
from auditsink.filters.rules import Pattern

DEPLOYMENT = reference("deployments", "apps", namespace="ns1", name="web-1")


def answered(code: int | None = 200, **fields: Any) -> bytes:
    """An event of a request that was answered."""
    status = {"metadata": {}} if code is None else {"metadata": {}, "code": code}
    return event(responseStatus=status, **fields)


CODES = [
    ("[404]", 404, True),
    ("[404]", 403, False),
    ("[4xx]", 404, True),
    ("[4xx]", 500, False),
    ("[400-403]", 403, True),
    ("[400-403]", 404, False),
    ("[200, 5xx]", 503, True),
    ("['404']", 404, True),
    ("[2xx]", None, False),
]


@pytest.mark.parametrize(("codes", "code", "fits"), CODES)
def test_a_rule_fits_answers_by_their_code(codes: str, code: int | None, fits: bool) -> None:
    one = answered(code)
    assert (left(f"{{only: [{{responseCodes: {codes}}}]}}", one) == one) is fits
    assert (left(f"{{except: [{{responseCodes: {codes}}}]}}", one) is None) is fits


@pytest.mark.parametrize("status", [None, "x", 5, [], {"code": "404"}, {"code": 4e99}])
def test_what_has_no_answer_yet_fits_no_code(status: Any) -> None:
    one = event(stage="RequestReceived", responseStatus=status)
    assert left("{only: [{responseCodes: [1xx, 2xx, 3xx, 4xx, 5xx]}]}", one) is None
    assert left("{except: [{responseCodes: [4xx]}]}", one) == one


AGENTS = [
    ("kube-probe/*", "kube-probe/1.36", True),
    ("kube-probe/*", "my kube-probe/1.36", False),
    ("*terraform*", "HashiCorp terraform/1.9 (linux)", True),
    ("*Terraform*", "HashiCorp terraform/1.9 (linux)", False),
    ("kubectl", "kubectl", True),
    ("", None, True),
    ("", "x", False),
    ("*", None, True),
    ("*é*", "caf\u00e9/1", True),
    ('*"*', 'quoted"/1', True),
]


@pytest.mark.parametrize(("pattern", "agent", "fits"), AGENTS)
def test_a_rule_fits_clients_by_what_they_call_themselves(pattern: str, agent: str | None, fits: bool) -> None:
    one = event(userAgent=agent)
    assert (left(f"{{only: [{{userAgents: [nobody, '{pattern}']}}]}}", one) == one) is fits


def test_a_user_agent_that_is_not_utf8_makes_no_event_unreadable() -> None:
    one = event(userAgent="AGENT").replace(b"AGENT", b"\xff\xfe")
    assert left("{except: [{userAgents: [kube-probe/*]}]}", one) == one


NAMES = [
    ("web-*", DEPLOYMENT, True),
    ("*-1", DEPLOYMENT, True),
    ("web", DEPLOYMENT, False),
    ("*", reference("pods", namespace="ns1"), True),
    ("*", None, False),
]


@pytest.mark.parametrize(("pattern", "ref", "fits"), NAMES)
def test_a_rule_fits_objects_by_their_name(pattern: str, ref: dict[str, str] | None, fits: bool) -> None:
    one = event(objectRef=ref)
    assert (left(f"{{only: [{{names: ['{pattern}']}}]}}", one) == one) is fits


def test_an_object_that_is_made_has_the_name_that_its_body_says() -> None:
    made = event(verb="create", requestURI="/api/v1/namespaces/ns1/pods", objectRef=reference("pods", name="web-1"))
    assert left("{only: [{names: [web-*]}]}", made) == made


ADDRESSES = [
    ("/api/v1/*/secrets*", "/api/v1/namespaces/a/secrets?limit=5", True),
    ("/api/v1/*/secrets", "/api/v1/namespaces/a/secrets?limit=5", False),
    ("*limit=*", "/api/v1/pods?limit=5", True),
    ("/api/v1/*/secrets", "/api/v1/namespaces/a/%73ecrets", True),
    ("*?x=%73", "/version?x=%73", True),
    ("*?x=s", "/version?x=%73", False),
    ("/readyz*", "/readyz/ping", True),
]


@pytest.mark.parametrize(("pattern", "uri", "fits"), ADDRESSES)
def test_a_rule_fits_requests_by_their_address(pattern: str, uri: str, fits: bool) -> None:
    one = event(requestURI=uri, objectRef=None)
    assert (left(f"{{only: [{{requestURIs: ['{pattern}']}}]}}", one) == one) is fits


def written(verb: str, query: str, **fields: Any) -> bytes:
    return event(verb=verb, requestURI=f"/apis/apps/v1/namespaces/ns1/deployments/web-1{query}", **fields)


def options(**fields: Any) -> bytes:
    return json.dumps({"kind": "DeleteOptions", "apiVersion": "v1", **fields}, separators=(",", ":")).encode()


SUBRESOURCE = reference("pods", namespace="ns1", name="p1", subresource="exec")
TOKEN = reference("serviceaccounts", namespace="ns1", name="s1", subresource="token")
SCALE = reference("deployments", "apps", namespace="ns1", name="web-1", subresource="scale")
DRY_RUNS = [
    (written("create", "?dryRun=All", objectRef=DEPLOYMENT), True),
    (written("update", "?fieldManager=x&dryRun=All", objectRef=DEPLOYMENT), True),
    (written("patch", "?dryRun=All&force=true", objectRef=SCALE), True),
    (written("patch", "", objectRef=DEPLOYMENT), False),
    (written("get", "?dryRun=All", objectRef=DEPLOYMENT), False),
    # Go drops a pair with a semicolon or a broken escape, and the request is no dry run.
    (written("patch", "?dryRun=All;x", objectRef=DEPLOYMENT), False),
    (written("patch", "?dryRun=All%zz", objectRef=DEPLOYMENT), False),
    (written("patch", "?xdryRun=All", objectRef=DEPLOYMENT), False),
    # With a body the apiserver reads no query.
    (written("delete", "?dryRun=All", objectRef=DEPLOYMENT, requestObject=options()), False),
    (written("delete", "?dryRun=All", objectRef=DEPLOYMENT), False),
    (written("delete", "", objectRef=DEPLOYMENT, requestObject=options(dryRun=["All"])), True),
    (written("deletecollection", "", objectRef=DEPLOYMENT, requestObject=options(dryRun=["All"])), True),
    (written("delete", "", objectRef=DEPLOYMENT, requestObject=options(dryRun=[])), False),
    # They do what they do, whatever the query says.
    (written("create", "?dryRun=All", objectRef=SUBRESOURCE), False),
    (written("create", "?dryRun=All", objectRef=TOKEN), False),
    (written("create", "?dryRun=All", objectRef=None), False),
]


@pytest.mark.parametrize(("one", "fits"), DRY_RUNS)
def test_a_dry_run_is_one_that_has_certainly_changed_nothing(one: bytes, fits: bool) -> None:
    assert (left("{except: [{dryRun: true}]}", one) is None) is fits
    assert (left("{only: [{dryRun: false}]}", one) is None) is fits


def updated(sent: str | None, became: str | None, verb: str = "update", **metadata: Any) -> bytes:
    ref = DEPLOYMENT | ({} if sent is None else {"resourceVersion": sent})
    body: dict[str, Any] = {
        "kind": "Deployment",
        "metadata": {"name": "web-1", **({"resourceVersion": became} if became else {})},
    }
    body["metadata"] |= metadata
    return event(verb=verb, objectRef=ref, responseObject=json.dumps(body, separators=(",", ":")).encode())


UPDATES = [
    (updated("7", "7"), True),
    (updated("7", "8"), False),
    (updated(None, "8"), False),
    (updated("", ""), False),
    (updated("7", None), False),
    (updated("7", "7", verb="patch"), False),
    (updated("7", "7", verb="get"), False),
    # The last finalizer was taken away: the object is gone, and what was sent is the answer.
    (updated("7", "7", deletionTimestamp="2026-11-22T10:00:00Z"), False),
    (event(verb="update", objectRef=DEPLOYMENT | {"resourceVersion": "7"}), False),
    (event(verb="update", objectRef=DEPLOYMENT | {"resourceVersion": "7"}, responseObject=b'{"metadata":7}'), False),
    (event(verb="update", objectRef=DEPLOYMENT | {"resourceVersion": 7}, responseObject=b'{"metadata":{}}'), False),
]


@pytest.mark.parametrize(("one", "fits"), UPDATES)
def test_an_update_changed_nothing_when_its_answer_has_the_version_that_was_sent(one: bytes, fits: bool) -> None:
    assert (left("{except: [{unchanged: true}]}", one) is None) is fits
    assert (left("{only: [{unchanged: false}]}", one) is None) is fits


def test_all_criteria_of_a_rule_must_fit() -> None:
    rule = "{only: [{verbs: [get], responseCodes: [403], names: [web-*]}]}"
    one = answered(403, objectRef=DEPLOYMENT)
    assert left(rule, one) == one
    assert left(rule, answered(200, objectRef=DEPLOYMENT)) is None
    assert left(rule, answered(403)) is None
    assert left(rule, answered(403, objectRef=DEPLOYMENT, verb="list")) is None


def test_the_first_rule_that_fits_decides_among_those_that_look_closer_too() -> None:
    text = "{only: [{responseCodes: [403], level: Metadata}, {verbs: [get]}, {responseCodes: [500]}]}"
    assert left(text, answered(403)) == answered(403, level="Metadata")
    assert left(text, answered(200)) == answered(200)
    assert left(text, answered(500, verb="list")) == answered(500, verb="list")
    assert left(text, answered(200, verb="list")) is None


POLICY = "policy: {omitStages: [Panic], rules: [{level: Metadata, users: [jane]}]}"


def test_beside_a_policy_the_rules_come_first_and_the_lower_level_counts() -> None:
    text = f"{{{POLICY}, except: [{{responseCodes: [404]}}]}}"
    assert left(text, answered(404)) is None
    assert left(text, answered(200)) == answered(200, level="Metadata")
    assert left(text, answered(200, user={"username": "joe"})) is None
    assert left(text, answered(200, stage="Panic")) is None
    only = f"{{{POLICY}, only: [{{responseCodes: [404], omitStages: [ResponseStarted]}}]}}"
    assert left(only, answered(200)) is None
    assert left(only, answered(404)) == answered(404, level="Metadata")
    assert left(only, answered(404, stage="ResponseStarted")) is None


def test_a_policy_file_has_rules_beside_it_too(tmp_path: Any) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]")
    text = f"{{policy_file: {file}, except: [{{dryRun: true}}]}}"
    assert left(text, DRY_RUNS[0][0]) is None
    assert left(text, answered(200)) == answered(200, level="Metadata")


MISTAKES = {
    f"{{{POLICY}, except: [{{verbs: [get]}}]}}": "policy: stands beside only or except that say what a policy can",
    f"{{{POLICY}, only: [{{names: [a]}}], except: [{{}}]}}": "policy: stands beside only or except",
    "{except: [{responseCodes: [x]}]}": "except[0].responseCodes[0]: expected a status code: one like 404, 5xx or",
    "{except: [{responseCodes: [499-400]}]}": "except[0].responseCodes[0]: expected a status code",
    "{except: [{responseCodes: [99]}]}": "except[0].responseCodes[0]: expected a status code",
    "{except: [{responseCodes: [true]}]}": "except[0].responseCodes[0]: expected a status code",
    "{except: [{names: [a], nonResourceURLs: [/a]}]}": "except[0].names: fits no request together with nonResourceURLs",
    "{except: [{unchanged: true, verbs: [patch]}]}": "except[0].unchanged: fits no request with these verbs",
    "{except: [{requestURIs: [api]}]}": "except[0].requestURIs[0]: must begin with / or *",
    "{except: [{userAgent: [x]}]}": 'except[0].userAgent: unknown key; did you mean "userAgents"?',
    "{only: [{}], policy_unknown_keys: warn}": "policy_unknown_keys: needs policy or policy_file beside it",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_told_by_its_key(text: str) -> None:
    with pytest.raises(load.ConfigError) as caught:
        configured(text)
    assert f"destinations[0].filter.{MISTAKES[text]}" in str(caught.value)


def test_the_recorded_events_are_told_apart_as_their_decoded_form_says() -> None:
    events = corpus.events()
    decoded = [json.loads(one) for one in events]
    rules: dict[str, Callable[[dict[str, Any]], bool]] = {
        "{responseCodes: [4xx]}": lambda one: 400 <= one.get("responseStatus", {}).get("code", 0) < 500,
        "{userAgents: ['*kubernetes*', curl/*]}": lambda one: (
            "kubernetes" in one.get("userAgent", "") or one.get("userAgent", "").startswith("curl/")
        ),
        "{names: ['*-*']}": lambda one: "-" in one.get("objectRef", {}).get("name", ""),
        "{dryRun: true}": lambda one: (
            "dryRun=All" in one["requestURI"].partition("?")[2] and one["verb"] in ("create", "update", "patch")
        ),
    }
    for rule, fits in rules.items():
        expected = [raw for raw, one in zip(events, decoded, strict=True) if fits(one)]
        found = sifted(f"{{only: [{rule}]}}", *events)
        assert not found.unreadable
        assert list(found.batch.events) == expected, rule
        assert 0 < len(expected) < len(events), rule


def test_a_recorded_update_that_took_the_last_finalizer_away_is_a_change() -> None:
    """An object is gone by each of them, and its answer has the version that was sent."""
    same = []
    for one in corpus.events():
        whole = json.loads(one)
        metadata = (whole.get("responseObject") or {}).get("metadata", {})
        if whole["verb"] == "update" and metadata.get("resourceVersion", 0) == whole["objectRef"].get(
            "resourceVersion"
        ):
            same.append(one)
    assert len(same) == 5
    assert list(sifted("{except: [{unchanged: true}]}", *same).batch.events) == same


pieces = st.text(alphabet="ab*", max_size=8)


@given(pieces, st.text(alphabet="ab", max_size=12))
def test_a_pattern_fits_what_a_slow_walk_over_all_ways_says(pattern: str, value: str) -> None:
    def fits(one: str, other: str) -> bool:
        if not one:
            return not other
        if one[0] == "*":
            return any(fits(one[1:], other[place:]) for place in range(len(other) + 1))
        return other[:1] == one[0] and fits(one[1:], other[1:])

    assert Pattern(pattern).fits(value.encode()) is fits(pattern.replace("**", "*"), value)
