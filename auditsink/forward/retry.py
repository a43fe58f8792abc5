"""When a destination may be tried next, and what its trouble is called. Pure: times come in, times go out.

All lanes of a destination share one pace: a destination that is busy or broken is so for every cluster. Attempts that
began before the last failure belong to the same bad moment and do not make the wait longer; they may still bring a
longer Retry-After. While there is trouble one attempt runs at a time (`in_flight` of them would be a storm).
"""

from enum import StrEnum

from auditsink.forward.backoff import Backoff, bounded_wish

FIRST_PROBE = 30.0
LONGEST_PROBE = 300.0
"""Seconds between attempts while misconfigured: soon enough after a person has acted, too slow to lock an account."""


class Trouble(StrEnum):
    """Why nothing is delivered. The values are the states of `/status`."""

    RETRYING = "retrying"
    MISCONFIGURED = "misconfigured"


class DestinationPause:
    """Holds back the next attempt. Times are seconds of the monotonic clock.

    An attempt takes `failures` with it when it begins and hands it back as `seen` when it ends: if there are more by
    then, it belongs to a moment that is already dealt with.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._probe = FIRST_PROBE
        self._hold_until = float("-inf")
        self.failures = 0
        self.trouble: Trouble | None = None

    def __repr__(self) -> str:
        return f"<DestinationPause {self.trouble or 'steady'}>"

    def remaining(self, now: float) -> float:
        """Seconds until the next attempt may begin; 0 when it may."""
        return max(0.0, self._hold_until - now)

    def retry(self, seen: int, now: float, after: float | None = None) -> None:
        """An attempt wants another try."""
        if seen < self.failures:
            self._hold(now + bounded_wish(after))
        else:
            self._fail(Trouble.RETRYING, now + self._backoff.next(after))

    def misconfigured(self, seen: int, now: float) -> bool:
        """Nothing will succeed until a person acts. False when that was known."""
        if seen < self.failures and self.trouble is Trouble.MISCONFIGURED:
            return False
        self._fail(Trouble.MISCONFIGURED, now + self._probe)
        self._probe = min(2 * self._probe, LONGEST_PROBE)
        return True

    def answered(self, seen: int, now: float, slow_down: float = 0.0) -> bool:
        """The other side dealt with an attempt. True when that ended a trouble."""
        self._hold(now + bounded_wish(slow_down))
        if seen < self.failures:  # its good news is older than the bad news
            return False
        recovered = self.trouble is not None
        self.trouble = None
        self._backoff.reset()
        self._probe = FIRST_PROBE
        return recovered

    def repaired(self, now: float) -> None:
        """A person seems to have acted: the next probe may come at once, and again soon if that was not all."""
        if self.trouble is Trouble.MISCONFIGURED:
            self._hold_until = now
            self._probe = FIRST_PROBE

    def _fail(self, trouble: Trouble, until: float) -> None:
        self.trouble = trouble
        self.failures += 1
        self._hold(until)

    def _hold(self, until: float) -> None:
        self._hold_until = max(self._hold_until, until)
