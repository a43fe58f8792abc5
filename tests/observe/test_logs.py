"""What a log line shows, and what it never shows."""

import io
import json
import logging
import sys
import time
import warnings
from base64 import b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.common.redact import redact
from auditsink.common.secret import Secret
from auditsink.config import Log
from auditsink.observe import logs


@pytest.fixture
def stream() -> io.StringIO:
    """What `configure` writes to."""
    return io.StringIO()


def fail(problem: Exception) -> None:
    raise problem


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_holds_the_message_and_the_extra_fields(stream: io.StringIO) -> None:
    logs.configure(Log(), stream)
    logging.getLogger("auditsink.x").warning("took %d", 3, extra={"cluster": "c", "bytes": 7, "when": None})
    (line,) = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning", "logger": "auditsink.x", "message": "took 3", "cluster": "c", "bytes": 7, "when": None,
    }  # fmt: skip


def test_an_exception_is_one_field_of_one_line(stream: io.StringIO) -> None:
    logs.configure(Log(), stream)
    try:
        fail(ValueError("broken\nin two"))
    except ValueError:
        logging.getLogger("auditsink").exception("failed")
    (line,) = lines(stream)
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: broken\nin two")


def test_a_text_line_is_one_line_whatever_is_in_it(stream: io.StringIO) -> None:
    logs.configure(Log(format="text"), stream)
    logging.getLogger("auditsink").error("a\nb\x1b[31m", extra={"user": "x\r\ny\x9b"})
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "ERROR   auditsink: a\\x0ab\\x1b[31m user=x\\x0d\\x0ay\\x9b" in text


def test_levels_are_honoured_and_libraries_are_quiet(stream: io.StringIO) -> None:
    logs.configure(Log(), stream)
    for name in ("auditsink", "uvicorn.error", "aiokafka.conn"):
        logging.getLogger(name).debug("debug")
        logging.getLogger(name).info("info")
        logging.getLogger(name).warning("warning")
    assert [(line["logger"], line["message"]) for line in lines(stream)] == [
        ("auditsink", "info"), ("auditsink", "warning"), ("uvicorn.error", "warning"), ("aiokafka.conn", "warning"),
    ]  # fmt: skip


