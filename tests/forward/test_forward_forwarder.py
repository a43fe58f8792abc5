"""The normal course: batches in order, prepared ahead, no more of them than allowed, cursors behind them."""

import asyncio
import gc
from dataclasses import replace
from weakref import ref

import pytest
from forwardkit import LIMITS, FakeReader, FakeRing, Held, Rig, ScriptedDestination, adds_up, ranges

from auditsink.audit.eventlist import Mark
from auditsink.delivery.destination import Attempt, Batch
from auditsink.delivery.outcome import Delivered
from auditsink.forward.reporting import DestinationState
from auditsink.spool.types import Chunk


async def test_a_backlog_arrives_in_order_byte_for_byte_and_the_cursor_follows() -> None:
    ring = FakeRing()
    ring.fill(95, per_record=7)
    async with Rig(ScriptedDestination(), ring) as rig:
        assert rig.destination.taken == [("c1", at, event) for at, event in ring.events.items()]
        assert ring.cursor("siem").position == 95
        assert rig.forwarder.state is DestinationState.IDLE
        assert adds_up(ring)


async def test_new_events_go_at_once() -> None:
    ring = FakeRing()
    async with Rig(ScriptedDestination(), ring) as rig:
        ring.put(b"a", b"b")
        await rig.clock.advance()
        assert ranges(rig.destination.attempts) == [(0, 2)]
        ring.put(b"c")
        await rig.clock.advance()
        assert ranges(rig.destination.attempts) == [(0, 2), (2, 3)]


async def test_a_ring_made_later_is_served_too() -> None:
    async with Rig(ScriptedDestination()) as rig:
        ring = FakeRing("c9")
        rig.spool.add(ring)
        ring.put(b"a")
        await rig.clock.advance()
        assert rig.destination.taken == [("c9", 0, b"a")]


async def test_of_a_ring_that_is_lost_nothing_more_is_taken_and_what_is_under_way_ends() -> None:
    ring, other = FakeRing("c1"), FakeRing("c2")
    ring.fill(1)
    held = Held()
    destination = ScriptedDestination(held)
    async with Rig(destination, ring, other) as rig:
        await rig.clock.advance(5)
        ring.fill(5)
        rig.spool.lose(ring)
        await held.end()
        await rig.clock.advance(5)
        assert held.waiting == []
        destination.answer = lambda batch: Delivered()
        other.put(b"a")
        await rig.clock.advance(5)
        assert destination.sequences("c1") == [0]
        assert destination.sequences("c2") == [0]
        assert ring.cursor("siem").position == 1
        assert set(rig.forwarder.statistics().accounts) == {"c2"}


async def test_a_ring_that_is_lost_takes_all_along_that_was_known_of_it() -> None:
    ring, other = FakeRing("c1"), FakeRing("c2")
    async with Rig(ScriptedDestination(), ring, other) as rig:
        ring.fill(3)
        await rig.clock.advance(5)
        subscription = rig.forwarder._subscriptions._by_ring[ring]
        rig.forwarder._deliverer._wait_of(subscription)
        rig.spool.lose(ring)
        gone = ref(subscription)
        del subscription
        other.put(b"a")
        await rig.clock.advance(5)
        gc.collect()
        assert gone() is None
        assert len(rig.forwarder._deliverer._waits) == 0


async def test_two_rings_of_one_cluster_are_one_account() -> None:
    first, second = FakeRing("c1"), FakeRing("c1")
    async with Rig(ScriptedDestination(), first) as rig:
        rig.spool.add(second)
        first.fill(3)
        second.fill(4)
        await rig.clock.advance()
        account = rig.forwarder.statistics().accounts["c1"]
        assert (account.accepted, account.delivered, account.pending) == (7, 7, 0)


async def test_what_memory_has_is_not_read_from_the_disk() -> None:
    ring = FakeRing()
    async with Rig(ScriptedDestination(), ring) as rig:
        ring.fill(500)
        await rig.clock.advance()
        assert len(rig.destination.sequences()) == 500
        assert ring.loads == 0


