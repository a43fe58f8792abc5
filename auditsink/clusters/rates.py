"""How many events each cluster may post: a token bucket for each that has a rate. Pure.

A batch is let in while the bucket holds anything and may leave it in debt, because an apiserver's batch cannot be cut:
a smaller bucket than its batches would refuse them for ever. The debt is waited off, so the average holds.
"""

import math
from collections.abc import Callable

from auditsink.config import Rate

BURST_SECONDS = 10
"""Seconds' worth of events in a full bucket where the configuration names none."""
RETRY_AFTER = (2, 20)
"""Whole seconds asked for: below, kube-apiserver's client storms; above, it gives up before it has tried again."""


class _Bucket:
    __slots__ = ("at", "level")

    def __init__(self, level: float, at: float) -> None:
        self.level = level
        self.at = at


class Rates:
    """`rate_of` gives the rate in force, None for no limit. All times are seconds of the monotonic clock."""

    def __init__(self, rate_of: Callable[[str], Rate | None]) -> None:
        self._rate_of = rate_of
        self._buckets: dict[str, _Bucket] = {}

    def limits(self, cluster: str) -> bool:
        """Whether the cluster has a rate at all: what a request of one without pays."""
        return self._rate_of(cluster) is not None

    def wait(self, cluster: str, now: float) -> int | None:
        """Seconds to ask a request for that cannot be let in now; None when it can."""
        rate = self._rate_of(cluster)
        if rate is None:
            self._buckets.pop(cluster, None)
            return None
        level = self._filled(cluster, rate, now).level
        if level > 0:
            return None
        least, most = RETRY_AFTER
        return min(max(math.ceil((1 - level) / rate.events_per_second), least), most)

    def take(self, cluster: str, events: int, now: float) -> None:
        """A batch was let in; negative: it was not stored after all."""
        rate = self._rate_of(cluster)
        if rate is not None:
            self._filled(cluster, rate, now).level -= events

    def _filled(self, cluster: str, rate: Rate, now: float) -> _Bucket:
        burst = rate.burst or rate.events_per_second * BURST_SECONDS
        bucket = self._buckets.get(cluster)
        if bucket is None:
            bucket = self._buckets[cluster] = _Bucket(burst, now)
        bucket.level = min(burst, bucket.level + (now - bucket.at) * rate.events_per_second)
        bucket.at = now
        return bucket
