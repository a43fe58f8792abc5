"""The whole sink in one sentence: how bad it is, since when, how long until events are lost, what to type. Pure.

One function over one snapshot. `/status`, the page, `status`, `tail`, `doctor` and `/readyz` all show what it says.

A verdict is bad when batches are refused, when events are lost or will be within half an hour, or when it does not
end by itself; it asks to look when nothing is lost yet and it may end well by itself. What is over is not a verdict.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from auditsink.backup.statistics import BackupState, BackupStatistics, RestoredCopy
from auditsink.common import timestamps
from auditsink.forward.reporting import DestinationState, ForwarderStatistics
from auditsink.observe.snapshot import Phase, Snapshot
from auditsink.receive.responses import RejectionReason
from auditsink.receive.statistics import STREAK_SECONDS, Refusals

BEHIND_SECONDS = 60.0
"""A destination that delivers and is further behind than this is worth a look."""
TROUBLE_SECONDS = 1800.0
"""A destination that has taken nothing for so long does not come back by itself."""
SOON_SECONDS = 1800.0
"""A ring that is full within this is bad: a person needs some minutes."""
LATER_SECONDS = 6 * 3600.0
"""One that is full within this is worth a look."""
NOTABLE_FILL, HIGH_FILL, LEAST_FILL = 0.5, 0.9, 0.05
"""Of the ring, needed by a destination. Below the last, a rate says nothing: any batch would be a steep slope."""
OLD_ROUNDS = 6
"""A copy that is older than so many of its intervals, and than a minute, is worth a look."""
ENDS_SECONDS = 2 * 86400.0
"""A certificate that ends within this is worth a look, as the alert has it."""
RECENT_SECONDS = 3600.0
"""A loss that is older than this is history: it is told beside the destination, and no alarm."""


class VerdictLevel(StrEnum):
    """How soon somebody should look."""

    GOOD = "good"
    LOOK = "look"
    """When there is time: nothing is lost, and it may end well by itself."""
    BAD = "bad"
    """Now: events are lost or will be, or it does not end by itself."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`text` is a sentence without its full stop. `since_ns` in nanoseconds since the epoch, where it is known.

    `until_loss_seconds`: until events are lost if nothing changes; 0 when they are being lost or refused now, None when
    no loss is in sight. `commands`: what to type, the most useful first.
    """

    level: VerdictLevel
    text: str
    since_ns: int | None = None
    until_loss_seconds: float | None = None
    commands: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As `/status` shows it."""
        return {
            "level": self.level.value,
            "text": self.text,
            "since": None if self.since_ns is None else timestamps.seconds(self.since_ns),
            "until_loss_seconds": None if self.until_loss_seconds is None else round(self.until_loss_seconds),
            "commands": list(self.commands),
        }


GOOD = Verdict(VerdictLevel.GOOD, "Batches are taken, kept and delivered")
_ORDER = {VerdictLevel.BAD: 0, VerdictLevel.LOOK: 1, VerdictLevel.GOOD: 2}
_LOOK, _BAD = VerdictLevel.LOOK, VerdictLevel.BAD
_STATUS, _DOCTOR, _CHECK = "auditsink status", "auditsink doctor", "auditsink check -c FILE --connect"


def verdict(snapshot: Snapshot) -> Verdict:
    """The worst of all."""
    found = all_of(snapshot)
    if not found:
        return GOOD
    worst, more = found[0], len(found) - 1
    text = f"{worst.text}; {more} more to look at" if more else worst.text
    return Verdict(worst.level, text, worst.since_ns, worst.until_loss_seconds, worst.commands)


def all_of(snapshot: Snapshot) -> list[Verdict]:
    """Each thing that is not good, the worst first; of those that are equally bad what loses events now."""
    found = [*_not_taken(snapshot), *_certificates(snapshot), *_refused(snapshot), *_filling(snapshot)]
    for destination in snapshot.destinations:
        found += of_destination(destination, snapshot)
    if snapshot.backup is not None:
        found += _backup(snapshot.backup, snapshot.at_ns)
    found += _else(snapshot)
    return sorted(found, key=lambda each: (_ORDER[each.level], each.until_loss_seconds != 0))


def of_destination(one: ForwarderStatistics, snapshot: Snapshot) -> list[Verdict]:
    """What is not good at one destination, the worst first."""
    return sorted(_destination(one, snapshot), key=lambda each: _ORDER[each.level])


