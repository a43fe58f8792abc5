"""What an outcome means: the table row by row, and random servers, liars among them."""

from collections import deque
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.delivery.outcome import (
    Delivered,
    EventRejection,
    Misconfigured,
    Outcome,
    Poison,
    Retry,
    TooLarge,
)
from auditsink.forward.verdicts import (
    LONE_REFUSALS,
    RejectionBreaker,
    Settled,
    SplitBatch,
    TryAgain,
    Verdict,
    judge,
)


@pytest.mark.parametrize(
    ("size", "outcome", "verdict"),
    [
        (4, Delivered(), Settled()),
        (1, Delivered(), Settled()),
        (4, Delivered((EventRejection(2, "w"),)), Settled((EventRejection(2, "w"),))),
        (
            4,
            Delivered((EventRejection(3, "a"), EventRejection(1, "b"), EventRejection(3, "c"))),
            Settled((EventRejection(1, "b"), EventRejection(3, "a"))),
        ),
        (4, Delivered((EventRejection(1, "a"), EventRejection(4, "b"))), SplitBatch((2,))),
        (1, Delivered((EventRejection(7, "w"),)), Settled((EventRejection(0, "w"),))),
        (4, Poison(2, "w"), SplitBatch((2, 3))),
        (4, Poison(0, "w"), SplitBatch((1,))),
        (4, Poison(3, "w"), SplitBatch((3,))),
        (2, Poison(1, "w"), SplitBatch((1,))),
        (4, Poison(None, "w"), SplitBatch((2,))),
        (5, Poison(5, "w"), SplitBatch((2,))),
        (5, Poison(-1, "w"), SplitBatch((2,))),
        (1, Poison(0, "w"), Settled((EventRejection(0, "w"),))),
        (1, Poison(9, "w"), Settled((EventRejection(0, "w"),))),
        (1, Poison(None, "w"), Settled((EventRejection(0, "w"),))),
        (5, TooLarge("w"), SplitBatch((2,))),
        (1, TooLarge("w"), Settled((EventRejection(0, "w"),))),
        (4, Retry("w", 3), TryAgain(Retry("w", 3))),
        (4, Misconfigured("w"), TryAgain(Misconfigured("w"))),
    ],
)
def test_the_table(size: int, outcome: Outcome, verdict: Verdict) -> None:
    assert judge(size, outcome) == verdict


def play(count: int, answer: Callable[[int, int], Outcome]) -> tuple[list[tuple[int, bool]], int]:
    """Drive a batch of `count` events against `answer(start, stop)`; returns the fates in order and the attempts."""
    parts, fates, attempts = deque([(0, count)]), [], 0
    while parts:
        start, stop = parts.popleft()
        verdict = judge(stop - start, answer(start, stop))
        attempts += 1
        if isinstance(verdict, Settled):
            refused = {refusal.index for refusal in verdict.refused}
            fates += [(start + at, at not in refused) for at in range(stop - start)]
        elif isinstance(verdict, SplitBatch):
            bounds = [start, *(start + cut for cut in verdict.cuts), stop]
            assert bounds == sorted(set(bounds)), "each part is smaller, none is empty"
            parts.extendleft(reversed(list(pairwise(bounds))))
        assert attempts < 10_000
    return fates, attempts


@given(st.integers(1, 60), st.sets(st.integers(0, 59)), st.data())
def test_an_innocent_is_never_condemned_whatever_index_the_server_names(
    count: int, bad: set[int], data: st.DataObject
) -> None:
    def liar(start: int, stop: int) -> Outcome:
        if not bad & set(range(start, stop)):
            return Delivered()
        return Poison(data.draw(st.none() | st.integers(-3, 70)), "refused")

    fates, attempts = play(count, liar)
    assert fates == [(at, at not in bad) for at in range(count)]
    assert attempts <= 2 * count - 1


