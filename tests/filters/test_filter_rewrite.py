"""What is taken out of an event, and that everything else keeps its bytes."""

import json
import re
from typing import Any

import corpus
import pytest
from filterkit import event, left, reference, sifted
from hypothesis import given, settings
from hypothesis import strategies as st

from auditsink.audit.eventlist import Mark

METADATA = "{policy: {rules: [{level: Metadata}]}}"
REQUEST = "{policy: {rules: [{level: Request}]}}"
ALL = "{policy: {rules: [{level: RequestResponse}]}}"
OMIT = "{policy: {omitManagedFields: true, rules: [{level: RequestResponse}]}}"
MASK = "{mask: [secrets, configmaps, tokens]}"
SECRET = reference("secrets", namespace="ns1", name="s1")
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
ODD = b'{"n": 123456789012345678901234567890, "x":1e400,"a":1,"a":2,"s":"\\ud800\xff"}'
BODIES = event(requestObject=ODD, responseObject=b'{"r":1.0}')


def test_a_lower_level_strips_the_bodies_and_says_so() -> None:
    assert left(ALL, BODIES) == BODIES
    assert left(REQUEST, BODIES) == BODIES.replace(b"RequestResponse", b"Request").replace(
        b',"responseObject":{"r":1.0}', b""
    )
    assert left(METADATA, BODIES) == event(level="Metadata")


def test_a_level_is_never_raised() -> None:
    for level in ("Metadata", "Request"):
        one = event(level=level)
        assert left(ALL, one) == one
    assert left(REQUEST, event(level="Metadata")) == event(level="Metadata")


def test_a_body_that_its_own_level_would_not_have_is_stripped_too() -> None:
    assert left(METADATA, event(level="Metadata", requestObject=b"{}")) == event(level="Metadata")


@pytest.mark.parametrize("text", [ALL, MASK, '{drop_fields: ["requestObject.metadata.managedFields"]}', OMIT])
def test_an_event_that_no_rule_touches_keeps_its_bytes(text: str) -> None:
    spaced = BODIES.replace(b'"verb":', b' "verb" :\t')
    for one in (BODIES, spaced):
        assert left(text, one) == one


@pytest.mark.parametrize("body", [*corpus.hostile_bodies()], ids=lambda body: body.name)
def test_hostile_bodies_are_stripped_like_any_other(body: corpus.Body) -> None:
    for one in body.events:
        found = sifted(METADATA, one)
        if not one.startswith(b'{"level"'):
            assert found.unreadable
            assert not found.batch.events
            continue
        (kept,) = found.batch.events
        assert b"requestObject" not in kept
        assert json.loads(kept)["level"] == "Metadata"
        assert kept.endswith(b',"stageTimestamp":"2026-11-22T10:00:00.000000Z"}')


@pytest.mark.parametrize("text", [OMIT, '{drop_fields: ["requestObject.metadata.managedFields", "requestObject.x.y"]}'])
def test_hostile_bodies_go_through_untouched_where_nothing_is_to_be_cut(text: str) -> None:
    for body in corpus.hostile_bodies():
        for one in body.events:
            found = sifted(text, one)
            assert list(found.batch.events) in ([one], []), body.name
            assert found.batch.events or found.unreadable


def test_managed_fields_go_out_of_objects_lists_and_tables_and_stay_in_patches() -> None:
    managed = b'"managedFields":[{"a":1}]'
    one = b'{"metadata":{"name":"x",' + managed + b'},"managedFields":1}'
    without = b'{"metadata":{"name":"x"},"managedFields":1}'
    listed, table = b'{"metadata":{},"items":[%b,%b]}', b'{"kind":"Table","rows":[{"cells":[1],"object":%b}]}'
    for full, cut in (
        (one, without),
        (listed % (one, one), listed % (without, without)),
        (table % one, table % without),
    ):
        assert left(OMIT, event(responseObject=full)) == event(responseObject=cut)
        assert left(OMIT, event(verb="update", requestObject=full)) == event(verb="update", requestObject=cut)
        patch = event(verb="patch", requestObject=full)
        assert left(OMIT, patch) == patch


def test_a_rule_overrides_the_policy_about_managed_fields() -> None:
    one = event(responseObject=b'{"metadata":{"managedFields":[]}}')
    text = "{policy: {omitManagedFields: true, rules: [{level: RequestResponse, omitManagedFields: false}]}}"
    assert left(text, one) == one


