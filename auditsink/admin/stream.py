"""An answer that goes on until either side ends it, of which there may be only so many; the live status is one.

One snapshot is rendered for all pages that are open, and nothing while there is none. A listener has no queue. It is
woken for each document and takes the newest; one that is slow misses some, and one that does not read at all is dropped
by its connection.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

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
        """End every stream, because the sink stops."""
        self._closed = True
        self._ring()

    def _ring(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class TooManyError(Exception):
    """No more streams of this kind."""


class Slots:
    """How many there may be."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def __repr__(self) -> str:
        return f"<Slots {self.taken} of {self._limit} taken>"

    def take(self) -> None:
        """Count one more stream. Raises TooManyError when there are as many as there may be."""
        if self.taken >= self._limit:
            raise TooManyError
        self.taken += 1

    def give_back(self) -> None:
        """One is free again."""
        self.taken -= 1


class Stream(StreamingResponse):
    """Holds a slot from its making until it has ended, however that comes."""

    def __init__(self, slots: Slots, content: AsyncIterator[bytes], media_type: str) -> None:
        """Raises TooManyError. X-Accel-Buffering: a proxy in between must not wait for more."""
        slots.take()
        self._slots = slots
        super().__init__(content, media_type=media_type, headers={"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, and give its place back however it ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._slots.give_back()
