"""The bytes that each ring may take, and what is removed to stay below.

Called by the writer's thread alone. Removing a segment is done in the order that a crash forgives: cursors that made
it removable first, then the floor, then the file.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from auditsink.common.disk import Disk
from auditsink.spool.errors import RingFullError
from auditsink.spool.ring import Ring
from auditsink.spool.segment import Segment
from auditsink.spool.shares import Shares
from auditsink.spool.types import Drop

log = logging.getLogger("auditsink.spool")


@dataclass(frozen=True, slots=True)
class Victim:
    """The oldest segment of a ring, and whether a destination still wants something of it."""

    ring: Ring
    segment: Segment
    wanted: bool


@dataclass(slots=True)
class DiskQuota:
    """`shares` of all `rings`; `save_floor` makes a floor durable; `moved` collects rings whose floor rose.

    `shares` may be replaced at any moment. A reservation that grew takes effect as others give back what they hold
    beyond theirs; one that shrank makes what is held beyond it shared.
    """

    shares: Shares
    when_full: Literal["reject", "drop_oldest"]
    disk: Disk
    rings: Callable[[], Iterable[Ring]]
    save_floor: Callable[[Ring, int], None]
    wall_ns: Callable[[], int]
    moved: set[Ring] = field(default_factory=set)

    def segment_bytes(self, ring: Ring) -> int:
        """The largest segment that this ring should have."""
        return self.shares.segment_bytes(ring.cluster, len(list(self.rings())))

    def reserve(self, ring: Ring, wanted: int, needed: int) -> int:
        """Room for a new segment of the ring: `wanted` bytes, or whatever it may have if that is at least `needed`.

        Removes what every destination has; with `drop_oldest` also what some still want. Nothing that another ring
        holds within its reservation. Raises RingFullError when that is not enough, OSError when the disk fails.
        """
        while True:
            sizes = {one.cluster: one.size for one in self.rings()}
            available = self.shares.room(ring.cluster, sizes)
            if available >= wanted:
                return wanted
            if self._remove(oldest_consumed(self._giving(ring, sizes))):
                continue
            if available >= needed:
                return available
            if not self._drop_one(ring):
                raise RingFullError

    def reserve_early(self, ring: Ring, wanted: int) -> bool:
        """Whether there is room for a segment before it is needed. Removes only what every destination has.

        Raises OSError when the disk fails.
        """
        while True:
            sizes = {one.cluster: one.size for one in self.rings()}
            if self.shares.room(ring.cluster, sizes) >= wanted:
                return True
            if not self._remove(oldest_consumed(self._giving(ring, sizes))):
                return False

    def free_one(self, ring: Ring) -> bool:
        """Remove one segment, because the disk itself is full. False when nothing may go.

        What every destination has may go whosever it is: a reservation is for room, and there is none.
        """
        return self._remove(oldest_consumed(self.rings())) or self._drop_one(ring)

    def _giving(self, taker: Ring, sizes: Mapping[str, int]) -> list[Ring]:
        """Rings whose removed segments would be room for the taker."""
        shares = self.shares
        return [ring for ring in self.rings() if ring is taker or shares.beyond(ring.cluster, sizes[ring.cluster]) > 0]

    def _drop_one(self, taker: Ring) -> bool:
        """With `drop_oldest`, remove the oldest segment of the greediest ring, wanted or not."""
        if self.when_full != "drop_oldest":
            return False
        return self._remove(oldest_of_greediest(self.rings(), self.shares, taker))

    def _remove(self, victim: Victim | None) -> bool:
        if victim is None:
            return False
        ring, segment = victim.ring, victim.segment
        for cursor in ring.cursors.values():
            cursor.sync()
        self.save_floor(ring, segment.end)
        ring.segments = ring.segments[1:]  # first: a reader that finds no file looks here whether that is meant
        try:
            with contextlib.suppress(FileNotFoundError):  # somebody was quicker
                self.disk.unlink(segment.path)
        except OSError:
            ring.segments = (segment, *ring.segments)  # it still takes its room
            raise
        for destination, drop in ring.give_up(segment.end, self.wall_ns()).items():
            report_drop(ring.cluster, destination, drop)
        self.moved.add(ring)
        self.disk.sync_directory(ring.path)
        return True


def report_drop(cluster: str, destination: str, drop: Drop) -> None:
    """Log which events of which destination were dropped, and what to do about it."""
    log.error(
        "the spool is full and the oldest events were dropped before this destination had them; "
        "repair the destination, or raise spool.max_bytes",
        extra={
            "cluster": cluster,
            "destination": destination,
            "first_sequence": drop.first,
            "last_sequence": drop.last,
            "events": drop.events,
        },
    )


# What may be removed, decided over all rings: pure, on what they look like at that moment.


def oldest_consumed(rings: Iterable[Ring]) -> Victim | None:
    """The oldest segment that every destination of its ring is done with."""
    found = [
        Victim(ring, ring.segments[0], wanted=False)
        for ring in rings
        if _removable(ring) and ring.segments[0].end <= ring.consumed()
    ]
    return min(found, key=lambda victim: victim.segment.header.created_ns, default=None)


def oldest_of_greediest(rings: Iterable[Ring], shares: Shares, taker: Ring) -> Victim | None:
    """The oldest segment of the ring that is furthest beyond its reservation: the one that must give.

    Never one that would cut into what is reserved for its ring, unless that is the `taker`, who needs the room.
    """
    found = [
        (beyond, ring)
        for ring in rings
        if _removable(ring)
        and ((beyond := shares.beyond(ring.cluster, ring.size)) >= ring.segments[0].size or ring is taker)
    ]
    _, ring = max(found, key=lambda one: one[0], default=(0, None))
    return None if ring is None else Victim(ring, ring.segments[0], wanted=ring.consumed() < ring.segments[0].end)


def _removable(ring: Ring) -> bool:
    return bool(ring.segments) and not ring.segments[0].active
