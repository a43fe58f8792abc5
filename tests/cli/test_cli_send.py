"""`auditsink send`: what is posted, what is said."""

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import corpus
import pytest
from calling import Call

from auditsink.audit.eventlist import split
from auditsink.cli import send
from auditsink.common.clock import SystemClock


class Sink:
    """Takes what is posted; `status` may be changed by a test."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/audit/prod"
        self.status = 200
        self.bodies: list[bytes] = []
        self.paths: set[str] = set()

    def events(self) -> list[bytes]:
        """All that came, in order."""
        return [event for body in list(self.bodies) for event in split(body).events]


@pytest.fixture
def sink() -> Iterator[Sink]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            found.paths.add(self.path)
            found.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            count = split(found.bodies[-1]).events
            content = b'{"accepted":%d}' % len(count) if found.status == 200 else b'{"error":"no"}'
            self.send_response(found.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Sink(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits end at once; how long they would have been."""
    slept: list[float] = []

    class Clock(SystemClock):
        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)

    monkeypatch.setattr(send, "SystemClock", Clock)
    return slept


def test_an_archive_is_posted_byte_for_byte(auditsink: Call, sink: Sink) -> None:
    name = "batch50-request-h2tls"
    said = auditsink("send", corpus.archive(name), "--url", sink.url, "--connections", 1)
    assert said.code == 0
    assert sink.bodies == [body.data for body in corpus.bodies(name)]
    assert sink.paths == {"/audit/prod?timeout=30s"}
    why = "passed over 38: holds no audit event; what stands there is JSON, and no audit event"
    assert re.fullmatch(why + r" \((\S+\.meta\.json, ){9}\S+\.meta\.json and 28 more\)\n", said.err)
    assert re.fullmatch(
        r"sent 38 batches, 758 events, 792,574 bytes in \d+\.\ds; 0 retries, 0 failed\n", said.out.replace(" s;", "s;")
    )


