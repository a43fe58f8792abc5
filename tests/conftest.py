"""What every test may use. This file also puts `tests/` on the import path, for `import corpus`."""

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest
import running
from hypothesis import settings

from auditsink.common import watch

# No verdict hangs on how fast the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def every_look_at_a_file_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test changes a file and looks at once."""
    monkeypatch.setattr(watch, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(watch, "PATIENCE_SECONDS", 30.0)


@pytest.fixture(autouse=True)
def no_sink_outlives_its_test() -> Iterator[None]:
    """A test that fails on the way may not get to stopping what it started."""
    yield
    for pid in running.LIVE:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    running.LIVE.clear()
