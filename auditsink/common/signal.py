"""Waiting for "something changed" or for a time, whichever comes first, on the injected clock."""

import asyncio
from collections.abc import Iterable
from typing import Any

from auditsink.common.clock import Clock


class Signal:
    """Wakes all who wait. A notification that nobody waits for is forgotten, so look before you wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiters: dict[asyncio.Future[None], None] = {}  # a set that keeps its order

    def __repr__(self) -> str:
        return f"<Signal {len(self._waiters)} waiting>"

    def notify(self) -> None:
        """Wake everybody."""
        for waiter in self._waiters:
            _wake(waiter)

    async def wait(self, seconds: float | None = None) -> None:
        """Return at the next notification, or after that many seconds."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        timer = None if seconds is None else asyncio.create_task(self._time_out(waiter, seconds))
        try:
            await waiter
        finally:
            del self._waiters[waiter]
            if timer is not None:
                timer.cancel()

    async def _time_out(self, waiter: asyncio.Future[None], seconds: float) -> None:
        await self._clock.sleep(seconds)
        _wake(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def within(clock: Clock, seconds: float, tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait until all tasks are done, or that many seconds; what is not done then just goes on."""
    pending = {task for task in tasks if not task.done()}
    timer = asyncio.create_task(_sleep(clock, seconds))
    while pending and not timer.done():
        await asyncio.wait({*pending, timer}, return_when=asyncio.FIRST_COMPLETED)
        pending = {task for task in pending if not task.done()}
    timer.cancel()


async def _sleep(clock: Clock, seconds: float) -> None:
    await clock.sleep(seconds)


def cancelled(problem: BaseException) -> bool:
    """Whether this is the current task's own cancellation, and not one that leaked out of code it called."""
    task = asyncio.current_task()
    return isinstance(problem, asyncio.CancelledError) and task is not None and task.cancelling() > 0
