"""Segments read beside their owner: only what counts, and nothing that raises for what vanishes."""

import errno
import random
from pathlib import Path

from spoolkit import PATH, body_of, events_of, open_spool, submit

from auditsink.spool import identity, segment_file
from auditsink.spool.offline import inspect
from auditsink.spool.types import SpoolRejection
from auditsink.testing.disk import FakeDisk

RING = PATH / "rings" / "default"


def stored_events(disk: FakeDisk) -> list[bytes]:
    return [event for record in inspect.records(PATH, "default", disk) for event in record.events]


def test_frames_that_were_placed_again_in_the_next_segment_do_not_count() -> None:
    """After a failed sync the old segment keeps its frames, and their sequences may be given to other events."""
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    submit(spool, ring, body_of("a", "b"))
    disk.fail("sync", errno.EIO, times=2)
    assert submit(spool, ring, body_of("never-answered")) is SpoolRejection.UNAVAILABLE
    submit(spool, ring, body_of("c", "d"))
    spool.stop()

    assert stored_events(disk) == events_of("a", "b", "c", "d")
    assert [one.stop for one in segment_file.segments(RING, disk)][-1] is None


def test_a_segment_that_vanishes_is_passed_over() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    submit(spool, spool.ring("default"), body_of("a"))
    (one,) = segment_file.segments(RING, disk)
    disk.unlink(one.path)

    assert segment_file.read(one, disk) is None
    assert segment_file.segments(RING, disk) == []
    spool.stop()


def test_a_segment_is_sealed_by_its_footer_or_by_what_follows() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    submit(spool, spool.ring("default"), body_of("a", "b"))
    (one,) = segment_file.segments(RING, disk)
    held = segment_file.read(one, disk)
    assert held is not None
    assert (held.sealed, held.stop) == (False, 2)
    spool.stop()

    held = segment_file.read(one, disk)
    assert held is not None
    assert held.footer is not None
    assert (held.sealed, held.stop, held.digest) == (True, 2, held.footer.digest)


def test_who_a_ring_is_can_be_read_without_owning_it() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    assert identity.peek(RING, disk) == (ring.ring_id, 0)
    assert identity.peek(Path("/spool/rings"), disk) is None
    spool.stop()


def test_a_ring_tells_where_its_segments_begin() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    chance = random.Random(1)
    for _ in range(12):
        submit(spool, ring, body_of(*(chance.randbytes(500).hex() for _place in range(40))))
    firsts = [one.header.first_sequence for one in segment_file.segments(RING, disk)]
    assert len(firsts) > 2
    assert ring.boundaries(0, ring.durable) == firsts[1:]
    assert ring.boundaries(firsts[1], firsts[2]) == []
    spool.stop()
