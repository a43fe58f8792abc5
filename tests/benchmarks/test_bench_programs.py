"""The load client and the receiver: what one posts the other has, and both say so."""

import gzip
import http.client
import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from auditsink.testing.framings import FRAMINGS
from benchmarks import bodies, disk, native, process
from benchmarks.bodies import Bodies
from benchmarks.native import Programs
from benchmarks.wire import Load, Receiver, post_to

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="the programs are written in C")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    try:
        return native.build(tmp_path_factory.mktemp("programs"))
    except native.NativeError as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Bodies:
    return bodies.batches(tmp_path_factory.mktemp("input") / "batches")


@pytest.fixture
def receiver(programs: Programs) -> Iterator[Receiver]:
    with Receiver(programs.hec, count=True) as one:
        yield one


@contextmanager
def keeping(kept: list[bytes]) -> Iterator[int]:
    """A server that keeps the bodies; yields its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            kept.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield server.server_address[1]
        server.shutdown()


def test_batches_are_of_the_size_that_the_issue_is_about(batches: Bodies) -> None:
    assert len(batches.sizes) > 10
    assert all(bodies.BATCH_BYTES <= size < 1.6 * bodies.BATCH_BYTES for size in batches.sizes)


@pytest.mark.parametrize("name", ["items first", "pretty-printed"])
def test_batches_in_another_frame_hold_the_same_events(
    programs: Programs, batches: Bodies, receiver: Receiver, tmp_path: Path, name: str
) -> None:
    framed = bodies.framed(batches, tmp_path / "framed", FRAMINGS[name])
    assert framed.events == batches.events
    posted = post_to(programs.load, receiver.port, "/audit", Load(framed, 4, 30, posts=10))
    assert (posted.posts, posted.broken) == (10, 0)
    assert receiver.received().events == posted.events == sum(batches.events[:10])


def test_every_event_that_was_posted_is_counted_once(programs: Programs, batches: Bodies, receiver: Receiver) -> None:
    posted = post_to(programs.load, receiver.port, "/audit", Load(batches, 4, 30, posts=45))
    received = receiver.received()
    assert (posted.posts, posted.refused, posted.broken) == (45, {}, 0)
    assert posted.events == 2 * sum(batches.events) + sum(batches.events[: 45 - 2 * len(batches.events)])
    assert (received.requests, received.bytes, received.events) == (45, posted.bytes, posted.events)
    assert posted.began_ns < received.first_ns <= received.most_ns <= received.last_ns


def test_no_two_bodies_are_the_same(programs: Programs, tmp_path: Path) -> None:
    """Else the sink would call them repetitions and store the first one only."""
    directory = tmp_path / "one"
    directory.mkdir()
    body = b'{"items":[{"auditID":"00000000-0000-0000-0000-000000000000"}]}'
    (directory / "0.json").write_bytes(body)
    kept: list[bytes] = []
    with keeping(kept) as port:
        post_to(programs.load, port, "/audit", Load(Bodies(directory, [1], [len(body)]), 1, 30, posts=20))
    assert len(set(kept)) == 20
    assert {len(one) for one in kept} == {len(body)}


def test_a_rate_is_kept(programs: Programs, batches: Bodies, receiver: Receiver) -> None:
    posted = post_to(programs.load, receiver.port, "/audit", Load(batches, 2, 30, posts=6, rate=20))
    assert posted.posts == 6
    assert posted.seconds >= 5 / 20


def test_each_answer_tells_from_when_to_when_it_was_waited_for(
    programs: Programs, batches: Bodies, receiver: Receiver
) -> None:
    before = time.monotonic_ns()
    posted = post_to(programs.load, receiver.port, "/audit", Load(batches, 2, 30, posts=6, rate=20, each=True))
    dues = [due - posted.began_ns for due, _answered in sorted(posted.each)]
    assert dues == pytest.approx([at * 50_000_000 for at in range(6)], abs=1)
    assert all(before < due < answered < time.monotonic_ns() for due, answered in posted.each)
    assert post_to(programs.load, receiver.port, "/audit", Load(batches, 2, 30, posts=6)).each == []


def test_gzip_and_chunked_bodies_are_counted_as_well(receiver: Receiver) -> None:
    text = b'{"event":{"auditID":"a"}}{"event":{"auditID":"b"}}' * 5000
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port)
    packed = gzip.compress(text)
    pieces = [packed[start : start + 700] for start in range(0, len(packed), 700)]
    for _ in range(2):
        connection.request("POST", "/services/collector/event", iter(pieces), {"Content-Encoding": "gzip"})
        assert connection.getresponse().read() == b'{"text":"Success","code":0}'
    connection.request("POST", "/services/collector/event", text)
    assert connection.getresponse().read() == b'{"text":"Success","code":0}'
    connection.close()
    received = receiver.received()
    assert (received.requests, received.events) == (3, 30_000)


def test_a_process_is_measured_with_its_children() -> None:
    burn = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(5 * 10**7))'])"
    child = subprocess.Popen([sys.executable, "-c", f"{burn}\ninput()"], stdin=subprocess.PIPE)
    try:
        until = time.monotonic() + 20
        while process.cpu(child.pid) < 0.1 and time.monotonic() < until:
            os.sched_yield()
        assert process.cpu(child.pid) >= 0.1
        assert 0 < process.memory(child.pid).anonymous <= process.memory(child.pid).rss
    finally:
        child.communicate(b"\n")


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(native.NativeError, match="no C compiler"):
        native.build(tmp_path)


def test_what_reaches_the_disk_is_counted_or_said_not_to_be(tmp_path: Path) -> None:
    before = disk.written(tmp_path)
    if before is None:
        pytest.skip("this directory's file system has no device of its own")
    (tmp_path / "file").write_bytes(os.urandom(2**20))
    after = disk.written(tmp_path)
    assert after is not None
    assert after - before >= 2**20
