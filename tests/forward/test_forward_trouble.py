"""A destination that fails, is misconfigured, cannot start, raises or answers nonsense is tried again in time."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar, cast

import pytest
from forwardkit import LIMITS, FakeRing, Held, Rig, ScriptedDestination, always, in_turn, ranges, ring_of

from auditsink.delivery.destination import Attempt, Batch
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry, TooLarge
from auditsink.forward.reporting import MOST_ERRORS, DeliveryCounters, DestinationState
from auditsink.forward.retry import FIRST_PROBE
from auditsink.forward.subscription import Subscription
from auditsink.testing.clock import settle

T = TypeVar("T")


async def test_a_retry_holds_the_destination_and_then_goes_on_with_the_same_batch() -> None:
    one, two = ring_of(20, "c1"), ring_of(20, "c2")
    async with Rig(ScriptedDestination(in_turn(Retry("503 busy"), Retry("503 busy"))), one, two) as rig:
        assert len(rig.destination.attempts) == 1
        assert (rig.forwarder.state, rig.forwarder.statistics().next_attempt_seconds) == (
            DestinationState.RETRYING,
            0.5,
        )
        await rig.clock.advance(0.5)
        assert ranges(rig.destination.attempts) == [(0, 10)] * 2
        assert rig.forwarder.statistics().next_attempt_seconds == 1.0
        await rig.clock.advance(1)
        assert rig.destination.sequences("c1") == rig.destination.sequences("c2") == list(range(20))
        assert rig.destination.prepared == 4, "a retry is not prepared again"
        after = rig.forwarder.statistics()
        assert (after.state, after.retries, after.requests) == (
            DestinationState.IDLE,
            {"failed": 2},
            {"retry": 2, "delivered": 4},
        )
        assert after.last_error is not None
        assert after.last_error.text == "503 busy"


async def test_retry_after_is_honoured() -> None:
    ring = ring_of(1)
    async with Rig(ScriptedDestination(in_turn(Retry("429", after=17))), ring, random=lambda: 0.0) as rig:
        await rig.clock.advance(16.9)
        assert len(rig.destination.attempts) == 1
        await rig.clock.advance(0.2)
        assert len(rig.destination.attempts) == 2
        assert rig.forwarder.statistics().retries == {"asked": 1}


async def test_it_is_tried_for_ever_and_the_log_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ring = ring_of(1)
    async with Rig(ScriptedDestination(always(Retry("connection refused"))), ring) as rig:
        for _ in range(100):
            await rig.clock.advance(30)
        assert len(rig.destination.attempts) > 90
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert 9 <= len(warnings) <= 12
        assert {(told["destination"], told["cluster"], told["error"]) for told in map(vars, warnings)} == {
            ("siem", "c1", "connection refused")
        }
        rig.destination.answer = always(Delivered())
        await rig.clock.advance(60)
        assert caplog.records[-1].message == "a destination takes events again"
        assert ring.cursor("siem").position == 1


async def test_several_in_flight_that_fail_together_are_one_failure_and_one_of_them_tries_first() -> None:
    ring = ring_of(60)
    held = Held()
    async with Rig(ScriptedDestination(held, replace(LIMITS, in_flight=3)), ring) as rig:
        for _ in range(3):
            await held.end(Retry("503"))
        assert rig.forwarder.statistics().next_attempt_seconds == 0.5
        await rig.clock.advance(0.5)
        assert ranges([batch for batch, _ in held.waiting]) == [(0, 10)]
        await held.end()
        assert ranges([batch for batch, _ in held.waiting]) == [(10, 20), (20, 30), (30, 40)]


async def test_a_misconfigured_destination_is_paused_shouted_about_and_probed_ever_more_slowly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ring = ring_of(30)
    async with Rig(ScriptedDestination(always(Misconfigured("403: token disabled; set token_file"))), ring) as rig:
        times, seen = [rig.clock.monotonic()], 1
        for _ in range(1000):
            await rig.clock.advance(1)
            if len(rig.destination.attempts) > seen:
                times.append(rig.clock.monotonic())
                seen = len(rig.destination.attempts)
        assert [round(b - a) for a, b in pairwise(times)] == [30, 60, 120, 240, 300]
        assert rig.state() is DestinationState.MISCONFIGURED
        errors = [record for record in caplog.records if record.levelname == "ERROR"]
        assert len(errors) == 6
        assert (vars(errors[0])["destination"], vars(errors[0])["cluster"]) == ("siem", "c1")
        assert vars(errors[0])["error"] == "403: token disabled; set token_file"
        assert ring.cursor("siem").position == 0
        rig.destination.answer = always(Delivered())
        await rig.clock.advance(300)
        assert rig.destination.sequences() == list(range(30))
        assert rig.state() is DestinationState.IDLE


@pytest.mark.parametrize(
    "misbehaviour",
    [ValueError("contains an event: secret-payload"), asyncio.CancelledError(), KeyError("secret-payload")],
    ids=lambda problem: type(problem).__name__,
)
async def test_a_destination_that_raises_is_retried_and_says_where_not_what(
    misbehaviour: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    ring = ring_of(10)
    left = [misbehaviour]

    def answer(batch: Batch) -> Outcome:
        if left:
            raise left.pop()
        return Delivered()

    async with Rig(ScriptedDestination(answer), ring) as rig:
        assert rig.state() is DestinationState.RETRYING
        await rig.clock.advance(1)
        assert rig.destination.sequences() == list(range(10))
        after = rig.forwarder.statistics()
        assert (after.requests, after.retries) == ({"bug": 1, "delivered": 1}, {"bug": 1})
        assert type(misbehaviour).__name__ in caplog.text + vars(caplog.records[0])["error"]
        assert "secret-payload" not in caplog.text + vars(caplog.records[0])["error"]


async def test_a_destination_that_returns_nonsense_is_retried() -> None:
    ring = ring_of(1)
    async with Rig(ScriptedDestination(lambda batch: cast("Outcome", "OK")), ring) as rig:
        await rig.clock.advance(10)
        assert 2 <= len(rig.destination.attempts) <= 10
        assert ring.cursor("siem").position == 0


async def test_a_prepare_that_fails_is_tried_again_with_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = ring_of(5)
    destination = ScriptedDestination()
    good, fails = destination.prepare, [True] * 4

    async def prepare(batch: Batch) -> Attempt:
        if fails:
            fails.pop()
            raise RuntimeError("no room for a buffer")
        return await good(batch)

    monkeypatch.setattr(destination, "prepare", prepare)
    async with Rig(destination, ring) as rig:
        await rig.clock.advance(60)
        assert destination.sequences() == list(range(5)), "the first to learn whether it is the batch, then the rest"
        assert rig.forwarder.statistics().requests == {"bug": 3, "delivered": 2}


async def test_a_failure_in_the_forwarder_itself_is_told_and_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ring, held = ring_of(25), Held()
    async with Rig(ScriptedDestination(held), ring) as rig:
        committed, left = rig.forwarder._subscriptions._commit, [True]

        def commit(subscription: Subscription) -> None:
            if left:
                left.pop()
                raise RuntimeError("nobody foresaw this")
            committed(subscription)

        monkeypatch.setattr(rig.forwarder._subscriptions, "_commit", commit)

        rig.destination.answer = always(Delivered())
        await held.end()
        await rig.clock.advance(5)
        assert ring.cursor("siem").position == 25
        assert any("bug" in record.getMessage() for record in caplog.records)


async def test_what_the_destination_keeps_apart_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    ring = ring_of(20)
    async with Rig(ScriptedDestination(lambda batch: Delivered(diverted=1)), ring) as rig:
        await rig.clock.advance(1)
        assert rig.forwarder.statistics().diverted == 2
        assert ring.cursor("siem").tally == (20, 0, 0, 0)
    assert sum("failure store" in record.getMessage() for record in caplog.records) == 1


async def test_isolation_between_destinations() -> None:
    ring = ring_of(50)
    dead, fast = ScriptedDestination(Held(), name="dead"), ScriptedDestination(name="fast")
    async with Rig(dead, ring) as one, Rig(fast, ring) as two:
        assert fast.sequences() == list(range(50))
        assert (one.forwarder.state, two.forwarder.state) == (DestinationState.DELIVERING, DestinationState.IDLE)
        assert (ring.cursor("dead").position, ring.cursor("fast").position) == (0, 50)


async def test_a_part_that_comes_back_while_the_disk_is_read_for_another_is_read_for_itself() -> None:
    """The chunk that was under way when it came back does not hold it; that does not mean that its events are gone."""
    ring = FakeRing(remembered=0)
    ring.fill(40)
    held = Held()
    reading: list[asyncio.Future[None]] = []

    async def slow(function: Callable[..., T], /, *args: object) -> T:
        found = function(*args)
        reading.append(asyncio.get_running_loop().create_future())
        await reading[-1]
        return found

    async def read() -> None:
        reading.pop(0).set_result(None)
        await settle()

    limits = replace(LIMITS, in_flight=2, max_bytes=4 * len(ring.records[0].events[0]))
    rig = Rig(ScriptedDestination(held, limits), ring, offload=slow)
    async with rig:
        while reading:
            await read()
        assert ranges([batch for batch, _ in held.waiting]) == [(0, 4), (4, 8)]
        await held.end()
        assert reading, "what is behind is being read"
        await held.end(TooLarge("413"))
        for _ in range(1000):
            if not (held.waiting or reading):
                break
            if reading:
                await read()
            if held.waiting:
                await held.end()
        assert sorted(rig.destination.sequences()) == list(range(40))
    account = ring.account(ring.cursor("siem"))
    assert (account.delivered, account.dropped) == (40, 0)


async def test_a_destination_that_cannot_start_is_in_trouble_before_any_event_comes_and_goes_on_by_itself() -> None:
    outcomes: list[Outcome] = [Misconfigured("no such path"), Misconfigured("no such path"), Delivered()]

    async def start() -> Outcome:
        return outcomes.pop(0)

    ring = ring_of(0)
    async with Rig(ScriptedDestination(), ring, start=start) as rig:
        assert rig.state() is DestinationState.MISCONFIGURED
        assert "cluster" not in str(rig.forwarder.statistics().last_error)
        ring.fill(5)
        ring.announce()
        await settle()
        await rig.clock.advance(FIRST_PROBE)
        assert rig.destination.attempts == []
        assert rig.forwarder.statistics().accounts["c1"].pending == 5
        await rig.clock.advance(2 * FIRST_PROBE)
        assert outcomes == []
        assert rig.state() is DestinationState.IDLE
        assert ranges(rig.destination.attempts) == [(0, 5)]


async def test_a_start_that_fails_in_an_unexpected_way_is_told_and_tried_again() -> None:
    failures = [ZeroDivisionError()]

    async def start() -> Outcome:
        if failures:
            raise failures.pop()
        return Delivered()

    async with Rig(ScriptedDestination(), ring_of(5), start=start) as rig:
        error = rig.forwarder.statistics().last_error
        assert error is not None
        assert "cannot start (ZeroDivisionError" in error.text
        await rig.clock.advance(1)
        assert ranges(rig.destination.attempts) == [(0, 5)]


async def test_a_destination_that_never_starts_can_be_stopped() -> None:
    async def start() -> Outcome:
        return Misconfigured("no such path")

    async with Rig(ScriptedDestination(), ring_of(5), start=start) as rig:
        await rig.stop()
        assert rig.state() is DestinationState.STOPPED
        assert rig.destination.attempts == []


def test_errors_are_counted_by_their_text_the_newest_first_and_only_so_many() -> None:
    counters = DeliveryCounters()
    for second, text in enumerate(["busy", "gone", "busy"]):
        counters.went_wrong(text, second)
    assert [(one.text, one.count, one.since_ns, one.at_ns) for one in counters.last_errors] == [
        ("busy", 2, 0, 2),
        ("gone", 1, 1, 1),
    ]
    for number in range(100):
        counters.went_wrong(f"{number} " + 10_000 * "x", 3)
    assert [one.text.split()[0] for one in counters.last_errors] == [str(99 - place) for place in range(MOST_ERRORS)]
    assert all(len(one.text) <= 500 for one in counters.last_errors)


def test_errors_are_kept_without_credentials() -> None:
    counters = DeliveryCounters()
    counters.went_wrong("the proxy said: Authorization: Bearer abc.def refused by https://user:pass@host/", 0)
    assert counters.last_errors[0].text == "the proxy said: Authorization: *** refused by https://***@host/"
