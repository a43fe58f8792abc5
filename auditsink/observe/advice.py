"""What a state means, in words, and what to do about it. Pure.

`last_error` of a destination already says what went wrong and often how to mend it; these sentences say what that means
for the events, which is what a person who is woken by it asks first.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from auditsink.forward.reporting import DestinationState, ForwarderStatistics
from auditsink.observe import health
from auditsink.observe.snapshot import Snapshot

BEHIND_SECONDS = 60.0
"""A destination that delivers and is further behind than this is worth a look."""

_MISCONFIGURED = (
    "Paused, because it cannot work as it is set up. Its events wait in the ring, and the ring is finite: mend what "
    "the last error names; the next probe goes on by itself, without a restart."
)
_RETRYING = (
    "Takes nothing right now. Its events wait in the ring and go out when it answers again; check that it is up, and "
    "reachable from here."
)
_BEHIND = (
    "Delivers, and is behind: either it catches up after a pause (pending falls), or it takes less than comes in "
    "(pending grows); then raise in_flight or batch.max_bytes, or give the other side more room."
)
_HELD = (
    "Takes all but the events of {:,} clusters, which wait in their rings for a reason of their own; mend what is said "
    "there (auditsink status -o json has each), and they go on by themselves."
)
_DROPPED = (
    "Lost {:,} events that were dropped before it took them, because the ring was full; what other destinations have "
    "of them is not affected. Make spool.max_bytes fit the longest outage."
)
_DEAD = "Refused {:,} events for good since it was added; those that are kept as dead letters can be replayed."


class VerdictLevel(StrEnum):
    """How soon somebody should look."""

    GOOD = "good"
    LOOK = "look"
    """When there is time: nothing is lost, and it may end well by itself."""
    BAD = "bad"
    """Now: events are lost or will be, or it does not end by itself."""


class Verdict(NamedTuple):
    """The whole sink in one sentence."""

    level: VerdictLevel
    text: str


def verdict(snapshot: Snapshot) -> Verdict:
    """The worst of all, and how many things there are to look at."""
    if why := health.reasons(snapshot):
        return Verdict(VerdictLevel.BAD, f"Batches are not taken: {why[0]}")
    levels = [level for one in snapshot.destinations for level, _ in _remarks(one)]
    if VerdictLevel.BAD in levels:
        return Verdict(VerdictLevel.BAD, "Batches are taken and kept; a destination needs somebody")
    if levels or health.worries(snapshot):
        return Verdict(VerdictLevel.LOOK, "Batches are taken and kept; there is something to look at")
    return Verdict(VerdictLevel.GOOD, "Batches are taken, kept and delivered")


def advice(one: ForwarderStatistics) -> list[str]:
    """For one destination: each thing that is worth saying, the worst first."""
    return [text for _, text in sorted(_remarks(one), key=lambda remark: remark[0] is not VerdictLevel.BAD)]


def _remarks(one: ForwarderStatistics) -> Iterator[tuple[VerdictLevel, str]]:
    match one.state:
        case DestinationState.MISCONFIGURED:
            yield VerdictLevel.BAD, _MISCONFIGURED
        case DestinationState.RETRYING:
            yield VerdictLevel.LOOK, _RETRYING
        case DestinationState.DELIVERING if one.lag_seconds >= BEHIND_SECONDS:
            yield VerdictLevel.LOOK, _BEHIND
        case _:
            pass
    if one.paused_clusters:
        yield VerdictLevel.BAD, _HELD.format(len(one.paused_clusters))
    if dropped := sum(account.dropped for account in one.accounts.values()):
        yield VerdictLevel.BAD, _DROPPED.format(dropped)
    if dead := sum(account.dead_lettered for account in one.accounts.values()):
        yield VerdictLevel.LOOK, _DEAD.format(dead)