def _not_taken(snapshot: Snapshot) -> Iterator[Verdict]:
    if snapshot.phase is not Phase.RUNNING:
        yield Verdict(_BAD, f"Batches are not taken: the sink is {snapshot.phase.value}")
    if snapshot.spool.problem:
        yield Verdict(_BAD, f"Batches are not taken: spool: {snapshot.spool.problem}", None, 0, (_DOCTOR,))
    for failure in snapshot.failures:
        yield Verdict(_BAD, f"A part of the sink died: {failure}", commands=(_DOCTOR,))


OWN_CERTIFICATE = "receive.tls.cert_file"
"""What every client looks at."""


def _certificates(snapshot: Snapshot) -> Iterator[Verdict]:
    now = snapshot.at_ns / 1e9
    for one in snapshot.expiries:
        own, left = one.key == OWN_CERTIFICATE, one.at - now
        over = left <= 0 or one.begins > now
        if not over and left > ENDS_SECONDS:
            continue
        word, at = ("is valid from", one.begins) if one.begins > now else ("ended" if over else "ends", one.at)
        when = _clock(int(at * 1e9), snapshot.at_ns)
        follows = "; a kube-apiserver refuses it, and posts nothing" if own and over else ""
        text = f"The certificate of {one.key} {word} {when}{follows}; write another into the file, it is read by itself"
        loss = None if not own else 0 if over else left
        yield Verdict(_BAD if own and over else _LOOK, text, int(at * 1e9) if left <= 0 else None, loss, (_DOCTOR,))


_WHY = {
    RejectionReason.DISK: "the disk does not take them",
    RejectionReason.OVERLOAD: "more come at once than receive.max_in_flight allows",
    RejectionReason.CONNECTIONS: "receive.max_connections is reached",
    RejectionReason.CLUSTERS: "receive.max_clusters is reached, and these clusters are new",
    RejectionReason.TOO_LARGE: "they are larger than receive.max_body allows",
}
_STRANGERS = (RejectionReason.UNAUTHORIZED, RejectionReason.FORBIDDEN)
_MISDIRECTED = (RejectionReason.NOT_FOUND, RejectionReason.NOT_AN_EVENT_LIST, RejectionReason.METHOD)


def _refused(snapshot: Snapshot) -> Iterator[Verdict]:
    for name, row in snapshot.receive.refusals.items():
        reason = RejectionReason(name)
        if not _lasts(snapshot, row):
            continue
        began = f"since {_clock(row.since_ns, snapshot.at_ns)}"
        if reason is RejectionReason.FULL:
            text = f"Batches are refused {began}: the ring is full{_because(snapshot)}"
            yield Verdict(_BAD, text, row.since_ns, 0, (_STATUS, "auditsink reservations"))
        elif reason in _WHY:
            yield Verdict(_BAD, f"Batches are refused {began}: {_WHY[reason]}{_from(row)}", row.since_ns, 0, (_DOCTOR,))
        elif reason is RejectionReason.RATE:
            text = f"Batches are refused {began}: a cluster posts more than its rate allows"
            yield Verdict(_LOOK, text, row.since_ns, None, (_STATUS,))
        elif reason is RejectionReason.TLS:
            text = f"{row.count:,} connections {began} failed{_from(row)}; the last: {row.sentence}"
            yield Verdict(_LOOK, text, row.since_ns, None, (f"{_DOCTOR} --kubeconfig FILE",))
        elif reason in _STRANGERS:
            text = f"{row.count:,} requests {began} had no valid token or certificate{_from(row)}"
            yield Verdict(_LOOK, text, row.since_ns, None, (f"{_DOCTOR} --kubeconfig FILE",))
        elif reason in _MISDIRECTED:
            text = f"{row.count:,} requests {began} were no batches for this sink ({reason}){_from(row)}"
            yield Verdict(_LOOK, text, row.since_ns, None, (f"{_DOCTOR} --kubeconfig FILE",))


def _lasts(snapshot: Snapshot, row: Refusals | None) -> bool:
    return row is not None and snapshot.at_ns - row.last_ns <= STREAK_SECONDS * 1e9


def _from(row: Refusals) -> str:
    peers = sorted(peer for peer in row.peers if peer)
    return f", from {', '.join(peers[:3])}{' and others' if len(peers) > 3 else ''}" if peers else ""


