"""Looks back: the newest events of several rings that somebody wants to see. Blocks; bounded in time and memory.

It goes backwards in windows, each four times as wide as the one before, so that the newest are found first and a rare
event is still found; within a window rings are read forwards, as they lie on the disk.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from auditsink.spool.ring import Ring
from auditsink.spool.types import Record
from auditsink.tail.line import TailLine, lines
from auditsink.tail.patterns import TailPatterns

MOST = 1000
"""Events that can be asked for."""
LOOK_EVENTS = 50_000
"""Looked at, over all rings ..."""
LOOK_SECONDS = 3.0
"""... and for at most about this long."""
RAW_BYTES = 8 * 2**20
"""Of events that are kept with their lines; the others are asked for one by one."""
_READ_BYTES = 2**20


class Newest(NamedTuple):
    """How many events were looked at, and the lines of those that are wanted, by their time."""

    looked_at: int
    lines: list[TailLine]


def newest(
    rings: Iterable[Ring],
    count: int,
    patterns: TailPatterns,
    now: Callable[[], float],
    *,
    raw: bool,
    most: int = LOOK_EVENTS,
) -> Newest:
    """The newest `count` events. `now`: monotonic seconds."""
    ends = [(ring, ring.durable) for ring in rings]
    look = _Look(count, patterns, now() + LOOK_SECONDS, now, raw)
    for less, more in pairwise(_widths(count, max(count, most // max(1, len(ends))))):
        for ring, end in ends:
            look.window(ring, max(ring.floor, end - more), end - less)
        if len(look.found) >= count or look.late:
            break
    return Newest(look.looked_at, look.found)


def _widths(count: int, most: int) -> Iterator[int]:
    """How far back the windows begin: 0, then ever further, up to `most`."""
    yield 0
    while count < most:
        yield count
        count *= 4
    yield most


@dataclass(slots=True)
class _Look:
    """`found`: the newest `count` so far, by their time. `until`: when it has taken long enough."""

    count: int
    patterns: TailPatterns
    until: float
    now: Callable[[], float]
    raw: bool
    looked_at: int = 0
    room: int = RAW_BYTES
    found: list[TailLine] = field(default_factory=list)

    @property
    def late(self) -> bool:
        return self.now() > self.until

    def window(self, ring: Ring, start: int, stop: int) -> None:
        """Look at what a ring holds between two sequences."""
        mine: deque[TailLine] = deque(maxlen=self.count)
        for record in _records(ring, start, stop):
            if self.late:
                break
            self.looked_at += len(record.events)
            mine.extend(filter(self.patterns.event, self._lines(ring.cluster, record, stop)))
        self.found = sorted([*mine, *self.found], key=lambda line: line.time)[-self.count :]

    def _lines(self, cluster: str, record: Record, stop: int) -> Iterator[TailLine]:
        for line in lines(cluster, record, raw=self.raw):
            if line.sequence < stop:
                self.room -= len(line.raw or "")
                line.raw = line.raw if self.room >= 0 else None
                yield line


def _records(ring: Ring, position: int, stop: int) -> Iterator[Record]:
    reader = ring.reader()
    try:
        while position < stop:
            chunk = reader.read(position, _READ_BYTES)
            yield from (record for record in chunk.records if record.first_sequence < stop)
            position = max(chunk.end, position + 1)
    except OSError:  # the destinations tell of it
        return
    finally:
        reader.close()
