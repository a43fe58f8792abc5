"""Frames go over zeros that are durable already, so that no sync depends on the file system's journal."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from spoolkit import PATH, body_of, config, events_of, noise, noise_text, open_spool, read_all, submit

from auditsink.audit import eventlist
from auditsink.common.units import Size
from auditsink.spool import Spool, segment
from auditsink.spool.log import LEAST_AHEAD, MOST_AHEAD, RingLog
from auditsink.spool.types import Receipt, SpoolRejection
from auditsink.testing.disk import BLOCK, FakeDisk

MIB = 2**20


@contextmanager
def without_zeros(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made = RingLog.__init__
    monkeypatch.setattr(
        RingLog, "__init__", lambda log, *given, **named: made(log, *given, **(named | {"zeros": False}))
    )
    yield
    monkeypatch.undo()


def answered_and_aborted(disk: FakeDisk, bodies: list[bytes]) -> tuple[list[bytes], int]:
    """What a fresh start reads when the journal is aborted the moment the last of the bodies was answered."""
    spool = open_spool(disk, max_bytes=Size(16 * MIB), segment_bytes=Size(8 * MIB))
    ring = spool.ring("default")
    for body in bodies[:-1]:
        assert isinstance(submit(spool, ring, body), Receipt)
    answers: list[Receipt | SpoolRejection] = []

    def answered(
        answer: Receipt | SpoolRejection,
    ) -> None:  # in the writer's thread: what it does after the answer comes later
        answers.append(answer)
        disk.abort_journal()

    spool.submit(ring, bodies[-1], eventlist.split(bodies[-1]), "", answered)
    spool._writer.stop()
    assert [type(one) for one in answers] == [Receipt]
    again = Spool.open(config(), disk=disk)
    again.start(lambda call: call())
    found = read_all(again.ring("default"))
    again.stop()
    return found


@pytest.mark.parametrize(
    "sizes", [[100], [100, 3000], [2000] * 40, [400_000], [100, 400_000, 100], [1_200_000, 900_000]]
)
def test_an_aborted_journal_takes_nothing_that_was_answered(sizes: list[int]) -> None:
    """Small, many, and larger than what lies ahead: no frame is in the sync that makes its blocks written ones."""
    texts = [noise_text(number, size) for number, size in enumerate(sizes)]
    assert answered_and_aborted(FakeDisk(), [body_of(text) for text in texts]) == (events_of(*texts), 0)


def test_the_fake_disk_loses_a_record_to_an_aborted_journal_where_there_are_no_zeros(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the test above would prove nothing."""
    with without_zeros(monkeypatch):
        found, _ = answered_and_aborted(FakeDisk(), [noise(0, 100), noise(1, 40_000)])
    assert found == events_of(noise_text(0, 100))


def zeros_ahead(disk: FakeDisk, ring_end: int) -> int:
    """Bytes beyond `ring_end` that the newest segment has on the platter, as written blocks."""
    newest = max(path for path in disk.paths() if path.suffix == ".seg")
    return (max(disk._entries[newest].written) + 1) * BLOCK - ring_end


def test_zeros_lie_ahead_of_every_frame_and_not_far_ahead() -> None:
    disk = FakeDisk()
    spool = open_spool(disk, max_bytes=Size(64 * MIB), segment_bytes=Size(16 * MIB))
    ring = spool.ring("default")
    for number, size in enumerate([100, 20_000, 300_000, 3_000, 900_000, 10_000, 2_000_000, 500]):
        assert submit(spool, ring, noise(number, size)) == Receipt(number, 1)
    spool._writer.stop()  # behind the look ahead of the last commit
    active = next(held for held in ring.segments if held.active)
    ahead = zeros_ahead(disk, active.length)
    assert LEAST_AHEAD // 2 <= ahead <= MOST_AHEAD + BLOCK
    spool.stop()


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_zeros_that_fail_cost_a_segment_and_no_event(operation: str) -> None:
    """The batch before them was answered; the next one goes to a fresh segment."""
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    assert submit(spool, ring, body_of("first")) == Receipt(0, 1)
    size = LEAST_AHEAD // 2 + 1000
    disk.fail_later(operation, errno.EIO, after=1)  # one write and one sync are the commit's, then comes the look ahead
    assert submit(spool, ring, noise(1, size)) == Receipt(1, 1)
    assert submit(spool, ring, body_of("third")) == Receipt(2, 1)
    assert [held.first for held in ring.segments] == [0, 2]
    spool.stop()
    disk.heal()
    spool = Spool.open(config(), disk=disk)
    assert read_all(spool.ring("default")) == (events_of("first", noise_text(1, size), "third"), 0)
    spool.stop()


@pytest.mark.parametrize("durability", ["os", "interval"])
def test_no_zeros_where_a_sync_promises_nothing(durability: str) -> None:
    disk = FakeDisk()
    spool = open_spool(disk, durability=durability)
    submit(spool, spool.ring("default"), body_of("a"))
    spool._writer.stop()
    (path,) = (path for path in disk.paths() if path.suffix == ".seg")
    assert max(disk._entries[path].written) * BLOCK < segment.DATA_START + 1024
    assert path.is_relative_to(PATH)
    spool.stop()
