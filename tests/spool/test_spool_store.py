"""The spool as its neighbours use it, on a disk that does what it is told."""

import errno
import queue
import random
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from spoolkit import PATH, body_of, config, events_of, noise, open_spool, read_all, submit, submit_all

from auditsink.audit import eventlist
from auditsink.common.disk import RealDisk
from auditsink.spool import Spool
from auditsink.spool.offline import inspect
from auditsink.spool.types import Chunk, Receipt, SpoolRejection, Tally
from auditsink.spool.writer import Writer
from auditsink.testing.disk import FakeDisk


def texts(count: int, start: int = 0) -> list[str]:
    return [f"event-{number:06d}-{'x' * (number % 97)}" for number in range(start, start + count)]


def test_what_is_stored_is_read_back_in_order_and_byte_for_byte() -> None:
    spool = open_spool()
    ring = spool.ring("default")
    names = texts(400)
    answers = submit_all(spool, ring, [body_of(*names[at : at + 4]) for at in range(0, 400, 4)])
    assert answers == [Receipt(at, 4) for at in range(0, 400, 4)]
    assert read_all(ring) == (events_of(*names), 0)
    spool.stop()


def test_reading_may_start_in_the_middle_of_a_record() -> None:
    spool = open_spool()
    ring = spool.ring("default")
    submit(spool, ring, body_of("a", "b", "c", "d"))
    chunk = ring.reader().read(2, 1000)
    assert (chunk.start, chunk.end) == (2, 4)
    assert chunk.records[0].first_sequence == 2
    assert chunk.records[0].events == events_of("c", "d")
    spool.stop()


def test_fresh_records_come_from_memory_without_touching_the_disk() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    submit_all(spool, ring, [body_of("a", "b"), body_of("c")])
    reads = disk.calls["read"]
    chunk = ring.reader().cached(0, 10_000)
    assert chunk is not None
    assert [event for record in chunk.records for event in record.events] == events_of("a", "b", "c")
    assert disk.calls["read"] == reads
    assert ring.reader().cached(1, 10_000) is None, "memory holds whole records only"
    spool.stop()


