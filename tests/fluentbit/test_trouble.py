"""fluent-bit's counters of trouble, as who asks once a minute sees them."""

from itertools import pairwise

import pytest

from auditsink.fluentbit.numbers import DestinationTrouble, Window
from auditsink.forward.reporting import DestinationState, ForwarderStatistics, HeldCluster

FINE, RETRYING, PAUSED = DestinationState.IDLE, DestinationState.RETRYING, DestinationState.MISCONFIGURED


def one(state: DestinationState, *, waits: bool = False) -> ForwarderStatistics:
    waiting = {"prod": HeldCluster("no topic", 1.0)} if waits else {}
    return ForwarderStatistics("d", "splunk", state, (), 0.0, {}, {}, 0, 0, 0, 0.0, {}, waiting)


def looked(*stretches: tuple[DestinationState, int]) -> DestinationTrouble:
    """So many seconds in each state, one after the other, looked at every second."""
    trouble, now = DestinationTrouble(), 0.0
    for state, seconds in stretches:
        for _ in range(seconds + 1):
            trouble.look(now, one(state))
            now += 1.0
        now -= 1.0
    return trouble


@pytest.mark.parametrize("seconds", [1, 15, 29])
def test_a_retry_that_is_over_is_no_trouble(seconds: int) -> None:
    trouble = looked((FINE, 5), (RETRYING, seconds), (FINE, 5))

    assert (trouble.retries, trouble.pauses, trouble.now) == (0, 0, False)


def test_many_short_retries_are_none_either() -> None:
    assert looked(*[(RETRYING, 20), (FINE, 5)] * 20).retries == 0


@pytest.mark.parametrize(("seconds", "retries"), [(30, 1), (44, 1), (45, 2), (90, 5)])
def test_trouble_that_lasts_is_counted_while_it_lasts(seconds: int, retries: int) -> None:
    trouble = looked((FINE, 5), (RETRYING, seconds))

    assert (trouble.retries, trouble.pauses, trouble.now) == (retries, 0, True)


@pytest.mark.parametrize(("seconds", "ticks"), [(0, 1), (14, 1), (15, 2), (300, 21)])
def test_a_pause_is_counted_from_its_first_second(seconds: int, ticks: int) -> None:
    trouble = looked((FINE, 5), (PAUSED, seconds))

    assert (trouble.retries, trouble.pauses, trouble.now) == (ticks, ticks, True)


def test_a_cluster_that_waits_by_itself_is_a_pause() -> None:
    trouble = DestinationTrouble()
    trouble.look(0.0, one(DestinationState.DELIVERING, waits=True))

    assert (trouble.retries, trouble.now) == (1, True)


@pytest.mark.parametrize("state", [RETRYING, PAUSED])
def test_who_asks_once_a_minute_sees_growth_as_long_as_it_lasts_and_no_longer(state: DestinationState) -> None:
    trouble, asked = DestinationTrouble(), []
    for second in range(660):
        trouble.look(float(second), one(state if second < 400 else FINE))
        if second % 60 == 59:
            asked.append(trouble.retries)

    grown = [later > earlier for earlier, later in pairwise(asked)]
    assert grown == [True] * 6 + [False] * 4
    assert not trouble.now


def test_a_counter_never_falls() -> None:
    trouble, seen = DestinationTrouble(), [0]
    states = [FINE, RETRYING, PAUSED, RETRYING, FINE, PAUSED, FINE]
    for second in range(700):
        trouble.look(float(second), one(states[second // 100]))
        seen.append(trouble.retries)

    assert seen == sorted(seen)


def test_growth_is_that_of_the_period() -> None:
    window = Window(60.0)
    for second in range(200):
        window.add(float(second), errors=5 if second >= 100 else 0, retries_failed=second // 150)
        if second == 101:
            assert window.grown() == (5, 0)
        if second == 158:
            assert window.grown() == (5, 1)
        if second == 165:
            assert window.grown() == (0, 1)


def test_nothing_was_asked_yet() -> None:
    assert Window(60.0).grown() == (0, 0)
