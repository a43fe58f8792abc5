"""What a forwarder says of itself, as plain values for whoever renders them; and the counters behind them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from auditsink.forward.retry import Trouble
from auditsink.spool.types import Account


class DestinationState(StrEnum):
    """A destination's state in `/status`."""

    DELIVERING = "delivering"
    IDLE = "idle"
    RETRYING = Trouble.RETRYING
    MISCONFIGURED = Trouble.MISCONFIGURED
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class LastError:
    """The last thing that went wrong, and when (nanoseconds since the epoch)."""

    text: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Held:
    """Why the destination does not take one cluster's events, and in how many seconds that is tried again."""

    why: str
    next_attempt_seconds: float


@dataclass(slots=True)
class DeliveryCounters:
    """Since the start of the process."""

    requests: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    bytes: int = 0
    last_error: LastError | None = None


@dataclass(frozen=True, slots=True)
class ForwarderStatistics:
    """One destination. `batches` and `bytes` (of events, before encoding) count what was delivered since the start.

    `lag_seconds` is the age of the oldest event that is not settled, 0 when all are. `next_attempt_seconds` is how
    long a pause still lasts. `accounts` is by cluster; so is `held`: clusters that wait by themselves, see `hold`.
    """

    name: str
    type: str
    state: DestinationState
    last_error: LastError | None
    lag_seconds: float
    requests: Mapping[str, int]
    retries: Mapping[str, int]
    batches: int
    bytes: int
    in_flight: int
    next_attempt_seconds: float
    accounts: Mapping[str, Account]
    held: Mapping[str, Held] = field(default_factory=dict)
