"""The maker of checkpoints on a real spool: what it states, when, and that nothing is removed before."""

import asyncio
import errno
import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from evidencekit import HEAD, LEDGER, OTHER, PRIVATE, SPOOL, Bench, bench, body_of, event, signer, stated, submit

from auditsink.audit import eventlist
from auditsink.config.spool import CHECKPOINTS
from auditsink.forward.reporting import DestinationState
from auditsink.spool.offline import inspect
from auditsink.spool.types import Account
from auditsink.testing.clock import FakeClock
from auditsink.testing.disk import FakeDisk


def sha(*lines: bytes) -> str:
    return hashlib.sha256(b"".join(line + b"\n" for line in lines)).hexdigest()


def ranges(disk: FakeDisk, cluster: str = "c") -> list[tuple[int, int]]:
    return [(one.checkpoint.first, one.checkpoint.next) for one in stated(disk) if one.checkpoint.cluster == cluster]


def last_error(one: Bench) -> str:
    found = one.checkpointer.statistics().last_error
    assert found is not None
    return found.text


def raiser(problem: Exception) -> Callable[..., Any]:
    def fails(*_arguments: object) -> None:
        raise problem

    return fails


def noise(chance: random.Random, count: int = 40) -> list[str]:
    return [chance.randbytes(500).hex() for _ in range(count)]


async def test_a_minute_after_the_first_event_its_checkpoint_stands() -> None:
    async with bench() as one:
        await one.put("c", "a", "b")
        await one.clock.advance(30)
        await one.put("c", "d")
        await one.clock.advance(29.9)
        assert stated(one.disk) == []
        await one.clock.advance(0.2)

        (found,) = stated(one.disk)
        checkpoint = found.checkpoint
        assert (checkpoint.cluster, checkpoint.ring) == ("c", one.spool.rings["c"].ring_id.hex())
        assert (checkpoint.first, checkpoint.next, checkpoint.count) == (0, 3, 3)
        assert checkpoint.sha256 == sha(event("a"), event("b"), event("d"))
        assert (checkpoint.last_received - checkpoint.first_received).total_seconds() == 30
        assert (checkpoint.number, checkpoint.previous, checkpoint.key) == (1, None, signer().key_id)
        assert found.signature == PRIVATE.sign(found.canonical)
        assert len(found.fingerprints) == 12
        assert one.spool.rings["c"].cursor(CHECKPOINTS).position == 3
        assert one.published == [found.document()]


async def test_checkpoints_of_all_clusters_are_one_chain() -> None:
    async with bench() as one:
        for minute in range(3):
            for cluster in ("blue", "green"):
                await one.put(cluster, minute)
            await one.clock.advance(60)
        found = stated(one.disk)
        assert [entry.checkpoint.number for entry in found] == [1, 2, 3, 4, 5, 6]
        assert [entry.checkpoint.previous for entry in found] == [None, *(entry.digest for entry in found[:-1])]
        assert ranges(one.disk, "blue") == ranges(one.disk, "green") == [(0, 1), (1, 2), (2, 3)]


async def test_an_idle_sink_states_nothing() -> None:
    async with bench() as one:
        await one.put("c", "a")
        await one.clock.advance(60)
        await one.clock.advance(600)
        assert len(stated(one.disk)) == 1
        assert one.clock.sleepers == 0


async def test_a_stop_states_what_is_left_and_the_next_start_goes_on() -> None:
    disk = FakeDisk()
    for number in range(3):
        async with bench(disk, key=OTHER if number == 1 else None) as one:
            await one.put("c", number)
        assert one.checkpointer.state is DestinationState.STOPPED
    found = stated(disk)
    assert ranges(disk) == [(0, 1), (1, 2), (2, 3)]
    assert [entry.checkpoint.key for entry in found] == [None, signer(OTHER).key_id, None]
    assert [entry.signature is None for entry in found] == [True, False, True]
    assert found[2].checkpoint.previous == found[1].digest


async def test_the_lines_are_those_of_a_file_destination() -> None:
    broken = HEAD + b'{"half'
    async with bench() as one:
        await one.post("c", HEAD + b'{"a":\n1},{"b":\r2}]}')
        await one.post("c", broken)
        await one.clock.advance(60)
        (found,) = stated(one.disk)
        assert found.checkpoint.sha256 == sha(b'{"a": 1}', b'{"b": 2}', eventlist.unsplit_document(broken))


