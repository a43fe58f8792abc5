"""From records to batches, and how large batches are. Pure.

A batch holds events of one cluster, one `source`, in order, without a gap. It closes at `max_bytes` or `max_events`
(a single event larger than `max_bytes` is a batch alone), before and after a record marked `UNSPLIT`, at a change of
`source`, and at a gap in the sequences. Records are joined and cut as the limits fall.

Events are handled by slices and their sizes by `sum(map(len, ...))`: with one event a record, 20,000 records a second
come through here. `Packed.stop` says how far a batch reaches. The destination's filter comes later, when a batch is
taken: limits count what was read, so that memory and the wait are bounded however little of it is delivered.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

from auditsink.audit.eventlist import Mark
from auditsink.delivery.destination import Batch, Limits, Origin
from auditsink.spool.types import Chunk, Record

# `in_flight` full batches raise `max_bytes` by 1/32 of it: when it is too high again, as many may be refused at once,
# and some 22 times as many have passed since the last time ...
_GROWTH = 32
# ... or by 1/256 of what is configured: it is back from the very bottom after some hundred full batches.
_LEAST_GROWTH = 256
# ... or by this part of what is configured where only whole batches that fail show the limit: that costs half a minute.
_SLOW_GROWTH = 4096
_DIVIDED = 2  # batches in a row that were taken in parts only: one may have met an outage

# More would be for destinations so far apart that what the first one sent is not kept for the others any more.
_BOUNDARIES = 8

_NO_LABELS: Mapping[str, str] = {}


class BatchLimits:
    """One for all clusters of a destination. `limits` is what batches are packed to right now.

    Learned from what the destination calls too large: a request of several events that is too large halves `max_bytes`
    of all batches that are packed from then on; each batch that nearly fills it and passes raises it a little, up to
    what is configured. So a receiver that takes less than we were told refuses a request now and then, and not every
    batch before it is cut in two.

    Sizes are bytes of the events that were read for a batch: what a filter takes away later, it takes from the next
    batch as well.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._configured = limits.max_bytes
        self._in_flight = limits.in_flight
        self._divided = 0
        self._failed = limits.max_bytes

    def __repr__(self) -> str:
        return f"<BatchLimits {self.limits.max_bytes} of {self._configured} bytes>"

    def too_large(self, size: int) -> None:
        """A batch of several events and that size was refused. What was under way beside it lowers nothing more."""
        self._set(min(self.limits.max_bytes, max(1, size // 2)))

    def fits(self, size: int) -> None:
        """A part of that size was taken, of a batch for which the destination took too long, or which was too much."""
        self._set(min(self.limits.max_bytes, max(1, size)))

    def divided(self, whole: int, largest: int) -> None:
        """A batch of `whole` failed, and was taken in parts, the largest of that size; no event in it was at fault.

        So it is with a limit whose answer names none: a firewall's 403, a 500, a connection that is reset.
        """
        self._divided += 1
        self._failed = whole
        if self._divided >= _DIVIDED:
            self.fits(largest)

    def passed(self, size: int) -> None:
        """A batch of that size was taken."""
        now = self.limits.max_bytes
        if size >= self._failed:
            self._divided = 0
        if size > now:  # it was packed before the limit was lowered
            self._set(min(self._configured, size))
            return
        if now < self._configured and 2 * size > now:
            growth = max(now // _GROWTH, self._configured // _LEAST_GROWTH) // self._in_flight
            if self._divided >= _DIVIDED:
                growth = self._configured // _SLOW_GROWTH // self._in_flight
            self._set(min(self._configured, now + max(1, growth)))

    def _set(self, max_bytes: int) -> None:
        self.limits = replace(self.limits, max_bytes=max_bytes)


class Boundaries:
    """Where destinations of one type and the same limits have ended their latest batches of each cluster.

    Whoever comes after the first ends his there too, so that they can share what they send; one that has fallen out of
    step, after a restart or a pause, is in step again with its next full batch.
    """

    def __init__(self) -> None:
        self._stops: dict[str, deque[int]] = {}

    def stop(self, cluster: str, start: int, stop: int) -> int:
        """Where a batch that reaches from `start` to `stop` at most should end: at least half of it is kept."""
        known = self._stops.get(cluster)
        if known is None:
            known = self._stops[cluster] = deque(maxlen=_BOUNDARIES)
        if stop in known:
            return stop
        latest = max((one for one in known if start < one < stop), default=start)
        if 2 * (latest - start) >= stop - start:
            return latest
        known.append(stop)
        return stop


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch over the sequences up to `stop` (exclusive). `size`: bytes of its events.

    `closed`: no later event can join it. An open batch may wait for more (`Limits.max_wait`).
    `resume`: where the record begins that `stop` lies in; memory finds records by their beginning only.
    """

    batch: Batch
    stop: int
    size: int
    closed: bool
    resume: int


@dataclass(frozen=True, slots=True)
class Gap:
    """The events before `stop` (exclusive) no longer exist."""

    stop: int


def pack(
    cluster: str,
    chunk: Chunk,
    start: int,
    *,
    max_bytes: float,
    max_events: int,
    origin: Origin | None = None,
    labels: Mapping[str, str] = _NO_LABELS,
) -> Packed | Gap | None:
    """What comes next at the sequence `start`, which lies in the chunk; None when the chunk ends there.

    `origin` and `labels` are the batch's.
    """
    events: list[bytes] = []
    size, stop, unsplit = 0, start, False
    marks = Mark(0)
    first: Record | None = None
    for record in chunk.records:
        offset = stop - record.first_sequence
        if offset < 0:  # a gap, or the record before was cut
            break
        mine = record.events[offset:] if offset else record.events
        if not mine:  # a record before `start`
            continue
        if first is None:
            first = last = record
        elif record.source != first.source or unsplit or (record.marks and Mark.UNSPLIT in record.marks):
            break
        weight = sum(map(len, mine)) if offset else record.size
        if size + weight > max_bytes or len(events) + len(mine) > max_events:
            fitting = _fitting(mine, max_bytes - size, max_events - len(events))
            mine = mine[: fitting if events else max(1, fitting)]
            if not mine:
                break
            weight = sum(map(len, mine))
        events += mine
        size += weight
        stop += len(mine)
        last = record
        if record.marks:  # rare, and operators of an IntFlag cost more than all the rest
            marks |= record.marks
            unsplit = Mark.UNSPLIT in marks
    if first is None:
        return _gap(chunk, start)
    closed = stop < chunk.end or size >= max_bytes or len(events) >= max_events or unsplit
    batch = Batch(cluster, first.source, events, range(start, stop), first.received_ns, marks, origin, labels)
    whole = stop == last.first_sequence + len(last.events)
    return Packed(batch, stop, size, closed, stop if whole else last.first_sequence)


def _fitting(events: list[bytes], max_bytes: float, max_events: int) -> int:
    """How many of the events keep within the limits."""
    return bisect_right(list(accumulate(map(len, events[:max_events]))), max_bytes)


def _gap(chunk: Chunk, start: int) -> Gap | None:
    """Nothing stands at `start`: the gap reaches to the next record, or to the end of the chunk."""
    stop = next((record.first_sequence for record in chunk.records if record.first_sequence > start), chunk.end)
    return Gap(stop) if stop > start else None


def section(chunk: Chunk, start: int, stop: int) -> Chunk:
    """What the chunk holds between two sequences."""
    records = [
        _cut(record, max(start - record.first_sequence, 0), stop - record.first_sequence)
        for record in chunk.records
        if record.first_sequence < stop and record.first_sequence + len(record.events) > start
    ]
    return Chunk(start, min(chunk.end, stop), records)


def _cut(record: Record, start: int, stop: int) -> Record:
    if start == 0 and stop >= len(record.events):
        return record
    return replace(record, first_sequence=record.first_sequence + start, events=record.events[start:stop], size=-1)


class BatchGauge:
    """Says when the events that wait would fill a batch, without holding them: each record is weighed once.

    Hundreds of clusters may wait with a part of a batch; kept in memory these parts would add up.
    """

    def __init__(self, batch_limits: BatchLimits) -> None:
        self._batch_limits = batch_limits
        self.reset(0)

    def reset(self, at: int) -> None:
        """Begin again: the next batch starts at the sequence `at`."""
        self._start = self.at = at
        self.bytes = 0
        self._source: str | None = None
        self.full = False

    def add(self, chunk: Chunk) -> None:
        """Weigh records that begin at `at`."""
        for record in chunk.records:
            self.bytes += record.size
            if self._source is None:
                self._source = record.source
            if record.source != self._source or (record.marks and Mark.UNSPLIT in record.marks):
                self.full = True
        self.at = chunk.end
        limits = self._batch_limits.limits
        self.full = (
            self.full
            or chunk.missing > 0
            or self.bytes >= limits.max_bytes
            or self.at - self._start >= limits.max_events
        )