def _because(snapshot: Snapshot) -> str:
    """Which destination the ring waits for: the one with the most pending."""
    if not snapshot.destinations:
        return ""
    one = max(snapshot.destinations, key=lambda each: each.pending)
    if not one.pending:
        return ""
    if one.trouble_since_ns is not None:
        return f", because {one.name} has taken nothing for {_long((snapshot.at_ns - one.trouble_since_ns) / 1e9)}"
    return f", because {one.name} is {_long(one.lag_seconds)} behind"


def until_full(snapshot: Snapshot) -> float | None:
    """Seconds until the rings are full at the rate of the last minutes; None when they do not fill."""
    wanted, most = sum(ring.wanted_bytes for ring in snapshot.spool.rings), snapshot.spool.max_bytes
    if not most or wanted < LEAST_FILL * most or snapshot.growth is None or snapshot.growth <= 0:
        return None
    return max(0.0, (most - wanted) / snapshot.growth)


def _fill(snapshot: Snapshot) -> float:
    """What share of the ring destinations still need."""
    most = snapshot.spool.max_bytes
    return sum(ring.wanted_bytes for ring in snapshot.spool.rings) / most if most else 0.0


def _tight(snapshot: Snapshot, left: float | None) -> bool:
    """Whether the ring is full, or so soon that a person is needed now."""
    return _fill(snapshot) >= HIGH_FILL or (left is not None and left <= SOON_SECONDS)


def _filling(snapshot: Snapshot) -> Iterator[Verdict]:
    if not snapshot.spool.max_bytes or _lasts(snapshot, snapshot.receive.refusals.get(RejectionReason.FULL)):
        return  # said already
    fill, left = _fill(snapshot), until_full(snapshot)
    if fill < NOTABLE_FILL and (left is None or left > LATER_SECONDS):
        return
    soon = _tight(snapshot, left)
    begins = f"The ring is {fill:.0%} full" if left is None else f"Full in about {_long(left)} at this rate"
    yield Verdict(_BAD if soon else _LOOK, f"{begins}{_because(snapshot)}", None, left, (_STATUS,))


def _destination(one: ForwarderStatistics, snapshot: Snapshot) -> Iterator[Verdict]:
    now, since, left = snapshot.at_ns, one.trouble_since_ns, until_full(snapshot)
    why = one.last_error.text if one.last_error else "no answer yet"
    began = "" if since is None else f" since {_clock(since, now)}"
    if one.state is DestinationState.MISCONFIGURED and not (one.held and since is None):
        text = f"{one.name} takes nothing{began} and cannot as it is set up: {why}"
        yield Verdict(_BAD, text, since, left, (_CHECK,))
    elif one.state is DestinationState.RETRYING:
        long = since is not None and now - since >= TROUBLE_SECONDS * 1e9
        worse = long or (_tight(snapshot, left) and one.pending == max(each.pending for each in snapshot.destinations))
        yield Verdict(_BAD if worse else _LOOK, f"{one.name} takes nothing{began}: {why}", since, left, (_CHECK,))
    elif one.state is DestinationState.DELIVERING and one.lag_seconds >= BEHIND_SECONDS:
        yield Verdict(_LOOK, f"{one.name} is {_long(one.lag_seconds)} behind", None, left, (f"{_STATUS} --watch",))
    for cluster, held in sorted(one.held.items())[:1]:
        more = f" and {len(one.held) - 1:,} more clusters" if len(one.held) > 1 else ""
        text = f"{one.name} does not take the events of {cluster}{more}: {held.why}"
        yield Verdict(_BAD, text, since, left, (f"{_STATUS} -o json",))
    yield from _lost(one, snapshot)
    yield from _dead_letters(one, now)


def _lost(one: ForwarderStatistics, snapshot: Snapshot) -> Iterator[Verdict]:
    drops = [ring.drops[one.name] for ring in snapshot.spool.rings if one.name in ring.drops]
    recent = [drop for drop in drops if snapshot.at_ns - drop.at_ns <= RECENT_SECONDS * 1e9]
    if recent:
        events, last = sum(drop.events for drop in recent), max(drop.at_ns for drop in recent)
        when = _clock(last, snapshot.at_ns)
        text = f"{one.name} never gets {events:,} events that were dropped from a full ring, the last at {when}"
        goes_on = snapshot.at_ns - last <= STREAK_SECONDS * 1e9
        yield Verdict(_BAD, text, None, 0 if goes_on else None, (_STATUS,))


