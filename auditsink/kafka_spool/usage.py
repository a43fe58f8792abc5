"""Whose the topic's bytes are, as far as one receiver knows: cluster by cluster, and what it cannot tell. Pure.

A cluster has what is on its way to the brokers from here, what they have confirmed to this receiver, and what was read
of it, from whichever receiver it is, until it is deleted. What was read takes the place of what was confirmed.

What a partition takes of the brokers' disks beyond that is `uncounted`: what is not read yet, and what is deleted and
not freed yet. It counts as shared: so it never lets anybody take what is reserved for another.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from auditsink.spool.shares import Shares
from auditsink.spool.statistics import REST

MOST_BUCKETS = 64
"""Of a partition: what is deleted is noticed by so many parts of it."""
LEAST_BUCKETS = 4
MOST_COUNTS = 200_000
"""Of one cluster in one bucket, in all partitions together; each takes some 100 bytes of memory."""
_UNKNOWN = 2**62


class RecordSize(NamedTuple):
    """A record as far as it counts. `size`: bytes that it takes on a broker's disk."""

    offset: int
    cluster: str
    size: int


@dataclass(slots=True)
class _Bucket:
    end: int
    size: int
    counts: dict[str, int]


class OffsetBuckets:
    """Bytes by cluster of a stretch of offsets, to be let go of from its beginning. As many parts as `most`."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes in all."""
        self._buckets: deque[_Bucket] = deque()

    def __repr__(self) -> str:
        return f"<OffsetBuckets {len(self._buckets)} of {self.size} bytes>"

    def __len__(self) -> int:
        return len(self._buckets)

    def add(self, one: RecordSize, most: int) -> None:
        """One record more."""
        self.size += one.size
        last = self._buckets[-1] if self._buckets else None
        if last is None or last.size + one.size > 2 * self.size // most:
            last = _Bucket(one.offset + 1, 0, {})
            self._buckets.append(last)
        last.end = max(last.end, one.offset + 1)
        last.size += one.size
        last.counts[one.cluster] = last.counts.get(one.cluster, 0) + one.size
        if len(self._buckets) > most:
            self._halve()

    def drop(self, below: int) -> Mapping[str, int]:
        """Let go of the parts that lie wholly below this offset: what they held of each cluster."""
        gone: Counter[str] = Counter()
        while self._buckets and self._buckets[0].end <= below:
            bucket = self._buckets.popleft()
            self.size -= bucket.size
            gone.update(bucket.counts)
        return gone

    def _halve(self) -> None:
        merged: deque[_Bucket] = deque()
        for number, bucket in enumerate(self._buckets):
            if number % 2 == 0:
                merged.append(bucket)
                continue
            before = merged[-1]
            before.end = max(before.end, bucket.end)
            before.size += bucket.size
            for cluster, size in bucket.counts.items():
                before.counts[cluster] = before.counts.get(cluster, 0) + size
        self._buckets = merged


@dataclass(slots=True)
class PartitionUsage:
    """One partition. `next_offset`: what is read next; -1 before that is known.

    `measured`: what it took of the disks at the last look, when it reached from `low` to `end`; `since`: bytes that
    were confirmed after that.
    """

    read: OffsetBuckets = field(default_factory=OffsetBuckets)
    confirmed: OffsetBuckets = field(default_factory=OffsetBuckets)
    next_offset: int = -1
    low: int = 0
    end: int = _UNKNOWN
    measured: int = 0
    since: int = 0
    uncounted: int = 0

    @property
    def behind(self) -> bool:
        """Whether something that was there at the last look is not read yet."""
        return max(self.next_offset, self.low) < self.end


