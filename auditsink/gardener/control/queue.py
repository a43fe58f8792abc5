"""Keys that wait for a worker: each at most once, none with two workers, and later each time that it fails."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

FIRST_DELAY = 1.0
"""Seconds before the second attempt; doubled for each further one ..."""
LAST_DELAY = 60.0
"""... up to this. gardenlet waits three minutes."""

Work = Callable[[str], Awaitable[bool]]
"""Does what is due for a key; False: try again later."""


class Later(Protocol):
    """Calls something after a while: `asyncio.get_running_loop().call_later`, or a test's own."""

    def __call__(self, delay: float, call: Callable[[str], None], key: str, /) -> object:
        """In `delay` seconds, with that key."""


class WorkQueue:
    """`statistics()` says what is in it."""

    def __init__(self, work: Work, later: Later) -> None:
        self._work = work
        self._later = later
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._active: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}

    def add(self, key: str) -> None:
        """To be worked on; at once, or after whoever works on it now."""
        if key in self._active:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._waiting.put_nowait(key)

    async def run(self, workers: int) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker())

    def statistics(self) -> dict[str, int]:
        """Keys that wait, that are worked on, and that failed and will be tried again."""
        return {"waiting": len(self._queued), "active": len(self._active), "failing": len(self._failures)}

    async def _worker(self) -> None:
        while True:
            key = await self._waiting.get()
            self._queued.discard(key)
            self._active.add(key)
            try:
                done = await self._work(key)
            finally:
                self._active.discard(key)
            self._finish(key, done=done)

    def _finish(self, key: str, *, done: bool) -> None:
        if done:
            self._failures.pop(key, None)
        else:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            self._later(min(FIRST_DELAY * 2**failures, LAST_DELAY), self.add, key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
