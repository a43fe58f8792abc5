"""The next segment's file is made while the present one is written, and costs a rotation no more than its name."""

import errno
import random
import threading

import pytest
from spoolkit import PATH, body_of, events_of, open_spool, read_all, submit

from auditsink.spool import Spool, segment
from auditsink.spool.log import INITIAL_BYTES
from auditsink.spool.ring import Ring
from auditsink.spool.types import Receipt, Tally
from auditsink.testing.disk import FakeDisk

FILE = PATH / "rings" / "default" / segment.SUCCESSOR
LARGE = {"max_bytes": 2**23, "segment_bytes": INITIAL_BYTES}


def made(spool: Spool) -> None:
    """Wait until the writer has nothing to do, nor the maker of what it was told."""
    idle = threading.Event()
    spool._writer._put(idle.set)
    assert idle.wait(30)
    spool._writer._committer._maker.submit(lambda: None).result()


def incompressible(number: int, size: int) -> str:
    """Hex that zstd takes for what it is: half of its size."""

    return random.Random(number).randbytes(size).hex()


def filled(spool: Spool, ring: Ring, until: int) -> list[str]:
    """Post until a file of the next segment is there or so many bodies are in."""
    texts = []
    for number in range(until):
        texts.append(incompressible(number, 60_000))
        assert isinstance(submit(spool, ring, body_of(texts[-1])), Receipt)
        made(spool)
        if ring.prepared_bytes:
            break
    return texts


def test_a_rotation_finds_its_file_and_allocates_nothing() -> None:
    disk = FakeDisk()
    spool = open_spool(disk, **LARGE)
    ring = spool.ring("default")
    texts = filled(spool, ring, 100)
    assert FILE in disk.paths()
    assert ring.size == len(disk.content(ring.segments[0].path)) + len(disk.content(FILE)), "its room is counted"
    allocated = disk.calls["allocate"]
    while len(ring.segments) == 1:
        texts.append(incompressible(len(texts), 60_000))
        submit(spool, ring, body_of(texts[-1]))
    assert disk.calls["allocate"] == allocated
    assert FILE not in disk.paths(), "it is the segment"
    assert read_all(ring, max_bytes=2**20) == (events_of(*texts), 0)
    spool.stop()
    assert disk.open_files == 0


def begun_early(spool: Spool, ring: Ring) -> list[str]:
    """Post until a segment has begun that nobody needed."""
    texts: list[str] = []
    while len(ring.segments) < 2:
        texts.append(incompressible(len(texts), 20_000))
        assert isinstance(submit(spool, ring, body_of(texts[-1])), Receipt)
        made(spool)
    return texts


def test_the_next_segment_begins_while_nobody_waits() -> None:
    disk = FakeDisk()
    spool = open_spool(disk, **LARGE)
    ring = spool.ring("default")
    texts = begun_early(spool, ring)
    sealed, begun = ring.segments
    assert begun.first == begun.end == sealed.end == len(texts)
    assert sealed.size == len(disk.content(sealed.path)) < INITIAL_BYTES, "what it did not need is given back"
    syncs = disk.calls["sync"]
    texts.append("one")
    submit(spool, ring, body_of("one"))
    assert disk.calls["sync"] == syncs + 1, "whoever comes next waits for one sync"
    assert read_all(ring, max_bytes=2**22) == (events_of(*texts), 0)
    spool.stop()
    assert disk.open_files == 0


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_segment_that_began_early_and_got_nothing_leaves_nothing(end: str) -> None:
    disk = FakeDisk()
    spool = open_spool(disk, **LARGE)
    texts = begun_early(spool, spool.ring("default"))
    if end == "stop":
        spool.stop()
        assert disk.open_files == 0
    else:
        disk.kill()
    spool = open_spool(disk, **LARGE)
    ring = spool.ring("default")
    assert len(ring.segments) == 1
    assert submit(spool, ring, body_of("next")) == Receipt(len(texts), 1)
    assert read_all(ring, max_bytes=2**22) == (events_of(*texts, "next"), 0)
    spool.stop()