class TopicUsage:
    """All partitions. `max_clusters`: so many are told apart, those that post here besides; the rest is one."""

    def __init__(self, shares: Shares, max_clusters: int) -> None:
        self.used: dict[str, int] = {}
        """Bytes by cluster."""
        self.uncounted = 0
        """Bytes that the topic takes and nobody here knows whose they are."""
        self._shares = shares
        self._max_clusters = max_clusters
        self._partitions: dict[int, PartitionUsage] = {}
        self._total = 0
        self._borrowed = 0  # what clusters have beyond their reservations

    def __repr__(self) -> str:
        return f"<TopicUsage {self._total} bytes of {len(self.used)} clusters, {self.uncounted} uncounted>"

    @property
    def shares(self) -> Shares:
        """What is reserved for whom; may be replaced at any moment."""
        return self._shares

    @shares.setter
    def shares(self, shares: Shares) -> None:
        self._shares = shares
        self._borrowed = sum(max(0, shares.beyond(cluster, size)) for cluster, size in self.used.items())

    @property
    def total(self) -> int:
        """Bytes that the topic takes, as far as it is known."""
        return self._total + self.uncounted

    @property
    def behind(self) -> bool:
        """Whether something that was there at the last look is not read yet."""
        return not self._partitions or any(one.behind for one in self._partitions.values())

    def room(self, cluster: str) -> int:
        """Bytes that the cluster may take on top of what it has."""
        size = self.used.get(cluster, 0)
        return self._shares.room_beside(cluster, size, self._borrowed + self.uncounted, self.total)

    # What this receiver produces.

    def sending(self, cluster: str, size: int) -> None:
        """So much is on its way."""
        self._change(cluster, size)

    def failed(self, cluster: str, size: int) -> None:
        """It is not under way any more, and was not confirmed. If it is there all the same it will be read."""
        self._change(cluster, -size)

    def confirmed(self, partition: int, offset: int, cluster: str, size: int) -> None:
        """What was on its way is in the topic."""
        known = self._partition(partition)
        if offset < known.next_offset:
            self._change(cluster, -size)  # it was read already
        else:
            known.confirmed.add(RecordSize(offset, cluster, size), self._most)
            known.since += size

    # What is read and measured.

    def begin(self, partition: int, offset: int) -> None:
        """It is read from this offset on. Where that is not further than before, the topic is another one."""
        known = self._partition(partition)
        if offset < known.next_offset:
            self._let_go(known.read.drop(_UNKNOWN))
            self._let_go(known.confirmed.drop(_UNKNOWN))
        known.next_offset = offset
        self._let_go(known.confirmed.drop(offset))
        self._estimate(known)

    def next_offset(self, partition: int) -> int:
        """What is to be read next; -1 where nothing was."""
        return self._partition(partition).next_offset

    def read(self, partition: int, several: Iterable[RecordSize]) -> None:
        """These were read, in order."""
        known, most = self._partition(partition), self._most
        was_behind = known.behind
        for one in several:
            if one.offset < known.next_offset:
                continue
            known.next_offset = one.offset + 1
            counted = one if self._told_apart(one.cluster) else one._replace(cluster=REST)
            known.read.add(counted, most)
            self._change(counted.cluster, counted.size)
        self._let_go(known.confirmed.drop(known.next_offset))
        if was_behind:
            self._estimate(known)

    def measured(self, partition: int, size: int, bounds: tuple[int, int] | None = None) -> None:
        """A look at the brokers: what the partition takes, and its first offset and the one behind its last."""
        known = self._partition(partition)
        known.measured, known.since = size, 0
        if bounds is not None:
            known.low, known.end = bounds
            self._let_go(known.read.drop(known.low))
            self._let_go(known.confirmed.drop(known.low))
        self._estimate(known)

    # Sums.

    @property
    def _most(self) -> int:
        return max(LEAST_BUCKETS, min(MOST_BUCKETS, MOST_COUNTS // max(1, len(self.used))))

    def _told_apart(self, cluster: str) -> bool:
        return cluster in self.used or len(self.used) < self._max_clusters or self._shares.of(cluster) > 0

    def _partition(self, number: int) -> PartitionUsage:
        known = self._partitions.get(number)
        if known is None:
            known = self._partitions[number] = PartitionUsage()
        return known

    def _estimate(self, known: PartitionUsage) -> None:
        uncounted = max(0, known.measured - known.read.size - (known.confirmed.size - known.since))
        self.uncounted += uncounted - known.uncounted
        known.uncounted = uncounted

    def _let_go(self, gone: Mapping[str, int]) -> None:
        for cluster, size in gone.items():
            self._change(cluster, -size)

    def _change(self, cluster: str, by: int) -> None:
        before = self.used.get(cluster, 0)
        after = before + by
        if after:
            self.used[cluster] = after
        else:
            self.used.pop(cluster, None)
        self._total += by
        beyond = self._shares.beyond
        self._borrowed += max(0, beyond(cluster, after)) - max(0, beyond(cluster, before))
