"""The `/status` document: a snapshot in, plain values out (see the README for its shape). Pure.

`last_error` of a destination already says what went wrong and often how to mend it; its `advice` says what that means
for the events, which is what a person who is woken by it asks first.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from auditsink import __version__
from auditsink.backup.statistics import BackupStatistics, RestoredCopy
from auditsink.common import timestamps
from auditsink.common.redact import redact
from auditsink.forward.reporting import DestinationState, ForwarderStatistics
from auditsink.observe import health, reservations
from auditsink.observe.snapshot import Snapshot
from auditsink.observe.verdict import BEHIND_SECONDS, GOOD, VerdictLevel, all_of, of_destination, verdict
from auditsink.receive.statistics import Refusals
from auditsink.spool.statistics import RingStatistics
from auditsink.spool.types import Account, Drop

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
    if one.held:
        yield VerdictLevel.BAD, _HELD.format(len(one.held))
    if dropped := sum(account.dropped for account in one.accounts.values()):
        yield VerdictLevel.BAD, _DROPPED.format(dropped)
    if waiting := one.dead_letters.total:
        yield VerdictLevel.LOOK, _DEAD.format(waiting)


NUMBERS = ("accepted", "delivered", "filtered", "dead_lettered", "dropped", "pending")


def document(snapshot: Snapshot) -> dict[str, Any]:
    """Events are counted over restarts, batches and requests since the start of the process.

    With several clusters `first_sequence` and `next_sequence` are sums over the rings, so that their difference is
    always the number of events held; `clusters` has each ring by itself.
    """
    receive, spool = snapshot.receive, snapshot.spool
    return {
        "version": __version__,
        "state": snapshot.phase.value,
        "ready": not health.reasons(snapshot),
        "reasons": health.reasons(snapshot),
        "worries": health.worries(snapshot),
        "concerns": [one.document() for one in all_of(snapshot)],
        "refusals": [_refusals(reason, row) for reason, row in sorted(receive.refusals.items())],
        "verdict": verdict(snapshot).document(),
        "accepted_events": sum(ring.next_sequence for ring in spool.rings),
        "accepted_batches": receive.batches,
        "duplicate_batches": receive.duplicates,
        "rejected_requests": dict(receive.rejected),
        "spool": _rings(spool.rings) | {"max_bytes": spool.max_bytes},
        "backup": None if snapshot.backup is None else _backup(snapshot.backup),
        "destinations": [_destination(destination, snapshot) for destination in snapshot.destinations],
        "removed_destinations": [
            {"name": name, "undelivered": events} for name, events in sorted(spool.abandoned.items())
        ],
        "clusters": [
            _cluster(ring, snapshot.destinations) | {"reservation": reservations.entry(snapshot, ring.cluster, ring)}
            for ring in spool.rings
        ],
    }


def _refusals(reason: str, row: Refusals) -> dict[str, Any]:
    """The last row of refused requests of one kind, over or not."""
    return {
        "reason": reason,
        "count": row.count,
        "since": timestamps.seconds(row.since_ns),
        "last": timestamps.seconds(row.last_ns),
        "sentence": row.sentence,
        "peers": dict(row.peers),
        "peer": row.peer,
        "path": redact(row.path),
    }


def _backup(one: BackupStatistics) -> dict[str, Any]:
    """The copy; `complete` is the moment before which all that was accepted is in it."""
    return {
        "name": one.name,
        "where": one.where,
        "state": one.state.value,
        "age_seconds": None if one.age_seconds is None else round(one.age_seconds, 3),
        "complete": timestamps.seconds(one.complete_ns) if one.complete_ns else None,
        "pending_bytes": one.pending_bytes,
        "stored_bytes": one.stored_bytes,
        "uploaded_bytes": one.uploaded_bytes,
        "uploaded_objects": one.uploaded_objects,
        "requests": one.requests,
        "failures": one.failures,
        "problem": one.problem,
        "since": None if one.problem_since_ns is None else timestamps.seconds(one.problem_since_ns),
        "note": one.note,
        "left": list(one.left),
        "undeleted_objects": one.undeleted,
        "restored": None if one.restored is None else _restored(one.restored),
    }


def _restored(one: RestoredCopy) -> dict[str, Any]:
    return {
        "manifest": one.number,
        "complete": timestamps.seconds(one.complete_ns) if one.complete_ns else None,
        "at": timestamps.seconds(one.at_ns),
        "clusters": one.clusters,
        "segments": one.segments,
        "bytes": one.size,
        "gaps": [
            {"cluster": cluster, "first_sequence": first, "last_sequence": stop - 1}
            for cluster, (first, stop) in sorted(one.gaps.items())
        ],
        "problems": list(one.problems),
    }


def total(accounts: Iterable[Account]) -> dict[str, int]:
    """The identity, summed: accepted = delivered + filtered + dead_lettered + dropped + pending."""
    several = list(accounts)
    return {key: sum(getattr(account, key) for account in several) for key in NUMBERS}


def _rings(rings: Iterable[RingStatistics]) -> dict[str, Any]:
    several = list(rings)
    sums = ("bytes", "wanted_bytes", "segments", "first_sequence", "next_sequence", "damaged_bytes")
    oldest = max((ring.oldest_seconds for ring in several), default=0.0)
    return {key: sum(getattr(ring, key) for ring in several) for key in sums} | {"oldest_seconds": round(oldest, 3)}


def _destination(one: ForwarderStatistics, snapshot: Snapshot) -> dict[str, Any]:
    error = one.last_error
    concerns = of_destination(one, snapshot)
    return {
        "name": one.name,
        "type": one.type,
        "state": one.state.value,
        "level": (concerns[0] if concerns else GOOD).level.value,
        "concerns": [each.document() for each in concerns],
        **total(one.accounts.values()),
        "unfetched": None if one.unfetched is None else asdict(one.unfetched),
        "lag_seconds": round(one.lag_seconds, 3),
        "since": None if one.trouble_since_ns is None else timestamps.seconds(one.trouble_since_ns),
        "last_delivered_at": None if one.last_delivered_ns is None else timestamps.seconds(one.last_delivered_ns),
        "dead_letters": {
            "waiting": one.dead_letters.total,
            "thrown_away": one.dropped_dead_letters,
            "reasons": [
                {"reason": group.reason, "count": group.count, "since": timestamps.seconds(group.since_ns)}
                for group in one.dead_letters.reasons
            ],
        },
        "last_error": error.text if error else None,
        "last_error_over": error is not None and one.trouble_since_ns is None,
        "last_error_at": timestamps.seconds(error.at_ns) if error else None,
        "last_errors": [
            {
                "text": each.text,
                "count": each.count,
                "since": timestamps.seconds(each.since_ns),
                "last": timestamps.seconds(each.at_ns),
            }
            for each in one.last_errors
        ],
        "next_attempt_seconds": round(one.next_attempt_seconds, 3),
        "held": [
            {"cluster": cluster, "why": held.why, "next_attempt_seconds": round(held.next_attempt_seconds, 3)}
            for cluster, held in sorted(one.held.items())
        ],
        "advice": advice(one),
    }


def _cluster(ring: RingStatistics, destinations: Iterable[ForwarderStatistics]) -> dict[str, Any]:
    mine = {
        destination.name: destination.accounts[ring.cluster]
        for destination in destinations
        if ring.cluster in destination.accounts
    }
    return {
        "cluster": ring.cluster,
        "spool": _rings([ring]),
        "destinations": [
            {"name": name, **total([account]), "drop": _drop(ring.drops.get(name))} for name, account in mine.items()
        ],
    }


def _drop(drop: Drop | None) -> dict[str, Any] | None:
    """What was dropped since the start of the process; `dropped` counts over restarts."""
    if drop is None:
        return None
    return {
        "first_sequence": drop.first,
        "last_sequence": drop.last,
        "events": drop.events,
        "at": timestamps.seconds(drop.at_ns),
    }
