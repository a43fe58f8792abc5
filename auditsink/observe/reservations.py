"""The `/reservations` document: whose the spool's bytes are. Pure: a snapshot in, plain values out."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from auditsink.observe.snapshot import Snapshot
from auditsink.spool.statistics import REST, RingStatistics


class ReservationState(StrEnum):
    """How a cluster stands."""

    OK = "ok"
    """Within its reservation, or it has none and holds nothing."""
    SHARED = "shared"
    """It holds some of what is shared."""
    FULL = "full"
    """It has no room for another segment; what follows is refused, or something is dropped for it."""
    REMOVED = "removed"
    """It is declared no longer; what it holds is still delivered."""


def document(snapshot: Snapshot) -> dict[str, Any]:
    """Sizes in bytes; `clusters` by name, those that are declared and have no ring yet too.

    `room_bytes` is what one may take beyond what some destination still wants of it; what all have got makes room.
    """
    rings = {ring.cluster: ring for ring in snapshot.spool.rings}
    reserved = _reserved(snapshot)
    booked = sum(reserved.values())
    return {
        "max_bytes": snapshot.spool.max_bytes,
        "reserved_bytes": booked,
        "shared_bytes": snapshot.spool.max_bytes - booked,
        "clusters": [
            {"cluster": cluster, **entry(snapshot, cluster, rings.get(cluster))}
            for cluster in sorted({*rings, *(snapshot.declared or {})})
        ],
        "problems": list(snapshot.receive.problems),
    }


def entry(snapshot: Snapshot, cluster: str, ring: RingStatistics | None) -> dict[str, Any]:
    """The row of one cluster: what it has reserved, used and borrowed."""
    mine = _reserved(snapshot).get(cluster, 0)
    used = 0 if ring is None else ring.bytes
    return {
        "reserved_bytes": mine,
        "used_bytes": used,
        "shared_bytes": max(0, used - mine),
        "room_bytes": None if ring is None else ring.room_bytes,
        "oldest_seconds": 0.0 if ring is None else round(ring.oldest_seconds, 3),
        "state": _state(snapshot, cluster, ring, used - mine).value,
    }


def _state(snapshot: Snapshot, cluster: str, ring: RingStatistics | None, beyond: int) -> ReservationState:
    if snapshot.declared is not None and cluster not in {*snapshot.declared, REST}:
        return ReservationState.REMOVED
    if ring is not None and not ring.room_bytes:
        return ReservationState.FULL
    return ReservationState.SHARED if beyond > 0 else ReservationState.OK


def _reserved(snapshot: Snapshot) -> Mapping[str, int]:
    return snapshot.declared or {}