@given(st.integers(1, 60), st.sets(st.integers(0, 59)))
def test_an_honest_server_costs_three_requests_for_a_bad_event(count: int, bad: set[int]) -> None:
    bad = {at for at in bad if at < count}

    def honest(start: int, stop: int) -> Outcome:
        inside = sorted(bad & set(range(start, stop)))
        return Poison(inside[0] - start, "refused") if inside else Delivered()

    fates, attempts = play(count, honest)
    assert fates == [(at, at not in bad) for at in range(count)]
    assert attempts <= 1 + 3 * len(bad)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 200))
def test_a_limit_on_the_request_costs_only_events_beyond_it(sizes: list[int], limit: int) -> None:
    def bounded(start: int, stop: int) -> Outcome:
        return TooLarge("413") if sum(sizes[start:stop]) > limit else Delivered()

    fates, attempts = play(len(sizes), bounded)
    assert fates == [(at, size <= limit) for at, size in enumerate(sizes)]
    assert attempts <= 2 * len(sizes) - 1


OUTCOMES = st.one_of(
    st.builds(Delivered, st.lists(st.builds(EventRejection, st.integers(-2, 40), st.just("w")), max_size=5).map(tuple)),
    st.builds(Poison, st.none() | st.integers(-2, 40), st.just("w")),
    st.builds(TooLarge, st.just("w")),
)


@given(st.integers(1, 40), st.data())
def test_with_random_answers_every_event_has_one_fate_in_order_and_it_ends(count: int, data: st.DataObject) -> None:
    fates, attempts = play(count, lambda start, stop: data.draw(OUTCOMES))
    assert [at for at, _ in fates] == list(range(count))
    assert attempts <= 2 * count - 1


def refuse(breaker: RejectionBreaker, times: int) -> list[object]:
    return [breaker.examine(1, Poison(0, "no")) for _ in range(times)]


def test_a_destination_that_refuses_everything_is_suspected() -> None:
    breaker = RejectionBreaker()
    assert refuse(breaker, LONE_REFUSALS) == [Poison(0, "no")] * LONE_REFUSALS
    turned = breaker.examine(1, Poison(0, "no"))
    assert isinstance(turned, Misconfigured)
    assert str(LONE_REFUSALS) in turned.why
    assert "no" not in turned.why.split(), "the reason may quote an event"
    assert isinstance(breaker.examine(3, Delivered(tuple(EventRejection(at, "no") for at in range(3)))), Misconfigured)


def test_a_destination_that_calls_every_single_event_too_large_is_suspected_as_well() -> None:
    breaker = RejectionBreaker()
    for _ in range(LONE_REFUSALS):
        assert breaker.examine(1, TooLarge("413")) == TooLarge("413")
    turned = breaker.examine(1, TooLarge("413"))
    assert isinstance(turned, Misconfigured)
    assert "client_max_body_size" in turned.why


def test_one_event_taken_ends_the_breaker() -> None:
    for good in (Delivered(), Delivered((EventRejection(0, "no"),))):
        breaker = RejectionBreaker()
        refuse(breaker, LONE_REFUSALS)
        assert breaker.examine(2, good) is good
        assert refuse(breaker, LONE_REFUSALS) == [Poison(0, "no")] * LONE_REFUSALS
    breaker = RejectionBreaker()
    refuse(breaker, LONE_REFUSALS)
    breaker.reset()
    assert refuse(breaker, 1) == [Poison(0, "no")]


def test_a_whole_batch_refused_by_name_counts_each_event() -> None:
    breaker = RejectionBreaker()
    everything = Delivered(tuple(EventRejection(at, "no") for at in range(LONE_REFUSALS)))
    assert breaker.examine(LONE_REFUSALS, everything) is everything
    assert isinstance(breaker.examine(1, Poison(None, "no")), Misconfigured)


def test_what_says_nothing_about_an_event_neither_counts_nor_absolves() -> None:
    breaker = RejectionBreaker()
    refuse(breaker, LONE_REFUSALS)
    for neutral in (Poison(1, "w"), TooLarge("w"), Retry("w"), Misconfigured("w")):
        assert breaker.examine(5, neutral) is neutral
    assert breaker.open
