"""What the sink was like in the last hours, for the page's charts: in memory, bounded, gone with the process. Pure.

Two series of points: fine ones for an hour, coarse ones for a day. A point has the counters as they stood and, of what
goes up and down, the highest value since the point before, so that a short peak is not lost between two points.
Numbers are summed over the clusters; there are as many lines as destinations, however many clusters there are.
"""

from array import array
from collections import deque
from typing import Any

from auditsink.observe.snapshot import Snapshot

FINE_SECONDS, FINE_POINTS = 10, 360
COARSE_SECONDS, COARSE_POINTS = 300, 288

_COUNTERS = ("accepted", "refused")
_GAUGES = ("bytes", "wanted_bytes")
_DESTINATION_COUNTERS = ("delivered", "lost")
_DESTINATION_GAUGES = ("pending", "lag_seconds")


class Samples:
    """Belongs to the loop's thread. Add a snapshot every `FINE_SECONDS`."""

    def __init__(self, began: float) -> None:
        """`began`: when the process did, seconds since the epoch."""
        self._began = began
        self._names: tuple[str, ...] = ()
        self._fine = _Series(FINE_SECONDS, FINE_POINTS)
        self._coarse = _Series(COARSE_SECONDS, COARSE_POINTS)

    def add(self, snapshot: Snapshot, now: float) -> None:
        """`now`: seconds since the epoch."""
        self._names = tuple(destination.name for destination in snapshot.destinations)
        counters, gauges = _numbers(snapshot)
        for series in (self._fine, self._coarse):
            series.add(now, counters, gauges)

    def document(self) -> dict[str, Any]:
        """Plain values: for `fine` and `coarse` a list of times and, by name, as many values as times."""
        return {"since": self._began, "fine": self._render(self._fine), "coarse": self._render(self._coarse)}

    def _render(self, series: "_Series") -> dict[str, Any]:
        columns = iter(series.columns(2 + (len(_COUNTERS) + len(_GAUGES)) + 4 * len(self._names)))
        at, _ = next(columns), next(columns)
        counters = {key: next(columns) for key in _COUNTERS}
        per_counter = {name: {key: next(columns) for key in _DESTINATION_COUNTERS} for name in self._names}
        gauges = {key: next(columns) for key in _GAUGES}
        per_gauge = {name: {key: next(columns) for key in _DESTINATION_GAUGES} for name in self._names}
        destinations = [{"name": name, **per_counter[name], **per_gauge[name]} for name in self._names]
        return {"step_seconds": series.step, "at": at, **counters, **gauges, "destinations": destinations}


class _Series:
    """A row of floats for each point: its time, how many counters follow, the counters, the gauges."""

    def __init__(self, step: int, points: int) -> None:
        self.step = step
        self._rows: deque[array[float]] = deque(maxlen=points)
        self._peak: list[float] = []

    def add(self, now: float, counters: list[float], gauges: list[float]) -> None:
        same = len(self._peak) == len(gauges)
        self._peak = list(map(max, self._peak, gauges)) if same else gauges
        # A clock that was set back begins a new point too: `abs`.
        if not self._rows or abs(now - self._rows[-1][0]) >= self.step:
            self._rows.append(array("d", [now, len(counters), *counters, *self._peak]))
            self._peak = gauges

    def columns(self, width: int) -> list[list[float]]:
        rows = [row for row in self._rows if len(row) == width]
        return [[row[place] for row in rows] for place in range(width)]


def _numbers(snapshot: Snapshot) -> tuple[list[float], list[float]]:
    spool = snapshot.spool
    counters = [float(sum(ring.next_sequence for ring in spool.rings)), float(sum(snapshot.receive.rejected.values()))]
    gauges = [float(spool.bytes), float(sum(ring.wanted_bytes for ring in spool.rings))]
    for destination in snapshot.destinations:
        accounts = destination.accounts.values()
        counters += [
            float(sum(account.delivered + account.filtered for account in accounts)),
            float(sum(account.dropped + account.dead_lettered for account in accounts)),
        ]
        gauges += [float(sum(account.pending for account in accounts)), destination.lag_seconds]
    return counters, gauges
