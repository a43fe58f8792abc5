"""A destination's filter: what is left out is counted, what cannot be read becomes a dead letter, all adds up."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from forwardkit import LIMITS, FakeRing, Held, Rig, ScriptedDestination, adds_up, always, in_turn
from hypothesis import given, settings
from hypothesis import strategies as st

from auditsink.delivery.destination import Batch
from auditsink.delivery.filter import Filtered
from auditsink.delivery.outcome import (
    Delivered,
    EventRejection,
    Misconfigured,
    Outcome,
    Poison,
    Retry,
)
from auditsink.forward.redelivery import Report, redeliver
from auditsink.forward.replay import Replay, Replayed
from auditsink.forward.retry import Backoff
from auditsink.spool.types import Tally
from auditsink.testing.clock import FakeClock, settle


def event_filter(batch: Batch) -> Filtered:
    """Leaves `drop` out, cannot read `odd`, and puts the rest into capitals."""
    kept = [place for place, event in enumerate(batch.events) if not event.startswith((b"drop", b"odd"))]
    odd = [place for place, event in enumerate(batch.events) if event.startswith(b"odd")]
    left = replace(
        batch,
        events=[batch.events[place].upper() for place in kept],
        sequences=[batch.sequences[place] for place in kept],
    )
    return Filtered(left, tuple(EventRejection(place, "odd") for place in odd))


MIXED = (b"a", b"drop 1", b"b", b"odd 1", b"drop 2", b"c")


def tally(ring: FakeRing) -> Tally:
    return ring.cursor("siem").tally


async def test_what_is_left_out_is_counted_and_the_rest_arrives() -> None:
    ring, destination = FakeRing(), ScriptedDestination()
    ring.put(*MIXED)
    async with Rig(destination, ring, event_filter=event_filter) as rig:
        await settle()
        assert destination.taken == [("c1", 0, b"A"), ("c1", 2, b"B"), ("c1", 5, b"C")]
        assert tally(ring) == Tally(delivered=3, filtered=2, dead_lettered=1)
        assert rig.dead_lettered() == [3]
        assert [dead_letter.content for dead_letter in rig.dead_letters] == [b"odd 1"]
        assert rig.forwarder.statistics().bytes == 3
    assert adds_up(ring)


async def test_a_batch_of_which_nothing_is_left_needs_no_attempt() -> None:
    ring, destination = FakeRing(), ScriptedDestination(always(Misconfigured("down")))
    ring.put(b"drop 1", b"drop 2")
    async with Rig(destination, ring, event_filter=event_filter):
        await settle()
        assert destination.attempts == []
        assert tally(ring) == Tally(filtered=2)


async def test_events_that_are_left_out_do_not_overtake_those_that_wait() -> None:
    ring, held = FakeRing(), Held()
    destination = ScriptedDestination(held)
    ring.put(b"a")
    async with Rig(destination, ring, event_filter=event_filter):
        await settle()
        ring.put(b"drop 1")
        await settle()
        assert ring.cursor("siem").position == 0
        await held.end()
        assert ring.cursor("siem").position == 2


async def test_a_retry_buries_what_cannot_be_read_only_once() -> None:
    ring, destination = FakeRing(), ScriptedDestination(in_turn(Retry("busy"), Retry("busy")))
    ring.put(*MIXED)
    rig = Rig(destination, ring, event_filter=event_filter)
    async with rig:
        for _ in range(5):
            await rig.clock.advance(10)
        assert rig.dead_lettered() == [3]
        assert tally(ring) == Tally(delivered=3, filtered=2, dead_lettered=1)


@pytest.mark.parametrize("named", [True, False])
async def test_a_poisoned_event_is_isolated_among_those_that_are_left(named: bool) -> None:
    def answer(batch: Batch) -> Outcome:
        if b"B" in batch.events:
            return Poison(batch.events.index(b"B") if named else None, "refused")
        return Delivered()

    ring, destination = FakeRing(), ScriptedDestination(answer)
    ring.put(*MIXED)
    async with Rig(destination, ring, event_filter=event_filter) as rig:
        await settle(50)
        assert destination.sequences() == [0, 5]
        assert sorted(rig.dead_lettered()) == [2, 3]
        assert tally(ring) == Tally(delivered=2, filtered=2, dead_lettered=2)
    assert adds_up(ring)


async def test_a_sample_for_a_suspected_destination_is_filtered_too() -> None:
    refusing = ScriptedDestination(always(Poison(0, "no")), limits=replace(LIMITS, max_events=1))
    ring = FakeRing()
    ring.put(*[b"x%d" % number for number in range(101)], b"drop it")
    async with Rig(refusing, ring, event_filter=event_filter) as rig:
        await settle(2000)
        await rig.clock.advance(600)
        await settle(500)
        seen = {event for batch in refusing.attempts for event in batch.events}
        assert b"X100" in seen
        assert not any(b"drop" in event.lower() for event in seen)


async def test_full_dead_letters_stop_the_destination_and_lose_nothing() -> None:
    ring, destination = FakeRing(), ScriptedDestination()
    ring.put(b"odd 1", b"a")
    async with Rig(destination, ring, event_filter=event_filter, dead_letter_bytes=10) as rig:
        await settle()
        assert rig.forwarder.state.value == "misconfigured"
        assert tally(ring) == Tally()
    assert adds_up(ring)


words = st.sampled_from([b"a", b"b", b"poison", b"drop", b"odd"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(words, min_size=1, max_size=5), min_size=1, max_size=8), st.integers(1, 3), st.integers(0, 30))
async def test_the_five_add_up_whatever_is_left_out_and_whenever_it_is_killed(
    records: list[list[bytes]], in_flight: int, steps: int
) -> None:
    """Two lives; the first ends anywhere. Everything ends in exactly the way that its kind says."""

    def answer(batch: Batch) -> Outcome:
        return Poison(None, "refused") if b"POISON" in batch.events else Delivered()

    limits = replace(LIMITS, in_flight=in_flight, max_events=4)
    ring, destination = FakeRing(), ScriptedDestination(answer, limits=limits)
    for record in records:
        ring.put(*record)
    first = Rig(destination, ring, event_filter=event_filter)
    async with first:
        await settle(steps)
        assert adds_up(ring)
        await first.kill()
    async with Rig(destination, ring, event_filter=event_filter, disk=first.disk) as rig:
        await settle(300)
        assert adds_up(ring)
        every = [event for record in records for event in record]
        count = {word: every.count(word) for word in (b"a", b"b", b"poison", b"drop", b"odd")}
        assert tally(ring) == Tally(count[b"a"] + count[b"b"], count[b"drop"], count[b"poison"] + count[b"odd"])
        assert {sequence for sequence, event in ring.events.items() if event in (b"a", b"b")} == set(
            destination.sequences()
        )
        assert set(rig.dead_lettered()) == {at for at, event in ring.events.items() if event in (b"poison", b"odd")}


async def test_a_replay_is_filtered() -> None:
    ring, destination, done = FakeRing(), ScriptedDestination(), Replayed()
    ring.put(*MIXED)
    ring.put(b"drop 3")
    replay = Replay(
        destination,
        done,
        event_filter=event_filter,
        backoff=Backoff(1, 60, lambda: 0.5),
        clock=FakeClock(),
        waiting=lambda _why, _wait: None,
    )
    await replay.run("c1", ring.records)
    assert destination.sequences() == [0, 2, 5]
    assert (done.delivered, done.filtered, done.refused) == (3, 3, 1)
    assert done.named == ["cluster c1: event 3 is refused: odd"]


async def test_dead_letters_are_filtered_when_they_are_tried_again() -> None:
    ring, destination = FakeRing(), ScriptedDestination(always(Poison(None, "no")))
    ring.put(*MIXED)
    async with Rig(destination, ring, event_filter=Filtered) as rig:
        await settle(100)
        dead_letters = sorted(rig.dead_letters, key=lambda dead_letter: dead_letter.sequence)
    assert [dead_letter.sequence for dead_letter in dead_letters] == [0, 1, 2, 3, 4, 5]
    report, taking = Report(), ScriptedDestination()
    await redeliver(dead_letters, taking, event_filter=event_filter, clock=FakeClock(), report=report)
    assert taking.sequences() == [0, 2, 5]
    assert [dead_letter.sequence for dead_letter in report.delivered] == [0, 2, 5]
    refused: Sequence[tuple[int, bool]] = [(one.sequence, "filter" in why) for one, why in report.refused]
    assert refused == [(1, True), (3, False), (4, True)]
