"""Loki's push API: what is sent, and what an answer means. Against a real server: tests/real."""

import json
from typing import Any

import pytest
from destinationkit import HOSTILE, event
from formatkit import answer, exchange, made

from auditsink import config
from auditsink.audit.eventlist import Mark, unsplit_document
from auditsink.delivery.outcome import (
    Delivered,
    Misconfigured,
    Outcome,
    Poison,
    Retry,
    RetryCause,
    TooLarge,
)
from auditsink.destinations.formats import Exchange
from auditsink.http.answers import HttpAnswer


def stream(made: Exchange) -> dict[str, Any]:
    (found,) = json.loads(made.request.body)["streams"]
    return dict(found)


def told(status: int, text: str = "", **headers: str) -> Outcome | None:
    return exchange("loki", [event()]).answered(HttpAnswer(status, headers, text.encode()))


def test_a_batch_is_a_stream_and_an_event_a_line_byte_for_byte() -> None:
    found = stream(exchange("loki", [event(1), event(2, stage="2026-11-22T21:13:39Z")], cluster="prod-1"))

    assert found["stream"] == {"job": "kube-apiserver-audit", "cluster": "prod-1"}
    (first, line), (second, _) = found["values"]
    assert (first, second) == ("1795382018661308000", "1795382019000000000")
    assert line.encode() == event(1)


def test_labels_are_configured() -> None:
    settings = {"loki": config.Loki(labels={"source": 'k8s "{cluster}"'})}
    assert stream(exchange("loki", [event()], settings=settings))["stream"] == {"source": 'k8s "prod"'}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_event_is_its_line_as_utf8(name: str) -> None:
    found = stream(exchange("loki", [event(1), HOSTILE[name], event(2)], marks=Mark.NOT_UTF8))

    lines = [line for _, line in found["values"]]
    assert lines == [event(1).decode(), HOSTILE[name].decode(errors="replace"), event(2).decode()]


def test_what_could_not_be_split_is_a_line_that_says_so() -> None:
    ((_, line),) = stream(exchange("loki", [b"{\xff"], marks=Mark.UNSPLIT | Mark.NOT_UTF8))["values"]
    assert line.encode() == unsplit_document(b"{\xff")


@pytest.mark.parametrize("status", [200, 204])
def test_success(status: int) -> None:
    assert told(status) == Delivered()


def test_what_was_not_all_taken_is_bisected_with_loki_s_reason() -> None:
    assert told(400, "entry for stream '{..}' has timestamp too old: 2023") == Poison(
        None, "HTTP 400: entry for stream '{..}' has timestamp too old: 2023"
    )


def test_loki_that_is_told_to_take_nothing_is_for_a_person() -> None:
    found = told(260, "ingestion blocked for user fake until 2026-12-01")
    assert isinstance(found, Misconfigured)
    assert "ingestion blocked for user fake" in found.why


def test_a_rate_limit_passes() -> None:
    found = told(429, "Ingestion rate limit exceeded", **{"retry-after": "3"})
    assert found == Retry("HTTP 429: Ingestion rate limit exceeded", after=3.0, cause=RetryCause.THROTTLED)


def test_a_request_too_large_for_loki_s_inside_is_halved() -> None:
    assert isinstance(told(500, "rpc error: trying to send message larger than max (5 vs. 4)"), TooLarge)


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Misconfigured), (404, Misconfigured), (413, TooLarge), (500, Retry), (503, Retry)]
)
def test_other_answers(status: int, kind: type) -> None:
    assert isinstance(told(status), kind)


@pytest.mark.parametrize(
    ("status", "kind"), [(204, Delivered), (400, Delivered), (422, Delivered), (401, Misconfigured), (500, Retry)]
)
def test_a_probe_pushes_no_line(status: int, kind: type) -> None:
    form = made("loki")
    assert json.loads(form.probe().body) == {"streams": []}
    assert isinstance(form.probed(answer(status)), kind)


OLD = b"entry for stream '{}' has timestamp too old: 2026-11-22T00:00:00Z, oldest acceptable timestamp is: %s"


@pytest.mark.parametrize(
    ("oldest", "refused"),
    [
        (b"2027-01-01T00:00:00Z", 2),
        (b"2027-01-01T02:00:00+02:00", 2),
        (b"2020-01-01T00:00:00Z", None),
        (b"nonsense", None),
    ],
)
def test_a_batch_that_is_older_than_loki_takes_is_refused_by_that(oldest: bytes, refused: int | None) -> None:
    made = exchange("loki", [event(0), event(1)], settings={"loki": config.Loki(labels={"job": "a"})})
    outcome = made.answered(HttpAnswer(400, {}, OLD % oldest))
    if refused is None:
        assert isinstance(outcome, Poison)
    else:
        assert isinstance(outcome, Delivered)
        assert [one.index for one in outcome.refused] == [0, 1]
        assert "too old" in outcome.refused[0].why
