"""What HEC's answers mean: one row for each code and status."""

from typing import Any

import orjson
import pytest

from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison, Retry, TooLarge
from auditsink.destinations.hec import CODES, HecAnswer, ack_id, acknowledged, classify, parse
from auditsink.testing.hec import html, reply
from auditsink.testing.scripted import Reply

ACCEPTED = [0, 17]
ACCEPTED_SLOWLY = [24, 25]
BUSY = [8, 9, 18, 19, 20, 23, 26, 27]
MISCONFIGURED = [1, 2, 3, 4, 5, 7, 10, 11, 14, 16, 21, 22]
POISON = [6, 12, 13, 15]


def outcome(answer: Reply, *, count: int = 3, **settings: Any) -> Outcome:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return classify(answer.status, headers, answer.body, count=count, **settings)


@pytest.mark.parametrize("code", [6, 9, 27])
def test_too_large_is_too_large_whatever_code_comes_with_it(code: int) -> None:
    assert isinstance(outcome(Reply(413, orjson.dumps({"text": "Request entity too large", "code": code}))), TooLarge)


def test_every_code_has_a_row_here() -> None:
    assert sorted(CODES) == sorted(ACCEPTED + ACCEPTED_SLOWLY + BUSY + MISCONFIGURED + POISON)


@pytest.mark.parametrize("code", ACCEPTED)
def test_accepted(code: int) -> None:
    assert outcome(reply(code)) == Delivered()


@pytest.mark.parametrize("code", ACCEPTED_SLOWLY)
def test_accepted_with_a_queue_near_its_end_slows_down(code: int) -> None:
    assert outcome(reply(code)) == Delivered(slow_down=5.0)
    assert outcome(reply(code, retry_after="2")) == Delivered(slow_down=2.0)


@pytest.mark.parametrize("code", BUSY)
def test_busy_is_tried_again(code: int) -> None:
    found = outcome(reply(code, retry_after="7"))

    assert isinstance(found, Retry)
    assert found.after == 7.0
    assert f"code {code}" in found.why


@pytest.mark.parametrize("code", MISCONFIGURED)
def test_misconfigured_says_what_to_do(code: int) -> None:
    found = outcome(reply(code))

    assert isinstance(found, Misconfigured)
    assert f"code {code}" in found.why
    assert "check" in found.why or "acknowledge" in found.why or "proxy" in found.why


@pytest.mark.parametrize("code", POISON)
@pytest.mark.parametrize(
    ("number", "index"),
    [(0, 0), (2, 2), (3, None), (-1, None), ("1", None), (1.0, None), (True, None), (None, None), ([1], None)],
)
def test_poison_names_its_event_if_it_can_be_one_of_ours(code: int, number: object, index: int | None) -> None:
    found = outcome(reply(code, number=number), count=3)

    assert isinstance(found, Poison)
    assert found.index == index


@pytest.mark.parametrize("code", POISON)
def test_poison_without_a_number_names_none(code: int) -> None:
    found = outcome(reply(code))
    assert isinstance(found, Poison)
    assert found.index is None


def test_a_refused_index_is_the_clusters_own_fault_when_its_name_is_in_it() -> None:
    found = outcome(reply(7, number=0), templated_index=True)
    assert isinstance(found, Poison)
    assert found.index is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Misconfigured),
        (201, Misconfigured),
        (204, Misconfigured),
        (301, Misconfigured),
        (302, Misconfigured),
        (307, Misconfigured),
        (400, Misconfigured),
        (401, Misconfigured),
        (403, Misconfigured),
        (404, Misconfigured),
        (405, Misconfigured),
        (407, Misconfigured),
        (418, Misconfigured),
        (408, Retry),
        (413, TooLarge),
        (425, Retry),
        (429, Retry),
        (500, Retry),
        (502, Retry),
        (503, Retry),
        (504, Retry),
        (599, Retry),
    ],
)
def test_an_answer_that_hec_did_not_write_is_judged_by_its_status(
    status: int, kind: type[Misconfigured | Retry | TooLarge]
) -> None:
    found = outcome(html(status))

    assert isinstance(found, kind)
    assert f"HTTP {status}" in found.why


def test_a_login_page_is_not_taken_for_success() -> None:
    assert isinstance(classify(200, {}, b"<html>please log in</html>", count=1), Misconfigured)
    assert isinstance(classify(200, {}, b"", count=1), Misconfigured)


@pytest.mark.parametrize("code", ACCEPTED + ACCEPTED_SLOWLY)
def test_success_needs_the_status_200_as_well(code: int) -> None:
    assert isinstance(outcome(reply(code, status=503)), Retry)
    assert isinstance(outcome(reply(code, status=404)), Misconfigured)


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"0",
        b"null",
        b'"0"',
        b"{}",
        b'{"code":"0"}',
        b'{"code":0.0}',
        b'{"code":false}',
        b'{"code":null}',
        b'{"code":[0]}',
        b'{"code":-1}',
        b'{"code":99}',
        b'{"code":' + b"9" * 5000 + b"}",
        b"\xff",
        b'{"code":0',
        b'{"x":' * 50_000,
    ],
)
def test_a_strange_document_is_never_success(content: bytes) -> None:
    assert isinstance(classify(200, {}, content, count=1), Misconfigured)


def test_a_foreign_text_is_shown_short_and_on_one_line() -> None:
    content = orjson.dumps({"code": 9, "text": "busy\n\x1b[31m" + "x" * 1000})
    found = classify(503, {}, content, count=1)

    assert isinstance(found, Retry)
    assert "\n" not in found.why
    assert "\x1b" not in found.why
    assert len(found.why) < 300


def test_an_ack_id_is_an_integer_or_nothing() -> None:
    assert ack_id(reply(0, ack_id=7).body) == 7
    assert ack_id(b'{"code":0,"ackId":0}') == 0
    for other in (b'{"code":0}', b'{"ackId":"7"}', b'{"ackId":true}', b'{"ackId":null}', b"<html>"):
        assert ack_id(other) is None


def test_acknowledged_ids_are_those_that_are_true() -> None:
    assert acknowledged(200, {}, b'{"acks":{"0":true,"1":false,"2":true}}') == frozenset({0, 2})


@pytest.mark.parametrize("name", ["x", "-1", "1.0", "", "٣", "9" * 5000])
def test_an_id_that_is_none_is_not_acknowledged(name: str) -> None:
    assert acknowledged(200, {}, orjson.dumps({"acks": {name: True, "5": 1, "6": "true"}})) == frozenset()


def test_an_answer_without_acks_is_judged_as_any_other() -> None:
    assert isinstance(acknowledged(400, {}, reply(14).body), Misconfigured)
    assert isinstance(acknowledged(503, {}, reply(9).body), Retry)
    assert isinstance(acknowledged(200, {}, b'{"acks":[0]}'), Misconfigured)


def test_an_answer_that_is_no_object_is_none() -> None:
    assert parse(b"<html>") is None
    assert parse(b'{"text":"x","code":1}') == HecAnswer(1, "x")