async def test_a_range_ends_with_its_segment_and_is_stated_at_once() -> None:
    """So a ring that needs room can drop whole segments, and each is covered by whole checkpoints."""
    chance = random.Random(1)
    async with bench() as one:
        for _ in range(12):
            await one.put("c", *noise(chance))
        firsts = {segment.first for segment in one.spool.rings["c"].segments}
        assert len(firsts) > 3
        assert {first for first, _next in ranges(one.disk)} == firsts - {max(firsts)}
        assert one.spool.rings["c"].cursor(CHECKPOINTS).position == max(firsts)


async def test_a_ring_that_is_full_goes_on_because_sealed_segments_are_covered() -> None:
    """The checkpointer is the only destination here: were it late, these posts would be refused."""
    chance = random.Random(2)
    async with bench(max_bytes=2**18) as one:
        for _ in range(40):
            await one.put("c", *noise(chance))
        ring = one.spool.rings["c"]
        assert ring.floor > 0
        assert ring.account(ring.cursor(CHECKPOINTS)).dropped == 0
        await one.clock.advance(60)
        assert ranges(one.disk)[0][0] == 0
        assert [first for first, _next in ranges(one.disk)][1:] == [stop for _first, stop in ranges(one.disk)][:-1]


async def test_a_crash_before_the_checkpoint_has_the_range_read_again_from_the_disk() -> None:
    disk, clock = FakeDisk(), FakeClock()
    one = Bench(disk, clock)
    await one.put("c", "a", "b")
    await one.die()
    assert stated(disk) == []

    async with bench(disk, clock) as one:
        await one.put("c", "d")
        await one.clock.advance(60)
        assert ranges(disk) == [(0, 2), (2, 3)], "the restart began a segment of its own"
        assert stated(disk)[0].checkpoint.sha256 == sha(event("a"), event("b"))


async def test_a_disk_that_takes_nothing_is_waited_for_and_the_events_stay() -> None:
    async with bench() as one:
        await one.put("c", "a")
        one.disk.fail("sync", errno.ENOSPC)
        await one.clock.advance(60)
        statistics = one.checkpointer.statistics()
        assert statistics.state is DestinationState.RETRYING
        assert statistics.last_error is not None
        assert str(LEDGER) in statistics.last_error.text
        assert one.spool.rings["c"].cursor(CHECKPOINTS).position == 0
        await one.put("c", "b")
        assert one.spool.rings["c"].account(one.spool.rings["c"].cursor(CHECKPOINTS)).pending == 2

        await one.clock.advance(1)
        await one.clock.advance(60)
        assert one.checkpointer.state is DestinationState.IDLE
        assert ranges(one.disk) == [(0, 1), (1, 2)]
        assert [entry.checkpoint.number for entry in stated(one.disk)] == [1, 2]


async def test_a_stop_while_the_disk_takes_nothing_ends_in_time_and_loses_nothing() -> None:
    disk = FakeDisk()
    one = Bench(disk, FakeClock())
    await one.put("c", "a")
    disk.fail("write", errno.ENOSPC, times=1000)
    stopping = asyncio.create_task(one.checkpointer.stop(5.0))
    await one.clock.advance(10)
    await stopping
    disk.heal()
    await asyncio.to_thread(one.spool.stop)
    assert stated(disk) == []
    async with bench(disk):
        pass
    assert ranges(disk) == [(0, 1)]


async def test_a_ring_that_cannot_be_read_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench() as one:
        await one.put("blue", "a")
        await one.put("green", "a")
        await one.clock.advance(60)
        reader = one.checkpointer._hashers["blue"].reader
        with monkeypatch.context() as patch:
            patch.setattr(reader, "cached", lambda *_: None)
            patch.setattr(reader, "read", raiser(OSError(errno.EIO, "Input/output error")))
            await one.put("blue", "b")
            await one.put("green", "b")
            await one.clock.advance(60)
            assert (ranges(one.disk, "blue"), ranges(one.disk, "green")) == ([(0, 1)], [(0, 1), (1, 2)])
            assert "cluster blue cannot be read" in last_error(one)
        await one.clock.advance(120)
        assert ranges(one.disk, "blue") == [(0, 1), (1, 2)], "it is tried again by itself"


async def test_a_lost_cursor_has_ranges_stated_again() -> None:
    disk = FakeDisk()
    async with bench(disk) as one:
        await one.put("c", "a")
    (cursor,) = [path for path in disk.paths() if path.name == f"{CHECKPOINTS}.cursor"]
    disk.unlink(cursor)
    async with bench(disk) as one:
        await one.put("c", "b")
    assert ranges(disk) == [(0, 1), (0, 1), (1, 2)]
    assert len({entry.checkpoint.sha256 for entry in stated(disk)}) == 2