def test_a_disk_that_fails_while_nobody_waits_costs_nobody_anything() -> None:
    for operation in ("write", "sync", "rename", "sync_directory", "truncate"):
        disk = FakeDisk()
        spool = open_spool(disk, **LARGE)
        ring = spool.ring("default")
        texts = filled(spool, ring, 100)
        disk.fail(operation, errno.EIO)
        made(spool)
        while len(ring.segments) == 1:
            texts.append(incompressible(len(texts), 20_000))
            assert isinstance(submit(spool, ring, body_of(texts[-1])), Receipt)
            made(spool)
        assert read_all(ring, max_bytes=2**22) == (events_of(*texts), 0)
        disk.heal()
        spool.stop()
        assert disk.open_files == 0


def test_a_request_that_is_larger_than_the_file_gets_one_of_its_own() -> None:
    disk = FakeDisk()
    spool = open_spool(disk, **LARGE)
    ring = spool.ring("default")
    texts = [*filled(spool, ring, 100), incompressible(0, 2 * INITIAL_BYTES)]
    assert isinstance(submit(spool, ring, body_of(texts[-1])), Receipt)
    assert [held.size > INITIAL_BYTES for held in ring.segments] == [False, True]
    assert read_all(ring, max_bytes=2**23) == (events_of(*texts), 0)
    spool.stop()
    assert disk.open_files == 0


@pytest.mark.parametrize("operation", ["allocate", "create", "write", "sync", "rename", "sync_directory"])
def test_a_file_that_cannot_be_made_or_used_costs_nothing_but_time(operation: str) -> None:
    disk = FakeDisk()
    spool = open_spool(disk, **LARGE)
    ring = spool.ring("default")
    texts = filled(spool, ring, 100)
    disk.fail(operation, errno.EIO)
    while len(ring.segments) == 1:
        texts.append(incompressible(len(texts), 60_000))
        assert isinstance(submit(spool, ring, body_of(texts[-1])), Receipt)
    assert read_all(ring, max_bytes=2**20) == (events_of(*texts), 0)
    disk.heal()
    spool.stop()
    assert disk.open_files == 0


def test_a_start_removes_what_was_made_for_a_segment_that_never_came() -> None:
    disk = FakeDisk()
    spool = open_spool(disk, **LARGE)
    ring = spool.ring("default")
    texts = filled(spool, ring, 100)
    disk.kill()
    assert FILE in disk.paths()
    spool = open_spool(disk, **LARGE)
    assert FILE not in disk.paths()
    assert read_all(spool.ring("default"), max_bytes=2**20) == (events_of(*texts), 0)
    spool.stop()


@pytest.mark.parametrize("when_full", ["reject", "drop_oldest"])
def test_nothing_that_somebody_wants_is_given_up_for_it(when_full: str) -> None:
    disk = FakeDisk()
    spool = open_spool(disk, max_bytes=4 * INITIAL_BYTES, segment_bytes=INITIAL_BYTES, when_full=when_full)
    ring = spool.ring("default")
    ring.cursor("siem")
    number = 0
    while len(ring.segments) < 4 or 5 * ring.segments[-1].length < 4 * INITIAL_BYTES:
        number += 1
        assert isinstance(submit(spool, ring, body_of(incompressible(number, 60_000))), Receipt)
        made(spool)
    assert (ring.prepared_bytes, ring.floor) == (0, 0)
    ring.cursor("siem").advance(Tally(delivered=ring.segments[0].end))
    assert isinstance(submit(spool, ring, body_of("one more")), Receipt)
    made(spool)
    assert ring.prepared_bytes == INITIAL_BYTES, "in place of what everybody has"
    assert ring.size <= 4 * INITIAL_BYTES
    spool.stop()