def _dead_letters(one: ForwarderStatistics, now_ns: int) -> Iterator[Verdict]:
    if not one.dead_letters.total:
        return
    group = one.dead_letters.reasons[0]
    others = one.dead_letters.total - group.count
    more = f", and {others:,} more for other reasons" if others else ""
    text = f"{one.name} refused {group.count:,} x {group.reason}, since {_clock(group.since_ns, now_ns)}{more}"
    commands = tuple(f"auditsink deadletter {what} --destination {one.name}" for what in ("ls", "replay", "drop"))
    yield Verdict(_LOOK, text, group.since_ns, None, commands)


def _backup(one: BackupStatistics, now_ns: int) -> Iterator[Verdict]:
    commands = (_STATUS, "auditsink spool backup ls")
    since = one.problem_since_ns
    old = "there is none yet" if one.age_seconds is None else f"it is {_long(one.age_seconds)} old"
    if one.age_seconds is None and one.state is BackupState.STARTING:
        old = "how old the copy is cannot be seen"
    if one.state is BackupState.LOST:
        yield Verdict(_BAD, f"The spool is copied no longer: {one.problem}", since, None, commands)
    elif one.problem is not None:
        long = since is not None and now_ns - since >= TROUBLE_SECONDS * 1e9
        began = "" if since is None else f" since {_clock(since, now_ns)}"
        text = f"The spool is not copied{began}, {old}: {one.problem}"
        yield Verdict(_BAD if long else _LOOK, text, since, None, commands)
    elif one.age_seconds is not None and one.age_seconds >= max(OLD_ROUNDS * one.every, 60.0):
        text = f"The copy of the spool is behind, {old}: the store takes less than comes in"
        yield Verdict(_LOOK, text, None, None, commands)
    if one.note is not None:
        yield Verdict(_LOOK, f"The copy of the spool: {one.note}", None, None, commands)
    if one.left:
        text = f"{len(one.left)} older copies hold what this spool does not; restore what is missing, and prune them"
        yield Verdict(_LOOK, text, None, None, commands[1:])
    if one.restored is not None and now_ns - one.restored.at_ns <= RECENT_SECONDS * 1e9:
        yield _restored(one.restored, now_ns)


def _restored(one: RestoredCopy, now_ns: int) -> Verdict:
    until = _clock(one.complete_ns, now_ns) if one.complete_ns else "its last complete copy, which never was"
    more = f"; {len(one.problems)} parts of the copy are lost" if one.problems else ""
    text = f"The spool was restored at {_clock(one.at_ns, now_ns)}; what was accepted after {until} is missing{more}"
    return Verdict(_LOOK, text, one.at_ns, None, ("auditsink spool verify --path DIR",))


def _else(snapshot: Snapshot) -> Iterator[Verdict]:
    if (refused := snapshot.refused_reload) is not None:
        when = _clock(refused.at_ns, snapshot.at_ns)
        text = f"The configuration as changed was refused at {when}, the one before stays in force: {refused.why}"
        yield Verdict(_LOOK, text, refused.at_ns, None, ("auditsink check -c FILE", "auditsink reload"))
    for problem in snapshot.receive.problems:
        yield Verdict(_LOOK, f"receive: {problem}", commands=("auditsink check",))
    for worry in snapshot.spool.worries:
        yield Verdict(_LOOK, f"spool: {worry}", commands=(_CHECK,))
    if damaged := snapshot.spool.damaged_bytes:
        text = f"{damaged:,} bytes in the spool are damaged; all else is read"
        yield Verdict(_LOOK, text, commands=("auditsink spool verify --path DIR",))
    for name, events in sorted(snapshot.spool.abandoned.items()):
        text = f"{name} is configured no longer, and {events:,} events that it has not got are held; put it back"
        yield Verdict(_LOOK, text, commands=(_CHECK,))
    if unsplit := snapshot.receive.unsplit:
        text = f"{unsplit:,} batches could not be split into their events, so filters cannot look into them"
        yield Verdict(_LOOK, text, commands=(_DOCTOR,))
    if skipped := snapshot.log_lines_skipped:
        yield Verdict(_LOOK, f"{skipped:,} lines of the log were skipped, because standard error was not read")


def _clock(ns: int, now_ns: int) -> str:
    """The time of day in UTC; with its date when that is not today's."""
    text, today = timestamps.seconds(ns), timestamps.seconds(now_ns)[:10]
    return f"{text[11:16]} UTC" if text[:10] == today else f"{text[:10]} {text[11:16]} UTC"


def _long(seconds: float) -> str:
    """A duration as a person says it."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