async def test_a_range_is_bounded_by_its_number_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditsink.evidence.span.MOST_EVENTS", 10)
    async with bench() as one:
        for number in range(9):
            await one.put("c", *(f"{number}-{place}" for place in range(4)))
        await one.clock.advance(60)
        assert ranges(one.disk) == [(0, 12), (12, 24), (24, 36)]


async def test_a_cursor_that_cannot_be_made_is_told_and_costs_no_other_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench() as one:
        await one.put("blue", "a")
        with monkeypatch.context() as patch:
            patch.setattr(
                "auditsink.evidence.make.checkpointer.RingHasher", raiser(OSError(errno.ENOSPC, "No space left"))
            )
            await one.put("green", "a")
        assert "cluster green has no checkpoints before the next start" in last_error(one)
        await one.clock.advance(60)
        assert ranges(one.disk, "blue") == [(0, 1)]


async def test_events_that_were_dropped_before_they_were_covered_are_a_gap() -> None:
    """`drop_oldest` took them: no checkpoint covers them, and the account says so."""
    chance = random.Random(3)
    disk = FakeDisk()
    one = Bench(disk, FakeClock(), max_bytes=2**18, when_full="drop_oldest")
    await one.put("c", "first")
    one.task.cancel()  # a checkpointer that hangs
    for _ in range(20):
        await one.put("c", *noise(chance))
    await one.die()

    async with bench(disk, max_bytes=2**18, when_full="drop_oldest") as one:
        await one.clock.advance(60)
        ring = one.spool.rings["c"]
        assert ring.floor > 0
        account = ring.account(ring.cursor(CHECKPOINTS))
        assert account == Account(ring.durable, ring.durable - ring.floor, 0, 0, ring.floor, 0)
        assert ranges(disk)[0][0] == ring.floor


async def test_a_failure_nobody_foresaw_is_told_and_the_range_is_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench() as one:
        await one.put("c", "a")
        hasher = one.checkpointer._hashers["c"]
        with monkeypatch.context() as patch:
            patch.setattr(hasher, "absorb", lambda _chunk: 1 / 0)
            await one.put("c", "b")
        assert "ZeroDivisionError" in last_error(one)
        await one.clock.advance(120)
        assert ranges(one.disk) == [(0, 2)]
        assert stated(one.disk)[0].checkpoint.sha256 == sha(event("a"), event("b"))


async def test_the_figures_are_those_of_a_destination() -> None:
    async with bench() as one:
        await one.put("c", "a", "b")
        await one.clock.advance(10)
        found = one.checkpointer.statistics()
        assert (found.name, found.type, found.state) == ("checkpoints", "checkpoint", DestinationState.DELIVERING)
        assert found.lag_seconds == 10
        assert found.accounts == {"c": Account(2, 0, 0, 0, 0, 2)}
        await one.clock.advance(50)
        found = one.checkpointer.statistics()
        assert (found.batches, found.requests, found.lag_seconds) == (1, {"delivered": 1}, 0.0)
        assert found.accounts == {"c": Account(2, 2, 0, 0, 0, 0)}
        assert found.bytes == len(event("a") + event("b")) + 2


async def test_what_memory_no_longer_has_is_read_from_the_disk() -> None:
    """A sink that is given a checkpointer late covers everything its rings still hold."""
    disk = FakeDisk()
    one = Bench(disk, FakeClock())
    one.task.cancel()
    for number in range(20):
        await one.put("c", number)
    await one.die()
    async with bench(disk) as one:
        await one.clock.advance(60)
    held = [event for record in inspect.records(SPOOL, "c", disk) for event in record.events]
    assert [entry.checkpoint.sha256 for entry in stated(disk)] == [sha(*held)]
    assert len(held) == 20


async def test_a_large_range_is_hashed_in_a_thread_and_is_the_same() -> None:
    big = [event("x" * 1000) for _ in range(400)]
    async with bench() as one:
        await one.post("c", body_of(*big))
        await one.clock.advance(60)
        assert stated(one.disk)[0].checkpoint.sha256 == sha(*big)


async def test_what_is_fresh_is_never_read_from_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the writer is a moment ahead of what memory has: a batch after the other, as fast as they come."""
    async with bench() as one:
        await one.put("c", "first")
        monkeypatch.setattr(one.checkpointer._hashers["c"].reader, "read", raiser(AssertionError("read from the disk")))
        waiting = [submit(one.spool, "c", body_of(event(number))) for number in range(200)]
        while waiting:
            await asyncio.sleep(0)
            waiting = [answer for answer in waiting if not answer.done()]
        await one.clock.advance(60)
        assert one.checkpointer.statistics().last_error is None
        assert ranges(one.disk) == [(0, 201)]
