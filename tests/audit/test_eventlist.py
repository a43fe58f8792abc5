"""An EventList falls into exactly the events that stood in it, fast where possible, and nothing is silently lost."""

import base64
import json

import corpus
import pytest
from eventlists import FRAME, Made, canonical, free, hostile, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from auditsink.audit import eventlist, scan
from auditsink.audit.eventlist import Mark, NotAnEventListError, Split

MIB = 2**20


def whole(body: bytes, *marks: Mark) -> Split:
    """What a body that cannot be split becomes."""
    mark = Mark.UNSPLIT
    for other in marks:
        mark |= other
    return Split([body], mark)


@given(canonical())
def test_what_an_apiserver_frames_takes_the_fast_way_to_the_same_events(made: Made) -> None:
    fast = eventlist.split_fast(made.body)
    slow = eventlist.split_slow(made.body)
    assert slow.events == made.events
    assert fast == slow or (fast is None and b"\\ud" in made.body)  # msgspec refuses lone surrogates


@given(free(texts() | hostile))
@settings(max_examples=50)
def test_any_other_frame_is_split_as_well(made: Made) -> None:
    assert eventlist.split(made.body).events == made.events


@given(canonical(), st.data())
def test_the_fast_way_never_differs_from_the_slow_one(made: Made, data: st.DataObject) -> None:
    """Bytes cut out, doubled or put in anywhere: either both agree or only the scanner speaks."""
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(made.body))] * 2)))
    piece = data.draw(
        st.sampled_from([b"", made.body[start:stop] * 2, b'"items":[],', b'],"items":[', b" ", b",1", b"\n"])
    )
    body = made.body[:start] + piece + made.body[stop:]
    fast = eventlist.split_fast(body)
    if fast is not None:
        assert fast == eventlist.split_slow(body)


def test_every_event_of_an_ordinary_batch_is_found_the_fast_way() -> None:
    for body in corpus.bodies("batch-default-mixed-http"):
        split = eventlist.split_fast(body.data)
        assert split is not None
        assert split.events == body.events


@pytest.mark.parametrize(
    "body", [*corpus.hostile_bodies(), *corpus.bodies("hostile-patches")], ids=lambda body: body.name
)
def test_hostile_bodies_cost_nobody_an_event(body: corpus.Body) -> None:
    assert eventlist.split(body.data).events == body.events


@pytest.mark.parametrize(
    "rest",
    [
        b'{"a":1}],"items":[{"b":2}]}',
        b'{"a":1}],"items":[]}',
        b'{"a":1}],"items":null}',
        b'{"a":1}],"it\\u0065ms":[{"b":2}]}',
        b'],"items":[{"b":2}]}',
    ],
)
def test_a_second_list_makes_no_first_one_disappear(rest: bytes) -> None:
    """msgspec keeps the last of equal keys, which would lose the events of the first."""
    assert eventlist.split_fast(FRAME + rest) is None
    assert eventlist.split(FRAME + rest) == whole(FRAME + rest)


def test_other_keys_behind_the_items_are_left_to_the_scanner() -> None:
    body = FRAME + b'{"a":1}],"other":[1]}'
    assert eventlist.split_fast(body) is None
    assert eventlist.split(body).events == [b'{"a":1}']


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_all_versions_are_known_and_metadata_is_optional(version: str) -> None:
    body = b'{"kind":"EventList","apiVersion":"audit.k8s.io/%s","items":[1]}' % version.encode()
    assert eventlist.split_fast(body) == Split([b"1"], Mark(0))


@pytest.mark.parametrize("items", [b"[]", b"null", b" [ ] "])
def test_an_empty_list_has_no_events(items: bytes) -> None:
    assert eventlist.split(FRAME[:-1] + items + b"}\n") == Split([], Mark(0))


