"""Small commits are the loop's, with a helper's thread for the disk; whatever may take long is the writer's."""

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from spoolkit import LOOPS, body_of, events_of, open_looping, read_all, submit, submit_together

from auditsink.audit import eventlist
from auditsink.common.disk import File
from auditsink.spool import Spool, SpoolError, writer
from auditsink.spool.ring import Ring
from auditsink.spool.types import Receipt, SpoolRejection
from auditsink.testing.disk import FakeDisk

HELPER, WRITER = "auditsink-sync", "auditsink-writer"


class Watched(FakeDisk):
    """Knows which threads have synced segments."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[str] = []

    def create(self, path: Path) -> File:
        file = super().create(path)
        sync = file.sync

        def watched() -> None:
            self.threads.append(threading.current_thread().name)
            sync()

        file.sync = watched  # type: ignore[method-assign]
        return file


@pytest.fixture
def disk() -> Watched:
    return Watched()


@pytest.fixture
def spool(disk: Watched, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    """With a first segment, and a loop that has patience: on a busy machine too the disk is quick enough."""
    monkeypatch.setattr(writer, "LOOP_WAIT", 30)
    spool = open_looping(disk, max_bytes=2**22, segment_bytes=2**20)
    submit(spool, spool.ring("default"), body_of("first"))
    idle(spool)
    disk.threads.clear()
    yield spool
    disk.heal()
    spool.stop()
    assert disk.open_files == 0


def idle(spool: Spool) -> None:
    """Wait until the writer has nothing to do."""
    done = spool._writer
    LOOPS[spool].soon(lambda: None)
    LOOPS[spool].until(lambda: done._given == done._done or LOOPS[spool].soon(lambda: None))


def stuck(spool: Spool, reached: threading.Event) -> None:
    """Make turns until the loop has gone on without the disk, which is held."""
    LOOPS[spool].until(lambda: spool._writer._pending is not None)
    assert reached.wait(30)


def posted(spool: Spool, ring: Ring, *bodies: bytes) -> list[Receipt | SpoolRejection]:
    """Submit them; the answers are filled in as turns are made."""
    answers: list[Receipt | SpoolRejection] = []
    for body in bodies:
        spool.submit(ring, body, eventlist.split(body), "", answers.append)
    return answers


def test_a_small_commit_never_wakes_the_writer(disk: Watched, spool: Spool) -> None:
    ring = spool.ring("default")
    assert submit(spool, ring, body_of("a")) == Receipt(1, 1)
    assert submit_together(spool, ring, [body_of("b", "c"), body_of("d")]) == [Receipt(2, 2), Receipt(4, 1)]
    assert disk.threads == [HELPER] * 2
    assert read_all(ring) == (events_of("first", "a", "b", "c", "d"), 0)


@pytest.mark.parametrize(
    "bodies",
    [
        lambda _ring: [body_of("x" * (writer.LOOP_BYTES + 1))],
        lambda _ring: [body_of(*(f"{n:06d}{'y' * 500}" for n in range(300))), body_of("z" * (writer.LOOP_BYTES - 500))],
    ],
    ids=["one large body", "together too large"],
)
def test_large_bodies_are_the_writers(disk: Watched, spool: Spool, bodies: Callable[[Ring], list[bytes]]) -> None:
    ring = spool.ring("default")
    answers = submit_together(spool, ring, bodies(ring))
    assert all(isinstance(answer, Receipt) for answer in answers)
    assert HELPER not in disk.threads


def test_several_rings_are_the_writers(disk: Watched, spool: Spool) -> None:
    one, other = spool.ring("default"), spool.ring("other")
    submit(spool, other, body_of("first"))
    idle(spool)
    disk.threads.clear()
    posted(spool, one, body_of("a"))
    posted(spool, other, body_of("b"))
    LOOPS[spool].until(lambda: (one.durable, other.durable) == (2, 2))
    assert HELPER not in disk.threads


def test_what_comes_in_while_requests_are_read_joins_the_commit(disk: Watched, spool: Spool) -> None:
    ring, turns = spool.ring("default"), LOOPS[spool]
    answers: list[Receipt | SpoolRejection] = []

    def post(number: int) -> None:
        body = body_of(f"turn-{number}")
        spool.submit(ring, body, eventlist.split(body), "", answers.append)
        if number < 3:
            turns.soon(lambda: post(number + 1))

    post(0)
    turns.until(lambda: len(answers) == 4)
    assert disk.threads == [HELPER], "one sync for all four"


def test_a_disk_that_hangs_does_not_freeze_the_loop(
    disk: Watched, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LOOP_WAIT", 0.001)
    ring, turns = spool.ring("default"), LOOPS[spool]
    reached, go_on = threading.Event(), threading.Event()
    disk.hold("sync", reached, go_on)
    answers = posted(spool, ring, body_of("hangs"))
    stuck(spool, reached)
    late = posted(spool, ring, body_of("after it"))
    turned: list[bool] = []
    for _ in range(20):
        turns.soon(lambda: turned.append(True))
    turns.until(lambda: len(turned) == 20)
    assert (answers, late, ring.durable) == ([], [], 1), "nothing is promised that the disk has not"
    assert spool._writer._busy_since is not None, "readiness will say so"
    go_on.set()
    turns.until(lambda: late)
    assert (answers, late) == ([Receipt(1, 1)], [Receipt(2, 1)])


def test_a_slow_disk_is_left_to_the_writer_for_a_while(
    disk: Watched, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LOOP_WAIT", 0.001)
    monkeypatch.setattr(writer, "SKIPPED", (2, 4))
    spool._writer._next_skip = 2
    ring, turns = spool.ring("default"), LOOPS[spool]
    reached, go_on = threading.Event(), threading.Event()
    disk.hold("sync", reached, go_on)
    answers = posted(spool, ring, body_of("slow"))
    stuck(spool, reached)
    turns.soon(go_on.set)
    turns.until(lambda: answers)
    monkeypatch.setattr(writer, "LOOP_WAIT", 30)
    for text in ("one", "two", "three"):
        submit(spool, ring, body_of(text))
        idle(spool)
    assert disk.threads == [HELPER, WRITER, WRITER, HELPER]


def test_a_failed_sync_is_final_for_the_segment_and_the_batch_goes_to_a_fresh_one(disk: Watched, spool: Spool) -> None:
    ring = spool.ring("default")
    disk.fail("sync", errno.EIO)
    assert submit_together(spool, ring, [body_of("a"), body_of("b")]) == [Receipt(1, 1), Receipt(2, 1)]
    assert disk.threads[0] == HELPER
    assert WRITER in disk.threads, "which opened a segment"
    assert len(ring.segments) == 2
    assert submit(spool, ring, body_of("c")) == Receipt(3, 1)
    assert read_all(ring) == (events_of("first", "a", "b", "c"), 0)


def test_a_disk_that_takes_nothing_is_told_to_everybody(disk: Watched, spool: Spool) -> None:
    ring = spool.ring("default")
    disk.fail("write", errno.EIO, times=10_000)
    assert submit(spool, ring, body_of("a")) is SpoolRejection.UNAVAILABLE
    assert "takes no writes" in (spool.problem or "")
    disk.heal()
    assert submit(spool, ring, body_of("b")) == Receipt(1, 1)
    assert spool.problem is None


def test_what_waits_for_the_disk_when_the_sink_stops_is_kept_and_told(
    disk: Watched, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LOOP_WAIT", 0.001)
    ring, turns = spool.ring("default"), LOOPS[spool]
    reached, go_on = threading.Event(), threading.Event()
    disk.hold("sync", reached, go_on)
    answers = posted(spool, ring, body_of("a"))
    stuck(spool, reached)
    behind = posted(spool, ring, body_of("b"))
    stopping = threading.Thread(target=spool._writer.stop)
    stopping.start()
    go_on.set()
    stopping.join()
    turns.until(lambda: answers and behind)
    assert (answers, behind) == ([Receipt(1, 1)], [Receipt(2, 1)])


def test_a_bug_refuses_and_does_not_stop_the_loop(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ring, committer = spool.ring("default"), spool._writer._committer
    prepare = committer.prepare
    monkeypatch.setattr(committer, "prepare", lambda *_args, **_more: 1 / 0)
    assert submit(spool, ring, body_of("a")) is SpoolRejection.UNAVAILABLE
    assert "report it" in (spool.problem or "")
    assert "the spool's writer failed" in caplog.text
    monkeypatch.setattr(committer, "prepare", prepare)
    assert submit(spool, ring, body_of("b")) == Receipt(1, 1)
    assert spool.problem is None


def test_retries_are_recognised_by_both(disk: Watched, spool: Spool) -> None:
    ring = spool.ring("default")
    assert submit(spool, ring, body_of("a")) == Receipt(1, 1)
    assert submit_together(spool, ring, [body_of("a"), body_of("b"), body_of("b")]) == [
        Receipt(1, 1, duplicate=True),
        Receipt(2, 1),
        Receipt(2, 1, duplicate=True),
    ]
    assert submit(spool, ring, body_of("first")) == Receipt(0, 1, duplicate=True), "one that the writer stored"
    assert disk.threads == [HELPER] * 2


def test_the_ring_of_a_new_cluster_is_made_beside_the_loop_for_all_who_wait_for_it(disk: Watched, spool: Spool) -> None:
    spool.source("siem")
    made: list[Ring | SpoolError] = []
    reached, go_on = threading.Event(), threading.Event()
    disk.hold("sync", reached, go_on)
    spool.make_ring("green", made.append)
    spool.make_ring("green", made.append)
    assert reached.wait(30)
    assert isinstance(submit(spool, spool.ring("default"), body_of("meanwhile")), Receipt)
    assert made == []
    go_on.set()
    LOOPS[spool].until(lambda: len(made) == 2)
    assert made == [spool.rings["green"]] * 2
    assert list(spool.rings["green"].cursors) == ["siem"]
    assert submit(spool, spool.rings["green"], body_of("a")) == Receipt(0, 1)


def test_who_gets_no_ring_is_told_later(spool: Spool) -> None:
    made: list[Ring | SpoolError] = []
    spool.make_ring("../green", made.append)
    assert made == []
    LOOPS[spool].until(lambda: made)
    assert isinstance(made[0], SpoolError)


def test_a_disk_that_takes_no_ring_is_an_answer_and_tried_again(disk: Watched, spool: Spool) -> None:
    made: list[Ring | SpoolError] = []
    disk.fail("make_directory", errno.EROFS)
    spool.make_ring("green", made.append)
    LOOPS[spool].until(lambda: made)
    spool.make_ring("green", made.append)
    LOOPS[spool].until(lambda: len(made) == 2)
    assert isinstance(made[0], SpoolError)
    assert made[1] is spool.rings["green"]


def test_what_is_asked_for_at_once_while_it_is_made_is_the_same_ring(spool: Spool) -> None:
    made: list[Ring | SpoolError] = []
    spool.make_ring("green", made.append)
    ring = spool.ring("green")
    LOOPS[spool].until(lambda: made)
    assert made == [ring]
