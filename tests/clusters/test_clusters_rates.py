"""Token buckets: the average holds, a batch is never cut, and what is asked for is what an apiserver follows."""

from hypothesis import given
from hypothesis import strategies as st

from auditsink.clusters.rates import Rates
from auditsink.config import Rate


def rates(events_per_second: int, burst: int | None = None) -> Rates:
    return Rates({"a": Rate(events_per_second=events_per_second, burst=burst)}.get)


def test_without_a_rate_nobody_waits():
    free = rates(1)
    free.take("b", 10**9, 0)
    assert free.wait("b", 0) is None


def test_a_batch_of_10_000_passes_a_small_bucket_once_and_its_debt_is_waited_off():
    slow = rates(100, burst=400)
    assert slow.wait("a", 0) is None
    slow.take("a", 10_000, 0)
    assert slow.wait("a", 1) == 20, "96 s are left, and an apiserver follows 20"
    assert slow.wait("a", 90) == 7
    assert slow.wait("a", 95.995) == 2, "never less"
    assert slow.wait("a", 96.01) is None


def test_what_was_not_stored_is_given_back():
    slow = rates(100, burst=100)
    slow.take("a", 500, 0)
    slow.take("a", -500, 0)
    assert slow.wait("a", 0) is None


def test_a_bucket_holds_ten_seconds_worth_unless_it_is_said():
    slow = rates(100)
    slow.take("a", 999, 0)
    assert slow.wait("a", 0) is None
    slow.take("a", 1, 0)
    assert slow.wait("a", 0) == 2


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 2000)), max_size=200), st.integers(1, 500))
def test_the_average_holds_whatever_comes(batches: list[tuple[float, int]], limit: int):
    slow, now, passed, largest = rates(limit), 0.0, 0, 0
    for pause, events in batches:
        now += pause
        if slow.wait("a", now) is None:
            slow.take("a", events, now)
            passed, largest = passed + events, max(largest, events)
    assert passed <= limit * (now + 10) + largest + 1


def test_a_rate_that_changes_is_in_force_at_once():
    table = {"a": Rate(events_per_second=1, burst=1)}
    live = Rates(table.get)
    live.take("a", 100, 0)
    assert live.wait("a", 0) == 20
    table["a"] = Rate(events_per_second=1000)
    assert live.wait("a", 0.2) is None
    del table["a"]
    assert live.wait("a", 0.2) is None
