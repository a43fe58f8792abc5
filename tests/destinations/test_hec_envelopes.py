"""Events to HEC's envelopes: constant parts rendered once, event bytes untouched, bad bytes made safe alone."""

import json
from dataclasses import replace
from typing import Any

import pytest
from destinationkit import HOSTILE, RECEIVED, STAGE, batch, event

from auditsink.audit.eventlist import Mark, unsplit_document
from auditsink.config import SplunkConfig
from auditsink.delivery.destination import Batch
from auditsink.destinations import hec
from auditsink.testing.hec import envelopes


def config(**settings: Any) -> SplunkConfig:
    return SplunkConfig(name="siem", url="https://hec:8088", **settings)


def body(of: Batch, **settings: Any) -> bytes:
    return hec.body(of, hec.EnvelopeHeads(config(**settings)))


def test_an_envelope_is_exactly_this() -> None:
    found = body(batch([b'{"a":1}'], cluster="prod"), index="k8s_audit", source="apiserver", fields={"stage": "prod"})

    assert found == (
        b'{"host":"prod","source":"apiserver","sourcetype":"kube:apiserver-audit","index":"k8s_audit",'
        b'"fields":{"stage":"prod"},"time":' + RECEIVED + b',"event":{"a":1}}'
    )


def test_envelopes_follow_each_other_and_keep_order_and_bytes() -> None:
    several = [event(number) for number in range(5)]
    found = list(envelopes(body(batch(several))))

    assert [bytes(one.event) for one in found] == several
    assert {bytes(one.time) for one in found} == {STAGE}


@pytest.mark.parametrize("value", ['quote"', "back\\slash", "line\nbreak", "ünïcode", "\x00", "}{"])
def test_configured_values_are_escaped(value: str) -> None:
    settings = {"host": value, "source": value, "sourcetype": value, "index": value, "fields": {value: value}}
    (found,) = envelopes(body(batch([event()]), **settings))

    assert (found.host, found.source, found.sourcetype, found.index) == (value, value, value, value)
    assert found.fields == {value: value}


def test_a_hostile_cluster_name_stays_inside_its_string() -> None:
    (found,) = envelopes(body(batch([event()], cluster='x","index":"main'), host="h-{cluster}", index="audit"))

    assert found.host == 'h-x","index":"main'
    assert found.index == "audit"


def test_every_described_field_may_name_the_cluster() -> None:
    settings = {name: f"{name}-{{cluster}}" for name in ("host", "source", "sourcetype", "index")}
    (found,) = envelopes(body(batch([event()], cluster="c1"), **settings))

    assert (found.host, found.source, found.sourcetype, found.index) == (
        "host-c1",
        "source-c1",
        "sourcetype-c1",
        "index-c1",
    )


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "invalid-utf8"])
def test_hostile_events_go_out_byte_for_byte(name: str) -> None:
    found = list(envelopes(body(batch([event(1), HOSTILE[name], event(2)]))))

    assert [bytes(one.event) for one in found] == [event(1), HOSTILE[name], event(2)]


def test_invalid_utf8_is_replaced_and_marked_on_that_event_alone() -> None:
    found = list(envelopes(body(batch([event(1), HOSTILE["invalid-utf8"], event(2)], marks=Mark.NOT_UTF8))))

    assert [bytes(one.event) for one in found] == [
        event(1),
        HOSTILE["invalid-utf8"].decode(errors="replace").encode(),
        event(2),
    ]
    assert [one.fields for one in found] == [{}, {"auditsink_altered": "utf8"}, {}]
    assert [bytes(one.time) for one in found] == [STAGE] * 3


def test_the_whole_body_is_utf8_when_an_event_was_not() -> None:
    body(batch([HOSTILE["invalid-utf8"]], marks=Mark.NOT_UTF8)).decode()


def test_text_outside_ascii_is_not_called_altered() -> None:
    (found,) = envelopes(body(batch([event(request='{"name":"☃"}'.encode())], marks=Mark.NOT_UTF8)))

    assert found.fields == {}


def test_a_body_that_could_not_be_split_is_one_marked_event() -> None:
    raw = b'{"kind":"EventList","items":[{"a\xff'
    (found,) = envelopes(body(batch([raw], marks=Mark.UNSPLIT | Mark.NOT_UTF8), fields={"stage": "prod"}))

    assert bytes(found.event) == unsplit_document(raw)
    assert found.fields == {"stage": "prod", "auditsink_altered": "unsplit"}
    assert bytes(found.time) == RECEIVED


def test_a_batch_of_one_event_of_any_type_is_an_envelope() -> None:
    for odd in (b"17", b'"text"', b"true", b"[1,2]"):
        (found,) = envelopes(body(batch([odd])))
        assert bytes(found.event) == odd


def test_heads_are_rendered_once_for_a_cluster_and_bounded() -> None:
    heads = hec.EnvelopeHeads(config())
    mine = batch([b"{}"], cluster="c")
    first = heads.of(mine)

    assert heads.of(mine) is first
    for number in range(10_000):
        heads.of(replace(mine, cluster=f"c{number}"))
    assert len(heads) <= 4096
    assert heads.of(mine) == first


def test_labels_are_fields_and_say_more_than_the_destination_does() -> None:
    labelled = replace(batch([b'{"a":1}', b'{"b":"\xff"}']), labels={"stage": "prod", "team": "payments"})
    plain, altered = envelopes(body(replace(labelled, marks=Mark.NOT_UTF8), fields={"stage": "all", "site": "x"}))

    assert bytes(plain.event) == b'{"a":1}'
    assert plain.fields == {"stage": "prod", "site": "x", "team": "payments"}
    assert altered.fields == plain.fields | {hec.ALTERED: "utf8"}


def test_the_time_is_a_number_in_the_document() -> None:
    assert json.loads(body(batch([event()])))["time"] == 1795382018.661308
