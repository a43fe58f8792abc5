"""Events of one ring, by ascending sequence, against what is stated about them. Holds digests under way, no events.

The input claims to hold the events from `begin` to the end that `finish` is told. What is stated about others is
counted and no problem; a range that lies only partly within the claim cannot be judged.
"""

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from auditsink.common import timestamps
from auditsink.common.crc32c import crc32c
from auditsink.evidence.checkpoint import FINGERPRINT_BYTES, Signed
from auditsink.evidence.span import packed
from auditsink.evidence.verify.archive import Statements
from auditsink.evidence.verify.findings import Findings, events

MOST_NAMED = 5
"""Changed events of one range that are named; the rest of them is counted."""


@dataclass(slots=True, eq=False)
class _Range:
    """A statement under examination. `fingerprints` are those of the events that were there, but for the `gaps`."""

    signed: Signed
    demanded: bool
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    fingerprints: "array[int]" = field(default_factory=lambda: array("I"))
    gaps: list[tuple[int, int]] = field(default_factory=list)

    @property
    def first(self) -> int:
        return self.signed.checkpoint.first

    @property
    def next(self) -> int:
        return self.signed.checkpoint.next

    def add(self, first: int, lines: Sequence[bytes]) -> None:
        """Those of the lines that belong to the range."""
        mine = lines[max(0, self.first - first) : self.next - first]
        self.digest.update(b"\n".join([*mine, b""]))
        self.fingerprints.extend(map(crc32c, mine))

    def lack(self, start: int, stop: int) -> tuple[int, int]:
        """Nothing is there between these two, as far as it belongs to the range; returns that part."""
        gap = max(start, self.first), min(stop, self.next)
        self.gaps.append(gap)
        self.fingerprints.extend(bytes(gap[1] - gap[0]))
        return gap

    def changed(self) -> Iterator[int]:
        """The events that were there and whose fingerprints differ; none where the statement has no fingerprints."""
        said, found = self.signed.fingerprints, packed(self.fingerprints)
        for at in range(0, len(said), FINGERPRINT_BYTES):
            if said[at : at + FINGERPRINT_BYTES] != found[at : at + FINGERPRINT_BYTES]:
                sequence = self.first + at // FINGERPRINT_BYTES
                if not any(start <= sequence < stop for start, stop in self.gaps):
                    yield sequence


class RangeVerifier:
    """`load` gives a statement in full. An event is counted as proven once, however many statements cover it."""

    def __init__(
        self, statements: Statements, load: Callable[[int], Signed], findings: Findings, *, begin: int = 0
    ) -> None:
        self._statements = statements
        self._load = load
        self._findings = findings
        self._begin = self._position = begin
        self._following = 0
        self._open: list[_Range] = []
        self._proven_to = 0
        self._judged = self._fed = 0

    def feed(self, first: int, lines: Sequence[bytes]) -> None:
        """The events from `first` on, as lines without line breaks. Those that were left out before do not exist."""
        self._pass(first)
        self._open += map(self._examined, self._beginning(first + len(lines)))
        for one in self._open:
            one.add(first, lines)
        self._fed += len(lines)
        self._advance(first + len(lines))

    def forgo(self, begin: int) -> None:
        """The input no longer claims to hold the events before `begin`: a ring dropped them while it was read."""
        self._open.clear()
        self._begin = self._position = max(begin, self._position)

    def finish(self, end: int) -> None:
        """There are no more events, and the input claims to hold those before `end`."""
        self._pass(end)
        rest = range(self._following, len(self._statements))
        self._findings.elsewhere += sum(self._statements.nexts[at] - self._statements.firsts[at] for at in rest)
        self._findings.uncovered += max(0, self._fed - self._judged)

    def _pass(self, stop: int) -> None:
        """There is nothing between the position and `stop`."""
        if stop <= self._position:
            return
        lost = [(*one.lack(self._position, stop), one) for one in self._open]
        whole: list[tuple[int, int, int]] = []
        for at in self._beginning(stop):
            first, following = self._statements.firsts[at], self._statements.nexts[at]
            if following > stop:
                self._open.append(one := self._examined(at))
                lost.append((*one.lack(first, stop), one))
            elif self._statements.demanded[at]:
                whole.append((first, following, at))
        self._advance(stop)
        lost = [gap for gap in lost if gap[2].demanded]
        if lost or whole:
            start = min(gap[0] for gap in (*lost, *whole))
            until = max(gap[1] for gap in (*lost, *whole))
            one = lost[0][2] if lost else self._examined(whole[0][2])
            self._findings.problem(f"{self._name}: missing: {events(start, until)} ({_stated(one)})")

    def _beginning(self, stop: int) -> Iterator[int]:
        """The statements that begin before `stop` and were not met yet, but for those that begin before the claim."""
        while self._following < len(self._statements) and (first := self._statements.firsts[self._following]) < stop:
            at = self._following
            self._following += 1
            if first < self._begin:
                self._findings.elsewhere += min(self._begin, self._statements.nexts[at]) - first
            else:
                yield at

    def _examined(self, at: int) -> _Range:
        return _Range(self._load(at), bool(self._statements.demanded[at]))

    def _advance(self, position: int) -> None:
        self._position = position
        for one in [one for one in self._open if one.next <= position]:
            self._open.remove(one)
            self._judge(one)

    def _judge(self, one: _Range) -> None:
        checkpoint = one.signed.checkpoint
        if not one.gaps and one.digest.hexdigest() == checkpoint.sha256:
            self._findings.proven += max(0, one.next - max(one.first, self._proven_to))
            self._judged += max(0, one.next - max(one.first, self._proven_to))
            self._proven_to = max(self._proven_to, one.next)
        elif one.demanded:
            self._judged += checkpoint.count - sum(stop - start for start, stop in one.gaps)
            self._tell_changes(one)

    def _tell_changes(self, one: _Range) -> None:
        changed = list(one.changed())
        for sequence in changed[:MOST_NAMED]:
            self._findings.problem(f"{self._name}: changed: event {sequence} ({_stated(one)})")
        if len(changed) > MOST_NAMED:
            self._findings.problem(
                f"{self._name}: changed: {len(changed) - MOST_NAMED:,} more events of that checkpoint"
            )
        if not changed and not one.gaps:
            what = events(one.first, one.next)
            self._findings.problem(f"{self._name}: changed: something in {what} ({_stated(one)})")

    @property
    def _name(self) -> str:
        return f"cluster {self._statements.cluster}"


def _stated(one: _Range) -> str:
    checkpoint = one.signed.checkpoint
    return f"checkpoint {checkpoint.number} of {timestamps.text(checkpoint.time)}"
