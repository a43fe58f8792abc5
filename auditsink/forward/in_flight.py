"""Which prepared batch may be attempted now. Pure.

Batches get a ticket when they are taken from their lane and go through in the order of their tickets, however long
the preparing takes; so with `in_flight` 1 each lane keeps its order strictly. A batch that must be tried again keeps
its ticket and is first.
"""

from bisect import insort

from auditsink.forward.retry import DestinationPause


class InFlightLimit:
    """The tickets whose attempts run, and those that wait."""

    def __init__(self, in_flight: int, pace: DestinationPause) -> None:
        self._in_flight = in_flight
        self._pace = pace
        self._waiting: list[int] = []
        self._running: set[int] = set()
        self._last = 0

    def __repr__(self) -> str:
        return f"<InFlightLimit {self.running} running, {len(self._waiting)} waiting>"

    @property
    def running(self) -> int:
        """Attempts, with what follows from them until `leave`."""
        return len(self._running)

    def ticket(self) -> int:
        """A place behind all that were given before."""
        self._last += 1
        self._waiting.append(self._last)
        return self._last

    def wait(self, ticket: int, now: float) -> float | None:
        """How long to wait before asking again: 0 means go, None until something changes."""
        allowed = 1 if self._pace.trouble else self._in_flight
        if self._waiting[0] != ticket or self.running >= allowed:
            return None
        return self._pace.remaining(now)

    def enter(self, ticket: int) -> None:
        """The attempt begins."""
        self._waiting.remove(ticket)
        self._running.add(ticket)

    def rejoin(self, ticket: int) -> None:
        """The batch will be attempted again, before all that were taken after it."""
        self._running.remove(ticket)
        insort(self._waiting, ticket)

    def leave(self, ticket: int) -> None:
        """The batch will not be attempted any more."""
        self._running.discard(ticket)
        if ticket in self._waiting:
            self._waiting.remove(ticket)
