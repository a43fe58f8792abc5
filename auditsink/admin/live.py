"""The live status for all pages that are open: one snapshot rendered for all, and nothing while there is none.

A listener has no queue. It is woken for each document and takes the newest; one that is slow misses some, and one that
does not read at all is dropped by its connection.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from auditsink.admin.stream import Slots
from auditsink.common.clock import Clock

log = logging.getLogger("auditsink.admin")

EVERY_SECONDS = 2.0
MOST_LISTENERS = 32


class Live:
    """Belongs to the loop's thread."""

    def __init__(self, render: Callable[[], Awaitable[bytes]], clock: Clock) -> None:
        """`render` makes one server-sent event."""
        self.slots = Slots(MOST_LISTENERS)
        self._render = render
        self._clock = clock
        self._listeners = 0
        self._ticking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._event = b""
        self._closed = False

    def __repr__(self) -> str:
        return f"<Live {self._listeners} listeners>"

    async def events(self) -> AsyncIterator[bytes]:
        """From now on, until `close`."""
        self._listeners += 1
        try:
            if self._ticking is None:
                self._ticking = asyncio.create_task(self._tick(), name="live status")
            elif self._event:
                yield self._event  # a tick old at most: whoever opens the page sees something at once
            while not self._closed:
                await self._news.wait()
                yield self._event
        finally:
            self._listeners -= 1
            if not self._listeners and self._ticking is not None:
                self._ticking.cancel()
                self._ticking, self._event = None, b""

    async def _tick(self) -> None:
        while not self._closed:
            try:
                self._event = await self._render()
            except Exception:  # pages would wait for ever, where the next look may succeed
                log.exception("the live status cannot be rendered; this is a bug in auditsink, report it")
            self._ring()
            await self._clock.sleep(EVERY_SECONDS)

    def close(self) -> None:
        """Every stream ends."""
        self._closed = True
        self._ring()

    def _ring(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
