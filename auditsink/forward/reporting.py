"""What a forwarder says of itself: counters, states and errors as plain values, and the lines of the log.

They say what is wrong and what to do, never what is in an event.

A misconfiguration is an error in the log at every probe (they are rare); a retry is a warning when the trouble begins
and a reminder while it lasts.
"""

import logging
import re
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from auditsink.common.clock import Clock
from auditsink.common.redact import redact
from auditsink.delivery.outcome import (
    Delivered,
    Misconfigured,
    Outcome,
    Poison,
    Retry,
    RetryCause,
    TooLarge,
)
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.dead_letter_count import DeadLettersWaiting
from auditsink.forward.retry import Trouble
from auditsink.forward.source import Unfetched
from auditsink.spool.types import Account

log = logging.getLogger("auditsink.forward")

_QUOTED = re.compile(r"(?<!\w)'[^']*(?:'(?!\w)|$)|\"[^\"]*(?:\"|$)|`[^`]*(?:`|$)|\[[^\]]*(?:\]|$)|\{.*", re.DOTALL)
_CLOSING = {"'": "'", '"': '"', "`": "`", "[": "]", "{": "}"}
_LONGEST_REASON = 200
REMINDER = 300.0
"""Seconds between two log lines about the same kind of trouble."""


class DestinationState(StrEnum):
    """A destination's state in `/status`."""

    DELIVERING = "delivering"
    IDLE = "idle"
    RETRYING = Trouble.RETRYING
    MISCONFIGURED = Trouble.MISCONFIGURED
    STOPPED = "stopped"


MOST_ERRORS = 8
"""Errors with different texts that are remembered for each destination."""
_LONGEST_ERROR = 500
"""Characters of one; most have a bound of their own, a library's text has none."""


@dataclass(frozen=True, slots=True)
class LastError:
    """What went wrong, redacted: `count` times since `since_ns` and last at `at_ns` (nanoseconds since the epoch)."""

    text: str
    at_ns: int
    since_ns: int
    count: int = 1


def with_error(before: tuple[LastError, ...], text: str, now_ns: int) -> tuple[LastError, ...]:
    """The errors with another one, which goes to the front: counted where its text is known. Pure."""
    known = next((one for one in before if one.text == text), None)
    new = LastError(text, now_ns, now_ns if known is None else known.since_ns, 1 if known is None else known.count + 1)
    return (new, *(one for one in before if one is not known))[:MOST_ERRORS]


@dataclass(frozen=True, slots=True)
class HeldCluster:
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
    repeated: int = 0
    diverted: int = 0
    last_errors: tuple[LastError, ...] = ()
    trouble_since_ns: int | None = None
    last_delivered_ns: int | None = None

    def went_wrong(self, why: str, now_ns: int) -> None:
        """Remember an error, without what looks like a credential."""
        self.last_errors = with_error(self.last_errors, redact(why)[:_LONGEST_ERROR], now_ns)


@dataclass(frozen=True, slots=True)
class ForwarderStatistics:
    """One destination.

    `batches` and `bytes` (of events, before encoding) count what was delivered since the start,
    `repeated` events that were sent again though the destination may have them, `diverted` those that it took only to
    keep them apart. `dropped_dead_letters` is counted over restarts.

    `lag_seconds` is the age of the oldest event that is not settled, 0 when all are. `next_attempt_seconds` is how
    long a pause still lasts. `accounts` is by cluster; so is `held`: those that wait by
    themselves, see `retry.ClusterPause`. `trouble_since_ns`: when the first of the failures in a row was, None when
    the last attempt delivered; `last_delivered_ns`: when something was delivered last, None for not since the start.
    `unfetched`: what waits in a topic beyond `accounts`, None on a disk.
    `dead_letters` are those that wait. `last_errors`: at most `MOST_ERRORS` with different texts, the newest first,
    over or not.
    """

    name: str
    type: str
    state: DestinationState
    last_errors: tuple[LastError, ...]
    lag_seconds: float
    requests: Mapping[str, int]
    retries: Mapping[str, int]
    batches: int
    bytes: int
    in_flight: int
    next_attempt_seconds: float
    accounts: Mapping[str, Account]
    held: Mapping[str, HeldCluster] = field(default_factory=dict)
    trouble_since_ns: int | None = None
    last_delivered_ns: int | None = None
    dead_letters: DeadLettersWaiting = field(default_factory=DeadLettersWaiting)
    repeated: int = 0
    diverted: int = 0
    dropped_dead_letters: int = 0
    unfetched: Unfetched | None = None

    @property
    def pending(self) -> int:
        """Events that it has not got, those of `unfetched` included."""
        known = sum(account.pending for account in self.accounts.values())
        return known if self.unfetched is None else known + self.unfetched.events

    @property
    def last_error(self) -> LastError | None:
        """The newest of them, None when nothing went wrong since the start."""
        return self.last_errors[0] if self.last_errors else None