def test_the_writer_keeps_no_request_alive_while_it_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest body and its events would stay in memory until the next batch comes."""
    told: list[weakref.ref[object]] = []
    alive_while_waiting: list[int] = []
    real = Writer._patience

    def patience(writer: Writer) -> float | None:
        alive_while_waiting.append(sum(one() is not None for one in told))
        return real(writer)

    monkeypatch.setattr(Writer, "_patience", patience)
    spool = open_spool()
    ring = spool.ring("default")
    answered = threading.Event()
    body = body_of("a")

    def done(_answer: object) -> None:
        answered.set()

    told.append(weakref.ref(done))
    spool.submit(ring, body, eventlist.split(body), "", done)
    del done
    assert answered.wait(30)
    spool.stop()
    assert len(alive_while_waiting) == 2, "before the request and after it"
    assert alive_while_waiting[-1] == 0


def test_one_sync_serves_all_that_waited_together() -> None:
    """The writer takes what has gathered while it slept; sixty-four requests must not cost sixty-four syncs."""
    disk = FakeDisk()
    spool = Spool.open(config(), disk=disk)
    ring = spool.ring("default")
    answers: list[object] = []
    for number in range(64):
        body = body_of(f"event-{number}")
        spool.submit(ring, body, eventlist.split(body), "", answers.append)
    before = disk.calls["sync"]
    spool.start(lambda call: call())
    spool.stop()
    assert len(answers) == 64
    assert all(isinstance(answer, Receipt) for answer in answers)
    assert disk.calls["sync"] - before <= 4, "one for the commit, the rest for sealing and the cursors"


def test_nothing_is_answered_before_its_sync_returned() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    for number in range(50):
        before = disk.calls["sync"]
        submit(spool, ring, body_of(f"event-{number}"))
        assert disk.calls["sync"] > before
        disk.crash(random.Random(number))  # power loss right after the answer
        spool = open_spool(disk)
        ring = spool.ring("default")
        assert read_all(ring)[0] == events_of(*[f"event-{n}" for n in range(number + 1)])
    spool.stop()


@pytest.mark.parametrize("durability", ["interval", "os"])
def test_weaker_durability_answers_without_waiting_for_a_sync_and_survives_a_kill(durability: str) -> None:
    disk = FakeDisk()
    spool = open_spool(disk, durability=durability)
    ring = spool.ring("default")
    submit(spool, ring, body_of("a"))
    before = disk.calls["sync"]
    assert submit(spool, ring, body_of("b")) == Receipt(1, 1)
    assert disk.calls["sync"] == before
    disk.kill()
    spool = open_spool(disk, durability=durability)
    assert read_all(spool.ring("default")) == (events_of("a", "b"), 0)
    spool.stop()


def test_a_cursor_ahead_of_a_tail_that_a_weaker_durability_lost_skips_nothing_new() -> None:
    disk = FakeDisk()
    spool = open_spool(disk, durability="os")
    ring = spool.ring("default")
    submit(spool, ring, body_of("a", "b", "c"))
    cursor = ring.cursor("siem")
    cursor.advance(Tally(delivered=3))
    cursor.sync()
    for path in disk.paths():
        if path.suffix == ".seg":
            disk.put(path, b"")  # the power went before anything of it was written
    disk.crash(random.Random(1))
    spool = open_spool(disk, durability="os")
    ring = spool.ring("default")
    assert ring.durable == 3
    submit(spool, ring, body_of("d"))
    assert read_all(ring, ring.cursor("siem").position) == (events_of("d"), 0)
    spool.stop()


def test_events_are_announced_together_with_the_memory_of_them() -> None:
    """Whoever is caught up must never find an event on the disk that memory does not have yet."""
    calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    spool = Spool.open(config(), disk=FakeDisk())
    spool.start(calls.put)
    ring = spool.ring("default")
    reader = ring.reader()
    spool.submit(ring, body_of("a", "b"), eventlist.split(body_of("a", "b")), "", lambda _answer: None)
    announce = calls.get(timeout=30)
    assert (ring.durable, reader.cached(0, 1000), reader.read(0, 1000)) == (0, None, Chunk(0, 0, []))
    announce()
    chunk = reader.cached(0, 1000)
    assert chunk == reader.read(0, 1000)
    assert (ring.durable, chunk.end if chunk else 0) == (2, 2)
    spool.submit(ring, body_of("c"), eventlist.split(body_of("c")), "", lambda _answer: None)
    announce = calls.get(timeout=30)
    assert reader.read(0, 1000).end == 2, "settled by the writer, and nobody was told"
    announce()
    assert reader.read(0, 1000).end == 3
    spool.stop()


def test_a_retry_is_answered_and_not_stored_twice_also_after_a_restart() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    body = body_of("a", "b")
    assert submit_all(spool, ring, [body, body]) == [Receipt(0, 2), Receipt(0, 2, duplicate=True)]
    assert submit(spool, ring, body) == Receipt(0, 2, duplicate=True)
    disk.kill()
    spool = open_spool(disk)
    ring = spool.ring("default")
    assert submit(spool, ring, body) == Receipt(0, 2, duplicate=True)
    assert submit(spool, spool.ring("other"), body) == Receipt(0, 2), "another cluster's batch is its own"
    assert read_all(ring)[0] == events_of("a", "b")
    spool.stop()


def test_a_failed_fsync_is_never_repeated_on_that_file_and_the_batch_goes_to_a_fresh_segment() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    submit(spool, ring, body_of("a"))
    disk.fail("sync", errno.EIO)
    assert submit(spool, ring, body_of("b")) == Receipt(1, 1)
    assert len(ring.segments) == 2
    assert submit(spool, ring, body_of("c")) == Receipt(2, 1)
    disk.crash(random.Random(7))
    spool = open_spool(disk)
    assert read_all(spool.ring("default")) == (events_of("a", "b", "c"), 0)
    spool.stop()


def test_a_disk_that_keeps_failing_refuses_and_takes_again_when_it_is_back() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    submit(spool, ring, body_of("a"))
    disk.fail("write", errno.EROFS, times=4)
    assert submit(spool, ring, body_of("b")) is SpoolRejection.UNAVAILABLE
    broken = spool.problem is not None
    assert spool.refusal(ring) is SpoolRejection.UNAVAILABLE
    disk.heal()
    assert submit(spool, ring, body_of("c")) == Receipt(1, 1)
    assert (broken, spool.problem) == (True, None)
    assert read_all(ring) == (events_of("a", "c"), 0)
    spool.stop()


@pytest.mark.parametrize("operation", ["write", "sync", "allocate", "create", "sync_directory"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_whatever_fails_only_what_was_answered_is_there_and_all_of_it(operation: str, error: int, times: int) -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    accepted: list[str] = []
    for number in range(120):
        if number % 10 == 5:
            disk.fail(operation, error, times=times)
        name = f"{number}-{random.Random(number).randbytes(400).hex()}"
        if isinstance(submit(spool, ring, body_of(name)), Receipt):
            accepted.append(name)
        disk.heal()
    found, missing = read_all(ring)
    assert found == events_of(*accepted)
    assert missing == 0
    assert len(accepted) > 100
    disk.crash(random.Random(3))
    spool = open_spool(disk)
    assert read_all(spool.ring("default")) == (found, 0)
    report = inspect.verify(PATH, "default", disk)
    assert report.problems == []
    assert report.events == len(accepted)
    spool.stop()


def test_short_writes_are_completed() -> None:
    disk = FakeDisk()
    disk.short_writes = True
    spool = open_spool(disk)
    ring = spool.ring("default")
    submit_all(spool, ring, [body_of(*texts(20, at)) for at in range(0, 200, 20)])
    assert read_all(ring) == (events_of(*texts(200)), 0)
    spool.stop()


def test_a_segment_that_is_deleted_under_the_sink_is_noticed_before_the_answer() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    submit(spool, ring, body_of("a"))
    disk.unlink(ring.segments[0].path)
    assert submit(spool, ring, body_of("b")) == Receipt(1, 1)
    found, missing = read_all(ring)
    assert (found, missing) == (events_of("b"), 1)
    assert ring.damaged_bytes > 0
    spool.stop()


def test_on_a_real_disk(tmp_path: Path) -> None:
    """The same through system calls: store, read, stop, reopen, verify."""
    spool = open_spool(RealDisk(), path=tmp_path)
    ring = spool.ring("default")
    bodies = [noise(number) for number in range(100)]
    assert all(isinstance(answer, Receipt) for answer in submit_all(spool, ring, bodies, "cert:kube-apiserver"))
    ring.cursor("siem").advance(Tally(delivered=10))
    found, missing = read_all(ring)
    spool.stop()
    assert len(found) == 100
    assert missing == 0
    spool = open_spool(RealDisk(), path=tmp_path)
    ring = spool.ring("default")
    assert read_all(ring) == (found, 0)
    assert ring.cursor("siem").position == 10
    assert ring.reader().read(0, 1).records[0].source == "cert:kube-apiserver"
    report = inspect.verify(tmp_path, "default")
    assert (report.problems, report.events) == ([], 100)
    assert [event for record in inspect.records(tmp_path, "default") for event in record.events] == found
    spool.stop()


def test_an_answer_that_raises_costs_nobody_else_theirs() -> None:
    spool = open_spool()
    ring = spool.ring("default")
    body = body_of("a")

    def broken(_answer: object) -> None:
        raise RuntimeError("a bug in the receiver")

    spool.submit(ring, body, eventlist.split(body), "", broken)
    assert submit(spool, ring, body_of("b")) == Receipt(1, 1)
    assert read_all(ring) == (events_of("a", "b"), 0)
    spool.stop()
