"""The cursor moves over what is settled without a hole, and over nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.forward.frontier import Frontier
from auditsink.spool.types import Tally


def test_out_of_order_endings_wait_for_the_front() -> None:
    frontier = Frontier(5)
    first, second = frontier.append(8, 1), frontier.append(10, 2)
    frontier.settle(second, Tally(delivered=2))
    assert frontier.collect() == Tally()
    assert (frontier.position, frontier.head) == (5, first)
    frontier.settle(first, Tally(delivered=2, dead_lettered=1))
    assert frontier.collect() == Tally(delivered=4, dead_lettered=1)
    assert (frontier.position, frontier.head, len(frontier)) == (10, None, 0)


def test_what_no_longer_exists_is_dropped() -> None:
    frontier = Frontier(0)
    frontier.skip(4)
    assert frontier.collect() == Tally(dropped=4)
    assert frontier.end == frontier.position == 4


def test_parts_come_back_in_order() -> None:
    frontier = Frontier(0)
    slot = frontier.append(10, 7)
    later = frontier.append(12, 8)
    frontier.split(slot, [3, 4])
    parts = []
    while (part := frontier.returned) is not None:
        parts.append((part.start, part.stop, part.received_ns))
        frontier.settle(part, Tally(delivered=part.stop - part.start))
    assert parts == [(0, 3, 7), (3, 4, 7), (4, 10, 7)]
    assert frontier.collect().total == 10
    assert frontier.head is later


def test_a_tally_that_does_not_add_up_is_refused() -> None:
    frontier = Frontier(0)
    with pytest.raises(AssertionError, match="add up"):
        frontier.settle(frontier.append(3, 0), Tally(delivered=2))


@given(st.data())
def test_whatever_happens_the_position_covers_exactly_what_was_collected(data: st.DataObject) -> None:
    frontier = Frontier(100)
    open_slots, settled, total = [], set(), Tally()
    for _ in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["append", "skip", "settle", "split", "collect"]))
        if action == "append":
            open_slots.append(frontier.append(frontier.end + data.draw(st.integers(1, 9)), 0))
        elif action == "skip":
            stop = frontier.end + data.draw(st.integers(1, 9))
            settled |= set(range(frontier.end, stop))
            frontier.skip(stop)
        elif action == "settle" and open_slots:
            slot = open_slots.pop(data.draw(st.integers(0, len(open_slots) - 1)))
            frontier.settle(slot, Tally(delivered=slot.stop - slot.start))
            settled |= set(range(slot.start, slot.stop))
        elif action == "split" and open_slots:
            slot = open_slots.pop(data.draw(st.integers(0, len(open_slots) - 1)))
            cuts = data.draw(st.sets(st.integers(slot.start + 1, max(slot.start + 1, slot.stop - 1))))
            frontier.split(slot, sorted(cut for cut in cuts if cut < slot.stop))
            while (part := frontier.returned) is not None:
                frontier.take(part)
                open_slots.append(part)
        elif action == "collect":
            total = total.plus(frontier.collect())
        assert frontier.position == 100 + total.total
        assert set(range(100, frontier.position)) <= settled
    total = total.plus(frontier.collect())
    hole = next(at for at in range(100, frontier.end + 1) if at not in settled)
    assert frontier.position == hole
