"""Whose turn it is among flows (of one cluster's events, say) that have something: deficit round robin by bytes. Pure.

After M. Shreedhar and G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (1995). What a batch takes is
known only when it was read, so it is paid for afterwards: a flow has its turn until it has spent its quantum, and who
has spent more sits out as many rounds. A flow with an endless backlog thus delays another's fresh event by one turn
at most: about a quantum of bytes, in `REQUESTS` requests or fewer.

A flow that is not in here costs nothing: hundreds of idle clusters are not looked at.
"""

import heapq
from collections import deque
from itertools import count
from typing import Generic, TypeVar

F = TypeVar("F")

REQUESTS = 4
"""Batches in a turn at most. A request costs the destination something however small it is, so a batch is charged
this part of the quantum at least; or a flow of tiny batches would have hundreds of them in one turn."""


class FairQueue(Generic[F]):
    """A queue of flows that are ready, and beside it those that wait for a time (in seconds of the monotonic clock)."""

    def __init__(self, quantum: int) -> None:
        """`quantum`: bytes in a turn; best what fills a batch."""
        self._quantum = quantum
        self._least = max(1, quantum // REQUESTS)
        self._ready: deque[F] = deque()
        self._queued: set[F] = set()
        self._served: F | None = None
        # Of the flow that was served last, what is left of its turn; of others, what they have spent too much.
        self._credit: dict[F, int] = {}
        self._waiting: dict[F, float] = {}
        # An entry counts while its time is the flow's time in `_waiting`; others are passed over.
        self._timers: list[tuple[float, int, F]] = []
        self._tie = count()

    def __repr__(self) -> str:
        return f"<FairQueue {len(self._ready)} ready, {len(self._waiting)} waiting>"

    def put(self, flow: F, due: float, now: float) -> bool:
        """Queue the flow if it is due, else among those that wait; its turn goes on if it has one.

        A flow is queued once. True when whoever waits for a turn should look again.
        """
        if flow in self._queued or self._waiting.get(flow, float("inf")) <= due:
            return False
        if due <= now:
            self._waiting.pop(flow, None)
            self._enqueue(flow)
            return True
        self._waiting[flow] = due
        heapq.heappush(self._timers, (due, next(self._tie), flow))
        return self._timers[0][2] is flow

    def next(self, now: float) -> F | None:
        """The flow whose turn it is, taken out of the queue."""
        while (due := self.next_due) is not None and due <= now:
            flow = heapq.heappop(self._timers)[2]
            del self._waiting[flow]
            self._enqueue(flow)
        if not self._ready:
            return None
        while not self._has_turn(self._ready[0]):
            self._ready.rotate(-1)
        flow = self._ready.popleft()
        self._queued.discard(flow)
        return flow

    def charge(self, flow: F, size: int) -> None:
        """The flow that `next` gave took a batch of that many bytes (0: it took none)."""
        self._credit[flow] -= max(size, self._least)

    @property
    def next_due(self) -> float | None:
        """When the first waiting flow falls due; None when none waits."""
        while self._timers and self._waiting.get(self._timers[0][2]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _enqueue(self, flow: F) -> None:
        if flow is self._served and self._credit[flow] > 0:
            self._ready.appendleft(flow)
        else:
            self._ready.append(flow)
        self._queued.add(flow)

    def _has_turn(self, flow: F) -> bool:
        """Whether the first of the queue goes on with its turn, or begins one; else it sits out this round."""
        if flow is not self._served or self._credit[flow] <= 0:
            self._end_turn()
            self._credit[flow] = self._credit.get(flow, 0) + self._quantum
            self._served = flow
        return self._credit[flow] > 0

    def _end_turn(self) -> None:
        """What is left of a turn is lost when another one begins; a debt is not."""
        if self._served is not None and self._credit[self._served] >= 0:
            del self._credit[self._served]
            self._served = None