@dataclass(frozen=True, slots=True)
class Bug(Retry):
    """The destination's own code failed. Its events are as good as before, so they are tried again."""


class RetryReason(StrEnum):
    """Why something is tried again: the `reason` labels of `auditsink_destination_retries_total`."""

    ASKED = "asked"
    """The other side said when to come back (Retry-After)."""
    FAILED = "failed"
    """It could not be reached, or not now."""
    TIMED_OUT = "timed_out"
    """The answer did not come in time, so whether the events are there is not known."""
    SUSPECTED = "suspected"
    """The destination takes others, so it may be what is in the batch."""
    MISCONFIGURED = "misconfigured"
    BUG = "bug"
    """The destination's code failed."""
    DEAD_LETTERS = "dead_letters"
    """A refused event could not be kept: no room, or the disk fails."""


CODES: Mapping[type[Outcome], str] = {
    Delivered: "delivered",
    Retry: "retry",
    Misconfigured: "misconfigured",
    Poison: "poison",
    TooLarge: "too_large",
    Bug: "bug",
}
"""What an attempt came to: the `code` labels of `auditsink_destination_requests_total`."""


def reason_of(outcome: Retry | Misconfigured) -> RetryReason:
    """The label for trying again after this."""
    if isinstance(outcome, Misconfigured):
        return RetryReason.MISCONFIGURED
    if isinstance(outcome, Bug):
        return RetryReason.BUG
    if outcome.cause is RetryCause.TIMED_OUT:
        return RetryReason.TIMED_OUT
    return RetryReason.FAILED if outcome.after is None else RetryReason.ASKED


def where(problem: BaseException) -> str:
    """A failure's type and place. Not its text: that may quote what was being delivered."""
    frames = traceback.extract_tb(problem.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(problem).__name__}{place}"


def without_quotes(reason: str) -> str:
    """The other side's reason without what it quotes, which is an event's; short enough for a log line. Pure."""
    return _QUOTED.sub(lambda match: f"{match[0][0]}...{_CLOSING[match[0][0]]}", reason)[:_LONGEST_REASON]


_NOT_A_CLUSTER = "a destination takes nothing of a cluster right now; its events are kept and tried again, others go on"


