"""When what failed may be tried again: backoff, the pause of a destination and of one cluster, attempts at once. Pure.

Times come in, times go out; randomness is handed in, nothing here waits. Times are seconds of the monotonic clock.

All clusters of a destination share its pause: a destination that is busy or broken is so for every one of them. While
there is trouble one attempt runs at a time: `in_flight` of them would be a storm. A cluster has a pause of its own
for what concerns it alone (its topic is missing): whoever can name a new cluster must not stop the others with it.
"""

from bisect import insort
from collections.abc import Callable
from enum import StrEnum

LONGEST_WISH = 300.0
"""Seconds. A Retry-After beyond five minutes is an error or an attack: the audit trail would stand still for it."""

FIRST_PROBE = 30.0
LONGEST_PROBE = 300.0
"""Seconds between attempts while misconfigured: soon enough after a person has acted, too slow to lock an account."""

_MAX_DOUBLINGS = 62
"""Past this `initial * 2^n` exceeds any `maximum`, and a float must not overflow after a month of failures."""


def bounded_wish(after: float | None) -> float:
    """A Retry-After as seconds to honour: 0 for none, for nonsense (negative, NaN); never more than `LONGEST_WISH`."""
    return min(after, LONGEST_WISH) if after is not None and after > 0 else 0.0


class Backoff:
    """The waits after failures in a row. `random` gives floats from [0, 1).

    Full jitter: a random time between 0 and `initial * 2^n`, at most `maximum`, so that hundreds of sinks that lost the
    same destination at the same moment do not come back at the same moment. What the other side asked for (Retry-After,
    RFC 9110 section 10.2.3) is a floor under it.
    """

    def __init__(self, initial: float, maximum: float, random: Callable[[], float]) -> None:
        self._initial = initial
        self._maximum = maximum
        self._random = random
        self.failures = 0

    def __repr__(self) -> str:
        return f"<Backoff after {self.failures} failures>"

    def next(self, after: float | None = None) -> float:
        """Count a failure and give the wait that follows it. The jitter comes on top of a Retry-After."""
        longest = min(self._maximum, self._initial * 2.0 ** min(self.failures, _MAX_DOUBLINGS))
        self.failures += 1
        return bounded_wish(after) + self._random() * longest

    def reset(self) -> None:
        """Something was delivered: begin again at `initial`."""
        self.failures = 0

    def another(self) -> "Backoff":
        """One with the same settings that begins at `initial`."""
        return Backoff(self._initial, self._maximum, self._random)


class Trouble(StrEnum):
    """Why nothing is delivered. The values are the states of `/status`."""

    RETRYING = "retrying"
    MISCONFIGURED = "misconfigured"


class DestinationPause:
    """Holds back the next attempt at a destination.

    An attempt takes `failures` with it when it begins and hands it back as `seen` when it ends: if there are more by
    then, it belongs to a moment that is already dealt with. It does not make the wait longer, but may still bring a
    longer Retry-After.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._probe = FIRST_PROBE
        self._until = float("-inf")
        self.failures = 0
        self.trouble: Trouble | None = None

    def __repr__(self) -> str:
        return f"<DestinationPause {self.trouble or 'steady'}>"

    def remaining(self, now: float) -> float:
        """Seconds until the next attempt may begin; 0 when it may."""
        return max(0.0, self._until - now)

    def backoff(self) -> Backoff:
        """A new one with this destination's settings."""
        return self._backoff.another()

    def retry(self, seen: int, now: float, after: float | None = None) -> None:
        """An attempt wants another try."""
        if seen < self.failures:
            self._wait_until(now + bounded_wish(after))
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
        if slow_down:
            self._wait_until(now + bounded_wish(slow_down))
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
            self._until = now
            self._probe = FIRST_PROBE

    def probe_by(self, at: float) -> None:
        """There is something new to probe with while misconfigured: no later than that."""
        if self.trouble is Trouble.MISCONFIGURED:
            self._until = min(self._until, at)

    def _fail(self, trouble: Trouble, until: float) -> None:
        self.trouble = trouble
        self.failures += 1
        self._wait_until(until)

    def _wait_until(self, until: float) -> None:
        self._until = max(self._until, until)


class ClusterPause:
    """Holds back one cluster's events, which the destination does not take while it takes those of others.

    `why`: that is so until a person acts; None while only a batch that fails waits for its next attempt (`trials`).
    """

    def __init__(self) -> None:
        self.why: str | None = None
        self.until = float("-inf")
        self._probe = FIRST_PROBE

    def __repr__(self) -> str:
        return f"<ClusterPause until {self.until}: {self.why}>" if self.why else "<ClusterPause: none>"

    def remaining(self, now: float) -> float:
        """Seconds until the cluster's next attempt may begin; 0 when it may."""
        return max(0.0, self.until - now)

    def again(self, now: float, why: str) -> bool:
        """The cluster's events were not taken. False when that is what an attempt beside this one found."""
        if self.remaining(now) > 0:
            return False
        self.why = why
        self.until = now + self._probe
        self._probe = min(2 * self._probe, LONGEST_PROBE)
        return True

    def back_off(self, until: float) -> None:
        """A batch of the cluster failed; others may go first."""
        self.until = max(self.until, until)

    def end(self) -> bool:
        """They are taken. True when they were not before."""
        paused, self.why = self.why is not None, None
        self.until = float("-inf")
        self._probe = FIRST_PROBE
        return paused


class InFlightLimit:
    """Which prepared batch may be attempted now.

    Batches get a ticket when they are taken and go through in the order of their tickets, however long the preparing
    takes; so with `in_flight` 1 each cluster keeps its order strictly. A batch that must be tried again keeps its
    ticket and is first.
    """

    def __init__(self, in_flight: int, pause: DestinationPause) -> None:
        self._in_flight = in_flight
        self._pause = pause
        self._waiting: list[int] = []
        self._running: set[int] = set()
        self._last = 0

    def __repr__(self) -> str:
        return f"<InFlightLimit {self.running} running, {len(self._waiting)} waiting>"

    @property
    def running(self) -> int:
        """Attempts, with what follows from them until `leave`."""
        return len(self._running)

    def ticket(self) -> int:
        """A place behind all that were given before."""
        self._last += 1
        self._waiting.append(self._last)
        return self._last

    def wait(self, ticket: int, now: float) -> float | None:
        """How long to wait before asking again: 0 means go, None until something changes."""
        allowed = 1 if self._pause.trouble else self._in_flight
        if self._waiting[0] != ticket or self.running >= allowed:
            return None
        return self._pause.remaining(now)

    def enter(self, ticket: int) -> None:
        """The attempt begins."""
        self._waiting.remove(ticket)
        self._running.add(ticket)

    def rejoin(self, ticket: int) -> None:
        """The batch will be attempted again, before all that were taken after it."""
        self._running.remove(ticket)
        insort(self._waiting, ticket)

    def leave(self, ticket: int) -> None:
        """The batch will not be attempted any more."""
        self._running.discard(ticket)
        if ticket in self._waiting:
            self._waiting.remove(ticket)
