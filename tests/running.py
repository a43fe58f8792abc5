"""A real sink in a process of its own, as an operator starts it."""

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

from auditsink.apiserver.webhook import Webhook
from auditsink.common.clock import SystemClock
from auditsink.testing.apiserver import Apiserver

PATIENCE = 60.0
"""Seconds until a condition that does not come true is a failure; far more than any of them takes."""
START_PATIENCE = 3 * PATIENCE
"""For a start, which reads a spool from a disk that others keep busy; one that fails ends, and is seen at once."""
POLL = 0.02
STOP_PATIENCE = 30.0
"""For a stop that must not wait for what hangs: a sink gives itself eight seconds, a slow machine may need more."""


COMMAND = (sys.executable, "-m", "auditsink")


LIVE: set[int] = set()
"""Processes that were started and have not been seen to end: a test that fails must not leave one behind."""


class Sink:
    """`async with Sink(tmp_path, destinations=[...]) as sink`: running, ready, and gone at the end."""

    def __init__(
        self,
        place: Path,
        destinations: list[dict[str, Any]],
        command: Sequence[str | Path] = COMMAND,
        **sections: Any,
    ) -> None:
        """`sections` go over those that tests want: small, on loopback, any free port."""
        place.mkdir(exist_ok=True)
        self.place = place
        self.spool = Path(sections.get("spool", {}).get("path", place / "spool"))
        self.lines: list[dict[str, Any]] = []
        self.receive = self.admin = ""
        self._command = command
        config = {
            "receive": {"listen": "127.0.0.1:0", **sections.get("receive", {})},
            "spool": {"path": str(self.spool), "max_bytes": "64MiB", **sections.get("spool", {})},
            "admin": {"listen": "127.0.0.1:0", **sections.get("admin", {})},
            "destinations": destinations,
            **{name: section for name, section in sections.items() if name not in {"receive", "spool"}},
        }
        self.config = place / "config.yaml"
        self.config.write_text(yaml.safe_dump(config))
        self._process: asyncio.subprocess.Process
        self._listener: asyncio.Task[None]
        self._ready = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            await self.kill()

    async def start(self) -> float:
        """Start and wait until it says that it is ready, and where; returns the seconds that took."""
        began = time.monotonic()
        await self.launch()
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait([ready, self._listener], timeout=START_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        assert self._ready.is_set(), f"the sink did not start: {self.lines}"
        return time.monotonic() - began

    async def launch(self) -> None:
        """Start, and wait for nothing."""
        self._ready.clear()
        self._process = await asyncio.create_subprocess_exec(
            *self._command, "serve", "-c", self.config, stderr=asyncio.subprocess.PIPE, limit=2**24
        )
        LIVE.add(self._process.pid)
        self._listener = asyncio.create_task(self._listen())

    @property
    def running(self) -> bool:
        """Whether its process is there, ready or not."""
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Ask it to stop; its exit code and how many seconds that took."""
        began = time.monotonic()
        self.signal(number)
        return await self.ended(), time.monotonic() - began

    async def kill(self) -> None:
        """No chance to do anything more; no error if it has ended by itself."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        await self.ended()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code, when it has one."""
        async with asyncio.timeout(PATIENCE):
            code = await self._process.wait()
            LIVE.discard(self._process.pid)
            await self._listener
        return code

    async def post(self, body: bytes, path: str = "") -> tuple[int, dict[str, str]]:
        """Post once; status and headers (names in lower case)."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.receive + path, data=io.BytesIO(body)) as answer,
        ):
            await answer.read()
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}

    async def apiserver(self, bodies: Iterable[bytes], at_once: int = 4) -> Apiserver:
        """Post them all with an apiserver's patience; the ledger."""
        async with Webhook(self.receive) as webhook:
            apiserver = Apiserver(webhook.post, SystemClock())
            await apiserver.storm(bodies, at_once)
        return apiserver

    async def get(self, path: str) -> str:
        """From the admin port."""
        async with aiohttp.ClientSession() as session, session.get(self.admin + path) as answer:
            return await answer.text()

    async def status(self) -> dict[str, Any]:
        """`/status`."""
        found: dict[str, Any] = json.loads(await self.get("/status"))
        return found

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first `/status` for which the condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition(status := await self.status()):
            assert time.monotonic() < deadline, f"still not so: {status}"
            await asyncio.sleep(POLL)
        return status

    async def delivered(self) -> dict[str, Any]:
        """`/status` when nothing is pending any more; for each destination the five add up.

        However long that takes: it is a failure when nothing moves for `PATIENCE`.
        """
        left, status = [-1], {}
        while any(left):
            status = await self.until(partial(_moved, left))
            left = _pending(status)
        check_accounts(status)
        return status

    @property
    def resident(self) -> int:
        """Bytes of memory that it holds right now."""
        statm = Path(f"/proc/{self.pid}/statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def peak(self) -> int:
        """The most bytes of memory that it ever held."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            try:
                said = json.loads(line)
            except ValueError:
                said = {"message": line.decode(errors="replace")}
            self.lines.append(said)
            if said["message"] == "ready":
                self.receive, self.admin = said.get("receive", ""), said["admin"]
                self._ready.set()


def _pending(status: dict[str, Any]) -> list[int]:
    return [one["pending"] for one in status["destinations"]]


def _moved(before: list[int], status: dict[str, Any]) -> bool:
    return _pending(status) != before


async def eventually(condition: Callable[[], object]) -> None:
    """Return when the condition holds; fail when it does not within `PATIENCE`."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for is another process's doing
            await asyncio.sleep(POLL)


def check_accounts(status: dict[str, Any]) -> None:
    """accepted = delivered + filtered + dead_lettered + dropped + pending, everywhere."""
    accounts = list(status["destinations"])
    accounts += [one for cluster in status["clusters"] for one in cluster["destinations"]]
    assert accounts
    for one in accounts:
        ends = (one[key] for key in ("delivered", "filtered", "dead_lettered", "dropped", "pending"))
        assert one["accepted"] == sum(ends), one
