"""Delivering again from the spool's files: packed as the forwarder packs, patient, honest about what was refused."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from forwardkit import ScriptedDestination
from hypothesis import given
from hypothesis import strategies as st
from leaping import Leaping

from auditsink.audit.eventlist import Mark
from auditsink.delivery.destination import Batch, Limits
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison, Retry, TooLarge
from auditsink.forward.replay import MOST_NAMED, Replay, Replayed, batches
from auditsink.forward.retry import Backoff
from auditsink.spool.types import Record


def record(first: int, *events: bytes, source: str = "", marks: int = 0, received_ns: int = 0) -> Record:
    return Record(first, list(events), received_ns, source, Mark(marks))


def row(count: int) -> list[Record]:
    return [record(at, b"%d" % at, received_ns=at) for at in range(count)]


def run(
    records: Sequence[Record], answer: Callable[[Batch], Outcome]
) -> tuple[Replayed, ScriptedDestination, Leaping, list[tuple[str, float]]]:
    clock, destination, done = Leaping(), ScriptedDestination(answer), Replayed()
    waits: list[tuple[str, float]] = []
    replay = Replay(
        destination, done, backoff=Backoff(1, 60, lambda: 1.0), clock=clock, waiting=lambda *told: waits.append(told)
    )
    asyncio.run(replay.run("c", records))
    return done, destination, clock, waits


def test_what_is_replayed_arrives_in_order_and_packed() -> None:
    done, destination, clock, _ = run(row(25), lambda _: Delivered())
    assert [len(attempt.events) for attempt in destination.attempts] == [10, 10, 5]
    assert [event for attempt in destination.attempts for event in attempt.events] == [b"%d" % at for at in range(25)]
    assert done == Replayed(delivered=25, cluster="c", reached_ns=20)
    assert clock.slept == [0.0] * 3


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6),
            st.sampled_from(["", "a"]),
            st.sampled_from([0, 0, 0, 1]),
        ),
        max_size=15,
    ),
    st.integers(1, 100),
    st.integers(1, 8),
)
def test_every_event_is_in_one_batch_under_its_sequence(
    given: list[tuple[int, list[bytes], str, int]], max_bytes: int, max_events: int
) -> None:
    """Whatever the gaps, sources and marks, and however the limits cut."""
    records, position = [], 0
    for gap, events, source, marks in given:
        mine = events[:1] if marks else events
        records.append(record(position + gap, *mine, source=source, marks=marks))
        position += gap + len(mine)
    limits = Limits(max_bytes=max_bytes, max_events=max_events, max_wait=0.0, in_flight=1)
    found = list(batches("c", records, limits))

    assert [(at, event) for batch in found for at, event in zip(batch.sequences, batch.events, strict=True)] == [
        (one.first_sequence + at, event) for one in records for at, event in enumerate(one.events)
    ]
    sources = {one.first_sequence + at: one.source for one in records for at in range(len(one.events))}
    for batch in found:
        assert {sources[at] for at in batch.sequences} == {batch.source}
        assert len(batch.events) <= max_events
        assert len(batch.events) == 1 or sum(map(len, batch.events)) <= max_bytes
        assert len(batch.events) == 1 or not batch.marks


def test_a_destination_that_is_away_is_waited_for_with_longer_and_longer_waits() -> None:
    answers: Iterator[Outcome] = iter(
        [Retry("down"), Retry("down"), Retry("busy", after=7.0), Delivered(slow_down=2.0)]
    )
    done, destination, clock, waits = run(row(3), lambda _: next(answers))
    assert done.delivered == 3
    assert len(destination.attempts) == 4
    assert waits == [("down", 1.0), ("down", 2.0), ("busy", 11.0)]
    assert clock.slept == [1.0, 2.0, 11.0, 2.0]


def test_refused_events_are_named_and_their_neighbours_arrive() -> None:
    bad = {b"3", b"17"}

    def answer(batch: Batch) -> Outcome:
        return Poison(None, "bad") if bad & set(batch.events) else Delivered()

    done, destination, _, _ = run(row(25), answer)
    assert (done.delivered, done.refused, done.stopped) == (23, 2, None)
    assert done.named == [f"cluster c: event {at} is refused: bad" for at in (3, 17)]
    assert {event for attempt in destination.attempts for event in attempt.events} == {b"%d" % at for at in range(25)}


def test_many_refused_events_are_counted() -> None:
    done, _, _, _ = run(row(50), lambda _: TooLarge("413"))
    assert (done.delivered, done.refused, len(done.named)) == (0, 50, MOST_NAMED)


def test_a_misconfigured_destination_ends_it_and_says_how_far_it_came() -> None:
    done, destination, _, _ = run(
        row(25), lambda batch: Misconfigured("token") if batch.sequences[0] == 10 else Delivered()
    )
    assert done == Replayed(delivered=10, stopped="token", cluster="c", reached_ns=0)
    assert len(destination.attempts) == 2


def test_nothing_to_replay_is_nothing() -> None:
    done, destination, _, _ = run([], lambda _: Delivered())
    assert (done, destination.attempts) == (Replayed(), [])
