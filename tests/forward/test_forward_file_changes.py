"""A misconfigured destination is tried again as soon as one of its files has changed."""

from pathlib import Path

import pytest
from forwardkit import FakeRing, Rig, ScriptedDestination, always, in_turn, ranges, ring_of

from auditsink.delivery.outcome import Delivered, Misconfigured, Retry
from auditsink.forward.forwarder import LOOK_SECONDS
from auditsink.forward.reporting import DestinationState


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("old")
    return file


def rewrite(file: Path, content: str) -> None:
    file.write_text(content)


def remove(file: Path) -> None:
    file.unlink()


def bad() -> Misconfigured:
    return Misconfigured("the token is not known")


async def test_the_pause_ends_when_a_file_changes(token: Path) -> None:
    async with Rig(ScriptedDestination(in_turn(bad())), ring_of(10), files=[token]) as rig:
        await rig.clock.advance(10)
        assert len(rig.destination.attempts) == 1
        rewrite(token, "the new one")
        await rig.clock.advance(LOOK_SECONDS)
        assert rig.destination.sequences() == list(range(10))
        assert ranges(rig.destination.attempts) == [(0, 10), (0, 1), (1, 10)], "the first to learn whether it helped"
        assert rig.forwarder.state is DestinationState.IDLE


async def test_a_repair_that_does_not_help_is_probed_slowly_again_from_the_shortest_pause(token: Path) -> None:
    async with Rig(ScriptedDestination(always(bad())), ring_of(10), files=[token]) as rig:
        await rig.clock.advance(100)
        attempts = len(rig.destination.attempts)
        rewrite(token, "another bad one")
        await rig.clock.advance(LOOK_SECONDS)
        assert len(rig.destination.attempts) == attempts + 1
        await rig.clock.advance(29)
        assert len(rig.destination.attempts) == attempts + 1
        await rig.clock.advance(2)
        assert len(rig.destination.attempts) == attempts + 2


async def test_a_file_that_vanishes_and_comes_back_is_a_repair(token: Path) -> None:
    async with Rig(ScriptedDestination(always(bad())), ring_of(10), files=[token]) as rig:
        remove(token)
        await rig.clock.advance(LOOK_SECONDS)
        assert ranges(rig.destination.attempts) == [(0, 10), (0, 1), (1, 2)], "the first, and one as a control"
        rig.destination.answer = always(Delivered())
        rewrite(token, "new")
        await rig.clock.advance(LOOK_SECONDS)
        assert rig.destination.sequences() == list(range(10))


async def test_a_change_that_came_before_the_failure_was_seen_counts_too(token: Path) -> None:
    async with Rig(ScriptedDestination(in_turn(bad())), FakeRing(), files=[token]) as rig:
        rewrite(token, "rotated while idle")
        rig.spool.rings["c1"].fill(10)
        await rig.clock.advance(LOOK_SECONDS)
        assert rig.destination.sequences() == list(range(10))


async def test_what_is_only_busy_keeps_its_wait(token: Path) -> None:
    async with Rig(ScriptedDestination(in_turn(Retry("busy", after=60.0))), ring_of(10), files=[token]) as rig:
        rewrite(token, "new")
        await rig.clock.advance(50)
        assert len(rig.destination.attempts) == 1


async def test_nothing_is_looked_at_while_all_is_well(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Rig(ScriptedDestination(always(Delivered())), ring_of(10), files=[token]) as rig:
        monkeypatch.setattr(Path, "stat", None)
        await rig.clock.advance(100)
        assert rig.destination.sequences() == list(range(10))
