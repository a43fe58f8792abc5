"""What a state means, in words, and what to do about it. Pure.

`last_error` of a destination already says what went wrong and often how to mend it; these sentences say what that means
for the events, which is what a person who is woken by it asks first.
"""

from collections.abc import Iterator

from auditsink.forward.reporting import DestinationState, ForwarderStatistics
from auditsink.observe.verdict import BEHIND_SECONDS, VerdictLevel

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
_DEAD = "Refused {:,} events for good that are kept as dead letters: see why, then replay or drop them."


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
    if waiting := one.dead_letters.total:
        yield VerdictLevel.LOOK, _DEAD.format(waiting)
