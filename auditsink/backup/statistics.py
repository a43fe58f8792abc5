"""What the copy says of itself, as plain values for whoever renders them."""

from dataclasses import dataclass
from enum import StrEnum


class BackupState(StrEnum):
    """What its writer is doing."""

    STARTING = "starting"
    """It looks at what is there, or waits for the lease of another one to run out."""
    COPYING = "copying"
    FAILING = "failing"
    """The store does not take it; it is tried again."""
    LOST = "lost"
    """Another sink has the copy. Nothing more is uploaded."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class RestoredCopy:
    """What a start on an empty directory restored. Times in nanoseconds since the epoch.

    `complete_ns`: all that was accepted before is there; 0 where the copy never was complete. `at_ns`: of the start.
    `gaps`: by cluster, the sequences that are known to be missing (first, and the one after the last).
    """

    number: int
    complete_ns: int
    at_ns: int
    clusters: int
    segments: int
    size: int
    gaps: dict[str, tuple[int, int]]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BackupStatistics:
    """`age_seconds`: how old the state is that a restore would bring back; None before the first one is complete.

    `pending_bytes`: durable here and not in the copy at the last look. `problem` since `problem_since_ns`: why nothing
    is copied now. `left`: numbers of older copies that wait for a person. `undeleted`: objects that nothing needs and
    that the store has not let go. Counters are since the start.
    """

    name: str
    where: str
    every: float
    state: BackupState
    age_seconds: float | None
    complete_ns: int
    pending_bytes: int
    stored_bytes: int
    uploaded_bytes: int
    uploaded_objects: int
    requests: int
    failures: int
    problem: str | None = None
    problem_since_ns: int | None = None
    note: str | None = None
    left: tuple[int, ...] = ()
    undeleted: int = 0
    restored: RestoredCopy | None = None
