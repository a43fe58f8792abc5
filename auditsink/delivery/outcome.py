"""What an attempt to deliver a batch came to: a value, never an exception.

A destination's classification is a pure function from what the other side answered to one of these; the forwarder
acts on the value alone and knows no status code.
"""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class EventRejection:
    """One event that the destination will never take. `index` counts from 0 within the batch that was attempted."""

    index: int
    why: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination has the batch, but for the events in `refused`, which are dead letters.

    `slow_down` asks for a pause of that many seconds before the next attempt (HEC codes 24 and 25: queue near full).
    `diverted`: so many of the events it took only to keep them apart as it cannot read them (a failure store).
    """

    refused: tuple[EventRejection, ...] = ()
    slow_down: float = 0.0
    diverted: int = 0


class RetryCause(Enum):
    """What is known of why an attempt failed: it decides how far the batch itself may be at fault."""

    UNKNOWN = "unknown"
    """It may be the destination, and it may be what is in the batch (a 500, a reset, no answer)."""
    ELSEWHERE = "elsewhere"
    """Not the batch: the other side has not seen it (no connection, a proxy without a tunnel, our own disk)."""
    TIMED_OUT = "timed_out"
    """The answer did not come in time; it may for a smaller request."""
    THROTTLED = "throttled"
    """The other side takes less than this, now or at once (429, 503)."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now: later again, smaller if that may help. `after`: the other side's own wish in seconds (Retry-After).

    `cluster_only`: that is so for the batch's cluster (its own tenant's quota, say); the others' events go on.
    """

    why: str
    after: float | None = None
    cause: RetryCause = RetryCause.UNKNOWN
    cluster_only: bool = False


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """Nothing of this destination can succeed until a person acts: pause, shout, probe slowly, keep the data.

    `cluster_only`: that is so for the batch's cluster (its own topic is missing, say); the others' events go on.
    """

    why: str
    cluster_only: bool = False


@dataclass(frozen=True, slots=True)
class Poison:
    """An event in the batch is refused for good; `index` names it, None means that it must be found by bisection.

    Nothing of the batch may be taken as delivered: the rest is sent again (repeats are allowed, loss is not).
    """

    index: int | None
    why: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The request is larger than the other side takes: halve it; a single event that is too large is a dead letter."""

    why: str


Outcome = Delivered | Retry | Misconfigured | Poison | TooLarge
