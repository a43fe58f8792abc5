"""What tests against servers of other makers stand on: where they are kept, how one is started and ended."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("AUDITSINK_REAL_CACHE") or Path(__file__).parents[2] / ".real").resolve()
"""Servers that were fetched or built, by name and version: a second run finds them."""
PATIENCE = 180.0
"""Seconds until a server that does not come up is a failure; far more than any of them takes."""


def tool(name: str, use: str) -> str:
    """The path of a program that fetches, builds or runs a server; without it the test is skipped, saying `use`."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: {use}")
    return found


_GIVEN: set[int] = set()
"""Ports that were given away: whoever has one may not listen on it yet, or be about to come back."""


def free_port() -> int:
    """A port that nobody listens on right now, and another one each time."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _GIVEN:
            _GIVEN.add(port)
            return port


def listens(port: int) -> bool:
    """Whether something takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.asynccontextmanager
async def running(
    command: Sequence[str | Path], log: Path, ready: Callable[[], bool], environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server in a process group of its own, from when `ready()` holds; at the end the whole group is gone.

    What it says goes to `log`, and into the failure if it does not come up.
    """
    with log.open("ab") as output:
        server = await asyncio.create_subprocess_exec(
            *map(str, command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(ready):  # it may take a second, and others serve in this loop
                if server.returncode is not None:
                    pytest.fail(f"{command[0]} ended with {server.returncode}:\n{_end_of(log)}")
                await asyncio.sleep(0.1)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        await server.wait()


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:]
