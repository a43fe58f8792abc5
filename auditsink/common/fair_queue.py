"""Whose turn it is: lanes that have something to deliver, deficit round robin by bytes. Pure.

After M. Shreedhar and G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (1995). What a batch takes is
known only when it was read, so it is paid for afterwards: a lane has its turn until it has spent its quantum, and who
has spent more sits out as many rounds. A lane with an endless backlog thus delays another's fresh event by one turn
at most: about a quantum of bytes, in `REQUESTS` requests or fewer.

A lane that is not in here costs nothing: hundreds of idle clusters are not looked at.
"""

import heapq
from collections import deque
from itertools import count
from typing import Generic, TypeVar

L = TypeVar("L")

REQUESTS = 4
"""Batches in a turn at most. A request costs the destination something however small it is, so a batch is charged
this part of the quantum at least; or a lane of tiny batches would have hundreds of them in one turn."""


class FairQueue(Generic[L]):
    """A queue of lanes that are ready, and beside it those that wait for a time (in seconds of the monotonic clock)."""

    def __init__(self, quantum: int) -> None:
        """`quantum`: bytes in a turn; best what fills a batch."""
        self._quantum = quantum
        self._least = max(1, quantum // REQUESTS)
        self._ready: deque[L] = deque()
        self._queued: set[L] = set()
        self._served: L | None = None
        # Of the lane that was served last, what is left of its turn; of others, what they have spent too much.
        self._credit: dict[L, int] = {}
        self._waiting: dict[L, float] = {}
        # An entry counts while its time is the lane's time in `_waiting`; others are passed over.
        self._timers: list[tuple[float, int, L]] = []
        self._tie = count()

    def __repr__(self) -> str:
        return f"<FairQueue {len(self._ready)} ready, {len(self._waiting)} waiting>"

    def put(self, lane: L, due: float, now: float) -> bool:
        """Queue the lane if it is due, else among those that wait; its turn goes on if it has one.

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
        while not self._has_turn(self._ready[0]):
            self._ready.rotate(-1)
        lane = self._ready.popleft()
        self._queued.discard(lane)
        return lane

    def charge(self, lane: L, size: int) -> None:
        """The lane that `next` gave took a batch of that many bytes (0: it took none)."""
        self._credit[lane] -= max(size, self._least)

    @property
    def next_due(self) -> float | None:
        """When the first waiting lane falls due; None when none waits."""
        while self._timers and self._waiting.get(self._timers[0][2]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _enqueue(self, lane: L) -> None:
        if lane is self._served and self._credit[lane] > 0:
            self._ready.appendleft(lane)
        else:
            self._ready.append(lane)
        self._queued.add(lane)

    def _has_turn(self, lane: L) -> bool:
        """Whether the first of the queue goes on with its turn, or begins one; else it sits out this round."""
        if lane is not self._served or self._credit[lane] <= 0:
            self._end_turn()
            self._credit[lane] = self._credit.get(lane, 0) + self._quantum
            self._served = lane
        return self._credit[lane] > 0

    def _end_turn(self) -> None:
        """What is left of a turn is lost when another one begins; a debt is not."""
        if self._served is not None and self._credit[self._served] >= 0:
            del self._credit[self._served]
            self._served = None
