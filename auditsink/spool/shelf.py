"""What the writer keeps for a ring."""

from dataclasses import dataclass

from auditsink.spool.log import Log
from auditsink.spool.recent import Recent
from auditsink.spool.ring import Ring
from auditsink.spool.types import Refusal


@dataclass(slots=True, eq=False)
class Shelf:
    """A ring's log, what was accepted for it lately, and until when (monotonic) it refuses."""

    ring: Ring
    log: Log
    recent: Recent
    refusing: tuple[float, Refusal] = (0.0, Refusal.FULL)