def test_dropped_fields_are_cut_out_wherever_they_stand() -> None:
    one = event(
        annotations={"a": "1", "x.io/b": "2"},
        responseObject=b'{"items":[{"spec":{"p":1,"q":2}},{"spec":{"p":[]}},{"spec":7},8],"spec":{"p":1}}',
    )
    text = """{drop_fields: ["responseObject.items[*].spec.p", 'annotations["x.io/b"]', sourceIPs]}"""
    assert left(text, one) == event(
        annotations={"a": "1"}, responseObject=b'{"items":[{"spec":{"q":2}},{"spec":{}},{"spec":7},8],"spec":{"p":1}}'
    )


def test_a_field_is_dropped_however_its_key_is_escaped_and_however_often_it_stands_there() -> None:
    one = event(verb="patch", requestObject=b'{"p":1,"\\u0070":2,"p":3, "q":4}')
    assert left("{drop_fields: [requestObject.p]}", one) == event(verb="patch", requestObject=b'{"q":4}')


MASKED = [
    (b'{"data":{"a":"eA==","b":""},"type":"x"}', b'{"data":{"a":"***","b":"***"},"type":"x"}'),
    (b'{"stringData":{"a":"x","b":null}}', b'{"stringData":{"a":"***","b":null}}'),
    (b'{"data":null}', b'{"data":null}'),
    (b'{"data":"text"}', b'{"data":"***"}'),
    (b'{"data":{"a":"x","a":"y","\\u0062":1}}', b'{"data":{"a":"***","a":"***","\\u0062":"***"}}'),
    (b'{"d\\u0061ta":{"a":"x"},"data":{"b":"y"}}', b'{"d\\u0061ta":{"a":"***"},"data":{"b":"***"}}'),
    (b'{"items":[{"data":{"a":"x"}},{"data":{"a":"y"}}]}', b'{"items":[{"data":{"a":"***"}},{"data":{"a":"***"}}]}'),
    (b'{"rows":[{"cells":["n",1],"object":{"data":{"a":"x"}}}]}',
     b'{"rows":[{"cells":["n",1],"object":{"data":{"a":"***"}}}]}'),
    (b'{"metadata":{"annotations":{"%b":"{}","o":"1"}}}' % APPLIED.encode(),
     b'{"metadata":{"annotations":{"%b":"***","o":"1"}}}' % APPLIED.encode()),
    (b'[{"op":"replace","path":"/data/a","value":"eA=="},{"op":"remove","path":"/data/b"}]',
     b'[{"op":"replace","path":"/data/a","value":"***"},{"op":"remove","path":"/data/b"}]'),
    (b'[{"op":"add","path":"","value":{"data":{"a":"x"}}}]', b'[{"op":"add","path":"","value":{"data":"***"}}]'),
    (b'"bare text"', b'"***"'),
    (b"null", b"null"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "masked"), MASKED)
def test_the_values_of_secrets_are_masked_and_their_keys_stay(body: bytes, masked: bytes) -> None:
    for name in ("requestObject", "responseObject"):
        one, expected = (event(verb="patch", objectRef=SECRET, **{name: content}) for content in (body, masked))
        assert left(MASK, one) == expected
        assert left("{mask: [configmaps]}", one) == one


@pytest.mark.parametrize(
    ("ref", "body", "masked"),
    [
        (reference("configmaps"), b'{"data":{"a":"x"},"binaryData":{"b":"x"}}',
         b'{"data":{"a":"***"},"binaryData":{"b":"***"}}'),
        (reference("tokenreviews", "authentication.k8s.io"), b'{"spec":{"token":"x"},"status":{"user":{}}}',
         b'{"spec":{"token":"***"},"status":{"user":{}}}'),
        ({"resource": "tokenreviews", "apiVersion": "authentication.k8s.io/v1"}, b'{"spec":{"token":"x"}}',
         b'{"spec":{"token":"***"}}'),  # audit.k8s.io/v1alpha1
        (reference("serviceaccounts", subresource="token"), b'{"status":{"token":"x","expirationTimestamp":"t"}}',
         b'{"status":{"token":"***","expirationTimestamp":"t"}}'),
        (reference("serviceaccounts"), b'{"status":{"token":"x"}}', b'{"status":{"token":"x"}}'),
        (reference("secrets", "other.io"), b'{"data":{"a":"x"}}', b'{"data":{"a":"x"}}'),
        (None, b'{"data":{"a":"x"}}', b'{"data":{"a":"x"}}'),
    ],
)  # fmt: skip
def test_each_kind_of_secret_is_masked_in_its_own_place(ref: dict[str, str] | None, body: bytes, masked: bytes) -> None:
    assert left(MASK, event(objectRef=ref, responseObject=body)) == event(objectRef=ref, responseObject=masked)


