"""A clock that stands still until a test moves it."""

import asyncio
import heapq
from itertools import count

SETTLE_TURNS = 100
"""Turns of the loop after each wake-up. A chain of callbacks longer than that is not a test of timing any more."""


class FakeClock:
    """A `common.clock.Clock`. Both times move together, and only in `advance`; `jump` moves the wall alone."""

    def __init__(self, wall_ns: int = 1_700_000_000_000_000_000, monotonic: float = 1000.0) -> None:
        self._wall_ns = wall_ns
        self._monotonic = monotonic
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._tie = count()

    def __repr__(self) -> str:
        return f"<FakeClock {self._monotonic:g}, {self.sleepers} sleep>"

    def wall_ns(self) -> int:
        """See `Clock.wall_ns`."""
        return self._wall_ns

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._monotonic

    @property
    def sleepers(self) -> int:
        """How many tasks sleep right now."""
        return sum(1 for _, _, waker in self._sleepers if not waker.done())

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`. Nothing and less than nothing only let others run, as with `asyncio.sleep`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._tie), waker))
        await waker

    async def advance(self, seconds: float = 0.0) -> None:
        """Move both times; wake who slept long enough in the order of their times, and let each run before the next.

        Work in threads is not waited for: hand in something that runs it at once.
        """
        until = self._monotonic + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, waker = heapq.heappop(self._sleepers)
            if not waker.done():
                self._move_to(due)
                waker.set_result(None)
                await settle()
        self._move_to(until)

    def jump(self, seconds: float) -> None:
        """Set the wall clock, forward or back, as an operator or NTP does; nobody wakes."""
        self._wall_ns += round(seconds * 1e9)

    def _move_to(self, monotonic: float) -> None:
        self._wall_ns += round((monotonic - self._monotonic) * 1e9)
        self._monotonic = monotonic


async def settle(turns: int = SETTLE_TURNS) -> None:
    """Let everything run that can run without time passing."""
    for _ in range(turns):
        await asyncio.sleep(0)
