"""Time as a part that is handed in, so that backoff, windows and timestamps can be tested without waiting."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the sink asks of time. `auditsink.testing.FakeClock` is the other implementation."""

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch. May jump: never subtract two of them to decide anything but a display."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that many seconds of `monotonic`."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_ns(self) -> int:
        """See `Clock.wall_ns`."""
        return time.time_ns()

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(seconds)
