"""When an event happened, found fast, found slowly, and never forged."""

import json
from datetime import datetime, timedelta
from typing import Any

import corpus
import pytest
from destinationkit import HOSTILE, RECEIVED, RECEIVED_NS, STAGE, STAGE_TIME, event
from hypothesis import given
from hypothesis import strategies as st

from auditsink.audit.times import by_decoding, by_position, event_time, milliseconds

NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - Hypothesis draws naive ones

TIMES = {
    "2026-11-22T21:13:38.661308Z": b"1795382018.661308",
    "1970-01-01T00:00:00.000000Z": b"0.000000",
    "9999-12-31T23:59:59.999999Z": b"253402300799.999999",
    "2024-02-29T12:00:00.000001Z": b"1709208000.000001",
    "2000-02-29T00:00:00.000000Z": b"951782400.000000",
    "2026-11-22T21:13:38Z": b"1795382018.000000",
    "2026-11-22T21:13:38.6Z": b"1795382018.600000",
    "2026-11-22T21:13:38.661Z": b"1795382018.661000",
    "2026-11-22T21:13:38.6613089Z": b"1795382018.661308",
    "2026-11-22T21:13:38.661308999Z": b"1795382018.661308",
    "2026-11-22T22:13:38.661308+01:00": b"1795382018.661308",
    "2026-11-22T15:43:38.5-05:30": b"1795382018.500000",
    "1970-01-01T00:30:00+01:00": b"0.000000",
}

NO_TIMES = [
    "2026-11-22T21:13:38.661308",
    "2026-11-22T21:13:38.661308X",
    "2026-11-22 21:13:38.661308Z",
    "2026-11-22T21:13:38.Z",
    "2026-11-22T21:13:38.6613081234Z",
    "2026-11-22T21:13:38,661308Z",
    "2026-11-22T21:13:38.66130xZ",
    "2026-11-22T21:13:38.-61308Z",
    "2023-02-29T00:00:00.000000Z",
    "2100-02-29T00:00:00.000000Z",
    "2026-13-01T00:00:00.000000Z",
    "2026-11-22T24:00:00.000000Z",
    "2026-11-22T21:13:60.000000Z",
    "1969-12-31T23:59:59.999999Z",
    "0000-01-01T00:00:00.000000Z",
    "0001-01-01T00:00:00.000000Z",
    "2026-W47-7T21:13:38.661308Z",
    "٢٠٢٦-11-22T21:13:38.661308Z",
    "now",
    "",
]


@pytest.mark.parametrize(("text", "expected"), TIMES.items())
@pytest.mark.parametrize("annotations", [None, {}, {"authorization.k8s.io/decision": "allow"}])
def test_every_form_of_a_time_is_read(text: str, expected: bytes, annotations: dict[str, str] | None) -> None:
    assert event_time(event(stage=text, annotations=annotations), RECEIVED_NS) == expected


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_time_falls_back_to_when_the_request_came_in(text: str) -> None:
    assert event_time(event(stage=text), RECEIVED_NS) == b"1795382018.659272"


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_time_is_none_for_both_ways(text: str) -> None:
    only = json.dumps({"stageTimestamp": text}).encode()

    assert by_decoding(only) is None
    assert by_position([event(stage=text)]) == [None]


@pytest.mark.parametrize("value", ["null", "17", "1.5", "true", "[]", "{}", '["2026-11-22T21:13:38.661308Z"]'])
def test_a_time_of_another_type_falls_back_to_when_the_sink_received_the_event(value: str) -> None:
    document = f'{{"requestReceivedTimestamp":{value},"stageTimestamp":{value}}}'.encode()

    assert event_time(document, RECEIVED_NS) == RECEIVED


@pytest.mark.parametrize(
    "document", [b"", b"17", b'"text"', b"null", b"[]", b"{}", b"{", b'{"stageTimestamp":"', b"\xff"]
)
def test_what_is_no_event_at_all_gets_the_time_of_its_receipt(document: Any) -> None:
    assert event_time(document, RECEIVED_NS) == RECEIVED


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_does_not_hide_the_time(name: str) -> None:
    assert by_position([HOSTILE[name]]) == [STAGE]


def test_braces_in_annotations_send_the_event_the_slow_way() -> None:
    odd = event(annotations={"mutation": '[{"op":"add"}]'})

    assert by_position([odd]) == [None]
    assert event_time(odd, RECEIVED_NS) == STAGE


FORGED = '"requestReceivedTimestamp":"1999-01-01T00:00:00.000000Z","stageTimestamp":"1999-01-01T00:00:00.000000Z"'


