"""What a destination refuses: one bad event costs one event, all that is good arrives, and too many pause it."""

import errno
from collections.abc import Callable
from dataclasses import replace

import pytest
from forwardkit import LIMITS, FakeRing, Held, Rig, ScriptedDestination, adds_up, always, in_turn, ranges, ring_of

from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Delivered, EventRejection, Outcome, Poison, TooLarge
from auditsink.forward.dead_letter_count import LEAST_COUNT_SECONDS
from auditsink.forward.prefetch import KEPT
from auditsink.forward.reporting import DestinationState, without_quotes
from auditsink.forward.retry import FIRST_PROBE
from auditsink.forward.verdicts import LONE_REFUSALS
from auditsink.spool.types import Tally


def refusing(*bad: int, named: bool = True) -> Callable[[Batch], Outcome]:
    """Refuses batches that hold one of these sequences, naming the first of them or nobody."""

    def answer(batch: Batch) -> Outcome:
        found = [index for index, sequence in enumerate(batch.sequences) if sequence in bad]
        if not found:
            return Delivered()
        return Poison(found[0] if named else None, f"event {found[0]} is bad")

    return answer


@pytest.mark.parametrize("named", [True, False])
async def test_one_bad_event_costs_one_event_and_the_order_stays(named: bool, caplog: pytest.LogCaptureFixture) -> None:
    ring = ring_of(40)
    async with Rig(ScriptedDestination(refusing(13, 14, 37, named=named)), ring) as rig:
        good = [at for at in range(40) if at not in (13, 14, 37)]
        assert rig.destination.sequences() == good
        assert rig.dead_lettered() == [13, 14, 37]
        assert ring.cursor("siem").tally == (37, 0, 3, 0)
        first = next(iter(rig.dead_letters))
        assert (first.content, first.cluster, first.reason) == (
            ring.events[13],
            "c1",
            "event 0 is bad",
        )
        told = [record for record in caplog.records if record.levelname == "WARNING"]
        assert [(vars(record)["events"], vars(record)["reason"]) for record in told] == [(1, "event 0 is bad")] * 3
        assert not any("event c1" in str(vars(record)) for record in told)


async def test_dead_letters_of_a_batch_are_one_line_with_their_reason(caplog: pytest.LogCaptureFixture) -> None:
    refused = tuple(EventRejection(at, "no index" if at else 'quotes "CANARY"') for at in range(8))
    async with Rig(ScriptedDestination(in_turn(Delivered(refused))), ring_of(10)) as rig:
        assert rig.dead_lettered() == list(range(8))
    (told,) = [vars(record) for record in caplog.records if record.levelname == "WARNING"]
    assert (told["events"], told["reason"], told["other_reasons"]) == (8, "no index", 1)
    assert "CANARY" not in str(told)


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("HTTP 400 code 12: Event field is required", "HTTP 400 code 12: Event field is required"),
        ("failed to parse field [a.CANARY] of type [long], Preview of value: 'CANARY'",
         "failed to parse field [...] of type [...], Preview of value: '...'"),
        ("the event's size is not the broker's", "the event's size is not the broker's"),
        ('found "CANARY" and `CANARY` and {"user": "CANARY"}', 'found "..." and `...` and {...}'),
        ("cut off in 'CANAR", "cut off in '...'"),
        ("x" * 1000, "x" * 200),
    ],
)  # fmt: skip
def test_a_reason_is_told_without_what_it_quotes(reason: str, shown: str) -> None:
    assert without_quotes(reason) == shown


async def test_events_refused_by_name_are_dead_letters_and_the_others_not_sent_again() -> None:
    ring = ring_of(20)

    def answer(batch: Batch) -> Outcome:
        return Delivered(
            tuple(EventRejection(at, "mapping") for at, sequence in enumerate(batch.sequences) if sequence % 7 == 0)
        )

    async with Rig(ScriptedDestination(answer), ring) as rig:
        assert len(rig.destination.attempts) == 2
        assert rig.dead_lettered() == [0, 7, 14]
        assert ring.cursor("siem").tally == (17, 0, 3, 0)


async def test_a_wrong_index_condemns_no_innocent() -> None:
    ring = ring_of(10)

    def liar(batch: Batch) -> Outcome:
        return Poison(0, "the first, always") if 7 in batch.sequences else Delivered()

    async with Rig(ScriptedDestination(liar), ring) as rig:
        assert rig.dead_lettered() == [7]
        assert rig.destination.sequences() == [at for at in range(10) if at != 7]


async def test_too_large_requests_are_halved_and_one_event_that_is_too_large_is_a_dead_letter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ring = FakeRing()
    ring.put(*[b"x" * 30] * 6, b"y" * 70, *[b"x" * 30] * 3)

    def answer(batch: Batch) -> Outcome:
        return TooLarge("413") if sum(map(len, batch.events)) > 60 else Delivered()

    async with Rig(ScriptedDestination(answer), ring) as rig:
        assert rig.destination.sequences() == [at for at in range(10) if at != 6]
        assert rig.dead_lettered() == [6]
        assert sum("batch.max_bytes" in record.getMessage() for record in caplog.records) == 1


