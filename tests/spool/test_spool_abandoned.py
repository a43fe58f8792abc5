"""Destinations that are configured no longer, and what the spool still holds for them."""

import logging
import random
from typing import Any

import pytest
from spoolkit import body_of, config, submit

from auditsink.spool import Spool
from auditsink.spool.types import Tally
from auditsink.testing.disk import FakeDisk


def noise(number: int) -> bytes:
    """One event that cannot be made smaller."""
    return body_of(random.Random(number).randbytes(4000).hex())


def opened(disk: FakeDisk, *destinations: str, **settings: Any) -> Spool:
    spool = Spool.open(config(**settings), disk=disk, destinations=destinations)
    spool.start(lambda call: call())
    return spool


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int, int]]:
    several = [vars(record) for record in caplog.records if "configured no longer" in record.getMessage()]
    return [(one["destination"], one["events"], one["clusters"]) for one in several]


def test_what_a_removed_destination_had_not_got_is_told_once_at_the_start_and_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = FakeDisk()
    spool = opened(disk, "kept", "gone", "done")
    for cluster in ("a", "b"):
        ring = spool.ring(cluster)
        for name in ("kept", "gone", "done"):
            ring.cursor(name)
        for number in range(10):
            submit(spool, ring, noise(number))
        ring.cursor("done").advance(Tally(delivered=10))
    spool.rings["a"].cursor("gone").advance(Tally(delivered=4))
    spool.stop()

    spool = opened(disk, "kept", "checkpoints")
    assert told(caplog) == [("gone", 16, 2)]
    assert spool.statistics().abandoned == {"gone": 16}
    submit(spool, spool.ring("a"), noise(99))
    assert spool.statistics().abandoned == {"gone": 16}, "what comes later is not owed to it"
    spool.stop()

    caplog.clear()
    spool = opened(disk, "kept", "gone", "done")
    assert told(caplog) == []
    assert spool.statistics().abandoned == {}
    spool.stop()


def test_nobody_waits_for_it_and_what_is_gone_is_owed_no_more(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    disk = FakeDisk()
    spool = opened(disk, "gone")
    ring = spool.ring("a")
    ring.cursor("gone")
    for number in range(100):
        submit(spool, ring, noise(number))
    spool.stop()

    spool = opened(disk, "kept")
    ring = spool.ring("a")
    kept = ring.cursor("kept")
    before = spool.statistics().abandoned["gone"]
    for number in range(100, 900):
        submit(spool, ring, noise(number))
        kept.advance(Tally(delivered=ring.durable - kept.position))
    assert ring.floor > 100
    assert before == 100
    assert spool.statistics().abandoned == {}
    spool.stop()