@pytest.mark.parametrize("body", [*corpus.hostile_bodies()], ids=lambda body: body.name)
def test_no_hostile_body_brings_a_secret_through(body: corpus.Body) -> None:
    for one in body.events:
        if not (match := re.search(rb'"requestObject":(.*)}\Z', one, re.DOTALL)):
            continue
        hidden = b'{"data":{"a":"CANARY","b":' + match[1] + b'},"data":{"c":"CANARY"}}'
        kept = left(MASK, event(verb="patch", objectRef=SECRET, requestObject=hidden))
        assert kept is not None
        assert b"CANARY" not in kept
        assert kept.startswith(event(objectRef=SECRET, verb="patch").partition(b',"stageT')[0])


def test_a_body_with_more_members_than_anybody_needs_is_masked_whole() -> None:
    body = b'{"data":{' + b",".join([b'"k":"CANARY"'] * (2**14 + 1)) + b"}}"
    assert left(MASK, event(objectRef=SECRET, requestObject=body)) == event(objectRef=SECRET, requestObject=b'"***"')


UNREADABLE = {
    "scalar": b"17",
    "array": b"[1]",
    "no level": b'{"stage":"Panic","verb":"get","requestURI":"/","user":{}}',
    "unknown level": event(level="All"),
    "wrong type": event(user="jane"),
    "torn": event()[:-20],
    "a body that nests and a field that stands twice": event(requestObject=b"[" * 9000 + b"]" * 9000)[:-1]
    + b',"verb":"x"}',
    "a field that stands twice": event()[:-1] + b',"verb":"x"}',
    "a field that stands twice, escaped and among spaces": event()[:-1] + b', "v\\u0065rb":"x"}',
    "more fields than anybody needs": event()[:-1] + b"".join(b',"%d":0' % n for n in range(2**14)) + b"}",
    "a user of too many members": event(user={str(n): 0 for n in range(2**14 + 1)}),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_kept_apart_and_passes_only_when_asked_to(name: str) -> None:
    one, good = UNREADABLE[name], event()
    found = sifted("{mask: [secrets]}", good, one, good)
    assert [refusal.index for refusal in found.unreadable] == [1]
    assert list(found.batch.sequences) == [100, 102]
    assert "filter" in found.unreadable[0].why
    passed = sifted("{mask: [secrets], unreadable: pass}", good, one, good)
    assert (list(passed.batch.events), passed.unreadable) == ([good, one, good], ())


@pytest.mark.parametrize("depth", [100, 600, 1200, 9000, 20000])
@pytest.mark.parametrize("name", ["requestObject", "responseObject", "annotations", "user", "objectRef"])
def test_how_deep_a_field_nests_has_no_say_in_what_a_filter_decides(name: str, depth: int) -> None:
    """Interpreters end recursion at 1,000 to 10,000 levels, and some at none."""
    nest = b"[" * depth + b"]" * depth
    whole = {
        "annotations": b'{"a":%b}' % nest,
        "user": b'{"extra":%b,"username":"jane"}' % nest,
        "objectRef": b'{"x":%b,"resource":"pods"}' % nest,
    }
    plain = event(user=None, objectRef=None)
    for space in (b"", b" "):
        one = plain[:-1] + b",%b" % space + b'"%b":%b}' % (name.encode(), whole.get(name, nest))
        one = one if name == "user" else one[:-1] + b',"user":{"username":"jane"}}'
        assert left("{only: [{users: [jane]}]}", one) == one
        assert left("{only: [{users: [joe]}]}", one) is None


@pytest.mark.parametrize("key", [b"other", b"annotations", b"\xff", b"k" * 5000])
def test_a_field_that_no_filter_looks_at_may_stand_twice(key: bytes) -> None:
    one = event()[:-1] + b',"%b":{},"%b":{}}' % (key, key)
    assert left("{only: [{users: [jane]}]}", one) == one


def test_a_request_that_could_not_be_split_is_kept_apart() -> None:
    body = b'{"kind":"EventList","items":"secrets"}'
    assert [one.index for one in sifted(ALL, body, marks=Mark.UNSPLIT).unreadable] == [0]
    assert sifted("{mask: [secrets], unreadable: pass}", body, marks=Mark.UNSPLIT).batch.events == [body]


def test_the_sinks_own_checkpoints_pass() -> None:
    statement = b'{"checkpoint":{"number":1},"signature":null}'
    assert left("{only: [{users: [nobody]}]}", statement) == statement


LEVELS = ["None", "Metadata", "Request", "RequestResponse"]


def by_hand(event: dict[str, Any], level: str, *, omit: bool) -> dict[str, Any]:
    """What kube-apiserver would have recorded at this level, done on a decoded event."""
    had = LEVELS.index(event["level"])
    at = min(had, LEVELS.index(level))
    kept = {
        key: value
        for key, value in event.items()
        if key not in ("requestObject", "responseObject")[at - 1 :] or at == 3
    }
    kept["level"] = LEVELS[at]
    for name in ("requestObject", "responseObject"):
        body = kept.get(name)
        if omit and isinstance(body, dict) and not (name == "requestObject" and event["verb"] == "patch"):
            rows = [row.get("object", {}) for row in body.get("rows", [])] if body.get("kind") == "Table" else []
            for one in [body, *(body.get("items") or []), *rows]:
                one.get("metadata", {}).pop("managedFields", None)
    return kept


@pytest.mark.parametrize("level", LEVELS[1:])
@pytest.mark.parametrize("omit", [False, True])
def test_recorded_events_lose_what_the_level_says_and_nothing_else(level: str, omit: bool) -> None:
    text = f"{{policy: {{omitManagedFields: {str(omit).lower()}, rules: [{{level: {level}}}]}}}}"
    events = corpus.events("blocking-rr-h1tls", "hostile-patches")
    kept = sifted(text, *events).batch.events
    assert len(kept) == len(events)
    touched = 0
    for before, after in zip(events, kept, strict=True):
        expected = by_hand(json.loads(before), level, omit=omit)
        assert list(json.loads(after).items()) == list(expected.items())
        if expected == json.loads(before):
            assert after == before
        else:
            touched += 1
    assert touched if level != "RequestResponse" or omit else not touched


def test_no_recorded_secret_comes_through_the_masks() -> None:
    events = corpus.events()
    kept = sifted(MASK, *events).batch.events
    holding = 0
    for before, after in zip(events, kept, strict=True):
        secrets = values(json.loads(before))
        holding += bool(secrets)
        assert all(value == "***" for value in values(json.loads(after)))
        if not secrets:
            assert after == before
    assert holding > 50


def values(event: dict[str, Any]) -> list[Any]:
    """Every value that should be masked, found without the code under test."""
    ref = event.get("objectRef", {})
    if ref.get("subresource") == "token":
        bodies = [event[name] for name in ("requestObject", "responseObject") if name in event]
        return [body["status"]["token"] for body in bodies if "token" in body.get("status", {})]
    if ref.get("resource") == "tokenreviews":
        return [event[name]["spec"]["token"] for name in ("requestObject", "responseObject") if name in event]
    if ref.get("resource") not in ("secrets", "configmaps") or "apiGroup" in ref:
        return []
    found: list[Any] = []
    for name in ("requestObject", "responseObject"):
        body = event.get(name)
        if isinstance(body, list):
            for value in [one["value"] for one in body if "value" in one]:
                found += [*map(str, value.values())] if isinstance(value, dict) else [value]
        elif isinstance(body, dict):
            for one in [body, *(body.get("items") or [])]:
                for key in ("data", "stringData", "binaryData"):
                    found += (one.get(key) or {}).values()
                found += [(one.get("metadata", {}).get("annotations") or {}).get(APPLIED)]
    return [one for one in found if one is not None and one != {}]


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "items", "metadata", "rows", "object", "a", "é"]), inner, max_size=4)
    ),
    max_leaves=15,
)


@settings(max_examples=200, deadline=None)
@given(trees, st.booleans())
def test_an_edit_of_any_body_is_json_and_does_not_depend_on_its_spelling(tree: Any, ascii_only: bool) -> None:
    """Compact, spaced or escaped, the same body comes out the same: the quick way and the scanner agree."""
    text = '{drop_fields: ["responseObject.a", "responseObject.items[*].a"], mask: [secrets]}'
    spellings = [
        json.dumps(tree, separators=(",", ":"), ensure_ascii=ascii_only).encode(),
        json.dumps(tree, indent=1, ensure_ascii=ascii_only).encode(),
    ]
    found = [left(text, event(objectRef=SECRET, responseObject=body)) for body in spellings]
    assert found[0] is not None
    assert found[1] is not None
    assert json.loads(found[0]) == json.loads(found[1])
