"""What the parts of the sink say of themselves at one moment: all that metrics, health and status are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from auditsink.forward.reporting import ForwarderStatistics
from auditsink.receive.statistics import ReceiveStatistics
from auditsink.spool.statistics import SpoolStatistics


class Phase(StrEnum):
    """A sink's life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`failures`: what died although nobody stopped it, in words.

    `declared`: bytes reserved for each declared cluster; None where clusters are not declared.
    `log_lines_skipped`: since the start, because nobody read standard error.
    """

    phase: Phase
    failures: tuple[str, ...]
    receive: ReceiveStatistics
    spool: SpoolStatistics
    destinations: tuple[ForwarderStatistics, ...]
    declared: Mapping[str, int] | None = None
    log_lines_skipped: int = 0
