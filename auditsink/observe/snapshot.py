"""What the parts of the sink say of themselves at one moment: all that metrics, health and status are made of."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from auditsink.backup.statistics import BackupStatistics
from auditsink.forward.reporting import ForwarderStatistics
from auditsink.observe.expiry import Expiry
from auditsink.receive.statistics import ReceiveStatistics
from auditsink.spool.statistics import SpoolStatistics


class Phase(StrEnum):
    """Where a sink is between its start and its end."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class RefusedReload:
    """A changed configuration that was not taken up: the first reason, and when (nanoseconds since the epoch)."""

    why: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`failures`: what died although nobody stopped it, in words.

    `declared`: bytes reserved for each declared cluster; None where clusters are not declared.
    `log_lines_skipped`: since the start, because nobody read standard error. `at_ns`: when this was, since the epoch.
    `reloads`: of the configuration, by what came of them. `growth`: bytes a second by which what destinations still
    need of the rings grows (or shrinks), None where it is not known yet. `backup`: None where there is no copy.
    `refused_reload`: None when the last configuration that was read again is in force. `expiries`: of certificates.
    """

    phase: Phase
    failures: tuple[str, ...]
    receive: ReceiveStatistics
    spool: SpoolStatistics
    destinations: tuple[ForwarderStatistics, ...]
    declared: Mapping[str, int] | None = None
    log_lines_skipped: int = 0
    at_ns: int = 0
    growth: float | None = None
    reloads: Mapping[str, int] = field(default_factory=dict)
    backup: BackupStatistics | None = None
    refused_reload: RefusedReload | None = None
    expiries: Sequence[Expiry] = ()


TREND_SECONDS = 300.0
"""Over so long a growth is taken: long enough to span a destination's pauses between attempts."""
LEAST_SECONDS = 20.0
"""Less tells nothing: a segment is a step."""


class Trend:
    """How fast the bytes grow that destinations still need: a straight line over the last minutes."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def add(self, now: float, wanted_bytes: int) -> float | None:
        """Note a value at `now` (monotonic seconds); bytes a second, None until there is enough to tell."""
        points = self._points
        if not points or now - points[-1][0] >= 1.0:
            points.append((now, wanted_bytes))
        while points[0][0] < now - TREND_SECONDS:
            points.popleft()
        passed = now - points[0][0]
        return (wanted_bytes - points[0][1]) / passed if passed >= LEAST_SECONDS else None
