"""`auditsink tail` against a server that says what it is told to, and its line."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from calling import Call

from auditsink.cli import tail

EVENT = {
    "cluster": "prod", "sequence": 7, "time": "2026-11-23T10:00:00.123Z", "bytes": 99, "user": "admin",
    "verb": "delete", "resource": "pods", "namespace": "shop", "name": "web-1", "code": 200,
    "stage": "ResponseComplete",
}  # fmt: skip
LINE = "10:00:00.123Z prod admin delete pods/shop/web-1 200 ResponseComplete"
HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202edenwo\u200b\r\n"


HELD = "the sink's admin.token_file holds"


class Answers:
    """What the server answers, and what it was asked: path, parameters, authorization."""

    def __init__(self) -> None:
        self.code, self.lines, self.event = 200, [EVENT], b'{"whole":\n1}'
        self.location = ""
        self.asked: list[tuple[str, list[tuple[str, str]], str | None]] = []


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def url(answers: Answers) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            answers.asked.append((parts.path, parse_qsl(parts.query), self.headers["Authorization"]))
            self.send_response(answers.code)
            if answers.location:
                self.send_header("Location", answers.location)
            self.end_headers()
            if parts.path == "/event":
                self.wfile.write(answers.event)
            else:
                self.wfile.write(b"".join(json.dumps(line).encode() + b"\n" for line in answers.lines))

        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_events_are_a_line_each(auditsink: Call, url: str, answers: Answers) -> None:
    answers.lines = [{"looked_at": 5}, EVENT, {"skipped": 1200}, {}, EVENT | {"impersonated": "eve"}]
    said = auditsink("tail", "--url", url + "/")
    assert said.code == 0
    assert said.out.splitlines() == [LINE, LINE.replace("admin", "admin as eve")]
    assert said.err == "auditsink: 1,200 events skipped\n"


def test_filters_and_the_token_are_sent(auditsink: Call, url: str, answers: Answers, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-secret-secret\n")
    auditsink(
        "tail", "--url", url, "-n", "3", "--verb", "get", "--verb", "!list", "--code", "4xx", "--token-file", token
    )
    ((path, parameters, authorization),) = answers.asked
    assert (path, authorization) == ("/tail", "Bearer secret-secret-secret")
    assert parameters == [
        ("verb", "get"), ("verb", "!list"), ("code", "4xx"), ("last", "3"), ("follow", "0"), ("raw", "0"),
    ]  # fmt: skip


def test_json_is_the_event_itself_the_large_ones_fetched(auditsink: Call, url: str, answers: Answers) -> None:
    raw = '{"verb":"get","n":123456789012345678901234567890}'
    answers.lines = [EVENT | {"raw": raw}, EVENT]
    said = auditsink("tail", "--url", url, "-o", "json")
    assert said.out.splitlines() == [raw, '{"whole": 1}']
    assert answers.asked[1][:2] == ("/event", [("cluster", "prod"), ("sequence", "7")])


def test_an_end_of_what_was_to_be_followed_is_an_error(auditsink: Call, url: str) -> None:
    said = auditsink("tail", "--url", url, "-f")
    assert (said.code, said.out.strip()) == (1, LINE)
    assert "the sink has ended the tail" in said.err


def test_a_refusal_is_told_with_the_sinks_words(auditsink: Call, url: str, answers: Answers) -> None:
    answers.code, answers.lines = 403, [{"error": "set admin.token_file"}]
    said = auditsink("tail", "--url", url)
    assert (said.code, said.err) == (1, f"auditsink: {url}/tail: answers 403; set admin.token_file\n")


def test_a_token_that_is_missing_or_wrong_is_told_by_the_option(
    auditsink: Call, url: str, answers: Answers, tmp_path: Path
) -> None:
    answers.code = 401
    asked = f"auditsink: {url}/tail: answers 401; "
    assert auditsink("tail", "--url", url).err == f"{asked}give --token-file, a file with what {HELD}\n"
    token = tmp_path / "token"
    token.write_text("secret-secret-secret\n")
    said = auditsink("tail", "--url", url, "--token-file", token)
    assert said.err == f"{asked}--token-file does not hold what {HELD}\n"


def test_a_redirect_does_not_take_the_token_elsewhere(
    auditsink: Call, url: str, answers: Answers, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("secret-secret-secret\n")
    answers.code, answers.location = 302, url + "/elsewhere"
    assert auditsink("tail", "--url", url, "--token-file", token).code == 1
    assert [path for path, _, _ in answers.asked] == ["/tail"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", "ä".encode(), b"two\nlines"])
def test_a_token_that_cannot_be_sent_is_told(auditsink: Call, url: str, tmp_path: Path, content: bytes) -> None:
    token = tmp_path / "token"
    token.write_bytes(content)
    said = auditsink("tail", "--url", url, "--token-file", token)
    assert said.code == 1
    assert said.err.startswith(f"auditsink: --token-file {token}: ")


def test_something_else_on_the_port_is_told(auditsink: Call, url: str, answers: Answers) -> None:
    answers.lines = ["no object"]  # type: ignore[list-item]  # that is the point
    said = auditsink("tail", "--url", url)
    assert (said.code, said.err) == (
        1,
        f"auditsink: {url}/tail: is no auditsink tail; --url must be the sink's admin port\n",
    )
    assert auditsink("tail", "--url", "http://127.0.0.1:1").code == 1
    assert auditsink("tail", "--url", "file:///etc/passwd").code == 2


@pytest.mark.parametrize("colours", [True, False])
def test_nothing_hostile_reaches_the_terminal(colours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    words: dict[str, Any] = {key: HOSTILE for key, value in EVENT.items() if isinstance(value, str)}
    shown = tail.line(EVENT | words | {"impersonated": HOSTILE}, colours=colours)
    for style in ("1", "2", "32", "0"):
        shown = shown.replace(f"\x1b[{style}m", "")
    assert shown.isprintable()


def test_a_request_without_an_object_shows_its_address() -> None:
    told = {"cluster": "prod", "time": "2026-11-23T10:00:00.123Z", "uri": "/healthz", "stage": "Panic"}
    assert tail.line(told, colours=False) == "10:00:00.123Z prod /healthz Panic"
