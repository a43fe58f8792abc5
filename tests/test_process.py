"""What the process does when threads die or hang; signals are tested on real processes (tests/e2e)."""

import asyncio
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest

from auditsink import process


class Told:
    """Stands in for a sink: remembers failures."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def fail(self, why: str) -> None:
        self.failures.append(why)


class LeftError(Exception):
    """`os._exit` was called."""


@pytest.fixture
def no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> NoReturn:
        raise LeftError(code)

    monkeypatch.setattr(os, "_exit", leave)


def test_a_dead_thread_is_told_and_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    sink = Told()
    monkeypatch.setattr(threading, "excepthook", lambda dead: process._thread_died(sink, dead))  # type: ignore[arg-type] # a stand-in
    thread = threading.Thread(target=lambda: 1 / 0, name="writer")
    thread.start()
    thread.join()
    assert sink.failures == ["thread writer died of ZeroDivisionError; restart the sink and report it with its log"]
    assert "a thread died" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_what_asyncio_has_nobody_to_tell_is_logged(caplog: pytest.LogCaptureFixture):
    asyncio.get_running_loop().set_exception_handler(process._report)
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
    assert "ZeroDivisionError" in caplog.text


def test_idle_threads_are_joined(no_exit: None):
    threads = ThreadPoolExecutor(2)
    assert threads.submit(lambda: 3).result() == 3
    process._leave_stuck_threads(threads)


def test_a_thread_that_hangs_is_left_behind(no_exit: None, caplog: pytest.LogCaptureFixture):
    hanging = threading.Event()
    threads = ThreadPoolExecutor(2)
    threads.submit(hanging.wait, 60)
    with pytest.raises(LeftError) as left:
        process._leave_stuck_threads(threads)
    hanging.set()
    assert left.value.args == (0,)
    assert "a thread hangs" in caplog.text


def test_a_stop_that_takes_too_long_is_cut_short(no_exit: None, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR), pytest.raises(LeftError) as left:
        process._give_up()
    assert left.value.args == (1,)


def test_a_second_signal_leaves_at_once(no_exit: None):
    with pytest.raises(LeftError) as left:
        process._at_once(15, None)
    assert left.value.args == (143,)
