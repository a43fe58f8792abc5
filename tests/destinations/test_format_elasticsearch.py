"""The _bulk API: what is sent, and what each kind of result means. Against a real server: tests/real."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from destinationkit import HOSTILE, RECEIVED_NS, batch, event
from formatkit import answer, exchange, made

from auditsink import config
from auditsink.audit.eventlist import Mark, unsplit_document
from auditsink.delivery.outcome import (
    Delivered,
    EventRejection,
    Misconfigured,
    Poison,
    Retry,
    RetryCause,
    TooLarge,
)
from auditsink.destinations.formats import Exchange
from auditsink.destinations.formats.elasticsearch import Fate, Item, fate
from auditsink.http.answers import HttpAnswer

TAKEN = {"status": 201}
THERE = {"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "document already exists"}}
BUSY = {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "queue full"}}
BAD = {
    "status": 400,
    "error": {"type": "mapper_parsing_exception", "reason": "failed to parse", "caused_by": {"reason": "Duplicate"}},
}
NO_INDEX = {"status": 404, "error": {"type": "index_not_found_exception", "reason": "no such index [x]"}}


def bulk(*results: Mapping[str, object]) -> HttpAnswer:
    """An answer with a result for each entry."""
    errors = any("error" in one for one in results)
    return answer(200, {"errors": errors, "items": [{"create": one} for one in results]})


def sent(made: Exchange) -> list[tuple[dict[str, Any], bytes]]:
    """Action and document of each entry of the request."""
    lines = made.request.body.split(b"\n")
    assert lines.pop() == b""
    return [(json.loads(lines[at])["create"], lines[at + 1]) for at in range(0, len(lines), 2)]


def numbers(made: Exchange) -> list[int]:
    """Which of the events 0, 1, 2 .. the request holds."""
    return [int(json.loads(document)["kubernetes.audit"]["auditID"][3:]) for _, document in sent(made)]


def three() -> Exchange:
    return exchange("elasticsearch", [event(number) for number in range(3)])


def test_an_event_stands_untouched_in_a_document_beside_its_time_and_cluster() -> None:
    ((action, document),) = sent(exchange("elasticsearch", [event(7)], cluster="prod-1"))

    assert action["_index"] == "logs-kubernetes.audit_logs-default"
    assert document.endswith(b',"kubernetes.audit":' + event(7) + b"}")
    found = json.loads(document)
    assert found["@timestamp"] == "2026-11-22T21:13:38.661308Z"
    assert (found["event.dataset"], found["orchestrator.cluster.name"]) == ("kubernetes.audit_logs", "prod-1")


def test_the_index_may_name_the_cluster_and_the_day_of_the_event() -> None:
    settings = {"elasticsearch": config.Elasticsearch(index="audit-{cluster}-{date}", fields={})}
    odd = event(2, stage="2024-02-29T23:59:59.999999Z")
    found = sent(exchange("elasticsearch", [event(1), odd], settings=settings))

    assert [action["_index"] for action, _ in found] == ["audit-prod-2026.11.22", "audit-prod-2024.02.29"]
    assert set(json.loads(found[0][1])) == {"@timestamp", "kubernetes.audit"}


def test_an_id_is_the_same_for_a_repeat_and_differs_for_all_else() -> None:
    def ids(events: list[bytes], **settings: Any) -> list[str]:
        return [action["_id"] for action, _ in sent(exchange("elasticsearch", events, **settings))]

    same = [event(1)]
    known = ids(same)
    assert ids(same) == known == ids([event(0), event(1)], first=99)[1:]
    others = [
        *ids(same, first=101),
        *ids(same, cluster="other"),
        *ids([event(2)]),
        *ids([event(1, stage="2026-11-22T21:13:38.661309Z")]),
    ]
    assert len({*known, *others}) == 5


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_event_cannot_break_its_neighbours_lines(name: str) -> None:
    found = sent(exchange("elasticsearch", [event(1), HOSTILE[name], event(2)], marks=Mark.NOT_UTF8))

    assert found[0][1].endswith(event(1) + b"}")
    assert found[2][1].endswith(event(2) + b"}")
    expected = HOSTILE[name].decode(errors="replace").encode().replace(b"\n", b" ").replace(b"\r", b" ")
    assert found[1][1].endswith(b":" + expected + b"}")


def test_what_could_not_be_split_is_a_document_that_says_so() -> None:
    raw = b'{"kind":"EventList","items":[{"a\xff'
    ((_, document),) = sent(exchange("elasticsearch", [raw], marks=Mark.UNSPLIT | Mark.NOT_UTF8))

    assert document.endswith(unsplit_document(raw) + b"}")
    assert json.loads(document)["@timestamp"] == "2023-11-14T22:13:20.123456Z"
    assert str(RECEIVED_NS).startswith("1700000000123456")


def test_all_taken_is_delivered_and_what_is_there_already_counts_as_taken() -> None:
    assert three().answered(bulk(TAKEN, TAKEN, TAKEN)) == Delivered()
    assert three().answered(bulk(THERE, TAKEN, THERE)) == Delivered()


def test_one_refused_document_is_one_refusal_with_its_reason() -> None:
    assert three().answered(bulk(TAKEN, BAD, TAKEN)) == Delivered(
        (EventRejection(1, "HTTP 400, mapper_parsing_exception: failed to parse: Duplicate"),)
    )


def test_what_is_busy_is_sent_again_alone_and_in_order_until_it_is_settled() -> None:
    made = three()
    first = made.answered(bulk(BUSY, BAD, BUSY))
    assert isinstance(first, Retry)
    assert first.why == "2 of 3 events got HTTP 429, rejected_execution_exception: queue full"
    assert numbers(made) == [0, 2]

    assert isinstance(made.answered(bulk(TAKEN, BUSY)), Retry)
    assert numbers(made) == [2]

    assert made.answered(bulk(BAD)) == Delivered(
        (
            EventRejection(1, "HTTP 400, mapper_parsing_exception: failed to parse: Duplicate"),
            EventRejection(2, "HTTP 400, mapper_parsing_exception: failed to parse: Duplicate"),
        )
    )


def test_after_its_end_an_exchange_begins_anew() -> None:
    """The forwarder may not believe that all events are bad, and attempts the same batch again."""
    made = three()
    outcome = made.answered(bulk(BAD, BAD, BAD))
    assert isinstance(outcome, Delivered)
    assert len(outcome.refused) == 3
    assert numbers(made) == [0, 1, 2]
    assert made.answered(bulk(TAKEN, TAKEN, TAKEN)) == Delivered()


def test_a_missing_index_needs_a_person_for_all_or_for_its_cluster() -> None:
    assert three().answered(bulk(NO_INDEX, TAKEN, TAKEN)) == Misconfigured(
        "1 of 3 events got HTTP 404, index_not_found_exception: no such index [x]"
    )
    settings = {"elasticsearch": config.Elasticsearch(index="audit-{cluster}")}
    found = exchange("elasticsearch", [event()], settings=settings).answered(bulk(NO_INDEX))
    assert isinstance(found, Misconfigured)
    assert found.cluster_only


def error(status: int, kind: str) -> Item:
    return Item(status, {"type": kind, "reason": "r"})


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (Item(200), Fate.TAKEN),
        (error(409, "version_conflict_engine_exception"), Fate.TAKEN),
        (error(409, "something_else"), Fate.REFUSED),
        (error(400, "mapper_parsing_exception"), Fate.REFUSED),
        (error(400, "document_parsing_exception"), Fate.REFUSED),
        (error(400, "illegal_argument_exception"), Fate.REFUSED),
        (error(413, "any"), Fate.REFUSED),
        (error(400, "invalid_index_name_exception"), Fate.NO_INDEX),
        (error(404, "index_not_found_exception"), Fate.NO_INDEX),
        (error(403, "security_exception"), Fate.MISCONFIGURED),
        (error(401, "any"), Fate.MISCONFIGURED),
        (error(403, "cluster_block_exception"), Fate.MISCONFIGURED),
        (error(429, "cluster_block_exception"), Fate.MISCONFIGURED),
        (error(400, "validation_exception"), Fate.MISCONFIGURED),
        (error(408, "any"), Fate.AGAIN),
        (error(429, "circuit_breaking_exception"), Fate.AGAIN),
        (error(500, "exception"), Fate.AGAIN),
        (error(503, "unavailable_shards_exception"), Fate.AGAIN),
        (Item("201"), Fate.AGAIN),
        (Item(None, "text"), Fate.AGAIN),
    ],
)
def test_the_fate_of_an_item(item: Item, expected: Fate) -> None:
    assert fate(item) is expected


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (answer(400, {"error": {"reason": "Malformed action/metadata line"}, "status": 400}), Poison),
        (answer(401), Misconfigured),
        (answer(403), Misconfigured),
        (answer(404), Misconfigured),
        (answer(302), Misconfigured),
        (answer(413), TooLarge),
        (answer(429), Retry),
        (answer(503), Retry),
        (HttpAnswer(200, {}, b"<html>log in</html>"), Misconfigured),
        (answer(200, []), Misconfigured),
        (answer(200, {"errors": "yes", "items": 7}), Misconfigured),
        (HttpAnswer(200, {}, b"[" * 100_000), Misconfigured),
        (HttpAnswer(200, {}, b'{"errors":true,"items":[' + b" " * 2**22), TooLarge),
    ],
)
def test_an_answer_about_the_whole_request(given: HttpAnswer, kind: type) -> None:
    assert isinstance(three().answered(given), kind)


def test_an_empty_success_is_nobodys_answer() -> None:
    """A body that got lost on the way condemns no event."""
    assert isinstance(three().answered(HttpAnswer(200, {}, b"")), Misconfigured)


@pytest.mark.parametrize("given", [bulk(TAKEN), bulk(TAKEN, BAD), bulk(*[TAKEN] * 4)])
def test_a_success_without_a_result_for_each_event_is_none(given: HttpAnswer) -> None:
    """Some servers stop at a line that they cannot read, and say 200."""
    found = three().answered(given)
    assert isinstance(found, Poison)
    assert found.index is None


@pytest.mark.parametrize("document", [{"errors": False}, {"errors": False, "items": []}, {"errors": True}])
def test_a_success_without_any_result_blames_no_event(document: object) -> None:
    """Early versions of Quickwit answer so, always: all events would become dead letters."""
    found = three().answered(answer(200, document))
    assert isinstance(found, Retry)
    assert found.cause is RetryCause.UNKNOWN


def test_results_count_even_where_the_answer_says_that_there_are_no_errors() -> None:
    found = three().answered(answer(200, {"errors": False, "items": [{"create": one} for one in (TAKEN, BAD, BUSY)]}))
    assert isinstance(found, Retry)
    assert "1 of 3 events" in found.why


def test_items_of_any_shape_are_read() -> None:
    strange = answer(200, {"errors": True, "items": [{}, {"create": {}}, {"index": {"status": 201, "error": 7}}]})
    made = three()
    assert isinstance(made.answered(strange), Retry)
    assert numbers(made) == [0, 1]


def test_a_reason_from_the_other_side_is_short_and_on_one_line() -> None:
    long = {"status": 400, "error": {"type": "t", "reason": "a\n" * 100_000}}
    outcome = exchange("elasticsearch", [event()]).answered(bulk(long))
    assert isinstance(outcome, Delivered)
    (refusal,) = outcome.refused
    assert len(refusal.why) < 300
    assert "\n" not in refusal.why


@pytest.mark.parametrize(
    ("given", "kind"), [(answer(200), Delivered), (answer(400), Delivered), (answer(401), Misconfigured)]
)
def test_a_probe_sends_no_document(given: HttpAnswer, kind: type) -> None:
    form = made("elasticsearch")
    assert form.probe().body.strip() == b""
    assert isinstance(form.probed(given), kind)


def test_a_busy_answer_may_say_when_to_come_back() -> None:
    busy = answer(200, {"errors": True, "items": [{"create": BUSY}]}, retry_after="7")
    outcome = made("elasticsearch").exchange(batch([event()])).answered(busy)
    assert isinstance(outcome, Retry)
    assert outcome.after == 7.0


def test_what_went_into_the_failure_store_is_delivered_and_counted_as_such() -> None:
    made = exchange("elasticsearch", [event(0), event(1), event(2)])
    outcome = made.answered(
        bulk(
            {"status": 201, "failure_store": "used"},
            {"status": 201, "failure_store": "not_applicable_or_unknown"},
            {"status": 201, "failure_store": "used"},
        )
    )
    assert outcome == Delivered(diverted=2)
    assert made.request.body != b""
    assert "items.*.failure_store" in made.request.target


def test_it_counts_over_the_attempts_of_a_batch_and_a_store_that_failed_is_a_refusal() -> None:
    made = exchange("elasticsearch", [event(0), event(1), event(2)])
    failed = {"status": 400, "failure_store": "failed", "error": {"type": "document_parsing_exception", "reason": "r"}}
    assert isinstance(made.answered(bulk({"status": 201, "failure_store": "used"}, {"status": 429}, failed)), Retry)
    outcome = made.answered(bulk({"status": 201, "failure_store": "used"}))
    assert isinstance(outcome, Delivered)
    assert (outcome.diverted, [one.index for one in outcome.refused]) == (2, [2])