async def test_a_reader_lets_go_of_its_file_once_memory_has_taken_over() -> None:
    ring = FakeRing(remembered=2)
    ring.fill(60)
    async with Rig(ScriptedDestination(), ring) as rig:
        reader = rig.forwarder._subscriptions._by_ring[ring].reader
        assert isinstance(reader, FakeReader)
        assert (ring.loads > 0, reader.closed) == (True, False)
        ring.put(b"fresh")
        await rig.clock.advance()
        assert vars(reader)["closed"]
        assert rig.destination.sequences() == list(range(61))


@pytest.mark.parametrize("remembered", [0, 3])
async def test_what_memory_has_not_is_read_from_the_disk_once(remembered: int) -> None:
    ring = FakeRing(remembered=remembered)
    ring.fill(400, per_record=40)  # records larger than a batch: each is cut, the rest of it kept
    async with Rig(ScriptedDestination(), ring) as rig:
        assert rig.destination.sequences() == list(range(400))
        assert ring.loads <= 1 + 10  # the look at the oldest event's age, and one for each record


@pytest.mark.parametrize("in_flight", [1, 2, 5])
async def test_no_more_batches_are_held_than_one_beyond_those_in_flight_whatever_the_number_of_clusters(
    in_flight: int,
) -> None:
    rings = [FakeRing(f"c{at}") for at in range(20)]
    for ring in rings:
        ring.fill(100)
    held = Held()
    async with Rig(ScriptedDestination(held, replace(LIMITS, in_flight=in_flight)), *rings) as rig:
        assert len(held.waiting) == rig.forwarder.statistics().in_flight == in_flight
        assert rig.destination.prepared == in_flight + 1
        for done in range(1, 60):
            await held.end()
            assert len(held.waiting) == in_flight
            assert rig.destination.prepared == in_flight + 1 + done


async def test_with_one_in_flight_the_next_is_prepared_while_one_is_under_way_and_never_overtakes() -> None:
    ring = FakeRing()
    ring.fill(50)
    held = Held()
    async with Rig(ScriptedDestination(held), ring) as rig:
        for _ in range(5):
            assert (len(held.waiting), rig.destination.running) == (1, 1)
            await held.end()
        assert rig.destination.sequences() == list(range(50))


