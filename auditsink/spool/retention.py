"""What may be removed to make room, decided over all rings: pure, on what the rings look like at that moment."""

from collections.abc import Iterable
from dataclasses import dataclass

from auditsink.spool.ring import Ring
from auditsink.spool.segment import Segment
from auditsink.spool.shares import Shares


@dataclass(frozen=True, slots=True)
class Victim:
    """The oldest segment of a ring, and whether a destination still wants something of it."""

    ring: Ring
    segment: Segment
    wanted: bool


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
