"""What the spool says of itself, as plain values for whoever renders them."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from auditsink.spool.types import Drop

SYNC_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds of one group commit's sync: from a quiet NVMe disk to one that is about to fail."""

REST = "*"
"""Stands for clusters that cannot be told apart, where a cluster's name is asked for: none can be called so."""


@dataclass(slots=True)
class SyncTimes:
    """A histogram: `counts[i]` syncs took at most `SYNC_BUCKETS[i]` seconds, the last one is for all longer ones."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(SYNC_BUCKETS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one sync."""
        self.counts[bisect_left(SYNC_BUCKETS, seconds)] += 1
        self.total += seconds


@dataclass(frozen=True, slots=True)
class RingStatistics:
    """One cluster's ring. Sequences count events; `oldest_seconds` is the age of the oldest segment held.

    `wanted_bytes` is the part of `bytes` that cannot be given up without a drop: some destination has not got it yet.
    `reserved_bytes` is what nobody else can take, `room_bytes` what the ring may take beyond `wanted_bytes` right now.
    `drops` is by destination.
    """

    cluster: str
    bytes: int
    wanted_bytes: int
    reserved_bytes: int
    room_bytes: int
    segments: int
    oldest_seconds: float
    first_sequence: int
    next_sequence: int
    damaged_bytes: int
    drops: Mapping[str, Drop] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpoolStatistics:
    """All rings. `problem` says why nothing can be taken right now, None when all is well.

    `abandoned`: by destination that is configured no longer, how many events are held that it had not got.
    """

    max_bytes: int
    rings: tuple[RingStatistics, ...]
    sync_counts: tuple[int, ...]
    sync_seconds: float
    problem: str | None
    abandoned: Mapping[str, int] = field(default_factory=dict)
    worries: tuple[str, ...] = ()
    """What somebody should look at although batches are taken, a sentence each."""

    @property
    def bytes(self) -> int:
        """What all segments take of the disk, preallocated room included."""
        return sum(ring.bytes for ring in self.rings)

    @property
    def segments(self) -> int:
        """The number of segment files over all rings."""
        return sum(ring.segments for ring in self.rings)

    @property
    def oldest_seconds(self) -> float:
        """The age of the oldest segment that holds events, in seconds."""
        return max((ring.oldest_seconds for ring in self.rings), default=0.0)

    @property
    def damaged_bytes(self) -> int:
        """Bytes that failed their checksum, as far as they were met since the start."""
        return sum(ring.damaged_bytes for ring in self.rings)
