"""Makes cursors durable: those that moved, about once a second, in a thread.

A cursor's slot is written at every move, which a killed process survives; the sync is for a power loss, and what it
costs to come late is a second's worth of repeats.
"""

import logging

from auditsink.common.clock import Clock
from auditsink.common.signal import Signal
from auditsink.forward.prefetch import Offload
from auditsink.forward.source import SourceCursor

log = logging.getLogger("auditsink.forward")

SYNC_SECONDS = 1.0
"""Between two syncs. One after each batch would cost more than the delivery."""


class CursorSync:
    """For the cursors of one destination."""

    def __init__(self, destination: str, clock: Clock, offload: Offload) -> None:
        self._destination = destination
        self._clock = clock
        self._offload = offload
        self._moved: set[SourceCursor] = set()
        self._changed = Signal(clock)

    def __repr__(self) -> str:
        return f"<CursorSync {len(self._moved)} moved>"

    def moved(self, cursor: SourceCursor) -> None:
        """Remember a cursor for the next sync."""
        if not self._moved:
            self._changed.notify()
        self._moved.add(cursor)

    async def run(self) -> None:
        """Sync for ever; cancel it to stop. An idle destination costs nothing."""
        while True:
            if not self._moved:
                await self._changed.wait()
            await self._clock.sleep(SYNC_SECONDS)
            await self.sync()

    async def sync(self) -> None:
        """Make all moves durable."""
        moved, self._moved = self._moved, set()
        if moved:
            await self._offload(self._sync, moved)

    def _sync(self, cursors: set[SourceCursor]) -> None:
        for cursor in cursors:
            try:
                cursor.sync()
            except OSError as problem:
                log.error(  # noqa: TRY400 - the error says it all
                    "a cursor cannot be synced; a power loss would have events delivered again; check the disk",
                    extra={"destination": self._destination, "error": str(problem)},
                )