@pytest.mark.parametrize(
    "request_object",
    [
        f"{{{FORGED}}}",
        f'{{"x":1,{FORGED}}}',
        f'{{"x":1,{FORGED},"annotations":{{}}}}',
        f'{{"x":[{{"x":1,{FORGED},"annotations":{{"a":"b"}}}}]}}',
        json.dumps({"text": f",{FORGED}"}),
        json.dumps({f'x",{FORGED},"annotations":{{}}': 1}),
    ],
)
def test_a_caller_cannot_forge_the_time_from_inside_its_object(request_object: Any) -> None:
    forged = request_object.encode()
    without_times = b'{"level":"Request","requestObject":' + forged + b"}"
    null_times = b'{"requestObject":' + forged + b',"requestReceivedTimestamp":null,"stageTimestamp":null}'
    null_and_annotated = null_times[:-1] + b',"annotations":{"a":"b"}}'

    assert event_time(event(request=forged), RECEIVED_NS) == STAGE
    assert event_time(event(request=forged, annotations={"a": "b"}), RECEIVED_NS) == STAGE
    assert event_time(without_times, RECEIVED_NS) == RECEIVED
    assert event_time(null_times, RECEIVED_NS) == RECEIVED
    assert event_time(null_and_annotated, RECEIVED_NS) == RECEIVED


def test_spaces_and_another_order_of_keys_are_read_the_slow_way() -> None:
    indented = b'{ "stageTimestamp" : "2026-11-22T21:13:38.661308Z",\n "level" : "Metadata" }'

    assert by_position([indented]) == [None]
    assert event_time(indented, RECEIVED_NS) == STAGE


@pytest.mark.parametrize("depth", [100, 900, 1200, 20_000])
def test_how_deep_a_body_nests_does_not_change_the_time(depth: int) -> None:
    """Interpreters end recursion at different depths."""
    nest = b"[" * depth + b"]" * depth
    deep = b'{ "stageTimestamp" : "2026-11-22T21:13:38.661308Z", "requestObject": ' + nest + b" }"
    assert event_time(deep, RECEIVED_NS) == STAGE
    assert event_time(nest, RECEIVED_NS) == RECEIVED


def test_a_time_behind_very_long_annotations_is_still_found() -> None:
    assert event_time(event(annotations={"a": "b" * 200_000}), RECEIVED_NS) == STAGE


def test_milliseconds_are_truncated() -> None:
    assert milliseconds(b"1795382018.661999") == 1795382018661
    assert milliseconds(b"0.000999") == 0


def test_the_time_of_receipt_has_microseconds_and_is_never_negative() -> None:
    assert event_time(b"{}", 1_500_000_999) == b"1.500000"
    assert event_time(b"{}", -5) == b"0.000000"


texts = st.one_of(
    st.sampled_from([*TIMES, *NO_TIMES]),
    st.datetimes(NAIVE_EPOCH - timedelta(days=3650)).map(lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")),
    st.text(max_size=30),
)
keys = st.one_of(
    st.sampled_from(["requestReceivedTimestamp", "stageTimestamp", "annotations", 'x"', ',"stageTimestamp', "}"]),
    st.text(),
)
values = st.recursive(
    st.one_of(texts, st.none(), st.integers()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)


@st.composite
def forgeries(draw: st.DrawFn) -> dict[str, Any]:
    """Objects that end as a genuine event does, at any depth and with anything around."""
    tail: dict[str, Any] = {"requestReceivedTimestamp": draw(texts), "stageTimestamp": draw(texts)}
    if draw(st.booleans()):
        tail["annotations"] = draw(st.dictionaries(keys, st.one_of(texts, values), max_size=2))
    found: dict[str, Any] = draw(st.dictionaries(keys, values, max_size=3)) | tail
    for _ in range(draw(st.integers(0, 2))):
        found = {draw(keys): found} if draw(st.booleans()) else {"x": [found]}
        found |= draw(st.dictionaries(keys, values, max_size=2))
    return found


@given(st.one_of(forgeries(), st.dictionaries(keys, values, max_size=5)), st.booleans())
def test_the_fast_way_never_says_anything_but_what_the_slow_way_says(document: Any, compact: bool) -> None:
    raw = json.dumps(document, separators=(",", ":") if compact else None).encode()
    (fast,) = by_position([raw])

    assert fast is None or fast == by_decoding(raw)


@given(
    st.datetimes(NAIVE_EPOCH),
    st.one_of(st.none(), st.dictionaries(st.text("abc./"), st.text("xyz :\\\"'é"), max_size=3)),
    values,
)
def test_what_an_apiserver_writes_is_always_found_the_fast_way(
    at: datetime, annotations: dict[str, str] | None, request_object: Any
) -> None:
    stage = f"{at.year:04}{at.strftime('-%m-%dT%H:%M:%S.%fZ')}"
    raw = event(stage=stage, annotations=annotations, request=json.dumps(request_object).encode())

    assert by_position([raw]) == [by_decoding(raw)] == [b"%d.%06d" % divmod(_microseconds(at), 10**6)]


def _microseconds(at: datetime) -> int:
    since = at - NAIVE_EPOCH
    return (since.days * 86400 + since.seconds) * 10**6 + since.microseconds


def test_recorded_events_have_the_time_that_their_stage_timestamp_says() -> None:
    recorded = corpus.events("batch-default-mixed-http", "blocking-rr-h1tls", "hostile-patches")
    expected = [datetime.fromisoformat(json.loads(one)["stageTimestamp"]).timestamp() for one in recorded]

    assert [float(event_time(one, RECEIVED_NS)) for one in recorded] == expected
    assert sum(time is not None for time in by_position(recorded)) > 0.99 * len(recorded)


def test_the_samples_themselves_are_what_they_claim() -> None:
    assert json.loads(event())["stageTimestamp"] == STAGE_TIME
