"""How many dead letters of a destination wait, and why: counted once, and then only what came since.

A command may take some away at any moment, from another process: then the file is another one and is counted anew.
One that a crash left twice counts twice until then: to know it again would take memory for each.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from auditsink.common import timestamps
from auditsink.forward.dead_letters import DeadLetterQueue

MOST_REASONS = 20
"""Groups that are told apart; a server may put something new into each of its reasons."""
REASON_CHARACTERS = 200
OTHERS = "other reasons"
COUNT_SECONDS = 5.0
"""Between two looks: a command may have taken some away."""
LEAST_COUNT_SECONDS = 0.2
"""Between two looks while there are new ones: what is said of them must not be good any more."""


@dataclass(frozen=True, slots=True)
class ReasonGroup:
    """Dead letters with the same reason. `since_ns`: when the first of them was refused, since the epoch."""

    reason: str
    count: int
    since_ns: int


@dataclass(frozen=True, slots=True)
class DeadLettersWaiting:
    """Those that are kept, by cluster, and the reasons, the most frequent first."""

    by_cluster: Mapping[str, int] = field(default_factory=dict)
    reasons: tuple[ReasonGroup, ...] = ()

    @property
    def total(self) -> int:
        """Of all clusters."""
        return sum(self.by_cluster.values())


class DeadLetterCount:
    """For one destination. `look` blocks."""

    def __init__(self, dead_letters: DeadLetterQueue) -> None:
        self.waiting = DeadLettersWaiting()
        self.dropped = 0
        """How many were thrown away for want of room, ever."""
        self._dead_letters = dead_letters
        self._known: tuple[object, int] = (None, 0)
        self._reset()

    def __repr__(self) -> str:
        return f"<DeadLetterCount {self.waiting.total}>"

    def look(self) -> None:
        """Count what came; everything, when the file is another one. Raises OSError."""
        identity, size = self._dead_letters.identity()
        known, counted = self._known
        if identity == known and size == counted:
            return
        self.dropped = self._dead_letters.dropped()
        if identity != known or size < counted:
            self._reset()
            counted = 0
        for dead_letter, end in self._dead_letters.since(counted):
            counted = end
            if dead_letter is not None:
                self._add(dead_letter.cluster, dead_letter.reason, dead_letter.refused_at)
        self._known = (identity, counted)
        groups = (ReasonGroup(reason, count, self._first[reason]) for reason, count in self._reasons.most_common())
        self.waiting = DeadLettersWaiting(dict(self._clusters), tuple(groups))

    def _reset(self) -> None:
        self._clusters: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._first: dict[str, int] = {}

    def _add(self, cluster: str, reason: str, refused_at: datetime) -> None:
        reason = reason[:REASON_CHARACTERS]
        if reason not in self._reasons and len(self._reasons) >= MOST_REASONS:
            reason = OTHERS
        self._clusters[cluster] += 1
        self._reasons[reason] += 1
        refused_ns = timestamps.nanoseconds(refused_at)
        self._first[reason] = min(refused_ns, self._first.get(reason, refused_ns))
