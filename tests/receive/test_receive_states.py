"""The tables of a connection's states: complete where they must be, and no way leads out of the end."""

from collections import deque
from collections.abc import Mapping
from enum import IntEnum

import pytest

from auditsink.receive.states import (
    CLOSED,
    CROWDED,
    DISCARDING,
    DROPPED,
    ENDED,
    INPUT,
    KEEP,
    LAST,
    LINGERING,
    OPEN,
    PAUSED,
    READING,
    REQUEST,
    WAITING,
    InputState,
    KeepAlive,
    RequestState,
    Trigger,
    answered,
    dropped,
)

TABLES: list[tuple[Mapping[tuple[IntEnum, Trigger], IntEnum], type[IntEnum]]] = [
    (REQUEST, RequestState),  # type: ignore[list-item]  # a Mapping's key is invariant
    (INPUT, InputState),  # type: ignore[list-item]
]


def reached(table: Mapping[tuple[IntEnum, Trigger], IntEnum], start: IntEnum) -> set[IntEnum]:
    """Every state that some row of triggers leads to."""
    found, waiting = {start}, deque([start])
    while waiting:
        state = waiting.popleft()
        for (before, _), after in table.items():
            if before == state and after not in found:
                found.add(after)
                waiting.append(after)
    return found


@pytest.mark.parametrize(("table", "states"), TABLES)
def test_every_state_can_come_about(table: Mapping[tuple[IntEnum, Trigger], IntEnum], states: type[IntEnum]) -> None:
    assert reached(table, next(iter(states))) == set(states)


def test_a_trigger_belongs_to_one_dimension() -> None:
    triggers = [{trigger for _, trigger in table} for table, _ in TABLES]
    assert sum(map(len, triggers)) == len(set().union(*triggers)) == len(Trigger)


@pytest.mark.parametrize("state", RequestState)
def test_a_client_may_go_at_any_moment(state: RequestState) -> None:
    assert REQUEST[state, Trigger.CLOSE] == CLOSED


def test_there_is_no_way_back_from_the_last_answer() -> None:
    assert reached(REQUEST, LINGERING) == {LINGERING, CLOSED}  # type: ignore[arg-type]
    assert reached(REQUEST, CLOSED) == {CLOSED}  # type: ignore[arg-type]
    assert KEEP < LAST < CROWDED, "persistence only rises"


@pytest.mark.parametrize(
    ("request_state", "persistence", "after"),
    [
        (READING, KEEP, READING),
        (DISCARDING, KEEP, READING),
        (WAITING, KEEP, READING),
        (READING, LAST, LINGERING),
        (DISCARDING, CROWDED, LINGERING),
        (WAITING, LAST, LINGERING),
        (WAITING, CROWDED, LINGERING),
    ],
)
def test_an_answer_is_the_last_one_unless_the_connection_is_kept(
    request_state: RequestState, persistence: KeepAlive, after: RequestState
) -> None:
    assert answered(request_state, persistence) == after


@pytest.mark.parametrize("state", [LINGERING, CLOSED])
@pytest.mark.parametrize("trigger", [Trigger.COMPLETE, Trigger.ANSWERED, Trigger.LAST_ANSWERED, Trigger.REFUSED])
def test_nothing_is_answered_twice(state: RequestState, trigger: Trigger) -> None:
    with pytest.raises(KeyError):
        REQUEST[state, trigger]


def test_a_request_that_waits_is_not_completed_again() -> None:
    with pytest.raises(KeyError):
        REQUEST[WAITING, Trigger.COMPLETE]


@pytest.mark.parametrize("trigger", [Trigger.PAUSE, Trigger.RESUME, Trigger.DROP, Trigger.END])
def test_a_client_that_has_ended_sends_nothing_more(trigger: Trigger) -> None:
    assert INPUT[ENDED, trigger] in (ENDED, DROPPED)


@pytest.mark.parametrize("persistence", KeepAlive)
def test_dropped_bytes_make_the_next_answer_the_last_one(persistence: KeepAlive) -> None:
    taken, after = dropped(PAUSED, persistence)
    assert taken == DROPPED
    assert after == (CROWDED if persistence == CROWDED else LAST)
    assert INPUT[DROPPED, Trigger.END] == INPUT[DROPPED, Trigger.PAUSE] == DROPPED, "until lingering reads on"
    assert INPUT[DROPPED, Trigger.RESUME] == OPEN
