"""When a cluster whose events a destination does not take, while it takes those of others, is tried again. Pure.

The cluster's topic is missing, say. That must not delay the other clusters: whoever can name a new cluster could stop
the whole trail with it. So the lane waits by itself, as long as the whole destination would (`pace`).
"""

from auditsink.forward.retry import FIRST_PROBE, LONGEST_PROBE


class ClusterPause:
    """Of one lane. Times are seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.why: str | None = None
        self.until = float("-inf")
        self._probe = FIRST_PROBE

    def __repr__(self) -> str:
        return f"<ClusterPause until {self.until}: {self.why}>" if self.why else "<ClusterPause: none>"

    def remaining(self, now: float) -> float:
        """Seconds until the lane's next attempt may begin; 0 when it may."""
        return max(0.0, self.until - now)

    def again(self, now: float, why: str) -> bool:
        """The lane's events were not taken. False when that is what an attempt beside this one found."""
        if self.remaining(now) > 0:
            return False
        self.why = why
        self.until = now + self._probe
        self._probe = min(2 * self._probe, LONGEST_PROBE)
        return True

    def lift(self) -> bool:
        """They are taken. True when they were not before."""
        held, self.why = self.why is not None, None
        self.until = float("-inf")
        self._probe = FIRST_PROBE
        return held
