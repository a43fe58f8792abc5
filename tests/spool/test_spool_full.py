"""A full ring or a full disk: what comes is refused or the oldest goes, and what went is counted for who lacks it."""

import random

import pytest
from spoolkit import config, noise, open_spool, read_all, submit

from auditsink.spool import Spool
from auditsink.spool.types import Receipt, SpoolRejection, Tally
from auditsink.testing.clock import FakeClock
from auditsink.testing.disk import FakeDisk


def test_a_full_ring_refuses_what_comes_and_keeps_what_it_has() -> None:
    spool = open_spool()
    ring = spool.ring("default")
    cursor = ring.cursor("siem")
    answers = [submit(spool, ring, noise(number)) for number in range(400)]
    accepted = [number for number, answer in enumerate(answers) if isinstance(answer, Receipt)]
    assert answers[-1] is SpoolRejection.FULL
    assert spool.refusal(ring) is SpoolRejection.FULL
    assert ring.size <= 2**20
    assert ring.account(cursor).pending == len(accepted)
    assert read_all(ring)[1] == 0
    assert len(read_all(ring)[0]) == len(accepted)
    cursor.advance(Tally(delivered=len(accepted)))
    assert isinstance(submit(spool, ring, noise(1000)), Receipt), "room comes back when a destination has caught up"
    assert ring.size <= 2**20
    spool.stop()


def test_drop_oldest_drops_whole_segments_and_counts_them_for_the_laggard_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk, clock = FakeDisk(), FakeClock()
    spool = Spool.open(config(when_full="drop_oldest"), disk=disk, clock=clock)
    spool.start(lambda call: call())
    ring = spool.ring("default")
    laggard, quick = ring.cursor("laggard"), ring.cursor("quick")
    for number in range(600):
        assert isinstance(submit(spool, ring, noise(number)), Receipt)
        quick.advance(Tally(delivered=1))
    assert ring.size <= 2**20
    slow, fast = ring.account(laggard), ring.account(quick)
    assert slow.dropped == ring.floor > 0
    assert slow.accepted == slow.dropped + slow.pending == 600
    (told,) = [one for one in spool.statistics().rings if one.cluster == "default"]
    assert set(told.drops) == {"laggard"}
    drop = told.drops["laggard"]
    assert (drop.first, drop.last, drop.events) == (0, ring.floor - 1, ring.floor)
    assert drop.at_ns == clock.wall_ns()
    reported = [one for one in caplog.records if one.message.startswith("the spool is full")]
    assert {(one.cluster, one.destination) for one in reported} == {("default", "laggard")}  # type: ignore[attr-defined]
    assert sum(one.events for one in reported) == ring.floor  # type: ignore[attr-defined]
    assert (fast.dropped, fast.delivered, fast.pending) == (0, 600, 0)
    chunk = ring.reader().read(0, 1000)
    assert chunk.missing == ring.floor
    disk.crash(random.Random(5))
    spool = open_spool(disk, when_full="drop_oldest")
    ring = spool.ring("default")
    assert ring.account(ring.cursor("laggard")).dropped == slow.dropped
    spool.stop()


def test_an_event_that_was_delivered_before_its_turn_is_not_named_among_the_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    spool = Spool.open(config(when_full="drop_oldest"), disk=FakeDisk(), clock=FakeClock())
    spool.start(lambda call: call())
    ring = spool.ring("default")
    laggard = ring.cursor("laggard")
    for number in range(20):
        submit(spool, ring, noise(number))
    assert ring.claim_early(laggard, 7)
    assert ring.claim_early(laggard, 8)
    ring.forget_early(laggard, [8])
    told = []
    for number in range(20, 600):
        submit(spool, ring, noise(number))
        told.append(ring.account(laggard).dropped)
    account = ring.account(laggard)
    assert told == sorted(told)
    assert account.dropped == ring.floor - 1 == ring.drops["laggard"].events
    assert account.dropped + account.pending == account.accepted == 600
    reported = [one for one in caplog.records if one.message.startswith("the spool is full")]
    assert sum(one.events for one in reported) == account.dropped  # type: ignore[attr-defined]
    assert ring.claim_early(laggard, 7), "the same event may be asked for again"
    assert not ring.claim_early(laggard, 8)
    spool.stop()


def test_a_full_disk_below_the_limit_refuses_and_recovers() -> None:
    disk = FakeDisk()
    spool = open_spool(disk, max_bytes=2**26)
    ring = spool.ring("default")
    ring.cursor("siem")
    disk.capacity = disk.allocated() + 3 * 2**16
    answers = [submit(spool, ring, noise(number)) for number in range(60)]
    assert answers[-1] is SpoolRejection.UNAVAILABLE
    accepted = [answer for answer in answers if isinstance(answer, Receipt)]
    disk.heal()
    assert isinstance(submit(spool, ring, noise(1000)), Receipt)
    assert len(read_all(ring)[0]) == len(accepted) + 1
    spool.stop()