def test_pythons_warnings_are_log_lines(stream: io.StringIO) -> None:
    logs.configure(Log(), stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old habit", stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "old habit" in lines(stream)[0]["message"]


def test_a_stream_that_is_gone_is_no_traceback(stream: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(), stream)
    stream.close()
    logging.getLogger("auditsink").error("nobody reads this")
    assert capsys.readouterr().err == ""


def test_standard_error_is_the_default(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure(Log())
    logging.getLogger("auditsink").error("seen")
    assert lines(stream)[0]["message"] == "seen"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(object()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.frozensets(st.text()),
    max_leaves=5,
)


@given(st.text(), ANYTHING, st.sampled_from([logs.JsonFormatter(), logs.TextFormatter()]))
def test_every_record_becomes_one_line(message: str, value: object, formatter: logging.Formatter) -> None:
    """Lone surrogates, huge integers, bytes, NaN: whatever a library logs."""
    record = logging.makeLogRecord({"msg": message, "args": (), "value": value, "levelname": "INFO"})
    line = formatter.format(record)
    line.encode()
    if isinstance(formatter, logs.JsonFormatter):
        assert "value" in json.loads(line)
    assert "\n" not in line


def test_arguments_that_do_not_fit_are_shown_all_the_same() -> None:
    record = logging.makeLogRecord({"msg": "%d of %d", "args": ("x",), "levelname": "INFO"})
    assert json.loads(logs.JsonFormatter().format(record))["message"] == "%d of %d ('x',)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("{'Authorization': 'Splunk 0123-abc'}", "{'Authorization': '***'}"),
        ("authorization=xyz", "authorization=***"),
        ("sent Bearer abc.def, failed", "sent Bearer ***, failed"),
        ("Basic dXNlcjpwYXNz", "Basic ***"),
        ("Splunk 12345678-90ab-cdef-1234-567890abcdef", "Splunk ***"),
        ("Splunk destination siem has 2 problems", "Splunk destination siem has 2 problems"),
        ("https://user:pa55@hec:8088/x", "https://***@hec:8088/x"),
        ("https://hec:8088/x?mail=a@b", "https://hec:8088/x?mail=a@b"),
        ("Bearer ***", "Bearer ***"),
        ("basic things", "basic things"),
    ],
)
def test_what_looks_like_a_credential_is_starred(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_known_secrets_are_starred_wherever_they_stand() -> None:
    token, short = Secret("swordfish-42"), Secret("ab")
    assert redact("url?x=swordfish-42&y") == "url?x=***&y"
    assert redact("about") == "about"
    assert redact(f"{token!r} {short}") == "*** ***"
    del token
    assert redact("swordfish-42") == "swordfish-42"


SPECIAL = 'pa:s "s\\ &+%/é 42'


@pytest.mark.parametrize(
    "written",
    [
        SPECIAL,
        json.dumps(SPECIAL),
        quote(SPECIAL),
        quote(SPECIAL, safe=""),
        quote_plus(SPECIAL),
        quote(SPECIAL, safe="").lower(),
        b64encode(SPECIAL.encode()).decode(),
        *(b64encode(f"{user}:{SPECIAL}".encode()).decode() for user in ("u", "us", "use")),
        b64encode(f"user:{quote_plus(SPECIAL)}".encode()).decode(),
        urlsafe_b64encode(f"sink:{SPECIAL}".encode()).decode(),
    ],
)
def test_a_known_secret_is_starred_however_it_is_written(written: str) -> None:
    """What is left of base64 is what stood around the secret, and the bits that it shares with that."""
    held = Secret(SPECIAL)
    shown = redact(f"said: {written}!")
    assert "***" in shown
    assert len(shown) <= len("said: ***!") + 12
    del held


@pytest.mark.parametrize("piece", ["a.", "a:", "://", "a.b://", "authorization ", "Splunk ", "Bearer ", "a://b"])
def test_hostile_texts_take_no_time(piece: str) -> None:
    """A text of 80 kB and more: hundredths of a second; half a minute and more where the square of it is taken."""
    text = piece * 40_000
    began = time.process_time()
    assert len(redact(text)) <= 2 * len(text)
    assert time.process_time() - began < 5


def test_a_secret_shows_in_no_field_of_a_line(stream: io.StringIO) -> None:
    token = Secret("swordfish-43")
    logs.configure(Log(), stream)
    try:
        fail(ConnectionError("refused: header swordfish-43"))
    except ConnectionError:
        extra = {"url": "http://x/swordfish-43", "deep": {"list": ["swordfish-43"], "token": token}}
        logging.getLogger("auditsink").exception("with %s and %s", token, "swordfish-43", extra=extra)
    assert "swordfish-43" not in stream.getvalue()
    assert stream.getvalue().count("***") == 7  # message 2, url, list, token, exception 2


def test_equal_lines_are_said_once_and_then_counted(stream: io.StringIO) -> None:
    logs.configure(Log(), stream)
    for _ in range(73):
        logging.getLogger("auditsink").warning("again", extra={"cluster": "c"})
    logging.getLogger("auditsink").warning("again", extra={"cluster": "d"})
    logs.flush(0)
    assert [(line["message"], line["cluster"], line.get("within_seconds")) for line in lines(stream)] == [
        ("again", "c", None),
        ("again", "d", None),
        ("72 x again", "c", 10),
    ]


def test_grouped_lines_in_text_are_lines_too(stream: io.StringIO) -> None:
    logs.configure(Log(format="text"), stream)
    for _ in range(3):
        logging.getLogger("auditsink").warning("again\n%s", "and again")
    logs.flush(0)
    assert [line.partition(" WARNING ")[2] for line in stream.getvalue().splitlines()] == [
        "auditsink: again\\x0aand again",
        "auditsink: 2 x again\\x0aand again within_seconds=10.0",
    ]
