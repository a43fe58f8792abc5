"""An answer that goes on until either side ends it, of which there may be only so many at once."""

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


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
        """Raises TooManyError."""
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
        """ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._slots.give_back()
