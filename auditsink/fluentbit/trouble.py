"""How a destination's trouble is told in fluent-bit's counters. Pure: times and states in, numbers out.

Whoever watches fluent-bit asks once a minute whether `retries` or `errors` have grown. Counted attempt by attempt that
misleads twice: one attempt that is repeated and succeeds is no trouble, and a destination that is paused probes so
rarely that most minutes look well. So trouble is counted by its time:

- `retries` grows by one when trouble has lasted `GRACE_SECONDS`, and then every `TICK_SECONDS` while it lasts;
- a pause (nothing succeeds until a person acts) grows `retries` and `errors` from its first second, every
  `TICK_SECONDS` while it lasts.

Whoever asks once a minute sees growth exactly while there is trouble that does not end by itself within half a minute.
"""

from collections import deque
from dataclasses import dataclass

from auditsink.forward.reporting import DestinationState, ForwarderStatistics

GRACE_SECONDS = 30.0
"""Of trying again: with the usual backoff some five attempts have failed by then."""
TICK_SECONDS = 15.0
"""Four in the minute after which the extension asks again, so that none of its questions falls between two."""


@dataclass(slots=True)
class _Stretch:
    """A kind of trouble: whole ticks that are over, and since when it lasts now (None: it does not)."""

    grace: float
    done: int = 0
    since: float | None = None
    until: float = 0.0

    def look(self, now: float, *, on: bool) -> None:
        if on:
            self.since = now if self.since is None else self.since
            self.until = now
        elif self.since is not None:
            self.done += self._running()
            self.since = None

    def _running(self) -> int:
        lasted = 0.0 if self.since is None else self.until - self.since - self.grace
        return 0 if self.since is None or lasted < 0 else 1 + int(lasted // TICK_SECONDS)

    @property
    def ticks(self) -> int:
        return self.done + self._running()

    @property
    def serious(self) -> bool:
        return self._running() > 0


class DestinationTrouble:
    """One destination's, looked at every second or so. `now`: monotonic seconds."""

    def __init__(self) -> None:
        self._retrying = _Stretch(GRACE_SECONDS)
        self._paused = _Stretch(0.0)

    def look(self, now: float, one: ForwarderStatistics) -> None:
        """Take note of its state."""
        paused = one.state is DestinationState.MISCONFIGURED or bool(one.paused_clusters)
        self._retrying.look(now, on=one.state is DestinationState.RETRYING)
        self._paused.look(now, on=paused)

    @property
    def retries(self) -> int:
        """For `retries`."""
        return self._retrying.ticks + self._paused.ticks

    @property
    def pauses(self) -> int:
        """For `errors`."""
        return self._paused.ticks

    @property
    def now(self) -> bool:
        """Whether somebody should look."""
        return self._retrying.serious or self._paused.serious


class Window:
    """How much counters have grown within so many seconds, as fluent-bit's `hc_period` has it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._samples: deque[tuple[float, int, int]] = deque()

    def add(self, now: float, errors: int, retries_failed: int) -> None:
        """The counters of now."""
        self._samples.append((now, errors, retries_failed))
        while len(self._samples) > 2 and self._samples[1][0] <= now - self._seconds:
            self._samples.popleft()

    def grown(self) -> tuple[int, int]:
        """By how much each is larger than at the beginning of the period."""
        if not self._samples:
            return 0, 0
        (_, *before), (_, *after) = self._samples[0], self._samples[-1]
        return after[0] - before[0], after[1] - before[1]
