"""Is the sink ready, and if not, why. Pure.

Not ready means: a batch that is posted now would not be kept. A full ring and a destination in trouble are no
reasons: the sink answers 503 with Retry-After, or keeps the events, and taking it out of its Service would make the
apiserver meet a closed port instead.
"""

from collections.abc import Iterable, Iterator

from auditsink.common import timestamps
from auditsink.forward.reporting import DestinationState, ForwarderStatistics
from auditsink.observe.snapshot import Phase, Snapshot
from auditsink.observe.verdict import all_of
from auditsink.spool.statistics import RingStatistics


def reasons(snapshot: Snapshot) -> list[str]:
    """Why the sink is not ready, each a sentence; empty when it is."""
    found = [f"the sink is {snapshot.phase.value}"] if snapshot.phase is not Phase.RUNNING else []
    if snapshot.spool.problem:
        found.append(f"spool: {snapshot.spool.problem}")
    return found + list(snapshot.failures)


def worries(snapshot: Snapshot) -> list[str]:
    """What somebody should look at although the sink is ready."""
    found = [worry for destination in snapshot.destinations for worry in _worries(destination, snapshot.spool.rings)]
    found += [_held(destination) for destination in snapshot.destinations if destination.held]
    found += [f"receive: {problem}" for problem in snapshot.receive.problems]
    if snapshot.receive.unsplit:
        found.append(
            f"receive: {snapshot.receive.unsplit:,} batches since the start could not be split into their events; "
            "filters cannot look into them; find out what posts them (the log names the clusters)"
        )
    if snapshot.log_lines_skipped:
        found.append(f"log: {snapshot.log_lines_skipped:,} lines were skipped, because standard error was not read")
    found += [
        f"removed destination {name} has not got {events:,} events that are held; put it back to have them delivered"
        for name, events in sorted(snapshot.spool.abandoned.items())
    ]
    found += [f"spool: {worry}" for worry in snapshot.spool.worries]
    if snapshot.spool.damaged_bytes:
        found.append(f"spool: {snapshot.spool.damaged_bytes:,} bytes are damaged; run auditsink spool verify")
    return found


def readiness(snapshot: Snapshot) -> tuple[bool, str]:
    """`/readyz`: whether ready, and the text that says why."""
    why = reasons(snapshot)
    lines = [f"not ready: {reason}" for reason in why] or ["ready"]
    return not why, "\n".join(lines + [f"{one.level.value}: {one.text}" for one in all_of(snapshot)]) + "\n"


def _held(one: ForwarderStatistics) -> str:
    cluster, held = min(one.held.items())
    more = f" (and {len(one.held) - 1} more)" if len(one.held) > 1 else ""
    return f"destination {one.name} does not take the events of cluster {cluster}{more}: {held.why}"


def _worries(one: ForwarderStatistics, rings: Iterable[RingStatistics]) -> Iterator[str]:
    if one.state in {DestinationState.MISCONFIGURED, DestinationState.RETRYING}:
        why = one.last_error.text if one.last_error else "no answer yet"
        yield f"destination {one.name} is {one.state.value}: {why}"
    dropped = sum(account.dropped for account in one.accounts.values())
    if dropped:
        yield f"destination {one.name} lost {dropped:,} events that were dropped{_last_drop(one.name, rings)}"


def _last_drop(destination: str, rings: Iterable[RingStatistics]) -> str:
    drops = [(ring.drops[destination], ring.cluster) for ring in rings if destination in ring.drops]
    if not drops:  # an earlier process dropped them
        return ""
    drop, cluster = max(drops, key=lambda one: one[0].at_ns)
    return (
        f"; since the start {drop.events:,} of cluster {cluster} between {drop.first} and {drop.last}, "
        f"the last at {timestamps.seconds(drop.at_ns)}"
    )
