"""Labels inside of events: where they go, what they replace, and that every other byte stays."""

import json
from typing import Any

import corpus
import pytest
from eventlists import hostile, texts
from hypothesis import given
from hypothesis import strategies as st

from auditsink.audit.eventlist import unsplit_document
from auditsink.audit.labels import EVENT_FIELDS, LabelsAs, editor

LABELS = {"team": "payments", "shoot.gardener.cloud/name": "s1"}
TEAM = b'"team":"payments"'
BOTH = b'"team":"payments","shoot.gardener.cloud/name":"s1"'
STAGE = b'{"level":"Metadata","stageTimestamp":"2026-11-22T21:13:38.661308Z"'


def labelled(event: bytes, how: LabelsAs, labels: dict[str, str] | None = None) -> bytes:
    edit = editor(tuple((LABELS if labels is None else labels).items()), how)
    return event if edit is None else edit(event)


ANNOTATED = {
    "as kube-apiserver ends one": (STAGE + b',"annotations":{"a":"1"}}',
                                   STAGE + b',"annotations":{"a":"1",' + BOTH + b"}}"),
    "none": (STAGE + b"}", STAGE + b',"annotations":{' + BOTH + b"}}"),
    "empty": (STAGE + b',"annotations":{}}', STAGE + b',"annotations":{' + BOTH + b"}}"),
    "null": (STAGE + b',"annotations":null}', STAGE + b',"annotations":{' + BOTH + b"}}"),
    "braces in one": (STAGE + b',"annotations":{"a":"{}}"}}', STAGE + b',"annotations":{"a":"{}}",' + BOTH + b"}}"),
    "escapes in one": (STAGE + rb',"annotations":{"a":"\"\u003c"}}',
                       STAGE + rb',"annotations":{"a":"\"\u003c",' + BOTH + b"}}"),
    "first": (b'{"annotations":{"a":"1"},"level":"x"}', b'{"annotations":{"a":"1",' + BOTH + b'},"level":"x"}'),
    "spaced": (b'{ "annotations" : { "a" : 1 } , "b":2 }', b'{ "annotations" : { "a" : 1,' + BOTH + b'} , "b":2 }'),
    "spaced and empty": (b'{ "annotations" : { } }', b'{ "annotations" : {' + BOTH + b"} }"),
    "escaped key": (rb'{"\u0061nnotations":{}}', rb'{"\u0061nnotations":{' + BOTH + b"}}"),
    "twice": (b'{"annotations":{"a":"1"},"annotations":{"b":"2"}}',
              b'{"annotations":{"a":"1"},"annotations":{"b":"2",' + BOTH + b"}}"),
    "in a body": (b'{"requestObject":{"x":"y","annotations":{"a":"1"}}}',
                  b'{"requestObject":{"x":"y","annotations":{"a":"1"}},"annotations":{' + BOTH + b"}}"),
    "in a text": (rb'{"x":"\",\"annotations\":{"}', rb'{"x":"\",\"annotations\":{","annotations":{' + BOTH + b"}}"),
    "taken": (STAGE + b',"annotations":{"team":"x","a":"1"}}', STAGE + b',"annotations":{"a":"1",' + BOTH + b"}}"),
    "taken, escaped and twice": (STAGE + rb',"annotations":{"t\u0065am":"x","a":"1","team":{}}}',
                                 STAGE + b',"annotations":{"a":"1",' + BOTH + b"}}"),
    "taken elsewhere": (b'{"annotations":{"team":"x"},"b":2}', b'{"annotations":{' + BOTH + b'},"b":2}'),
    "an empty object": (b"{}", b'{"annotations":{' + BOTH + b"}}"),
    "an empty object with a space": (b"{ }", b'{"annotations":{' + BOTH + b"}}"),
    "not UTF-8": (STAGE + b',"annotations":{"a":"\xff"}}', STAGE + b',"annotations":{"a":"\xff",' + BOTH + b"}}"),
    "nested beyond a parser": (b'{"x":' + b"[" * 9000 + b"]" * 9000 + b"}",
                               b'{"x":' + b"[" * 9000 + b"]" * 9000 + b',"annotations":{' + BOTH + b"}}"),
}  # fmt: skip


@pytest.mark.parametrize("name", ANNOTATED)
def test_labels_are_put_among_the_annotations(name: str) -> None:
    event, expected = ANNOTATED[name]
    assert labelled(event, "annotations") == expected