async def test_parts_are_read_again_from_the_disk_if_memory_has_them_no_more() -> None:
    ring = FakeRing(remembered=0)
    ring.fill(60, per_record=20)
    async with Rig(ScriptedDestination(refusing(3, 25)), ring) as rig:
        assert rig.dead_lettered() == [3, 25]
        assert rig.destination.sequences() == [at for at in range(60) if at not in (3, 25)]


async def test_parts_whose_events_are_gone_meanwhile_are_dropped() -> None:
    """They are neither on the disk any more nor in memory, where other clusters' have taken their place."""
    ring, others = FakeRing(remembered=0), [ring_of(10, f"other-{at}") for at in range(KEPT)]
    ring.fill(10)
    held = Held()
    limits = replace(LIMITS, in_flight=1 + KEPT)
    async with Rig(ScriptedDestination(held, limits), ring, *others) as rig:
        ring.lose(2, 6)
        await held.end(Poison(None, "bad"), [batch.cluster for batch, _ in held.waiting].index("c1"))
        while held.waiting:
            await held.end()
        assert sorted(rig.destination.sequences()) == [0, 1, *range(6, 10)]
        assert ring.cursor("siem").tally == (6, 0, 0, 4)


async def test_full_dead_letters_do_not_stop_what_is_new_where_the_oldest_may_go() -> None:
    ring = ring_of(400)
    bad = set(range(0, 400, 2))
    destination = ScriptedDestination(
        lambda batch: Delivered(
            tuple(EventRejection(at, "no") for at, sequence in enumerate(batch.sequences) if sequence in bad)
        )
    )
    async with Rig(destination, ring, dead_letter_bytes=3000, drop_oldest=True) as rig:
        await rig.clock.advance(60)
        assert set(destination.sequences()) == set(range(1, 400, 2))
        assert ring.cursor("siem").tally == (200, 0, 200, 0)
        kept = rig.dead_lettered()
        assert kept == sorted(bad)[-len(kept) :]
        await rig.clock.advance(10)
        assert rig.forwarder.statistics().dropped_dead_letters == 200 - len(kept)
        assert adds_up(ring)


async def test_full_dead_letters_pause_the_destination_and_nothing_is_thrown_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ring = ring_of(30)
    async with Rig(ScriptedDestination(refusing(3)), ring, dead_letter_bytes=10) as rig:
        attempts = len(rig.destination.attempts)
        await rig.clock.advance(500)
        assert rig.state() is DestinationState.MISCONFIGURED
        assert len(rig.destination.attempts) == attempts, "what was answered is not sent again"
        last_error = rig.forwarder.statistics().last_error
        assert last_error is not None
        assert "auditsink deadletter replay" in last_error.text
        assert ring.cursor("siem").position == 3
        rig.dead_letters.max_bytes = 10_000
        await rig.clock.advance(300)
        assert rig.dead_lettered() == [3]
        assert rig.destination.sequences() == [at for at in range(30) if at != 3]
        assert rig.state() is DestinationState.IDLE


async def test_dead_letters_that_cannot_be_written_hold_the_cursor() -> None:
    ring = ring_of(10)
    rig = Rig(ScriptedDestination(refusing(3)), ring)
    rig.disk.fail("sync", errno.EIO, times=2)
    async with rig:
        assert (ring.cursor("siem").position, rig.forwarder.state) == (3, DestinationState.RETRYING)
        await rig.clock.advance(10)
        assert (ring.cursor("siem").position, rig.dead_lettered()) == (10, [3])
        assert rig.forwarder.statistics().retries == {"dead_letters": 2}


async def test_a_dead_letter_is_durable_before_the_cursor_passes_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = ring_of(5)
    rig = Rig(ScriptedDestination(refusing(0, 1, 2, 3, 4)), ring)
    cursor = ring.cursor("siem")
    seen: list[tuple[int, int]] = []
    advance = cursor.advance

    def watched(done: Tally) -> None:
        seen.append((cursor.position, rig.disk.calls["sync"]))
        advance(done)

    monkeypatch.setattr(cursor, "advance", watched)
    async with rig:
        assert seen == [(at, at + 1) for at in range(5)]


async def test_a_destination_that_refuses_everything_is_paused_and_its_data_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ring = ring_of(500)
    async with Rig(ScriptedDestination(always(Poison(None, "400 unknown index"))), ring) as rig:
        await rig.clock.advance(3600)
        assert len(rig.dead_lettered()) == LONE_REFUSALS
        assert rig.state() is DestinationState.MISCONFIGURED
        assert ring.cursor("siem").position == LONE_REFUSALS
        probes = ranges(rig.destination.attempts[-8:])
        assert probes == [(LONE_REFUSALS, LONE_REFUSALS + 1), (499, 500)] * 4, "the first, then the newest to compare"
        rig.destination.answer = always(Delivered())
        await rig.clock.advance(300)
        assert rig.destination.sequences()[0] in (LONE_REFUSALS, 499)
        assert set(range(LONE_REFUSALS, 500)) <= set(rig.destination.sequences())
        assert len(rig.dead_lettered()) == LONE_REFUSALS
        assert adds_up(ring)


