"""The checkpoint file through crashes, full disks and strange owners: one chain, no half line."""

import errno
import random

import pytest
from evidencekit import LEDGER, SECOND_NS, event, signer, span
from hypothesis import given
from hypothesis import strategies as st

from auditsink.evidence import EvidenceError
from auditsink.evidence.checkpoint import decode
from auditsink.evidence.make.checkpoint_file import CheckpointFile
from auditsink.testing.disk import FakeDisk

SPANS = [span([event(number)], first=number) for number in range(10)]
LARGE = [span([event(first + number) for number in range(400)], first=first) for first in range(0, 1600, 400)]


def chain(disk: FakeDisk) -> list[int]:
    """The numbers in the file, after a look at the chain."""
    entries = [decode(line) for line in disk.content(LEDGER).splitlines()]
    assert [entry.checkpoint.previous for entry in entries] == [None, *(entry.digest for entry in entries)][:-1]
    return [entry.checkpoint.number for entry in entries]


def test_the_chain_goes_on_after_a_restart() -> None:
    disk = FakeDisk()
    for number in range(3):
        ledger = CheckpointFile(LEDGER, disk)
        ledger.append(SPANS[number : number + 2], signer(), SECOND_NS)
        ledger.close()
    assert chain(disk) == [1, 2, 3, 4, 5, 6]


@given(st.integers(0, 2000))
def test_a_torn_line_is_cut_off_and_the_chain_is_whole(cut: int) -> None:
    disk = FakeDisk()
    ledger = CheckpointFile(LEDGER, disk)
    ledger.append(SPANS[:3], signer(), SECOND_NS)
    ledger.close()
    content = disk.content(LEDGER)
    cut = min(cut, len(content))
    disk.put(LEDGER, content[:cut])

    ledger = CheckpointFile(LEDGER, disk)
    assert ledger.number == content[:cut].count(b"\n")
    ledger.append(SPANS[3:5], None, SECOND_NS)
    assert chain(disk) == list(range(1, ledger.number + 1))


@given(st.integers(0, 10_000))
def test_after_a_power_loss_all_that_was_returned_is_there(seed: int) -> None:
    disk, chance = FakeDisk(), random.Random(seed)
    ledger = CheckpointFile(LEDGER, disk)
    ledger.append(SPANS[:2], signer(), SECOND_NS)
    operation = chance.choice(["write", "sync"])
    disk.fail(operation, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        ledger.append(SPANS[2:4], signer(), SECOND_NS)
    disk.crash(chance)
    ledger = CheckpointFile(LEDGER, disk)
    assert chain(disk)[:2] == [1, 2]
    ledger.append(SPANS[2:4], signer(), SECOND_NS)
    disk.crash(chance)
    assert chain(disk)[-1] >= 4


@pytest.mark.parametrize("stated_before", [0, 1])
@given(seed=st.integers(0, 10_000))
def test_a_power_cut_during_an_append_leaves_a_chain_that_goes_on(stated_before: int, seed: int) -> None:
    """Lines of many pages, of which any may be lost: one that follows a broken line is no longer in the chain."""
    disk, chance = FakeDisk(), random.Random(seed)
    ledger = CheckpointFile(LEDGER, disk)
    ledger.append(LARGE[:stated_before], signer(), SECOND_NS)
    disk.cut_power(1, chance)
    with pytest.raises(OSError, match="the power is off"):
        ledger.append(LARGE[1:3], signer(), 2 * SECOND_NS)
    disk.power_on()
    left = disk.content(LEDGER)
    ledger = CheckpointFile(LEDGER, disk)
    kept = disk.content(LEDGER)
    assert left.startswith(kept)
    assert stated_before <= ledger.number == len(chain(disk)) <= stated_before + 2
    lost = left[len(kept) : left.rfind(b"\n") + 1]
    assert [disk.content(path) for path in disk.paths() if "torn" in path.name] == ([lost] if lost else [])
    ledger.append(LARGE[3:], signer(), 3 * SECOND_NS)
    assert chain(disk) == list(range(1, ledger.number + 1))


def test_a_line_that_was_spoiled_long_ago_is_left_to_verify() -> None:
    disk = FakeDisk()
    ledger = CheckpointFile(LEDGER, disk)
    for number in range(4):
        ledger.append(SPANS[number : number + 1], signer(), number * SECOND_NS)
    ledger.close()
    content = disk.content(LEDGER).replace(b'"number":2', b'"number":"', 1)
    disk.put(LEDGER, content)
    assert CheckpointFile(LEDGER, disk).number == 4
    assert disk.content(LEDGER) == content


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_failed_append_leaves_nothing_before_the_next(operation: str) -> None:
    disk = FakeDisk()
    ledger = CheckpointFile(LEDGER, disk)
    ledger.append(SPANS[:1], signer(), SECOND_NS)
    disk.fail(operation, errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        ledger.append(SPANS[1:4], signer(), SECOND_NS)
    assert ledger.number == 1
    disk.short_writes = True
    ledger.append(SPANS[1:2], signer(), SECOND_NS)
    assert chain(disk) == [1, 2]


def test_a_file_that_somebody_removed_is_begun_anew_and_the_gap_shows() -> None:
    disk = FakeDisk()
    ledger = CheckpointFile(LEDGER, disk)
    ledger.append(SPANS[:2], signer(), SECOND_NS)
    disk.unlink(LEDGER)
    ledger.append(SPANS[2:3], signer(), SECOND_NS)
    (entry,) = [decode(line) for line in disk.content(LEDGER).splitlines()]
    assert entry.checkpoint.number == 3
    assert entry.checkpoint.previous is not None


def test_nothing_is_written_for_nothing() -> None:
    disk = FakeDisk()
    ledger = CheckpointFile(LEDGER, disk)
    assert ledger.append([], signer(), SECOND_NS) == []
    assert disk.content(LEDGER) == b""


def test_two_sinks_do_not_share_a_file() -> None:
    disk = FakeDisk()
    CheckpointFile(LEDGER, disk)
    with pytest.raises(EvidenceError, match="in use by another auditsink"):
        CheckpointFile(LEDGER, disk)


def test_a_file_of_something_else_is_not_appended_to() -> None:
    disk = FakeDisk()
    disk.make_directory(LEDGER.parent)
    for content in (b"audit log\n", b"no line", b'{"kind":"Event"}\n', b"\n"):
        disk.put(LEDGER, content)
        with pytest.raises(EvidenceError, match=r"no checkpoints but something else; give the sink a file of its own"):
            CheckpointFile(LEDGER, disk)
        assert disk.content(LEDGER) == content


def test_a_file_of_a_later_version_is_not_appended_to() -> None:
    disk = FakeDisk()
    CheckpointFile(LEDGER, disk).append(SPANS[:2], signer(), SECOND_NS)
    content = disk.content(LEDGER).replace(b'"version":1', b'"version":2')
    disk.put(LEDGER, content)
    disk.kill()
    with pytest.raises(EvidenceError, match=r"the last line of .* is of version 2, .* use a newer one"):
        CheckpointFile(LEDGER, disk)
    assert disk.content(LEDGER) == content


def test_a_disk_that_refuses_at_the_start_is_told_with_the_path() -> None:
    disk = FakeDisk()
    disk.fail("lock", errno.EACCES)
    with pytest.raises(EvidenceError, match=f"evidence.path: {LEDGER}: Permission denied"):
        CheckpointFile(LEDGER, disk)
