"""Meilisearch: what is sent and asked, and what an answer means, after its API reference (v1).

No registry has the server, so nothing here has met a real one.
"""

import json
import re

import pytest
from destinationkit import HOSTILE, event
from formatkit import answer, exchange, made

from auditsink import config
from auditsink.audit.eventlist import Mark, unsplit_document
from auditsink.delivery.outcome import Delivered, Misconfigured, Poison, Retry, TooLarge
from auditsink.destinations.formats import Exchange
from auditsink.http.answers import HttpAnswer

ENQUEUED = answer(202, {"taskUid": 7, "indexUid": "i", "status": "enqueued", "type": "documentAdditionOrUpdate"})


def task(status: str, error: dict[str, str] | None = None) -> HttpAnswer:
    return answer(200, {"uid": 7, "status": status, "error": error})


def failed(code: str, kind: str) -> HttpAnswer:
    return task("failed", {"message": "told", "code": code, "type": kind, "link": "l"})


def documents(made: Exchange) -> list[bytes]:
    return made.request.body.split(b"\n")[:-1]


def enqueued() -> Exchange:
    found = exchange("meilisearch", [event(1), event(2)])
    assert found.answered(ENQUEUED) is None
    return found


def test_an_event_stands_untouched_in_a_document_with_an_id_of_its_own() -> None:
    found = exchange("meilisearch", [event(1), event(2)], cluster="prod-1")

    assert found.request.target == "/indexes/kube-apiserver-audit/documents?primaryKey=id"
    first, second = documents(found)
    assert first.endswith(b',"event":' + event(1) + b"}")
    parsed = json.loads(first)
    assert (parsed["cluster"], parsed["timestamp"]) == ("prod-1", 1795382018.661308)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,511}", parsed["id"])
    assert parsed["id"] != json.loads(second)["id"]


def test_the_index_may_name_the_cluster() -> None:
    settings = {"meilisearch": config.Meilisearch(index="audit_{cluster}")}
    found = exchange("meilisearch", [event()], settings=settings, cluster="a.b-c")
    assert found.request.target.startswith("/indexes/audit_a_b-c/documents?")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_event_cannot_break_its_neighbours_lines(name: str) -> None:
    found = documents(exchange("meilisearch", [event(1), HOSTILE[name], event(2)], marks=Mark.NOT_UTF8))

    assert len(found) == 3
    expected = HOSTILE[name].decode(errors="replace").encode().replace(b"\n", b" ").replace(b"\r", b" ")
    assert found[1].endswith(b',"event":' + expected + b"}")


def test_what_could_not_be_split_is_a_document_that_says_so() -> None:
    (found,) = documents(exchange("meilisearch", [b"{\xff"], marks=Mark.UNSPLIT | Mark.NOT_UTF8))
    assert found.endswith(b',"event":' + unsplit_document(b"{\xff") + b"}")


def test_a_batch_is_delivered_when_its_task_has_succeeded() -> None:
    made = enqueued()
    assert (made.request.method, made.request.target, made.request.body) == ("GET", "/tasks/7", b"")
    assert made.answered(task("enqueued")) is None
    assert made.answered(task("processing")) is None
    assert made.answered(task("succeeded")) == Delivered()


def test_questions_become_rarer_and_an_attempt_ends() -> None:
    made = enqueued()
    pauses = [made.request.pause]
    while (outcome := made.answered(task("processing"))) is None:
        pauses.append(made.request.pause)
    assert isinstance(outcome, Retry)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.05, 2.0)
    assert 60 <= sum(pauses) < 63


def test_the_next_attempt_asks_on_and_sends_nothing_twice() -> None:
    made = enqueued()
    while made.answered(task("processing")) is None:
        pass
    assert made.request.method == "GET"
    assert isinstance(made.answered(answer(503)), Retry)
    assert made.request.method == "GET"
    assert made.answered(task("succeeded")) == Delivered()


@pytest.mark.parametrize("given", [task("canceled"), answer(404, {"code": "task_not_found"}), failed("x", "internal")])
def test_a_task_that_came_to_nothing_is_made_again(given: HttpAnswer) -> None:
    made = enqueued()
    assert isinstance(made.answered(given), Retry)
    assert made.request.method == "POST"


@pytest.mark.parametrize(
    ("code", "kind", "expected"),
    [
        ("invalid_document_id", "invalid_request", Poison),
        ("missing_document_id", "invalid_request", Poison),
        ("max_fields_limit_exceeded", "invalid_request", Poison),
        ("index_primary_key_already_exists", "invalid_request", Misconfigured),
        ("index_primary_key_multiple_candidates_found", "invalid_request", Misconfigured),
        ("index_not_found", "invalid_request", Misconfigured),
        ("invalid_index_uid", "invalid_request", Misconfigured),
        ("invalid_api_key", "auth", Misconfigured),
        ("no_space_left_on_device", "system", Retry),
        ("internal", "internal", Retry),
    ],
)
def test_why_a_task_failed_decides(code: str, kind: str, expected: type[Poison | Misconfigured | Retry]) -> None:
    made = enqueued()
    found = made.answered(failed(code, kind))
    assert isinstance(found, expected)
    assert found.why == f"Meilisearch: {code}: told"
    assert made.request.method == "POST"


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (answer(400, {"message": "m", "code": "malformed_payload", "type": "invalid_request"}), Poison),
        (answer(400, {"message": "m", "code": "invalid_index_uid", "type": "invalid_request"}), Misconfigured),
        (HttpAnswer(400, {}, b"<html>"), Poison),
        (answer(401), Misconfigured),
        (answer(403), Misconfigured),
        (answer(404), Misconfigured),
        (answer(413), TooLarge),
        (answer(429), Retry),
        (answer(503), Retry),
        (answer(202), Misconfigured),
        (answer(202, {"taskUid": "seven"}), Misconfigured),
        (answer(200, {"taskUid": 7}), Misconfigured),
    ],
)
def test_an_answer_to_the_documents(given: HttpAnswer, kind: type) -> None:
    made = exchange("meilisearch", [event()])
    assert isinstance(made.answered(given), kind)
    assert made.request.method == "POST"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"status":7}', b"[" * 100_000])
def test_an_answer_about_a_task_that_is_none(body: bytes) -> None:
    assert isinstance(enqueued().answered(HttpAnswer(200, {}, body)), Misconfigured)


@pytest.mark.parametrize(("status", "kind"), [(200, Delivered), (401, Misconfigured), (403, Misconfigured)])
def test_a_probe_asks_with_the_key_for_a_task(status: int, kind: type) -> None:
    form = made("meilisearch")
    assert (form.probe().method, form.probe().target) == ("GET", "/tasks?limit=1")
    assert isinstance(form.probed(answer(status)), kind)
