"""`auditsink status` and the tables it prints."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import orjson
import pytest
from calling import Call

from auditsink.cli import tables
from auditsink.cli.status import LastSeen, board

STATUS: dict[str, Any] = {
    "version": "1.2", "state": "running", "accepted_events": 12345, "accepted_batches": 40, "duplicate_batches": 2,
    "rejected_requests": {"full": 3, "auth": 4},
    "spool": {"bytes": 2**20, "max_bytes": 2**22, "segments": 3, "oldest_seconds": 7262.0, "damaged_bytes": 0,
              "wanted_bytes": 2**19, "first_sequence": 2345, "next_sequence": 12345},
    "destinations": [
        {"name": "siem", "type": "splunk", "state": "retrying", "accepted": 12345, "delivered": 12000, "filtered": 1,
         "dead_lettered": 2, "dropped": 3, "pending": 339, "lag_seconds": 61.5, "last_error": "bad \x1b[31m day"},
        {"name": "a", "type": "file", "state": "idle", "accepted": 12345, "delivered": 12345, "filtered": 0,
         "dead_lettered": 0, "dropped": 0, "pending": 0, "lag_seconds": 0.0, "last_error": None},
    ],
}  # fmt: skip


@pytest.fixture
def answer() -> dict[str, Any]:
    """What the server below answers; a test may change it."""
    return {"code": 200, "content": orjson.dumps(STATUS)}


@pytest.fixture
def url(answer: dict[str, Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer["code"] if self.path == "/status" else 404)
            self.end_headers()
            self.wfile.write(answer["content"])

        def log_message(self, *_: object) -> None:
            return None

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_table_shows_the_accounting(auditsink: Call, url: str) -> None:
    said = auditsink("status", "--url", url)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "auditsink 1.2: running",
        "accepted 12,345 events in 40 batches; 2 repeated batches, 7 requests refused",
        "spool 1 MiB of 4 MiB (25%), 3 segments, oldest 2h 1m, 0 B damaged",
        "",
        "DESTINATION  TYPE    STATE     ACCEPTED  DELIVERED  FILTERED  DEAD  DROPPED  PENDING    LAG",
        "siem         splunk  retrying    12,345     12,000         1     2        3      339  1m 1s",
        "a            file    idle        12,345     12,345         0     0        0        0   0.0s",
        "siem: bad ?[31m day",
    ]


@pytest.mark.parametrize(("age", "told"), [(4.25, "4.2s old"), (None, "none complete yet")])
def test_the_copy_of_the_spool_is_a_line(age: float | None, told: str) -> None:
    copy = {
        "state": "copying", "age_seconds": age, "stored_bytes": 2**20, "pending_bytes": 0,
        "where": "auditsink-backup/prod-1 in the bucket b",
    }  # fmt: skip
    line = f"copying, {told}, 1 MiB in auditsink-backup/prod-1 in the bucket b, 0 B not in it"
    assert tables.status(STATUS | {"backup": copy}).splitlines()[3:5] == [f"copy {line}", ""]
    assert any(f"copy     {line}" in one.text for one in board([LastSeen(1.0, STATUS | {"backup": copy})], 200, 50))


def test_an_error_is_told_with_its_time_and_what_comes_next() -> None:
    """It stands there when all is well again, too; and a destination that is paused may wait for minutes."""
    one = STATUS["destinations"][0] | {"last_error_at": "2026-11-22T10:00:00Z", "next_attempt_seconds": 250.9}
    shown = tables.status(STATUS | {"destinations": [one]}).splitlines()[-1]
    assert shown == "siem (last error, 2026-11-22T10:00:00Z): bad ?[31m day; next try in 4m 10s"


def test_an_error_that_is_over_is_told_as_over() -> None:
    one = STATUS["destinations"][0] | {"last_error_at": "2026-11-22T10:00:00Z", "last_error_over": True}
    shown = tables.status(STATUS | {"destinations": [one]}).splitlines()[-1]
    assert shown == "siem (over: the last error, 2026-11-22T10:00:00Z): bad ?[31m day"


def test_json_is_passed_on(auditsink: Call, url: str) -> None:
    assert orjson.loads(auditsink("status", "--url", url + "/", "-o", "json").out) == STATUS


def test_watch_shows_it_again_until_it_ends(auditsink: Call, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    said = auditsink("status", "--url", url, "--watch")
    assert (said.code, said.err.strip(), slept) == (130, "", [2, 2, 2])
    assert said.out.count("auditsink 1.2: running") == 3
    assert "\x1b" not in said.out
    assert said.out.count("siem, None: bad ?[31m day") == 3


def test_watch_as_json_is_a_document_a_line(auditsink: Call, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", interrupted_after(2))
    said = auditsink("status", "--url", url, "--watch", "-o", "json")
    assert said.code == 130
    assert [orjson.loads(line) for line in said.out.splitlines()] == [STATUS] * 2


def test_watch_goes_on_when_the_sink_goes_away(
    auditsink: Call, url: str, answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", interrupted_after(2, lambda: answer.update(code=500)))
    said = auditsink("status", "--url", url, "--watch")
    assert (said.code, said.out.count("auditsink 1.2: running")) == (130, 2)
    assert "THE SINK DOES NOT ANSWER since" in said.out
    assert f"{url}/status: answers 500" in said.out
    assert "what follows is old" in said.out


def interrupted_after(calls: int, deed: Callable[[], None] = lambda: None) -> Callable[[float], None]:
    """A sleep that takes no time, does something each time, and is Ctrl-C in the end."""
    left = iter(range(calls - 1))

    def sleep(_: float) -> None:
        deed()
        if next(left, None) is None:
            raise KeyboardInterrupt

    return sleep


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"code": 404}, "/status: answers 404; --url must be the sink's admin port\n"),
        ({"content": b"<html>"}, "/status: is no auditsink status; --url must be the sink's admin port\n"),
        ({"content": b"[]"}, "/status: is no auditsink status; --url must be the sink's admin port\n"),
    ],
)
def test_something_else_on_the_port_is_told(
    auditsink: Call, url: str, answer: dict[str, Any], change: dict[str, Any], expected: str
) -> None:
    answer.update(change)
    said = auditsink("status", "--url", url)
    assert (said.code, said.out, said.err) == (1, "", f"auditsink: {url}{expected}")


def test_a_sink_that_is_not_there_is_told(auditsink: Call) -> None:
    said = auditsink("status", "--url", "http://127.0.0.1:1")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("auditsink: http://127.0.0.1:1: no answer (")
    assert auditsink("status", "--url", "file:///etc/passwd").code == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0s"), (9.94, "9.9s"), (12.7, "12s"), (60, "1m 0s"), (3599, "59m 59s"), (7262, "2h 1m"), (349200, "4d 1h")],
)
def test_spans_are_told_in_two_units(value: float, text: str) -> None:
    assert tables.seconds(value) == text


def test_an_empty_table_is_its_header() -> None:
    assert tables.table(("A", "LONG"), []) == "A  LONG"


def test_clusters_that_wait_by_themselves_are_named() -> None:
    held = [{"cluster": f"c{number:02d}", "why": "no topic\x1b", "next_attempt_seconds": 29.6} for number in range(30)]
    trouble = STATUS | {"destinations": [STATUS["destinations"][0] | {"held": held}]}
    lines = [line for line in tables.status(trouble).splitlines() if "does not take" in line]
    assert lines[0].endswith("does not take the events of cluster c00: no topic?; next try in 29s")
    assert len(lines) == 10


@pytest.mark.parametrize(("level", "code"), [("good", 0), ("look", 3), ("bad", 4), ("odd", 4)])
def test_the_exit_code_says_how_the_sink_is(
    level: str, code: int, auditsink: Call, url: str, answer: dict[str, Any]
) -> None:
    verdict = {"level": level, "text": "It is so", "commands": ["auditsink doctor"]}
    answer["content"] = orjson.dumps(STATUS | {"verdict": verdict})
    assert auditsink("status", "--url", url).code == 0
    said = auditsink("status", "--url", url, "--exit-code")
    assert said.code == code
    assert f"{level}: It is so\n  $ auditsink doctor\n" in said.out


def test_a_sink_that_is_gone_is_bad_for_who_asks_by_exit_code(auditsink: Call) -> None:
    assert auditsink("status", "--url", "http://127.0.0.1:9").code == 1
    said = auditsink("status", "--url", "http://127.0.0.1:9", "--exit-code")
    assert said.code == 4
    assert "is the sink running" in said.err
    assert auditsink("status", "--url", "nowhere", "--exit-code").code == 2
