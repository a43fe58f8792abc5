"""What the writer keeps for a ring."""

from dataclasses import dataclass

from auditsink.spool.dedup import Dedup
from auditsink.spool.log import RingLog
from auditsink.spool.ring import Ring
from auditsink.spool.types import SpoolRejection


@dataclass(slots=True, eq=False)
class Shelf:
    """A ring's log, what was accepted for it lately, and until when (monotonic) it refuses."""

    ring: Ring
    log: RingLog
    recent: Dedup
    refusing: tuple[float, SpoolRejection] = (0.0, SpoolRejection.FULL)
