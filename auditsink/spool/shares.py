"""Whose the spool's bytes are: what is reserved for a cluster, and what is shared first come first served. Pure.

After the model of metal-stack's machine size reservations: nobody else can take what is reserved for one, used or not;
what a cluster holds beyond its reservation comes out of the rest, which is shared by all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

SMALLEST_SEGMENT = 2**16
"""Bytes of the smallest segment that is preallocated for a ring, however many rings there are."""
SEGMENTS = 4
"""Segments that a ring's fair part of the spool is cut into at least. So all rings together take a quarter of it
before they hold anything, and what is freed at a time is no more than a quarter of what one may have."""


@dataclass(frozen=True)
class Shares:
    """`max_bytes` of all rings, and what of it is `reserved` for clusters, whether they have a ring or not."""

    max_bytes: int
    reserved: Mapping[str, int] = field(default_factory=dict)

    def of(self, cluster: str) -> int:
        """Bytes reserved for a cluster."""
        return self.reserved.get(cluster, 0)

    @cached_property
    def shared(self) -> int:
        """Bytes reserved for nobody."""
        return self.max_bytes - sum(self.reserved.values())

    def beyond(self, cluster: str, size: int) -> int:
        """By how much `size` bytes are more than what is reserved for the cluster; negative when they are less."""
        return size - self.of(cluster)

    def room(self, cluster: str, sizes: Mapping[str, int]) -> int:
        """Bytes that the cluster may take on top of what it has; `sizes` is what each ring takes, its own too.

        While others still hold what was reserved after they had come, a reservation is worth what is left in all.
        """
        return self.rooms(sizes)[cluster]

    def rooms(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """What each cluster may take on top of what it has, in bytes, by its name."""
        borrowed = sum(max(0, self.beyond(one, size)) for one, size in sizes.items())
        total = sum(sizes.values())
        return {one: self.room_beside(one, size, borrowed, total) for one, size in sizes.items()}

    def room_beside(self, cluster: str, size: int, borrowed: int, total: int) -> int:
        """What a cluster that has `size` may take on top of it, where all have `total`, `borrowed` of it shared."""
        shared = max(0, self.shared - borrowed)
        return min(max(0, -self.beyond(cluster, size)) + shared, max(0, self.max_bytes - total))

    def segment_bytes(self, cluster: str, rings: int) -> int:
        """The largest segment that a ring should have where there are so many."""
        return max(SMALLEST_SEGMENT, (self.of(cluster) + self.shared // max(1, rings)) // SEGMENTS)


def overbooked(max_bytes: int, free: int, reserved: int, what: str = "one segment") -> str | None:
    """Why so many bytes cannot be reserved, in words; None when they can.

    `free`, which is `what`, stays free of reservations. On a disk that is one segment, for rings that nobody declares
    (of clusters that are gone, of checkpoints).
    """
    bookable = max(0, max_bytes - free)
    if reserved <= bookable:
        return None
    return (
        f"{reserved:,} bytes would be reserved, of {bookable:,} that can be (spool.max_bytes less {what}); "
        "lower a reservation, or raise spool.max_bytes"
    )