async def test_a_slow_preparation_is_not_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = FakeRing()
    ring.fill(30)
    destination = ScriptedDestination()
    gates = [asyncio.Event() for _ in range(3)]
    prepare = destination.prepare

    async def slow(batch: Batch) -> Attempt:
        await gates[batch.sequences[0] // 10].wait()
        return await prepare(batch)

    monkeypatch.setattr(destination, "prepare", slow)
    async with Rig(destination, ring) as rig:
        gates[1].set()
        await rig.clock.advance()
        assert rig.destination.attempts == []
        gates[0].set()
        gates[2].set()
        await rig.clock.advance()
        assert rig.destination.sequences() == list(range(30))


async def test_the_cursor_waits_for_the_slowest_of_several_in_flight() -> None:
    ring = FakeRing()
    ring.fill(60)
    held = Held()
    async with Rig(ScriptedDestination(held, replace(LIMITS, in_flight=3)), ring) as rig:
        assert ranges([batch for batch, _ in held.waiting]) == [(0, 10), (10, 20), (20, 30)]
        await held.end(index=2)
        await held.end(index=1)
        assert ring.cursor("siem").position == 0
        # However long the first takes, the window does not grow: four batches are what a crash may repeat.
        while len(held.waiting) > 1:
            await held.end(index=1)
        assert ranges(rig.destination.attempts)[-1] == (30, 40)
        await held.end()
        assert ring.cursor("siem").position == 40


async def test_limits_of_bytes_and_events_hold() -> None:
    ring = FakeRing()
    ring.put(*[b"x" * 300] * 7)
    ring.put(b"y" * 5000)
    ring.put(*[b"z"] * 25)
    async with Rig(ScriptedDestination(), ring) as rig:
        assert ranges(rig.destination.attempts) == [(0, 3), (3, 6), (6, 7), (7, 8), (8, 18), (18, 28), (28, 33)]


async def test_batches_that_begin_within_a_record_are_packed_from_memory_too() -> None:
    rings = [FakeRing("c1"), FakeRing("c2")]
    async with Rig(ScriptedDestination(), *rings) as rig:
        for ring in rings:
            ring.fill(210, per_record=7)
        await rig.clock.advance()
        for ring in rings:
            batches = [batch for batch in rig.destination.attempts if batch.cluster == ring.cluster]
            assert ranges(batches) == [(at, at + 10) for at in range(0, 210, 10)]
            assert ring.loads == 0


async def test_source_and_unsplit_bodies_keep_apart() -> None:
    ring = FakeRing()
    for source in ("one", "one", "two"):
        ring.put(b"a", source=source)
    ring.put(b"body", source="two", marks=Mark.UNSPLIT)
    async with Rig(ScriptedDestination(), ring) as rig:
        assert [(batch.source, len(batch.events), batch.marks) for batch in rig.destination.attempts] == [
            ("one", 2, Mark(0)),
            ("two", 1, Mark(0)),
            ("two", 1, Mark.UNSPLIT),
        ]


PATIENT = replace(LIMITS, max_wait=5.0)


async def test_a_batch_that_is_not_full_waits_until_its_first_event_is_old_enough() -> None:
    ring = FakeRing()
    async with Rig(ScriptedDestination(limits=PATIENT), ring) as rig:
        ring.put(b"a")
        await rig.clock.advance(3)
        ring.put(b"b")
        await rig.clock.advance(1.9)
        assert rig.destination.attempts == []
        await rig.clock.advance(0.2)
        assert ranges(rig.destination.attempts) == [(0, 2)]


@pytest.mark.parametrize("remembered", [0, 1_000_000])
async def test_a_full_batch_goes_at_once(remembered: int) -> None:
    ring = FakeRing(remembered=remembered)
    async with Rig(ScriptedDestination(limits=PATIENT), ring) as rig:
        for count in range(1, 13):
            ring.put(b"x" * 90)
            await rig.clock.advance()
            assert len(rig.destination.sequences()) == (0 if count < 10 else 10)
        for _ in range(3):
            ring.put(b"x" * 400)
        await rig.clock.advance()
        assert ranges(rig.destination.attempts)[1:] == [(10, 14)]


async def test_a_source_that_alternates_does_not_wait() -> None:
    ring = FakeRing()
    async with Rig(ScriptedDestination(limits=PATIENT), ring) as rig:
        for at in range(9):
            ring.put(b"a", source=str(at % 2))
        await rig.clock.advance()
        assert len(rig.destination.attempts) == 8
        await rig.clock.advance(5)
        assert len(rig.destination.attempts) == 9


async def test_what_is_worth_a_request_goes_before_memory_lets_go_of_it() -> None:
    ring = FakeRing()
    async with Rig(ScriptedDestination(limits=PATIENT), ring) as rig:
        ring.put(b"x" * 200)
        ring.leaving = 1
        ring.announce()
        await rig.clock.advance()
        assert rig.destination.attempts == []
        ring.put(b"x" * 100)
        await rig.clock.advance()
        assert ranges(rig.destination.attempts) == [(0, 2)]
        ring.put(b"x" * 300)
        await rig.clock.advance()
        assert ranges(rig.destination.attempts) == [(0, 2)]


async def test_a_full_batch_goes_and_the_rest_waits_its_own_time() -> None:
    ring = FakeRing()
    async with Rig(ScriptedDestination(limits=PATIENT), ring) as rig:
        ring.fill(13)
        await rig.clock.advance(4)
        assert ranges(rig.destination.attempts) == [(0, 10)]
        await rig.clock.advance(1.1)
        assert ranges(rig.destination.attempts) == [(0, 10), (10, 13)]


async def test_events_that_are_gone_count_as_dropped() -> None:
    ring = FakeRing(remembered=0)
    ring.cursor("siem")
    ring.fill(100)
    ring.lose(0, 15)
    ring.lose(50, 60)
    ring.lose(90, 100)
    async with Rig(ScriptedDestination(), ring) as rig:
        assert rig.destination.sequences() == [*range(15, 50), *range(60, 90)]
        assert rig.forwarder.statistics().accounts["c1"] == ring.account(ring.cursor("siem"))
        assert ring.cursor("siem").tally == (65, 0, 0, 35)
        assert rig.forwarder.state is DestinationState.IDLE


async def test_a_batch_in_hand_is_delivered_though_its_segment_is_gone() -> None:
    ring = FakeRing(remembered=0)
    ring.fill(40)
    held = Held()
    async with Rig(ScriptedDestination(held, replace(LIMITS, max_bytes=160)), ring) as rig:
        ring.lose(0, 30)
        assert adds_up(ring)
        for _ in range(3):
            await held.end()
        assert rig.destination.sequences() == [*range(20), *range(30, 40)]
        assert ring.cursor("siem").tally == (30, 0, 0, 10)


async def test_a_ring_that_cannot_be_read_waits_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    bad, good = FakeRing("bad", remembered=0), FakeRing("good")
    bad.fill(5)
    good.fill(5)
    bad.load_error = OSError(5, "Input/output error")
    async with Rig(ScriptedDestination(), bad, good) as rig:
        assert rig.destination.sequences("good") == list(range(5))
        assert [vars(record)["cluster"] for record in caplog.records] == ["bad"]
        bad.load_error = None
        await rig.clock.advance(5)
        assert rig.destination.sequences("bad") == list(range(5))


async def test_a_spool_that_gives_nothing_is_no_endless_loop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ring = FakeRing(remembered=0)
    async with Rig(ScriptedDestination(), ring) as rig:
        reader = rig.forwarder._subscriptions._by_ring[ring].reader
        monkeypatch.setattr(reader, "read", lambda position, max_bytes: Chunk(position, position, []))
        ring.fill(3)
        await rig.clock.advance(20)
        assert 1 <= len(caplog.records) <= 6
        assert rig.destination.attempts == []


async def test_statistics_tell_the_whole_story() -> None:
    ring = FakeRing()
    held = Held()
    async with Rig(ScriptedDestination(held), ring) as rig:
        ring.put(*[b"x" * 10] * 10, received_ns=rig.clock.wall_ns())
        await rig.clock.advance(7)
        during = rig.forwarder.statistics()
        assert (during.state, during.in_flight, during.lag_seconds) == (DestinationState.DELIVERING, 1, 7.0)
        await held.end(Delivered())
        after = rig.forwarder.statistics()
        assert (after.name, after.type, after.state, after.lag_seconds) == (
            "siem",
            "scripted",
            DestinationState.IDLE,
            0.0,
        )
        assert (after.requests, after.retries, after.batches, after.bytes) == ({"delivered": 1}, {}, 1, 100)
        assert after.accounts["c1"].delivered == after.accounts["c1"].accepted == 10
        assert (after.last_error, after.next_attempt_seconds, after.in_flight) == (None, 0.0, 0)


async def test_the_lag_is_that_of_the_oldest_event_of_all_clusters_from_the_start_on() -> None:
    old, young = FakeRing("old", remembered=0), FakeRing("young", remembered=0)
    held = Held()
    rig = Rig(ScriptedDestination(held), young, old)
    for ring, age in ((young, 60), (old, 3600)):
        for _ in range(5):
            ring.put(*[b"x"] * 10, received_ns=rig.clock.wall_ns() - age * 10**9)
    async with rig:
        assert {batch.cluster for batch, _ in held.waiting} == {"young"}
        assert rig.forwarder.statistics().lag_seconds == 3600


async def test_slow_down_delays_the_next_attempt() -> None:
    ring = FakeRing()
    ring.fill(30)
    destination = ScriptedDestination(lambda batch: Delivered(slow_down=2.0))
    async with Rig(destination, ring) as rig:
        assert len(destination.attempts) == 1
        assert rig.forwarder.statistics().next_attempt_seconds == 2.0
        assert rig.forwarder.state is DestinationState.DELIVERING
        await rig.clock.advance(1.9)
        assert len(destination.attempts) == 1
        await rig.clock.advance(0.2)
        assert len(destination.attempts) == 2


async def test_everything_can_say_what_it_is() -> None:
    ring = FakeRing()
    ring.fill(25)
    async with Rig(ScriptedDestination(Held()), ring) as rig:
        assert "siem delivering" in (text := repr(rig.forwarder))
        assert "1 running, 1 waiting" in text