async def test_a_long_run_of_bad_events_does_not_stop_the_trail() -> None:
    ring = ring_of(450)
    bad = range(20, 420)
    async with Rig(ScriptedDestination(refusing(*bad, named=False)), ring) as rig:
        for _ in range(40):
            await rig.clock.advance(60)
        assert rig.dead_lettered() == list(bad)
        assert set(rig.destination.sequences()) == {*range(20), *range(420, 450)}
        assert ring.cursor("siem").position == 450
        assert len(rig.destination.sequences()) <= 50 + 2, "samples count, and come twice when all that is new is there"


@pytest.mark.parametrize("in_flight", [1, 2])
async def test_what_is_new_does_not_wait_for_a_long_backlog_that_is_refused(in_flight: int) -> None:
    ring = FakeRing()
    ring.fill(3000, per_record=100)
    ring.fill(50, per_record=50)
    limits = replace(LIMITS, max_bytes=100_000, max_events=100, in_flight=in_flight)

    def answer(batch: Batch) -> Outcome:
        return Poison(None, "too old") if batch.sequences[0] < 3000 else Delivered()

    destination = ScriptedDestination(answer, limits)
    async with Rig(destination, ring, dead_letter_bytes=10_000_000) as rig:
        await rig.clock.advance(60)
        new = next(
            at
            for at, batch in enumerate(destination.attempts)
            if len(batch.events) > 1 and answer(batch) == Delivered()
        )
        assert new < 400, "some to know what it is, then one or two for each batch of the backlog"
        assert rig.forwarder.statistics().last_error is None, "nothing paused"
        assert len(destination.attempts) < 2 * 3000
        assert len(rig.dead_lettered()) == 3000
        assert ring.cursor("siem").tally == (50, 0, 3000, 0)
        assert adds_up(ring)


async def test_new_events_that_come_while_all_was_refused_are_tried_soon() -> None:
    ring = ring_of(150)
    destination = ScriptedDestination(lambda batch: Poison(None, "old") if batch.sequences[0] < 150 else Delivered())
    async with Rig(destination, ring) as rig:
        assert rig.state() is DestinationState.MISCONFIGURED
        ring.fill(5)
        await rig.clock.advance(2)
        assert set(destination.sequences()) == set(range(150, 155))
        assert rig.state() is DestinationState.IDLE


async def test_new_events_do_not_make_a_wrong_index_be_asked_much_more_often() -> None:
    ring = ring_of(150)
    async with Rig(ScriptedDestination(always(Poison(None, "no index"))), ring) as rig:
        paused = len(rig.destination.attempts)
        for _ in range(3600):
            ring.fill(1)
            await rig.clock.advance(1)
        assert len(rig.destination.attempts) - paused <= 2 * (5 + 3600 / FIRST_PROBE)
        assert len(rig.dead_lettered()) == LONE_REFUSALS


async def test_a_good_event_between_refused_ones_that_were_set_aside_arrives_too() -> None:
    ring = FakeRing()
    ring.fill(3000, per_record=100)
    limits = replace(LIMITS, max_bytes=100_000, max_events=100)

    def answer(batch: Batch) -> Outcome:
        bad = any(sequence < 2900 and sequence % 97 for sequence in batch.sequences)
        return Poison(None, "too old") if bad else Delivered()

    async with Rig(ScriptedDestination(answer, limits), ring, dead_letter_bytes=10_000_000) as rig:
        await rig.clock.advance(60)
        good = {sequence for sequence in range(3000) if sequence >= 2900 or not sequence % 97}
        assert set(rig.destination.sequences()) == good
        assert set(rig.dead_lettered()) == set(range(3000)) - good
        assert adds_up(ring)


async def test_dead_letters_are_told_of_at_once_and_not_at_the_next_count() -> None:
    ring = ring_of(20)

    def answer(batch: Batch) -> Outcome:
        return Poison(list(batch.sequences).index(27), "bad") if 27 in batch.sequences else Delivered()

    async with Rig(ScriptedDestination(answer), ring) as rig:
        await rig.clock.advance(2 * LEAST_COUNT_SECONDS)
        assert rig.forwarder.statistics().dead_letters.total == 0
        ring.fill(10)
        await rig.clock.advance(LEAST_COUNT_SECONDS)
        assert set(rig.dead_lettered()) == {27}
        waiting = rig.forwarder.statistics().dead_letters
        assert (waiting.total, [group.reason for group in waiting.reasons]) == (1, ["bad"])
