"""One rendering for all who wait for it: a flood of questions costs as much as a few of them.

A rendering begins after the last of those it serves has asked, so nobody gets what is older than the question. After
each there is a pause that grows with what it cost, so that at most a fifth of the time goes into renderings.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from auditsink.common.clock import Clock

PAUSE_SHARE = 4.0
"""The pause after a rendering, in times of what it took."""

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Belongs to the loop's thread."""

    def __init__(self, render: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._render = render
        self._clock = clock
        self._one = asyncio.Lock()
        self._next: asyncio.Task[T] | None = None
        self._free_at = 0.0

    async def get(self) -> T:
        """What a rendering that begins from now on gives, or its exception."""
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        return await asyncio.shield(self._next)

    async def _run(self) -> T:
        async with self._one:
            if (wait := self._free_at - self._clock.monotonic()) > 0:
                await self._clock.sleep(wait)
            self._next = None
            began = self._clock.monotonic()
            try:
                return await self._render()
            finally:
                ended = self._clock.monotonic()
                self._free_at = ended + PAUSE_SHARE * (ended - began)
