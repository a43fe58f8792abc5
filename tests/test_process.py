"""What the process does when threads die or hang; signals are tested on real processes (tests/e2e)."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest

from auditsink import process
from auditsink.common.watch import FileWatch


class Told:
    """Stands in for a sink: remembers failures."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def fail(self, why: str) -> None:
        self.failures.append(why)


class Recorded(Told):
    """Also remembers what it was asked to do."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def start(self) -> None:
        self.asked.append("start")
        os.kill(os.getpid(), signal.SIGTERM)

    async def stop(self, seconds: float) -> None:
        self.asked.append(f"stop within {seconds:g}")
        assert signal.getsignal(signal.SIGTERM) is process._at_once
        assert signal.getsignal(signal.SIGINT) is process._at_once

    def addresses(self) -> dict[str, str]:
        return {"receive": "http://x", "admin": "http://y"}


class LeftError(Exception):
    """`os._exit` was called."""


@pytest.fixture
def no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> NoReturn:
        raise LeftError(code)

    monkeypatch.setattr(os, "_exit", leave)


@pytest.fixture
def own_process() -> Iterator[None]:
    """Puts back what belongs to the test run."""
    thresholds = gc.get_threshold()
    hooks = threading.excepthook, sys.unraisablehook  # pytest's own: without them it hears of no thread and no socket
    handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    yield
    threading.excepthook, sys.unraisablehook = hooks
    for number, handler in handlers.items():
        signal.signal(number, handler)
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_a_signal_stops_it_in_order(own_process: None, caplog: pytest.LogCaptureFixture) -> None:
    sink = Recorded()
    with caplog.at_level(logging.INFO):
        assert asyncio.run(process._live(sink, ["a: is risky"], lambda: None, FileWatch([]))) == 0  # type: ignore[arg-type] # a stand-in
    assert sink.asked == ["start", "stop within 8"]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "files that this process may have open",
        "risky",
        "ready",
        "stopping",
        "stopped",
    ]
    ready = caplog.records[2]
    assert (vars(ready)["receive"], vars(ready)["admin"]) == ("http://x", "http://y")
    assert sink.failures == []


def test_a_dead_thread_is_told_and_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    sink = Told()
    monkeypatch.setattr(threading, "excepthook", lambda dead: process._thread_died(sink, dead))  # type: ignore[arg-type] # a stand-in
    thread = threading.Thread(target=lambda: 1 / 0, name="writer")
    thread.start()
    thread.join()
    assert sink.failures == ["thread writer died of ZeroDivisionError; restart the sink and report it with its log"]
    assert "a thread died" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_what_asyncio_has_nobody_to_tell_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    asyncio.get_running_loop().set_exception_handler(process._report)
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
    assert "ZeroDivisionError" in caplog.text


def test_idle_threads_are_joined(no_exit: None) -> None:
    threads = ThreadPoolExecutor(2)
    assert threads.submit(lambda: 3).result() == 3
    process._leave_stuck_threads(threads)


def test_a_thread_that_hangs_is_left_behind(no_exit: None, caplog: pytest.LogCaptureFixture) -> None:
    hanging = threading.Event()
    threads = ThreadPoolExecutor(2)
    threads.submit(hanging.wait, 60)
    with pytest.raises(LeftError) as left:
        process._leave_stuck_threads(threads)
    hanging.set()
    assert left.value.args == (0,)
    assert "a thread hangs" in caplog.text


def test_a_stop_that_takes_too_long_is_cut_short(no_exit: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(LeftError) as left:
        process._give_up()
    assert left.value.args == (1,)


def test_a_second_signal_leaves_at_once(no_exit: None) -> None:
    with pytest.raises(LeftError) as left:
        process._at_once(15, None)
    assert left.value.args == (143,)
