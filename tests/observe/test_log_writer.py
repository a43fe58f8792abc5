"""Log lines towards a reader that is slow, gone, or has stopped: nobody waits for it, and what it missed is said."""

import fcntl
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from auditsink.observe.logs import LogWriter

PATIENCE = 60.0
PIPE_BYTES = 4096


class Pipe:
    """A pipe that takes a page."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        fcntl.fcntl(self.into, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def read_until(self, ending: str) -> list[str]:
        found = b""
        while not found.endswith(f"{ending}\n".encode()):
            piece = os.read(self.out, 65536)
            assert piece, found
            found += piece
        return found.decode().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    found = Pipe()
    yield found
    os.close(found.out)  # ends a write that still waits


def writer(pipe: Pipe, **more: Any) -> LogWriter:
    return LogWriter(pipe.into, skipped_line=lambda count: f"skipped {count}", **more)


def stalled(pipe: Pipe) -> LogWriter:
    """A writer that waits for the pipe with a first line, so what finds room after it hangs on no thread's turn."""
    os.write(pipe.into, b"x" * (PIPE_BYTES - 1) + b"\n")
    lines = writer(pipe, queued_bytes=10_000)
    lines.put(f"{-1:99}")
    deadline = time.monotonic() + PATIENCE
    while lines._lines:  # nobody is told that one was taken
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return lines


def test_lines_come_out_in_order(pipe: Pipe) -> None:
    lines = writer(pipe)
    for number in range(10):
        lines.put(f"line {number}")
    assert lines.flush(PATIENCE)
    assert pipe.read_until("line 9") == [f"line {number}" for number in range(10)]
    assert lines.skipped == 0


def test_what_nobody_reads_is_skipped_and_said_where_it_is_missing(pipe: Pipe) -> None:
    lines = stalled(pipe)
    for number in range(200):
        lines.put(f"{number:99}")
    assert not lines.flush(0)
    assert 50 < lines.skipped < 150
    kept = 200 - lines.skipped
    lines.put("too much still")
    found = pipe.read_until(f"skipped {lines.skipped}")
    assert found[2:-1] == [f"{number:99}" for number in range(kept)]  # behind what the writer waited with
    lines.put("and on it goes")
    assert pipe.read_until("and on it goes") == ["and on it goes"]


def test_a_line_that_comes_later_stands_behind_the_notice(pipe: Pipe) -> None:
    lines = stalled(pipe)
    for number in range(200):
        lines.put(f"{number:99}")
    missing = lines.skipped
    found = pipe.read_until(f"skipped {missing}")
    lines.put("later")
    assert [*found, *pipe.read_until("later")][-2:] == [f"skipped {missing}", "later"]


def test_a_reader_that_has_gone_costs_lines_and_nothing_else() -> None:
    out, into = os.pipe()
    os.close(out)
    lines = LogWriter(into, skipped_line=str)
    for _ in range(3):
        lines.put("for nobody")
        assert lines.flush(PATIENCE)
    assert lines.skipped == 3
    os.close(into)


def test_a_pipe_that_somebody_has_made_non_blocking_loses_nothing(pipe: Pipe) -> None:
    os.set_blocking(pipe.into, False)
    lines = writer(pipe)
    for number in range(500):
        lines.put(f"{number:99}")
    assert pipe.read_until(f"{499:99}") == [f"{number:99}" for number in range(500)]
    assert lines.skipped == 0


def test_it_asks_for_more_when_nothing_waits(pipe: Pipe) -> None:
    asked: list[LogWriter] = []

    def idle() -> float | None:
        if len(asked) < 3 and lines:
            asked.append(lines[0])
            lines[0].put(f"by itself {len(asked)}")
        return None

    lines: list[LogWriter] = []
    lines.append(LogWriter(pipe.into, skipped_line=str, idle=idle))
    lines[0].put("first")
    assert pipe.read_until("by itself 3") == ["first", "by itself 1", "by itself 2", "by itself 3"]