FIELDS = {
    "as kube-apiserver ends one": (STAGE + b',"annotations":{"a":"1"}}',
                                   STAGE + b',"annotations":{"a":"1"},' + BOTH + b"}"),
    "an empty object": (b"{}", b"{" + BOTH + b"}"),
    "spaced": (b'{ "a" : 1 \n}', b'{ "a" : 1,' + BOTH + b"}"),
    "in a body": (b'{"requestObject":{"team":"x"}}', b'{"requestObject":{"team":"x"},' + BOTH + b"}"),
    "taken": (b'{"team":"x","level":"y", "team" : 5}', b'{"level":"y",' + BOTH + b"}"),
    "taken and escaped": (rb'{"level":"y","t\u0065am":"x"}', b'{"level":"y",' + BOTH + b"}"),
    "nested beyond a parser": (b'{"x":' + b"[" * 9000 + b"]" * 9000 + b"}",
                               b'{"x":' + b"[" * 9000 + b"]" * 9000 + b"," + BOTH + b"}"),
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_labels_are_put_beside_the_fields(name: str) -> None:
    event, expected = FIELDS[name]
    assert labelled(event, "fields") == expected


def test_a_field_of_an_audit_event_is_never_replaced() -> None:
    labels = dict.fromkeys(sorted(EVENT_FIELDS), "x") | {"team": "payments"}
    assert labelled(STAGE + b"}", "fields", labels) == STAGE + b"," + TEAM + b"}"
    assert editor((("stage", "prod"),), "fields") is None
    assert labelled(STAGE + b"}", "annotations", {"stage": "prod"}) == STAGE + b',"annotations":{"stage":"prod"}}'


@pytest.mark.parametrize("how", ["annotations", "fields"])
@pytest.mark.parametrize(
    "event",
    [
        b'{"checkpoint":{"number":1},"signature":null}',
        b"17",
        b"[{}]",
        b'"x"',
        b'{"a":',
        b'{"a":1}}',
        b'{"a":1}x',
        b"",
    ],
)
def test_what_is_no_event_stays_as_it_came(event: bytes, how: LabelsAs) -> None:
    assert labelled(event, how) == event


@pytest.mark.parametrize("value", [b'"x"', b"[]", b"7", b"true"])
def test_annotations_that_are_none_stay_as_they_came(value: bytes) -> None:
    event = b'{"annotations":' + value + b"}"
    assert labelled(event, "annotations") == event


def test_none_and_no_labels_mean_that_nothing_is_done() -> None:
    assert editor(tuple(LABELS.items()), "none") is None
    assert editor((), "annotations") is None
    assert editor((), "fields") is None


def test_a_body_that_could_not_be_split_has_the_labels_in_its_document() -> None:
    document = unsplit_document(b'{"kind":"EventList"')
    assert labelled(document, "annotations") == document[:-1] + b',"annotations":{' + BOTH + b"}}"
    assert labelled(document, "fields") == document[:-1] + b"," + BOTH + b"}"


def test_any_text_is_a_label() -> None:
    value = 'quote " back\\slash line\nbreak é \U0001f600 }'
    for how in ("annotations", "fields"):
        found = json.loads(labelled(STAGE + b"}", how, {"team": value}))
        assert (found["annotations"] if how == "annotations" else found)["team"] == value


@pytest.mark.parametrize("how", ["annotations", "fields"])
def test_recorded_events_keep_every_byte_around_the_labels(how: LabelsAs) -> None:
    quick = 0
    for event in corpus.events():
        found = labelled(event, how)
        if how == "annotations" and event.endswith(b"}}"):
            assert found == event[:-2] + b"," + BOTH + b"}}"
            quick += 1
        elif how == "annotations":
            assert found == event[:-1] + b',"annotations":{' + BOTH + b"}}"
        else:
            assert found == event[:-1] + b"," + BOTH + b"}"
    assert quick > 4000 or how == "fields"


def added(whole: dict[str, Any], how: LabelsAs) -> dict[str, Any]:
    if how == "fields":
        return whole | LABELS
    return whole | {"annotations": (whole.get("annotations") or {}) | LABELS}


keys = st.sampled_from(["annotations", "team", "stage", "a", "é", "shoot.gardener.cloud/name"])
values = st.recursive(st.none() | st.text(max_size=4), lambda inner: st.dictionaries(keys, inner, max_size=3))
spellings = st.sampled_from([(",", ":"), (" ,\n", "\t:")])


@given(st.dictionaries(keys, values, max_size=5), spellings, st.booleans(), st.sampled_from(["annotations", "fields"]))
def test_any_object_has_the_labels_once_whatever_its_spelling(
    whole: dict[str, Any], spelling: tuple[str, str], ascii_only: bool, how: LabelsAs
) -> None:
    event = json.dumps(whole, separators=spelling, ensure_ascii=ascii_only).encode()
    found = labelled(event, how)
    if how == "annotations" and not isinstance(whole.get("annotations", {}), dict | None):
        assert found == event
        return
    pairs = json.loads(found, object_pairs_hook=list)
    inner = dict(pairs)["annotations"] if how == "annotations" else pairs
    assert [key for key, _ in inner if key in LABELS] == [*LABELS]
    assert json.loads(found) == added(whole, how)


@given(texts() | hostile, st.sampled_from(["annotations", "fields"]))
def test_no_bytes_make_it_fail_and_what_they_are_stays(event: bytes, how: LabelsAs) -> None:
    found = labelled(b'{"requestObject":' + event + b"}", how)
    assert event in found
    labelled(event, how)