@pytest.mark.parametrize(
    ("body", "got"),
    [
        (b"", ""),
        (b"[]", ""),
        (b"{}", ""),
        (b"\x1f\x8b\x08", "got gzip; say so in a header, Content-Encoding: gzip"),
        ("{}".encode("utf-16"), "got UTF-16; JSON travels in UTF-8"),
        (b'{"kind":"EventList"}', "got kind 'EventList' and apiVersion ''"),
        (b'{"kind":"Event","apiVersion":"audit.k8s.io/v1"}', "got kind 'Event' and apiVersion 'audit.k8s.io/v1'"),
        (b'{"kind":"EventList","apiVersion":"v1","items":[{}]}', "got kind 'EventList' and apiVersion 'v1'"),
        (b'{"kind":"' + b"k" * 200 + b'"}', f"got kind '{'k' * 64}' and"),
    ],
)
def test_what_is_no_event_list_is_told_what_was_expected(body: bytes, got: str) -> None:
    assert eventlist.split_fast(body) is None
    with pytest.raises(NotAnEventListError) as refused:
        eventlist.split(body)
    assert str(refused.value).startswith('expected a JSON object with "kind":"EventList"')
    assert got in str(refused.value)


def test_a_byte_that_is_not_utf8_marks_the_request() -> None:
    body = corpus.event_list([b'{"a":"\xff"}', b"1"])
    assert eventlist.split_fast(body) == eventlist.split_slow(body) == Split([b'{"a":"\xff"}', b"1"], Mark.NOT_UTF8)
    assert eventlist.split(body[:-2]) == whole(body[:-2], Mark.NOT_UTF8)


def test_a_storm_of_tiny_items_is_not_held_as_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    body = FRAME + b"1," * MIB + b"1," * MIB + b"1]}"
    monkeypatch.setattr(scan, "MOST_ITEMS", 2**12)
    monkeypatch.setattr(eventlist, "_decoder", None)  # it would make an object of each item, some 70 bytes for two
    assert eventlist.split(body) == whole(body)


def test_more_items_than_any_batch_holds_are_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MOST_ITEMS", 2)
    assert eventlist.split(FRAME + b"1,2]}").events == [b"1", b"2"]
    assert eventlist.split(FRAME + b"1,2,3]}") == whole(FRAME + b"1,2,3]}")


@given(st.binary(max_size=64), st.integers(0, 12), st.sampled_from(["", "é", "€", "😀"]))
def test_utf8_is_told_across_the_windows_of_the_check(tail: bytes, shift: int, sign: str) -> None:
    data = b"x" * (2**16 - shift) + sign.encode() + tail
    try:
        data.decode()
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert eventlist.is_utf8(data) == valid


def test_as_utf8_replaces_only_what_is_none() -> None:
    assert eventlist.as_utf8(b"plain") == b"plain"
    assert eventlist.as_utf8("é".encode()) == "é".encode()
    assert eventlist.as_utf8(b"a\xffb").decode() == "a\ufffdb"


def test_one_line_keeps_the_document() -> None:
    event = json.dumps({"a": [1, {"b": "c\n"}]}, indent=1).encode().replace(b"\n", b"\r\n")
    assert b"\n" not in eventlist.one_line(event)
    assert b"\r" not in eventlist.one_line(event)
    assert json.loads(eventlist.one_line(event)) == json.loads(event)
    assert eventlist.one_line(b'{"a":1}') == b'{"a":1}'


@given(st.binary())
def test_an_unsplit_document_is_one_line_of_json_that_gives_the_bytes_back(body: bytes) -> None:
    document = eventlist.unsplit_document(body)
    assert b"\n" not in document
    assert base64.b64decode(json.loads(document)["base64"]) == body


@given(st.binary(max_size=200))
def test_an_unsplit_document_gives_its_body_back(body: bytes) -> None:
    assert eventlist.unsplit_body(eventlist.unsplit_document(body)) == body


@pytest.mark.parametrize("document", [b"", b"{}", eventlist.unsplit_document(b"x")[:-1], b'{"auditsink.io/unsplit":1}'])
def test_another_document_gives_no_body(document: bytes) -> None:
    with pytest.raises(ValueError, match="not the document"):
        eventlist.unsplit_body(document)


def test_events_as_lines_are_theirs_but_for_line_breaks() -> None:
    assert eventlist.ndjson([b"{}", b"[1]"], Mark(0)) == [b"{}", b"[1]"]
    assert eventlist.ndjson([b'{"a":\n1}', b"{\r}"], Mark.NOT_UTF8) == [b'{"a": 1}', b"{ }"]
    assert eventlist.ndjson([b"{\n"], Mark.UNSPLIT) == [eventlist.unsplit_document(b"{\n")]
