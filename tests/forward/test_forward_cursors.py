"""Cursors: synced about once a second, and what happens when one cannot be stored, synced or opened."""

import pytest
from forwardkit import FakeRing, Rig, ScriptedDestination


async def test_cursors_that_moved_are_synced_about_once_a_second() -> None:
    ring = FakeRing()
    async with Rig(ScriptedDestination(), ring) as rig:
        cursor = ring.cursor("siem")
        for _ in range(10):
            ring.put(b"a")
            await rig.clock.advance(0.09)
        assert cursor.syncs == 0
        await rig.clock.advance(0.2)
        assert cursor.syncs == 1
        await rig.clock.advance(10)
        assert cursor.syncs == 1


async def test_a_cursor_that_cannot_be_stored_is_told_and_delivery_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    ring = FakeRing()
    ring.cursor("siem").fails = True
    async with Rig(ScriptedDestination(), ring) as rig:
        ring.fill(30)
        await rig.clock.advance(2)
        assert rig.destination.sequences() == list(range(30))
        assert ring.cursor("siem").position == 30
        assert {(record.levelname, vars(record)["cluster"]) for record in caplog.records} == {("ERROR", "c1")}


async def test_a_cursor_that_cannot_be_synced_is_told_and_synced_with_its_next_move(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ring = FakeRing()
    async with Rig(ScriptedDestination(), ring) as rig:
        cursor = ring.cursor("siem")
        ring.put(b"a")
        await rig.clock.advance()
        cursor.fails = True
        await rig.clock.advance(2)
        assert (cursor.syncs, [vars(record)["destination"] for record in caplog.records]) == (1, ["siem"])
        cursor.fails = False
        ring.put(b"b")
        await rig.clock.advance(2)
        assert (cursor.syncs, len(caplog.records)) == (2, 1)


async def test_a_cursor_that_cannot_be_opened_keeps_run_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = FakeRing()
    monkeypatch.setattr(ring, "cursor", lambda destination: (_ for _ in ()).throw(OSError(13, "Permission denied")))
    rig = Rig(ScriptedDestination(), ring)
    with pytest.raises(PermissionError):
        await rig.forwarder.run()


async def test_a_new_rings_cursor_that_cannot_be_opened_is_tried_again_with_the_next_event(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ring = FakeRing("late")
    opened = ring.cursor
    monkeypatch.setattr(ring, "cursor", lambda destination: (_ for _ in ()).throw(OSError(28, "No space left")))
    async with Rig(ScriptedDestination()) as rig:
        rig.spool.add(ring)
        ring.put(b"a")
        await rig.clock.advance()
        assert rig.destination.attempts == []
        monkeypatch.setattr(ring, "cursor", opened)
        ring.put(b"b")
        await rig.clock.advance()
        assert rig.destination.sequences("late") == [0, 1]
        assert {vars(record)["cluster"] for record in caplog.records} == {"late"}
