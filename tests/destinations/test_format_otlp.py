"""OTLP/HTTP logs in JSON: what is sent, and what an answer means. Against a real server: tests/real."""

import json
from typing import Any

import pytest
from destinationkit import HOSTILE, RECEIVED_NS, event
from formatkit import answer, exchange, made

from auditsink import config
from auditsink.audit.eventlist import Mark, unsplit_document
from auditsink.delivery.outcome import (
    Delivered,
    Misconfigured,
    Outcome,
    Poison,
    Retry,
    TooLarge,
)
from auditsink.destinations.formats import Exchange
from auditsink.http.answers import HttpAnswer


def records(made: Exchange) -> list[dict[str, Any]]:
    (resource,) = json.loads(made.request.body)["resourceLogs"]
    (scope,) = resource["scopeLogs"]
    return list(scope["logRecords"])


def told(status: int, document: object = None) -> Outcome | None:
    return exchange("otlp", [event()]).answered(answer(status, document))


def test_an_event_is_a_record_with_its_bytes_as_body() -> None:
    first, second = records(exchange("otlp", [event(1), event(2)]))

    assert first["body"] == {"stringValue": event(1).decode()}
    assert first["timeUnixNano"] == "1795382018661308000"
    assert first["observedTimeUnixNano"] == str(RECEIVED_NS)
    assert (first["severityNumber"], first["severityText"]) == (9, "INFO")
    (uid,) = first["attributes"]
    assert uid["key"] == "log.record.uid"
    assert uid["value"] != second["attributes"][0]["value"]
    assert uid == records(exchange("otlp", [event(1)]))[0]["attributes"][0]


def test_the_resource_is_configured() -> None:
    settings = {"otlp": config.Otlp(resource={"k8s.cluster.name": "{cluster}", "a": "b"})}
    document = json.loads(exchange("otlp", [event()], settings=settings).request.body)
    assert document["resourceLogs"][0]["resource"]["attributes"] == [
        {"key": "k8s.cluster.name", "value": {"stringValue": "prod"}},
        {"key": "a", "value": {"stringValue": "b"}},
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_event_is_a_body_as_utf8(name: str) -> None:
    found = records(exchange("otlp", [event(1), HOSTILE[name], event(2)], marks=Mark.NOT_UTF8))

    bodies = [record["body"]["stringValue"] for record in found]
    assert bodies == [event(1).decode(), HOSTILE[name].decode(errors="replace"), event(2).decode()]


def test_what_could_not_be_split_is_a_body_that_says_so() -> None:
    (record,) = records(exchange("otlp", [b"{\xff"], marks=Mark.UNSPLIT | Mark.NOT_UTF8))
    assert record["body"]["stringValue"].encode() == unsplit_document(b"{\xff")


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"partialSuccess": {}},
        {"partialSuccess": None},
        {"partialSuccess": {"rejectedLogRecords": "0", "errorMessage": "only a warning"}},
        {"unknown": 1},
    ],
)
def test_success(document: object) -> None:
    assert told(200, document) == Delivered()


@pytest.mark.parametrize("status", [201, 202, 204])
def test_receivers_that_say_yes_in_their_own_way_are_understood(status: int) -> None:
    """Loki's says 204."""
    assert told(status) == Delivered()


@pytest.mark.parametrize("document", [{"error": "unauthorized"}, {"success": False}, {"errorMessage": "timed out"}])
def test_a_success_whose_document_says_no_is_none(document: object) -> None:
    assert isinstance(told(200, document), Misconfigured)


def test_a_partial_success_is_read_in_both_spellings() -> None:
    found = told(200, {"partial_success": {"rejected_log_records": "2", "error_message": "too old"}})
    assert found == Poison(None, "2 records rejected: too old")


@pytest.mark.parametrize("count", ["2", 2])
def test_a_partial_success_is_bisected_because_nobody_says_which(count: object) -> None:
    found = told(200, {"partialSuccess": {"rejectedLogRecords": count, "errorMessage": "too old"}})
    assert found == Poison(None, "2 records rejected: too old")


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"partialSuccess":{"rejectedLogRecords":"x"}}', b'{"partialSuccess":7}']
)
def test_a_success_that_is_no_receiver_s(body: bytes) -> None:
    assert isinstance(exchange("otlp", [event()]).answered(HttpAnswer(200, {}, body)), Misconfigured)


def test_bad_data_is_bisected_with_the_receiver_s_reason() -> None:
    assert told(400, {"code": 3, "message": "ReadString: expects"}) == Poison(None, "HTTP 400: ReadString: expects")
    found = exchange("otlp", [event()]).answered(HttpAnswer(400, {}, b"json encoding is not supported"))
    assert found == Poison(None, "HTTP 400: json encoding is not supported")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, Retry) for status in (429, 500, 502, 503, 504)),
        *((status, Misconfigured) for status in (301, 401, 404, 415)),
        (413, TooLarge),
    ],
)
def test_other_answers(status: int, kind: type) -> None:
    assert isinstance(told(status), kind)


@pytest.mark.parametrize(("status", "kind"), [(200, Delivered), (400, Delivered), (403, Misconfigured)])
def test_a_probe_sends_no_record(status: int, kind: type) -> None:
    form = made("otlp")
    assert json.loads(form.probe().body) == {"resourceLogs": []}
    assert isinstance(form.probed(answer(status)), kind)
