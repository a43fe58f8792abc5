"""A cluster as the receive port sees it: found once for each request, and carried to its answer.

It holds what a request would else look up under the cluster's name again and again: its ring, its rate, its counters,
and what its requests under way have announced.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from auditsink.config import Rate
from auditsink.receive.statistics import ClusterStatistics, ReceiveCounters
from auditsink.receive.store import Store
from auditsink.spool import SpoolError

BURST_SECONDS = 10
"""Seconds' worth of events in a full bucket where the configuration names none."""
RETRY_AFTER = (2, 20)
"""Whole seconds asked for: below, kube-apiserver's client storms; above, it gives up before it has tried again."""


class TokenBucket:
    """How many events a cluster may post. Full at first. All times are seconds of the monotonic clock.

    A batch is let in while the bucket holds anything and may leave it in debt, because an apiserver's batch cannot be
    cut: a smaller bucket than its batches would refuse them for ever. The debt is waited off, so the average holds.
    `rate` may be replaced at any moment.
    """

    __slots__ = ("_at", "_level", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._level: float = self._burst
        self._at = now

    def wait(self, now: float) -> int | None:
        """Seconds to ask a request for that cannot be let in now; None when it can."""
        self._fill(now)
        if self._level > 0:
            return None
        least, most = RETRY_AFTER
        return min(max(math.ceil((1 - self._level) / self.rate.events_per_second), least), most)

    def take(self, events: int, now: float) -> None:
        """A batch was let in; negative: it was not stored after all."""
        self._fill(now)
        self._level -= events

    @property
    def _burst(self) -> float:
        return self.rate.burst or self.rate.events_per_second * BURST_SECONDS

    def _fill(self, now: float) -> None:
        self._level = min(self._burst, self._level + (now - self._at) * self.rate.events_per_second)
        self._at = now


class PostingCluster:
    """One cluster. `ring` and `counters` are None until its first batch is stored, `bucket` where it has no rate."""

    __slots__ = ("announced", "bucket", "counters", "name", "ring")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ring: Any = None
        self.counters: ClusterStatistics | None = None
        self.bucket: TokenBucket | None = None
        self.announced = 0
        """Bytes of the bodies of its requests under way."""

    def wait(self, now: float) -> int | None:
        """Seconds to ask a request for that comes past the rate; None when it may come in."""
        return None if self.bucket is None else self.bucket.wait(now)


class Admitted(NamedTuple):
    """A request that may post, and the identity that was proven: "cert:NAME", "token:CLUSTER" or ""."""

    cluster: PostingCluster
    source: str


class PostingClusters:
    """Those with a ring, and those whose first request is under way: clients make names up, and must not fill this.

    While there are several clusters, one may announce half of `limit` (bytes): who announces and then sends slowly, on
    however many connections, must leave room for the others.
    """

    def __init__(
        self, spool: Store, counters: ReceiveCounters, limit: int, rate_of: Callable[[str], Rate | None]
    ) -> None:
        """`rate_of` gives the rate in force, None for no limit."""
        self._spool = spool
        self._counters = counters
        self.limit = limit
        self._rate_of = rate_of
        self._known: dict[str, PostingCluster] = {}

    @property
    def announced(self) -> Mapping[str, int]:
        """Bytes of the bodies under way, of the clusters that have any."""
        return {name: one.announced for name, one in self._known.items() if one.announced}

    def find(self, name: str, now: float) -> PostingCluster:
        """The cluster of this name, held to the rate in force at `now` (monotonic seconds)."""
        cluster = self._known.get(name)
        if cluster is None:
            cluster = PostingCluster(name)
            if (ring := self._spool.rings.get(name)) is not None:
                self._enter(cluster, ring)
        rate = self._rate_of(name)
        if rate is None:
            cluster.bucket = None
        elif cluster.bucket is None:
            cluster.bucket = TokenBucket(rate, now)
        else:
            cluster.bucket.rate = rate
        return cluster

    def make_ring(self, cluster: PostingCluster, made: Callable[[Any], None]) -> None:
        """Have its ring: `made` is told it, at once where it is there, or later, perhaps a SpoolError."""

        def entered(found: Any) -> None:
            if not isinstance(found, SpoolError):
                self._enter(cluster, found)
            made(found)

        ring = self._spool.rings.get(cluster.name)
        if ring is None:
            self._spool.make_ring(cluster.name, entered)
        else:
            entered(ring)

    def announce(self, cluster: PostingCluster, count: int) -> bool:
        """A request with a body of `count` bytes begins; the first of a cluster always may."""
        announced = cluster.announced
        if count and announced and announced + count > self.limit // 2 and len(self._spool.rings) > 1:
            return False
        cluster.announced = announced + count
        if count and cluster.ring is None:
            self._known[cluster.name] = cluster
        return True

    def settle(self, cluster: PostingCluster, count: int) -> None:
        """The request has its answer, or its client is gone."""
        cluster.announced -= count
        if not cluster.announced and cluster.ring is None and self._known.get(cluster.name) is cluster:
            del self._known[cluster.name]

    def _enter(self, cluster: PostingCluster, ring: Any) -> None:
        cluster.ring, cluster.counters = ring, self._counters.cluster(cluster.name)
        self._known.setdefault(cluster.name, cluster)
