"""Token buckets: the average holds, a batch is never cut, and what is asked for is what an apiserver follows."""

from hypothesis import given
from hypothesis import strategies as st

from auditsink.config import Rate
from auditsink.receive.cluster import TokenBucket


def bucket(events_per_second: int, burst: int | None = None) -> TokenBucket:
    return TokenBucket(Rate(events_per_second=events_per_second, burst=burst), 0)


def test_a_batch_of_10_000_passes_a_small_bucket_once_and_its_debt_is_waited_off() -> None:
    slow = bucket(100, burst=400)
    assert slow.wait(0) is None
    slow.take(10_000, 0)
    assert slow.wait(1) == 20, "96 s are left, and an apiserver follows 20"
    assert slow.wait(90) == 7
    assert slow.wait(95.995) == 2, "never less"
    assert slow.wait(96.01) is None


def test_what_was_not_stored_is_given_back() -> None:
    slow = bucket(100, burst=100)
    slow.take(500, 0)
    slow.take(-500, 0)
    assert slow.wait(0) is None


def test_a_bucket_holds_ten_seconds_worth_unless_it_is_said() -> None:
    slow = bucket(100)
    slow.take(999, 0)
    assert slow.wait(0) is None
    slow.take(1, 0)
    assert slow.wait(0) == 2


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 2000)), max_size=200), st.integers(1, 500))
def test_the_average_holds_whatever_comes(batches: list[tuple[float, int]], limit: int) -> None:
    slow, now, passed, largest = bucket(limit), 0.0, 0, 0
    for pause, events in batches:
        now += pause
        if slow.wait(now) is None:
            slow.take(events, now)
            passed, largest = passed + events, max(largest, events)
    assert passed <= limit * (now + 10) + largest + 1


def test_a_rate_that_changes_is_in_force_at_once() -> None:
    live = bucket(1, burst=1)
    live.take(100, 0)
    assert live.wait(0) == 20
    live.rate = Rate(events_per_second=1000)
    assert live.wait(0.2) is None
