"""A disk that refuses: who is told 503, what readiness says, and how it ends without a restart."""

import errno
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from leaping import Leaping
from spoolkit import PATH, body_of, config, events_of, open_spool, read_all, submit

from auditsink.audit import eventlist
from auditsink.spool import Spool, writer
from auditsink.spool.committer import PROBE_BYTES, DiskTrouble, sentence
from auditsink.spool.ring import Ring
from auditsink.spool.types import Receipt, SpoolRejection
from auditsink.testing.disk import FakeDisk

PATIENCE = 30


@contextmanager
def said(text: str) -> Iterator[threading.Event]:
    """An event that is set when the spool's log says that."""
    heard = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if text in record.getMessage():
                heard.set()

    listener = Listener()
    spool_log = logging.getLogger("auditsink.spool")
    spool_log.addHandler(listener)
    yield heard
    spool_log.removeHandler(listener)


def ring_on(disk: FakeDisk, cluster: str = "default") -> Ring:
    disk.make_directory(PATH / cluster)
    return Ring(cluster, PATH / cluster, b"r" * 16, disk, floor=0)


def test_readiness_comes_back_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that is not ready is taken out of its Service: nobody posts, so nobody would show that it works again."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 0.001)
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    with said("takes batches again") as back:
        disk.fail("write", errno.EROFS, times=10_000)
        assert submit(spool, ring, body_of("a")) is SpoolRejection.UNAVAILABLE
        assert "takes no writes: Read-only file system; check the disk" in (spool.problem or "")
        assert not back.is_set()
        disk.heal()
        assert back.wait(PATIENCE)
    assert spool.problem is None
    assert submit(spool, ring, body_of("b")) == Receipt(0, 1)
    assert read_all(ring) == (events_of("b"), 0)
    assert not [path for path in disk.paths() if path.name == "probe"]
    spool.stop()


def test_a_full_disk_is_no_full_ring() -> None:
    """The operator is told which of the two it is."""
    disk = FakeDisk()
    spool = open_spool(disk, max_bytes=2**26)
    ring = spool.ring("default")
    disk.capacity = disk.allocated()
    assert submit(spool, ring, body_of("a")) is SpoolRejection.UNAVAILABLE
    assert "No space left on device; free space on that disk" in (spool.problem or "")
    disk.heal()
    assert submit(spool, ring, body_of("b")) == Receipt(0, 1)
    assert spool.problem is None
    spool.stop()


def test_trouble_of_one_ring_refuses_no_other() -> None:
    """A cluster whose segment still has room is not refused because another one needs a new segment."""
    disk = FakeDisk()
    spool = open_spool(disk, max_bytes=2**26)
    quiet, unlucky = spool.ring("quiet"), spool.ring("unlucky")
    submit(spool, quiet, body_of("a"))
    disk.capacity = disk.allocated()
    assert submit(spool, unlucky, body_of("b")) is SpoolRejection.UNAVAILABLE
    assert spool.refusal(unlucky) is SpoolRejection.UNAVAILABLE
    assert spool.refusal(quiet) is None
    assert submit(spool, quiet, body_of("c")) == Receipt(1, 1)
    assert spool.problem is not None, "the other one still has none"
    spool.stop()


def test_it_is_said_once_when_it_begins_and_once_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    disk = FakeDisk()
    ring, trouble = ring_on(disk), DiskTrouble()
    for _ in range(3):
        trouble.begins(ring, OSError(errno.EIO, "Input/output error"))
    for _ in range(3):
        trouble.ends(ring)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert trouble.problem is None


def test_a_probe_wants_room_for_a_segment_and_leaves_nothing() -> None:
    disk = FakeDisk()
    first, second = ring_on(disk, "first"), ring_on(disk, "second")
    trouble = DiskTrouble()
    for ring in (first, second):
        trouble.begins(ring, OSError(errno.ENOSPC, "No space left on device"))
    disk.capacity = PROBE_BYTES - 1
    trouble.probe()
    assert trouble
    assert disk.calls["create"] == 1, "one look is enough to see that nothing has changed"
    disk.capacity = PROBE_BYTES
    trouble.probe()
    assert not trouble
    assert disk.paths() == []


def test_a_probe_that_a_kill_left_behind_is_removed() -> None:
    disk = FakeDisk()
    ring, trouble = ring_on(disk), DiskTrouble()
    disk.put(ring.path / "probe", b"left")
    trouble.begins(ring, OSError(errno.EIO, "Input/output error"))
    trouble.probe()
    assert trouble.problem is None
    assert disk.paths() == []


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "lower spool.max_bytes"), (errno.ESTALE, "restart"), (errno.EIO, "check the disk")],
)
def test_the_sentence_names_the_path_and_the_remedy(number: int, remedy: str) -> None:
    found = sentence(ring_on(FakeDisk()), OSError(number, "why"))
    assert str(PATH / "default") in found
    assert remedy in found


def test_a_name_that_the_disk_did_not_give_back_stops_nothing() -> None:
    """The disk fails, and refuses to remove the segment of which nothing counts; its name is needed again."""
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    disk.fail("sync", errno.EIO, times=2)
    disk.fail("unlink", errno.EIO, times=2)
    assert submit(spool, ring, body_of("a")) is SpoolRejection.UNAVAILABLE
    disk.heal()
    assert submit(spool, ring, body_of("b")) == Receipt(0, 1)
    assert read_all(ring) == (events_of("b"), 0)
    spool.stop()


class HangingDisk(FakeDisk):
    """Syncs wait until somebody lets them go."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()

    def sync_directory(self, path: Path) -> None:
        self.hangs.set()
        assert self.goes_on.wait(PATIENCE)
        super().sync_directory(path)


def test_a_disk_that_hangs_turns_readiness_off() -> None:
    """No error, no answer: only time tells."""
    disk, clock = HangingDisk(), Leaping()
    spool = Spool.open(config(), disk=disk, clock=clock)
    spool.start(lambda call: call())
    ring = spool.ring("default")
    disk.hangs.clear()
    disk.goes_on.clear()
    answered = threading.Event()
    answers: list[Receipt | SpoolRejection] = []

    def done(answer: Receipt | SpoolRejection) -> None:
        answers.append(answer)
        answered.set()

    body = body_of("a")
    spool.submit(ring, body, eventlist.split(body), "", done)
    assert disk.hangs.wait(PATIENCE)
    before = spool.problem
    clock.now += 11
    assert (before, spool.problem) == (
        None,
        "the disk has not answered for 11 s; check it: batches wait until it does",
    )
    disk.goes_on.set()
    assert answered.wait(PATIENCE)
    assert answers == [Receipt(0, 1)]
    spool.stop()
    assert spool.problem is None