class Reporting:
    """Counts, and talks to the log."""

    def __init__(self, destination: str, clock: Clock) -> None:
        self.counters = DeliveryCounters()
        self._destination = destination
        self._clock = clock
        self._last_warning: dict[RetryReason, float] = {}
        self._told_too_large = False
        self._last_diverted = float("-inf")

    def __repr__(self) -> str:
        return f"<Reporting of {self._destination} {self.counters}>"

    def attempted(self, outcome: Outcome) -> None:
        """Count an attempt by its outcome."""
        self.counters.requests[CODES[type(outcome)]] += 1

    def retrying(self, cluster: str, why: str, reason: RetryReason, wait: float, *, alone: bool = False) -> None:
        """It will be tried again by itself. `alone`: the other clusters' events go on."""
        self._failed(why, reason)
        now = self._clock.monotonic()
        if now - self._last_warning.get(reason, float("-inf")) >= REMINDER:
            self._last_warning[reason] = now
            log.warning(
                _NOT_A_CLUSTER
                if alone
                else "a destination takes nothing right now; its events are kept and tried again",
                extra=self._extra(cluster, error=why, reason=reason.value, next_attempt_seconds=round(wait, 1)),
            )

    def suspected(self, cluster: str, why: str, events: int) -> None:
        """A batch fails while the destination takes others."""
        self._failed(why, RetryReason.SUSPECTED)
        now = self._clock.monotonic()
        if now - self._last_warning.get(RetryReason.SUSPECTED, float("-inf")) >= REMINDER:
            self._last_warning[RetryReason.SUSPECTED] = now
            log.warning(
                "a destination fails at a batch and takes others: the events at fault are looked for, by halves; one "
                "that fails alone again and again, while its neighbours are taken, becomes a dead letter",
                extra=self._extra(cluster, error=why, events=events),
            )

    def repeated(self, events: int) -> None:
        """So many events are sent that the destination may have already."""
        self.counters.repeated += events

    def diverted(self, cluster: str, events: int) -> None:
        """The destination took these and keeps them apart."""
        self.counters.diverted += events
        now = self._clock.monotonic()
        if now - self._last_diverted >= REMINDER:
            self._last_diverted = now
            log.warning(
                "a destination took events and put them where it keeps what it cannot read (its failure store): they "
                "are there and not in its index; look there for the reason",
                extra=self._extra(cluster, events=events, since_start=self.counters.diverted),
            )

    def misconfigured(self, cluster: str, why: str, reason: RetryReason, wait: float, *, news: bool) -> None:
        """Nothing will succeed until a person acts; told at each probe, not for each attempt that was under way."""
        self._failed(why, reason)
        if news:
            log.error(
                "a destination is misconfigured: delivery is paused, its events are kept in the spool until they are "
                "taken or the spool is full; correct what the error names, the next attempt comes by itself",
                extra=self._extra(cluster, error=why, reason=reason.value, next_attempt_seconds=round(wait, 1)),
            )

    def recovered(self, cluster: str) -> None:
        """The trouble is over."""
        self._last_warning.clear()
        log.info("a destination takes events again", extra=self._extra(cluster))

    def too_large(self, cluster: str, size: int) -> None:
        """A request of several events was refused for its size. Told once: it costs bandwidth and nothing else."""
        if not self._told_too_large:
            self._told_too_large = True
            log.warning(
                "a destination refuses requests of this size; its batches become smaller until they pass: "
                "set batch.max_bytes of this destination below it to save the detours",
                extra=self._extra(cluster, batch_bytes=size),
            )

    def dead_lettered(self, dead_letters: Sequence[DeadLetter]) -> None:
        """These events are dead letters now: one line, which the next equal ones are counted with."""
        reasons = Counter(without_quotes(one.reason) for one in dead_letters)
        for reason, _ in reasons.most_common(1):
            others = {"other_reasons": len(reasons) - 1} if len(reasons) > 1 else {}
            log.warning(
                "a destination refused events for good; they are kept as dead letters: see `auditsink deadletter ls`",
                extra=self._extra(dead_letters[0].cluster, events=len(dead_letters), reason=reason, **others),
            )

    def dead_letters_dropped(self, count: int) -> None:
        """So many dead letters were thrown away for want of room."""
        log.warning(
            "dead letters are full: the oldest are thrown away for good, as when_dead_letters_full says; raise "
            "dead_letter_bytes, or look into `auditsink deadletter ls` why there are so many",
            extra={"destination": self._destination, "dropped": count},
        )

    def delivered(self, size: int) -> None:
        """A batch is settled. `size`: bytes of its events."""
        self.counters.last_delivered_ns = self._clock.wall_ns()
        self.counters.trouble_since_ns = None
        self.counters.batches += 1
        self.counters.bytes += size

    def _failed(self, why: str, reason: RetryReason) -> None:
        self.counters.retries[reason.value] += 1
        now_ns = self._clock.wall_ns()
        self.counters.went_wrong(why, now_ns)
        if self.counters.trouble_since_ns is None:
            self.counters.trouble_since_ns = now_ns

    def _extra(self, cluster: str, **more: object) -> dict[str, object]:
        return {"destination": self._destination, **({"cluster": cluster} if cluster else {}), **more}
