"""The schedule of kube-apiserver's audit webhook, row by row."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditsink.apiserver.retry_schedule import PostResult, RetrySchedule


def waits(answers: list[PostResult], jitter: float = 0.0, request_seconds: float = 0.0) -> list[float | None]:
    """What is waited after each of the answers."""
    now = 0.0
    patience = RetrySchedule(now, lambda: jitter)
    found: list[float | None] = []
    for answer in answers:
        now += request_seconds
        wait = patience.after(answer, now)
        found.append(wait)
        if wait is None:
            break
        now += wait
    return found


def test_five_attempts_with_growing_waits() -> None:
    assert waits([PostResult(400)] * 9) == [10.0, 15.0, 22.5, 33.75, None]


def test_jitter_only_lengthens_by_a_fifth() -> None:
    assert waits([PostResult(0, problem="refused")] * 9, jitter=1.0) == [12.0, 18.0, 27.0, 40.5, None]


def test_retry_after_is_followed_ten_times_within_an_attempt() -> None:
    assert waits([PostResult(503, 2)] * 12)[:12] == [2.0] * 10 + [10.0, 2.0]


def test_a_batch_against_a_full_sink_makes_fifty_five_requests() -> None:
    found = waits([PostResult(429, 1)] * 100)
    assert len(found) == 55
    assert found[-1] is None


@pytest.mark.parametrize(
    "answer", [PostResult(503), PostResult(400, 5), PostResult(307, 5), PostResult(0, problem="reset")]
)
def test_retry_after_counts_only_on_429_and_5xx(answer: PostResult) -> None:
    assert waits([answer]) == [10.0]


def test_a_wait_past_the_attempts_end_uses_up_the_attempt() -> None:
    """31 s do not fit into 30: the attempt fails at its end, then the usual wait follows."""
    assert waits([PostResult(503, 31)], request_seconds=1.0) == [29.0 + 10.0]


def test_the_time_for_a_request_shrinks_within_an_attempt_and_is_fresh_in_the_next() -> None:
    patience = RetrySchedule(0.0, lambda: 0.0)
    assert patience.seconds_left(12.0) == 18.0
    assert patience.after(PostResult(503, 5), 12.0) == 5.0
    assert patience.seconds_left(17.0) == 13.0
    assert patience.after(PostResult(500), 17.0) == 10.0
    assert patience.seconds_left(27.0) == 30.0
    assert patience.seconds_left(99.0) == 0.0


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        (PostResult(200), True),
        (PostResult(206), True),
        (PostResult(207), False),
        (PostResult(199), False),
        (PostResult(301), False),
        (PostResult(200, problem="malformed Content-Type"), False),
    ],
)
def test_only_200_to_206_count_as_taken(answer: PostResult, taken: bool) -> None:
    assert answer.taken is taken


@settings(max_examples=30)
@given(
    st.lists(
        st.builds(PostResult, st.sampled_from([0, 400, 429, 500, 503]), st.none() | st.integers(0, 100)), min_size=56
    ),
    st.floats(0, 1),
    st.floats(0, 30),
)
def test_every_batch_ends(answers: list[PostResult], jitter: float, request_seconds: float) -> None:
    """Whatever the other side answers, a batch makes at most 55 requests."""
    found = waits(answers, jitter, request_seconds)
    assert found[-1] is None
    assert len(found) <= 55
    assert all(wait is None or wait >= 0 for wait in found)
