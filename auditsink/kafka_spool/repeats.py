"""What was posted twice: a retry that another receiver took lies in the topic a second time. Pure.

Digests of one partition, by the time at which a record was accepted and not by the clock: a backlog of hours is judged
as it would have been at once. A digest holds its cluster in it.
"""

from collections import deque

from auditsink.kafka_spool.record import StoredRecord
from auditsink.spool.dedup import WINDOW

WINDOW_NS = int(WINDOW * 1e9)
MOST_DIGESTS = 2**16
"""Of one partition: about 8 MiB. Past it the oldest go early, which costs a repeat and never an event."""


class DigestWindow:
    """The digests of the last ten minutes before the record that came last."""

    def __init__(self, limit: int = MOST_DIGESTS) -> None:
        self._limit = limit
        self._known: dict[bytes, int] = {}
        self._order: deque[tuple[int, bytes]] = deque()

    def __repr__(self) -> str:
        return f"<DigestWindow {len(self._known)} digests>"

    def fresh(self, stored: StoredRecord) -> list[tuple[int, int]]:
        """The events of a record that did not come before, as (start, stop); neighbours are one."""
        now = stored.header.received_ns
        self._forget(now - WINDOW_NS)
        found: list[tuple[int, int]] = []
        start = 0
        for request in stored.requests:
            stop = start + request.events
            if self._is_new(request.digest, now):
                if found and found[-1][1] == start:
                    found[-1] = (found[-1][0], stop)
                else:
                    found.append((start, stop))
            start = stop
        return found

    def _is_new(self, digest: bytes, now: int) -> bool:
        if digest in self._known:
            return False
        self._known[digest] = now
        self._order.append((now, digest))
        return True

    def _forget(self, before: int) -> None:
        while self._order and (self._order[0][0] < before or len(self._order) >= self._limit):
            del self._known[self._order.popleft()[1]]