def test_an_audit_log_is_batched(auditsink: Call, sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_bytes(b"\n".join(corpus.event(f"e{number}") for number in range(25)) + b"\n")
    said = auditsink("send", tmp_path / "audit.log", "--url", sink.url, "--batch", 10)
    assert said.out.startswith("sent 3 batches, 25 events")
    assert sorted(body.count(b"auditID") for body in sink.bodies) == [5, 10, 10]


def test_a_rate_is_kept(auditsink: Call, sink: Sink, hurried: list[float]) -> None:
    auditsink("send", corpus.archive("batch100-metadata-mtls-h2"), "--url", sink.url, "--rate", 100)
    assert sum(hurried) > 1402 / 100 - 2


def test_what_is_given_up_is_said_and_1(auditsink: Call, sink: Sink, hurried: list[float], tmp_path: Path) -> None:
    sink.status = 500
    (tmp_path / "a.json").write_bytes(corpus.plain_body("a").data)
    said = auditsink("send", tmp_path / "a.json", "--url", sink.url)
    assert said.code == 1
    assert len(sink.bodies) == 5
    assert len(hurried) == 4
    assert said.err.splitlines()[-1] == "auditsink: gave up 1 batches with 3 events: HTTP 500 (no); see the sink's log"
    assert re.match(r"HTTP 500 \(no\); trying again in 1\d s \(attempt 2 of 5\)\n", said.err)
    assert "4 retries, 1 failed" in said.out


def test_a_hopeless_answer_ends_the_command_with_the_remedy(
    auditsink: Call, sink: Sink, hurried: list[float], tmp_path: Path
) -> None:
    sink.status = 404
    (tmp_path / "a.json").write_bytes(corpus.plain_body("a").data)
    said = auditsink("send", tmp_path / "a.json", tmp_path / "a.json", "--url", sink.url, "--connections", 1)
    assert (said.code, len(sink.bodies), hurried) == (1, 1, [])
    assert "auditsink: stopped: HTTP 404 (no): there is nothing at that path; --url ends in" in said.err


def test_a_torn_line_is_told_with_its_number(auditsink: Call, sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_bytes(
        b"\n".join([corpus.event("a"), corpus.event("b")[:30], corpus.event("c"), b""])
    )
    said = auditsink("send", tmp_path / "audit.log", "--url", sink.url)
    assert said.out.startswith("sent 1 batches, 2 events")
    assert said.err == f"passed over 1: is torn or glued to another, and no whole event ({tmp_path}/audit.log:2)\n"


def test_standard_input_is_read(sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_bytes(corpus.event("a") + b"\n" + corpus.event("b"))
    command = [sys.executable, "-m", "auditsink", "send", "-", "--url", sink.url]
    with (tmp_path / "audit.log").open("rb") as stream:
        ran = subprocess.run(command, stdin=stream, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("sent 1 batches, 2 events")


def test_an_interrupt_ends_the_waiting_for_standard_input(sink: Sink) -> None:
    command = [sys.executable, "-m", "auditsink", "send", "-", "--url", sink.url]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests may have it ignored
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, preexec_fn=heard) as ran:  # noqa: PLW1509 - no threads yet in the child
        try:
            assert ran.stdin is not None
            ran.stdin.write(corpus.event("a") + b"\n")
            ran.stdin.flush()
            while not sink.bodies:
                assert ran.poll() is None
                time.sleep(0.02)
            ran.send_signal(signal.SIGINT)
            out, _ = ran.communicate(timeout=60)
            assert ran.returncode == 130
            assert out.startswith(b"sent ")  # whether the answer had come is the machine's secret
        finally:
            ran.kill()


def test_a_followed_log_is_sent_over_a_rotation_and_a_restart(sink: Sink, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    command = [sys.executable, "-m", "auditsink", "send", "--follow", str(log), "--state", str(tmp_path / "place")]

    place = tmp_path / "place"

    def until(count: int, change: Callable[[], object]) -> str:
        """Follow until so many events have come in all, and the place is behind them; what was said."""
        with subprocess.Popen([*command, "--url", sink.url], stdout=-1, stderr=-1, text=True) as ran:
            try:
                change()
                while len(sink.events()) < count or not place.exists() or b'"line":2,' not in place.read_bytes():
                    assert ran.poll() is None, ran.communicate()
                    time.sleep(0.02)
            finally:
                ran.terminate()
            out, err = ran.communicate(timeout=30)
        assert (ran.returncode, "Traceback" in err) == (0, False)
        return out

    def rotate() -> None:
        with log.open("ab") as stream:
            stream.write(corpus.event("e2") + b"\n")
        log.rename(tmp_path / "audit-2025-01-04T14-13-20.123.log")
        log.write_bytes(corpus.event("e3") + b"\n" + corpus.event("e4") + b"\n")

    def append() -> None:
        with log.open("ab") as stream:
            stream.write(corpus.event("e1") + b"\n")

    log.write_bytes(corpus.event("e0") + b"\n")
    assert until(2, append).startswith("sent ")
    assert until(5, rotate).startswith("sent ")
    assert sink.events() == [corpus.event(f"e{number}") for number in range(5)]


def test_alike_failures_are_said_once(auditsink: Call, sink: Sink, hurried: list[float]) -> None:
    sink.status = 500
    said = auditsink("send", corpus.archive("hostile-patches"), "--url", sink.url)
    assert said.err.count("attempt 2 of 5") == 1
    assert said.out.startswith("sent 0 batches")


def test_a_damaged_file_does_not_keep_the_others_back(auditsink: Call, sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "cut.tar.gz").write_bytes(corpus.archive("batch50-request-h2tls").read_bytes()[:20_000])
    (tmp_path / "good.json").write_bytes(corpus.plain_body("a").data)
    said = auditsink("send", tmp_path / "cut.tar.gz", tmp_path / "good.json", "--url", sink.url)
    assert said.code == 1
    assert corpus.plain_body("a").data in sink.bodies
    assert f"auditsink: {tmp_path}/cut.tar.gz: is damaged or cut off" in said.err


def test_nothing_to_send_is_an_error(auditsink: Call, sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello")
    said = auditsink("send", tmp_path / "x", "--url", sink.url)
    assert said.code == 1
    assert "auditsink: nothing to send: there is no EventList and no audit log in it\n" in said.err


def test_a_terminal_gets_a_progress_bar(auditsink: Call, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def bar(size: int) -> object:
        shown = click.progressbar(length=size)
        shown.update = seen.append  # type: ignore[method-assign,assignment] # what it is told is all that matters
        return shown

    monkeypatch.setattr(send, "_bar", bar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    path = corpus.archive("batch50-request-h2tls")
    assert auditsink("send", path, "--url", sink.url).code == 0
    assert sum(seen) == path.stat().st_size
    assert len(seen) > 30


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--url", "nowhere"], 2, "--url is no URL; write http:// or https:// and a host."),
        (["--url", "http://[::1"], 2, "--url is no URL; write http:// or https:// and a host."),
        (["--token-file", "FILE"], 2, "need an https:// URL: nothing is sent in the clear."),
        (["--url", "https://h", "--cert", "FILE"], 2, "--cert and --key belong together."),
        (["--url", "https://h", "--ca", "FILE"], 1, "--ca, --cert or --key: not usable ("),
        (["--url", "https://h", "--cert", "FILE", "--key", "FILE"], 1, "); give PEM files that fit"),
        (["--url", "https://h", "--token-file", "EMPTY"], 1, "is empty; write the secret into it"),
        (["--rate", "0"], 2, "--rate"),
        (["--follow"], 2, "--follow and --state belong together"),
        (["--state", "FILE"], 2, "--follow and --state belong together"),
        (["--follow", "--state", "EMPTY"], 1, "EMPTY: is no state file of this version; remove it"),
        (["--batch", "0"], 2, "--batch"),
    ],
)
def test_options_that_cannot_work_are_told(
    auditsink: Call, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    (tmp_path / "FILE").write_text("hello")
    (tmp_path / "EMPTY").touch()
    given = [str(tmp_path / one) if one in {"FILE", "EMPTY"} else one for one in options]
    said = auditsink("send", tmp_path / "FILE", *given)
    assert (said.code, said.out) == (code, "")
    assert message in said.err
    assert said.err.count("\n") == 1


def test_a_token_is_read_again_for_each_request(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first-token\n")
    token = send._token(tmp_path / "token")
    assert token().reveal() == "first-token"
    (tmp_path / "token").write_text("another\n")
    assert token().reveal() == "another"
