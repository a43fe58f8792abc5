"""Whose turn it is: lanes that have something to deliver, one batch each, round and round. Pure.

A lane that is not in here costs nothing: hundreds of idle clusters are not looked at.
"""

import heapq
from collections import deque
from itertools import count
from typing import Generic, TypeVar

L = TypeVar("L")


class Rota(Generic[L]):
    """A queue of lanes that are ready, and beside it those that wait for a time (in seconds of the monotonic clock)."""

    def __init__(self) -> None:
        self._ready: deque[L] = deque()
        self._queued: set[L] = set()
        self._waiting: dict[L, float] = {}
        # An entry counts while its time is the lane's time in `_waiting`; others are passed over.
        self._timers: list[tuple[float, int, L]] = []
        self._tie = count()

    def __repr__(self) -> str:
        return f"<Rota {len(self._ready)} ready, {len(self._waiting)} waiting>"

    def put(self, lane: L, due: float, now: float) -> bool:
        """Queue the lane: at the back of the ready ones if it is due, else among those that wait.

        A lane is queued once. True when whoever waits for a turn should look again.
        """
        if lane in self._queued or self._waiting.get(lane, float("inf")) <= due:
            return False
        if due <= now:
            self._waiting.pop(lane, None)
            self._enqueue(lane)
            return True
        self._waiting[lane] = due
        heapq.heappush(self._timers, (due, next(self._tie), lane))
        return self._timers[0][2] is lane

    def next(self, now: float) -> L | None:
        """The lane whose turn it is, taken out of the queue."""
        while (due := self.next_due) is not None and due <= now:
            lane = heapq.heappop(self._timers)[2]
            del self._waiting[lane]
            self._enqueue(lane)
        if not self._ready:
            return None
        lane = self._ready.popleft()
        self._queued.discard(lane)
        return lane

    @property
    def next_due(self) -> float | None:
        """When the first waiting lane falls due; None when none waits."""
        while self._timers and self._waiting.get(self._timers[0][2]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _enqueue(self, lane: L) -> None:
        self._ready.append(lane)
        self._queued.add(lane)
