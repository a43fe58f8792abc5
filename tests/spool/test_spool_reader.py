"""Reading as a destination does that takes turns between rings: it takes a part and asks for the rest again."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spoolkit import body_of, events_of, open_spool, submit_all

from auditsink.spool import frame
from auditsink.spool.reader import Reader

RECORDS = 2000
NAMES = [f"{number}-{'x' * (number % 7) * 100}" for number in range(RECORDS)]
EVENTS = events_of(*NAMES)


def test_reading_again_what_was_not_taken_costs_no_more_than_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment is not walked from its start for every load: that made catching up with two rings quadratic."""
    spool = open_spool(max_bytes=2**24, segment_bytes=2**21)
    ring = spool.ring("default")
    submit_all(spool, ring, [body_of(name) for name in NAMES])
    looked: list[int] = []
    decode_header = frame.decode_header

    def counted(*arguments: Any) -> Any:
        looked.append(1)
        return decode_header(*arguments)

    monkeypatch.setattr(frame, "decode_header", counted)
    reader, position, found = ring.reader(), 0, []
    while position < ring.durable:
        chunk = reader.read(position, 10_000)
        taken = [event for record in chunk.records for event in record.events]
        taken = taken[: max(1, len(taken) // 2)]
        found += taken
        position += len(taken)
    assert found == EVENTS
    assert RECORDS <= len(looked) < 15 * RECORDS
    spool.stop()


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """Of a ring with several segments and three events a record."""
    spool = open_spool(segment_bytes=2**13)
    ring = spool.ring("default")
    submit_all(spool, ring, [body_of(*NAMES[at : at + 3]) for at in range(0, 300, 3)])
    assert len(ring.segments) > 3
    yield ring.reader()
    spool.stop()


@given(asked=st.lists(st.tuples(st.integers(0, 299), st.integers(1, 20_000)), min_size=1, max_size=30))
def test_wherever_it_was_before_a_reader_finds_what_it_is_asked_for(
    reader: Reader, asked: list[tuple[int, int]]
) -> None:
    """Forwards, backwards, within a segment and across: the events from that position on."""
    for position, size in asked:
        chunk = reader.read(position, size)
        found = [event for record in chunk.records for event in record.events]
        assert found
        assert found == EVENTS[position : position + len(found)]
        assert (chunk.start, chunk.end) == (position, position + len(found))
