"""Turns, their length in bytes, and those who wait for a time."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from auditsink.common.fair_queue import REQUESTS, FairQueue

QUANTUM = 1000


def serve(rota: FairQueue[str], now: float, size: int = QUANTUM) -> str | None:
    lane = rota.next(now)
    if lane is not None:
        rota.charge(lane, size)
    return lane


def drain(rota: FairQueue[str], now: float) -> list[str]:
    return list(iter(lambda: serve(rota, now), None))


def test_the_ready_go_round_in_order() -> None:
    rota: FairQueue[str] = FairQueue(QUANTUM)
    assert all(rota.put(lane, 0, 0) for lane in "abc")
    assert serve(rota, 0) == "a"
    rota.put("a", 0, 0)
    assert drain(rota, 0) == ["b", "c", "a"]


def test_a_lane_is_queued_once() -> None:
    rota: FairQueue[str] = FairQueue(QUANTUM)
    rota.put("a", 5, 0)
    assert not rota.put("a", 5, 0)
    assert rota.put("a", 0, 0)
    assert not rota.put("a", 0, 0)
    assert drain(rota, 10) == ["a"]


def test_those_that_wait_come_when_they_are_due_in_the_order_of_their_times() -> None:
    rota: FairQueue[str] = FairQueue(QUANTUM)
    assert rota.put("late", 7, 0)
    assert rota.put("soon", 3, 0)
    assert not rota.put("middle", 5, 0)
    assert [rota.next_due] == [3]
    assert rota.next(2) is None
    assert drain(rota, 5) == ["soon", "middle"]
    assert (rota.next_due, drain(rota, 7), rota.next_due) == (7, ["late"], None)


def test_one_that_became_ready_early_does_not_come_again_at_its_time() -> None:
    rota: FairQueue[str] = FairQueue(QUANTUM)
    rota.put("a", 3, 0)
    rota.put("a", 0, 0)
    assert drain(rota, 1) == ["a"]
    assert rota.next_due is None
    rota.put("a", 9, 1)
    assert rota.next(3) is None
    assert drain(rota, 9) == ["a"]


def deliver(rota: FairQueue[str], sizes: dict[str, list[int]]) -> list[tuple[str, int]]:
    """Serve until all backlogs are empty: (lane, bytes) in order."""
    left = {lane: list(backlog) for lane, backlog in sizes.items()}
    served = []
    for one in left:
        rota.put(one, 0, 0)
    while (lane := rota.next(0)) is not None:
        size = left[lane].pop(0)
        rota.charge(lane, size)
        served.append((lane, size))
        if left[lane]:
            rota.put(lane, 0, 0)
    return served


def test_a_turn_is_a_quantum_of_bytes_not_a_batch() -> None:
    served = deliver(FairQueue(QUANTUM), {"small": [500] * 8, "large": [1000] * 4})
    assert "".join(lane[0] for lane, _ in served) == "ssl" * 4


def test_tiny_batches_do_not_make_a_turn_of_hundreds_of_requests() -> None:
    served = deliver(FairQueue(QUANTUM), {"tiny": [1] * 100, "large": [1000] * 10})
    assert "".join(lane[0] for lane, _ in served)[: 2 * (REQUESTS + 1)] == ("t" * REQUESTS + "l") * 2


def test_who_took_too_much_sits_out_as_many_rounds() -> None:
    served = deliver(FairQueue(QUANTUM), {"huge": [5000, 1000], "other": [1000] * 9})
    assert "".join(lane[0] for lane, _ in served) == "h" + "o" * 5 + "h" + "o" * 4


def test_a_debt_is_not_forgiven_by_going_away() -> None:
    rota: FairQueue[str] = FairQueue(QUANTUM)
    rota.put("huge", 0, 0)
    assert serve(rota, 0, 5000) == "huge"
    rota.put("other", 0, 0)
    rota.put("huge", 0, 0)
    for _ in range(5):
        assert serve(rota, 0) == "other"
        rota.put("other", 0, 0)
    assert serve(rota, 0) == "huge"


SIZES = st.lists(st.integers(1, 3 * QUANTUM), min_size=1, max_size=60)


@given(st.dictionaries(st.sampled_from("abcdef"), SIZES, min_size=2))
def test_as_long_as_two_have_a_backlog_neither_gets_more_than_its_share(sizes: dict[str, list[int]]) -> None:
    """The model: at any moment, what two lanes were charged differs by a quantum and one batch's excess at most."""
    served = deliver(FairQueue(QUANTUM), sizes)
    assert {lane: [size for one, size in served if one == lane] for lane in sizes} == sizes
    charged: Counter[str] = Counter()
    left = {lane: len(backlog) for lane, backlog in sizes.items()}
    for lane, size in served:
        charged[lane] += max(size, QUANTUM // REQUESTS)
        left[lane] -= 1
        busy = [charged[other] for other in left if left[other] or other == lane]
        assert max(busy) - min(busy) <= 2 * QUANTUM + 3 * QUANTUM


@given(st.lists(st.integers(1, QUANTUM), min_size=100, max_size=200), st.integers(0, 50))
def test_a_quiet_lane_passes_a_backlog_within_one_turn(backlog: list[int], before: int) -> None:
    rota: FairQueue[str] = FairQueue(QUANTUM)
    rota.put("noisy", 0, 0)
    for place, size in enumerate(backlog):
        if place == before:
            rota.put("quiet", 0, 0)
        if serve(rota, 0, size) == "quiet":
            assert place - before <= REQUESTS
            return
        rota.put("noisy", 0, 0)
    raise AssertionError("the quiet lane never had its turn")
