"""One event as one line, whatever is in it."""

import json

import pytest
from corpus import bodies
from hypothesis import given
from hypothesis import strategies as st

from auditsink.audit.eventlist import Mark, split
from auditsink.spool.types import Record
from auditsink.tail.line import RAW_BYTES, WHOLE_BYTES, TailLine, lines

NS = 1_700_000_000_123_456_789
NONE = Mark(0)


def line(event: bytes, *, marks: Mark = NONE, raw: bool = False) -> TailLine:
    (found,) = lines("prod", Record(7, [event], NS, "", marks), raw=raw)
    return found


def as_event(**fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def test_recorded_events_are_told_as_json_tells_them() -> None:
    told = 0
    for body in bodies("batch-default-mixed-http"):
        for found, raw in zip(
            lines("prod", Record(0, split(body.data).events, NS, "", NONE), raw=True), body.events, strict=True
        ):
            event = json.loads(raw)
            reference = event.get("objectRef", {})
            assert found.unreadable == ""
            assert (found.user, found.verb, found.stage) == (
                event["user"].get("username", ""), event["verb"], event["stage"]
            )  # fmt: skip
            assert found.code == event.get("responseStatus", {}).get("code", 0)
            assert found.source == ", ".join(event["sourceIPs"])
            assert (found.namespace, found.name) == (reference.get("namespace", ""), reference.get("name", ""))
            assert found.resource.partition(".")[0].partition("/")[0] == reference.get("resource", "")
            assert bool(found.resource) != bool(found.uri)
            assert found.time[:23] == event["stageTimestamp"][:23]
            assert (found.bytes, found.raw) == (len(raw), raw.decode() if len(raw) <= RAW_BYTES else None)
            told += 1
    assert told == 1919


def test_a_resource_has_its_group_and_subresource() -> None:
    found = line(
        as_event(objectRef={"resource": "deployments", "apiGroup": "apps", "subresource": "scale", "name": "web"})
    )
    assert (found.resource, found.name) == ("deployments.apps/scale", "web")


def test_a_large_event_is_told_from_its_head() -> None:
    event = as_event(verb="patch", user={"username": "eve"}, requestObject={"data": "x" * 30_000_000})
    found = line(event, raw=True)
    assert (found.user, found.verb, found.bytes, found.raw) == ("eve", "patch", len(event), None)


def test_a_key_in_a_string_does_not_cut_the_head() -> None:
    event = as_event(verb='a","requestObject":', user={"username": "eve"}, requestObject={"d": "x" * WHOLE_BYTES})
    assert (line(event).verb, line(event).user) == ('a","requestObject":', "eve")


@pytest.mark.parametrize(
    "event",
    [
        b"", b"null", b"[]", b'{"verb":7}', b"{" * 100_000, b'{"user":' * 50_000, b'{"verb":"\xff\xfe"}',
        b"x" * WHOLE_BYTES * 2,
        b'{"responseStatus":{"code":' + b"9" * 5000 + b"}}", b'{"verb":"\\ud800"}', b'{"user":[]}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_to_be(event: bytes) -> None:
    found = line(event, raw=True)
    assert found.unreadable
    assert found.bytes == len(event)
    assert found.time == "2023-11-14T22:13:20.123Z"


def test_a_body_that_could_not_be_split_is_said_to_be() -> None:
    assert "split" in line(as_event(verb="get"), marks=Mark.UNSPLIT).unreadable


def test_long_names_are_cut() -> None:
    assert len(line(as_event(user={"username": "u" * 100_00})).user) == 513


@given(st.binary(max_size=300))
def test_any_bytes_make_a_line(event: bytes) -> None:
    assert line(event, raw=True).sequence == 7
