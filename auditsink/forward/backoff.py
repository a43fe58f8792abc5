"""How long to wait before the next try. Pure: randomness is handed in, nothing here waits.

Full jitter: a random time between 0 and `initial * 2^n`, at most `maximum`, so that hundreds of sinks that lost the
same destination at the same moment do not come back at the same moment. What the other side asked for (Retry-After,
RFC 9110 section 10.2.3) is a floor under it.
"""

from collections.abc import Callable

LONGEST_WISH = 300.0
"""Seconds. A Retry-After beyond five minutes is an error or an attack: the audit trail would stand still for it."""

_MAX_DOUBLINGS = 62
"""Past this `initial * 2^n` exceeds any `maximum`, and a float must not overflow after a month of failures."""


def bounded_wish(after: float | None) -> float:
    """A Retry-After as seconds to honour: 0 for none, for nonsense (negative, NaN); never more than `LONGEST_WISH`."""
    return min(after, LONGEST_WISH) if after is not None and after > 0 else 0.0


class Backoff:
    """The waits after failures in a row. `random` gives floats from [0, 1); times are seconds."""

    def __init__(self, initial: float, maximum: float, random: Callable[[], float]) -> None:
        self._initial = initial
        self._maximum = maximum
        self._random = random
        self.failures = 0

    def __repr__(self) -> str:
        return f"<Backoff after {self.failures} failures>"

    def next(self, after: float | None = None) -> float:
        """Count a failure and give the wait that follows it. The jitter comes on top of a Retry-After."""
        ceiling = min(self._maximum, self._initial * 2.0 ** min(self.failures, _MAX_DOUBLINGS))
        self.failures += 1
        return bounded_wish(after) + self._random() * ceiling

    def reset(self) -> None:
        """Something was delivered: begin again at `initial`."""
        self.failures = 0
