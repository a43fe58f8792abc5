"""A refusal that comes with a status of success: told by the document, and nothing else taken for one."""

import json

import pytest

from auditsink.delivery.outcome import Misconfigured, Poison, Retry, RetryCause, TooLarge
from auditsink.http.answers import HttpAnswer
from auditsink.http.refusals import refusal


def answer(document: object, status: int = 200, **headers: str) -> HttpAnswer:
    return HttpAnswer(status, headers, json.dumps(document).encode())


@pytest.mark.parametrize(
    "document",
    [
        {"success": False},
        {"success": "false", "msg": "no"},
        {"ok": False, "description": "gone"},
        {"error": "no such stream"},
        {"error": {"type": "x"}},
        {"error": True},
        {"error": 8008},
        {"errorMessage": "Task timed out after 3.00 seconds", "errorType": "Sandbox.Timedout"},
        {"status": "error"},
        {"Status": "Failed"},
        {"statusCode": 403, "body": "{}"},
        {"code": "401"},
    ],
)
def test_a_document_that_says_that_nothing_was_taken_is_for_a_person(document: object) -> None:
    found = refusal(answer(document))
    assert isinstance(found, Misconfigured)
    assert "HTTP 200" in found.why


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"statusCode": 413}, TooLarge),
        ({"status": 422, "message": "bad"}, Poison),
        ({"code": 400}, Poison),
        ({"statusCode": 503}, Retry),
    ],
)
def test_a_status_in_the_document_means_what_it_means_outside(document: object, kind: type) -> None:
    assert isinstance(refusal(answer(document)), kind)


def test_a_throttle_in_the_document_keeps_the_time_to_wait() -> None:
    found = refusal(HttpAnswer(200, {"retry-after": "7"}, b'{"statusCode":429}'))
    assert isinstance(found, Retry)
    assert (found.after, found.cause) == (7.0, RetryCause.THROTTLED)


@pytest.mark.parametrize(
    ("document", "cause"),
    [
        ({"errors": True}, RetryCause.UNKNOWN),
        ({"errors": ["line 3"]}, RetryCause.UNKNOWN),
        ({"ingested": 9, "failed": 1, "failures": [{"error": "x"}]}, RetryCause.UNKNOWN),
        ({"FailedPutCount": 1, "RequestResponses": []}, RetryCause.UNKNOWN),
        ({"successful_rows": 2, "quarantined_rows": 1}, RetryCause.UNKNOWN),
        ({"code": 200, "status": [{"name": "default", "successful": 1, "failed": 1}]}, RetryCause.UNKNOWN),
        ([{"status": 202}, {"status": 400, "error": "bad"}], RetryCause.UNKNOWN),
        ([{"status": 202}, {"status": 429}], RetryCause.THROTTLED),
        ({"results": [{"success": True}, {"success": False}]}, RetryCause.UNKNOWN),
    ],
)
def test_a_document_that_says_that_some_were_not_taken_may_be_the_batch_s_fault(
    document: object, cause: RetryCause
) -> None:
    """Never a dead letter at once: whether these were refused for good is not said in a way that is known."""
    found = refusal(answer(document, 207))
    assert isinstance(found, Retry)
    assert found.cause is cause
    assert "HTTP 207, but not all events were taken" in found.why


EVENT = {
    "kind": "Event", "level": "Metadata", "auditID": "a", "stage": "ResponseComplete", "requestURI": "/x",
    "verb": "get", "user": {}, "responseStatus": {"code": 500, "status": "Failure"},
    "requestObject": {"error": "x", "errors": True},
}  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"{}",
        b"[]",
        b'"error"',
        b'{"status":"ok"}',
        b'{"ok":"true"}',
        b'{"success":true,"error":null}',
        b'{"success":0,"failed":0,"errors":0}',
        b'{"text":"Success","code":0}',
        b'{"code":200,"message":"error"}',
        b'{"errors":[],"error":""}',
        b'{"took":1,"errors":false}',
        b'{"errors":"none"}',
        b'{"error":',
        b"[" * 100_000,
        b"\xff{",
        json.dumps(EVENT).encode(),
        json.dumps([EVENT, EVENT]).encode(),
        json.dumps({"json": [EVENT], "data": "x"}).encode(),
    ],
)
def test_everything_else_says_nothing_of_the_kind(body: bytes) -> None:
    """Events that are given back among it: what is inside of one is somebody's choice."""
    assert refusal(HttpAnswer(200, {}, body)) is None


def test_what_is_shown_is_short_and_on_one_line() -> None:
    found = refusal(answer({"error": "x\n" * 9000}))
    assert isinstance(found, Misconfigured)
    assert len(found.why) < 400
    assert "\n" not in found.why
