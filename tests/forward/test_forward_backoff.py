"""Full jitter, and what the other side may ask for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.forward.retry import LONGEST_WISH, Backoff


def backoff(random: float = 0.999999) -> Backoff:
    return Backoff(1.0, 60.0, lambda: random)


def test_the_longest_wait_doubles_up_to_the_maximum() -> None:
    waits = backoff(1.0)
    assert [waits.next() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_the_jitter_is_full() -> None:
    assert backoff(0.0).next() == 0
    assert backoff(0.25).next() == 0.25


def test_success_begins_again() -> None:
    waits = backoff(1.0)
    for _ in range(5):
        waits.next()
    waits.reset()
    assert waits.next() == 1


def test_a_month_of_failures_does_not_overflow() -> None:
    waits = backoff(1.0)
    assert {waits.next() for _ in range(5000)} == {1, 2, 4, 8, 16, 32, 60}


@pytest.mark.parametrize(
    ("after", "floor"), [(20, 20), (0, 0), (-5, 0), (math.nan, 0), (1e9, LONGEST_WISH), (math.inf, 300)]
)
def test_retry_after_is_a_floor_within_reason(after: float, floor: float) -> None:
    assert backoff(0.0).next(after) == floor


@given(st.floats(0, 0.999), st.lists(st.none() | st.floats(), max_size=30))
def test_a_wait_is_never_negative_nor_longer_than_wish_and_maximum(random: float, wishes: list[float | None]) -> None:
    waits = Backoff(1.0, 60.0, lambda: random)
    for wish in wishes:
        assert 0 <= waits.next(wish) <= LONGEST_WISH + 60
