"""Stopping: what can still go goes, and it ends in time whatever the destination does."""

import asyncio
from dataclasses import replace

import pytest
from forwardkit import LIMITS, FakeRing, Held, Rig, ScriptedDestination, always

from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison, Retry
from auditsink.forward.forwarder import CLOSE_SECONDS
from auditsink.forward.reporting import DestinationState


async def test_partial_batches_go_at_once_and_everything_is_closed() -> None:
    ring = FakeRing()
    rig = Rig(ScriptedDestination(limits=replace(LIMITS, max_wait=60)), ring)
    async with rig:
        ring.put(b"a", b"b")
        await rig.clock.advance()
        assert rig.destination.attempts == []
        began = rig.clock.monotonic()
        await rig.stop()
        assert rig.destination.sequences() == [0, 1]
        assert rig.clock.monotonic() - began < 1
        assert rig.destination.closed
        assert (ring.cursor("siem").position, ring.cursor("siem").syncs) == (2, 1)
        assert rig.forwarder.state is DestinationState.STOPPED


async def test_a_running_attempt_may_end_and_counts() -> None:
    ring = FakeRing()
    ring.fill(30)
    held = Held()
    async with Rig(ScriptedDestination(held), ring) as rig:
        stopping = asyncio.create_task(rig.forwarder.stop(10))
        await rig.clock.advance(6)
        await held.end()
        await rig.clock.advance(0)
        await stopping
        assert ring.cursor("siem").position == 10
        assert len(rig.destination.attempts) == 1, "after half the time no attempt begins"


async def test_while_it_takes_events_the_backlog_still_goes_for_half_the_time() -> None:
    ring = FakeRing()
    ring.fill(100)
    held = Held()
    async with Rig(ScriptedDestination(held), ring) as rig:
        stopping = asyncio.create_task(rig.forwarder.stop(10))
        for _ in range(4):
            await rig.clock.advance(1)
            await held.end()
        assert ring.cursor("siem").position == 40
        await rig.clock.advance(6)
        await rig.clock.advance(2)
        await stopping
        assert ring.cursor("siem").position == 40


@pytest.mark.parametrize("outcome", [Retry("503"), Misconfigured("401")])
async def test_a_destination_in_trouble_is_not_waited_for(outcome: Outcome) -> None:
    ring = FakeRing()
    ring.fill(30)
    async with Rig(ScriptedDestination(always(outcome)), ring) as rig:
        began = rig.clock.monotonic()
        await rig.stop()
        assert rig.clock.monotonic() == began
        assert ring.cursor("siem").position == 0
        assert rig.destination.closed


class Stubborn(ScriptedDestination):
    """Swallows its cancellation, and does not close."""

    def __init__(self) -> None:
        super().__init__(self.never)
        self.release = asyncio.Event()

    async def never(self, batch: Batch | None) -> Outcome:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                continue
        return Delivered()

    async def close(self) -> None:
        await self.never(None)


async def test_it_ends_in_time_whatever_the_destination_does() -> None:
    ring = FakeRing()
    ring.fill(30)
    stubborn = Stubborn()
    async with Rig(stubborn, ring) as rig:
        began = rig.clock.monotonic()
        try:
            await rig.stop(8)
        finally:
            took = rig.clock.monotonic() - began
            stubborn.release.set()
        assert took <= 8 + CLOSE_SECONDS + 0.1, "but for the steps in which this test moves time"
        await rig.clock.advance(1)
        assert rig.destination.sequences() == list(range(10)), "it was delivered after all"
        assert ring.cursor("siem").position == 0, "and too late to count"


async def test_a_close_that_raises_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    destination = ScriptedDestination()
    monkeypatch.setattr(destination, "close", lambda: (_ for _ in ()).throw(RuntimeError("secret")))
    async with Rig(destination, FakeRing()) as rig:
        await rig.stop()
        assert [(told["destination"], told["error"][:12]) for told in map(vars, caplog.records)] == [
            ("siem", "RuntimeError")
        ]


def refuse_all(batch: Batch) -> Outcome:
    return Poison(None, "no")


async def test_full_dead_letters_do_not_hold_up_the_stop() -> None:
    ring = FakeRing()
    ring.fill(5)
    async with Rig(ScriptedDestination(refuse_all), ring, dead_letter_bytes=1) as rig:
        await rig.clock.advance(40)
        await rig.stop()
        assert (ring.cursor("siem").position, rig.dead_lettered()) == (0, [])


async def test_stop_before_run_is_fine() -> None:
    rig = Rig(ScriptedDestination(), FakeRing())
    await rig.forwarder.stop(1)
    await asyncio.wait_for(rig.forwarder.run(), 30)
    assert rig.destination.attempts == []


async def test_events_that_come_while_stopping_are_delivered_if_there_is_time() -> None:
    ring = FakeRing()
    ring.fill(10)
    held = Held()
    async with Rig(ScriptedDestination(held, replace(LIMITS, max_wait=60)), ring) as rig:
        stopping = asyncio.create_task(rig.forwarder.stop(10))
        await rig.clock.advance(1)
        ring.put(b"late")
        await held.end()
        await held.end()
        await rig.clock.advance(0)
        await stopping
        assert rig.destination.sequences() == list(range(11))
