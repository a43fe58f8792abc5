"""What every test may use. This file also puts `tests/` on the import path, for `import corpus`."""

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest
import running
from hypothesis import settings

from auditsink.common import watch
from auditsink.observe import logs

# No verdict hangs on how fast the machine is, nor on luck: each run tries the same examples.
# `--hypothesis-profile=search` looks for new ones; what it finds becomes an example in the test.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def every_look_at_a_file_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test changes a file and looks at once."""
    monkeypatch.setattr(watch, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(watch, "PATIENCE_SECONDS", 30.0)


@pytest.fixture(autouse=True)
def logging_is_put_back() -> Iterator[None]:
    """A command run in this process sets logging up: the next test sees the log as if it were the first one."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    noisy = [(logging.getLogger(name), logging.getLogger(name).level) for name in logs.NOISY]
    yield
    root.handlers[:], root.level, logging.raiseExceptions = before
    logging.captureWarnings(capture=False)
    for logger, level in noisy:
        logger.setLevel(level)


@pytest.fixture
def keep_port() -> Iterator[Callable[[int], None]]:
    """For a server that is to come back: no process that asks for any port gets this one, who names it does."""
    with contextlib.ExitStack() as kept:

        def keep(port: int) -> None:
            held = kept.enter_context(socket.socket())
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", port))

        yield keep


@pytest.fixture(autouse=True)
def no_sink_outlives_its_test() -> Iterator[None]:
    """A test that fails on the way may not get to stopping what it started."""
    yield
    for pid in running.LIVE:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    running.LIVE.clear()
