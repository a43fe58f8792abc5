"""Cursors and floors survive failed syncs, failed writes, and a power loss at any moment."""

import errno
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.spool.cursor import Cursor, peek
from auditsink.spool.slots import SlotFile
from auditsink.spool.types import Tally
from auditsink.testing.disk import FakeDisk

PATH = Path("/d/s")


def new_disk() -> FakeDisk:
    disk = FakeDisk()
    disk.make_directory(Path("/d"))
    return disk


def state(number: int) -> bytes:
    """More than a sector, so that it can tear."""
    return number.to_bytes(4, "little") * 400


@given(crash=st.randoms(use_true_random=False), synced=st.booleans(), writes=st.integers(1, 5))
def test_however_many_writes_follow_a_sync_its_state_or_a_later_one_is_left(
    crash: random.Random, synced: bool, writes: int
) -> None:
    disk = new_disk()
    file = SlotFile.open(disk, PATH)
    file.write(state(0))
    file.sync()
    for number in range(1, writes + 1):
        file.write(state(number))
        if synced and number == 1:
            file.sync()
    disk.crash(crash)
    assert SlotFile.open(disk, PATH).payload in {state(number) for number in range(int(synced), writes + 1)}


@given(crash=st.randoms(use_true_random=False))
def test_what_a_killed_process_left_in_the_cache_is_durable_before_the_next_one_writes(crash: random.Random) -> None:
    disk = new_disk()
    file = SlotFile.open(disk, PATH)
    file.write(state(0))
    file.sync()
    file.write(state(1))
    disk.kill()
    file = SlotFile.open(disk, PATH)
    assert file.payload == state(1)
    file.write(state(2))
    disk.crash(crash)
    assert SlotFile.open(disk, PATH).payload in {state(1), state(2)}


@given(crash=st.randoms(use_true_random=False))
def test_after_a_failed_sync_the_next_one_writes_again(crash: random.Random) -> None:
    """A kernel may forget the page that it could not write, and call the next sync a success."""
    disk = new_disk()
    file = SlotFile.open(disk, PATH)
    file.write(state(1))
    disk.fail("sync", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file.sync()
    disk.crash(crash)
    assert SlotFile.open(disk, PATH).payload == state(1)


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_cursor_that_could_not_be_stored_is_stored_by_the_next_sync(operation: str) -> None:
    disk = new_disk()
    cursor = Cursor.open(disk, PATH, floor=0)
    disk.fail(operation, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        _move(cursor)
    cursor.sync()
    disk.crash(random.Random(1))
    found = peek(disk, PATH)
    assert found is not None
    assert found.position == 5


def _move(cursor: Cursor) -> None:
    cursor.advance(Tally(delivered=5))
    cursor.sync()


def test_a_second_sync_returns_only_when_the_first_is_done() -> None:
    """Else a segment could be removed on the strength of a cursor that is on its way to the disk."""
    disk = new_disk()
    cursor = Cursor.open(disk, PATH, floor=0)
    cursor.advance(Tally(delivered=5))
    first_syncs, go_on = threading.Event(), threading.Event()
    disk.hold("sync", first_syncs, go_on)
    first = threading.Thread(target=cursor.sync)
    first.start()
    assert first_syncs.wait(10)
    returned = threading.Event()

    def sync() -> None:
        cursor.sync()
        returned.set()

    second = threading.Thread(target=sync)
    second.start()
    cursor.advance(Tally(filtered=1))  # moving on never waits for a disk
    assert not returned.wait(0.05)
    go_on.set()
    first.join(10)
    second.join(10)
    assert returned.is_set()
    disk.crash(random.Random(3))
    found = peek(disk, PATH)
    assert found is not None
    assert found.position in {5, 6}


def test_what_is_written_during_a_sync_is_there_after_it() -> None:
    disk = new_disk()
    file = SlotFile.open(disk, PATH)
    file.write(state(1))
    in_sync, go_on = threading.Event(), threading.Event()
    disk.hold("sync", in_sync, go_on)
    syncing = threading.Thread(target=file.sync)
    syncing.start()
    assert in_sync.wait(10)
    file.write(state(2))
    go_on.set()
    syncing.join(10)
    disk.kill()
    assert SlotFile.open(disk, PATH).payload == state(2)


def test_a_file_that_cannot_be_made_is_closed() -> None:
    for operation in ("allocate", "sync", "sync_directory", "read"):
        disk = new_disk()
        disk.fail(operation, errno.ENOSPC)
        with pytest.raises(OSError, match="No space"):
            SlotFile.open(disk, PATH)
        assert disk.open_files == 0
        assert SlotFile.open(disk, PATH).payload is None
    for operation, before in (("write", 0), ("sync", 1)):
        disk = new_disk()
        disk.fail_later(operation, errno.ENOSPC, before)
        with pytest.raises(OSError, match="No space"):
            Cursor.open(disk, PATH, floor=3)
        assert disk.open_files == 0
        assert Cursor.open(disk, PATH, floor=3).position == 3
