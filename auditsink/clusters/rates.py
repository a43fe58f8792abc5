"""How many events a cluster may post: a token bucket for each that has a rate. Pure.

A batch is let in while the bucket holds anything and may leave it in debt, because an apiserver's batch cannot be cut:
a smaller bucket than its batches would refuse them for ever. The debt is waited off, so the average holds.
"""

import math

from auditsink.config import Rate

BURST_SECONDS = 10
"""Seconds' worth of events in a full bucket where the configuration names none."""
RETRY_AFTER = (2, 20)
"""Whole seconds asked for: below, kube-apiserver's client storms; above, it gives up before it has tried again."""


class TokenBucket:
    """Full at first. `rate` may be replaced at any moment. All times are seconds of the monotonic clock."""

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
