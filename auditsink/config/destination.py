"""What the sections of all destinations share."""

from auditsink.common.units import Duration, Size
from auditsink.config.filters import Filter
from auditsink.config.section import Section


class Packing(Section, frozen=True, kw_only=True):
    """How events are packed into requests; what is left out is the destination type's own default."""

    max_bytes: Size | None = None
    max_events: int | None = None
    max_wait: Duration | None = None


class BackoffSettings(Section, frozen=True, kw_only=True):
    """Full jitter between 0 and initial * 2^n, at most max."""

    initial: Duration = Duration(1)
    max: Duration = Duration(60)


class DestinationSection(Section, frozen=True, kw_only=True):
    """What all of them share."""

    name: str
    filter: Filter | None = None  # none: everything, byte for byte
    batch: Packing = Packing()
    in_flight: int | None = None
    timeout: Duration = Duration(30)
    backoff: BackoffSettings = BackoffSettings()
    dead_letter_bytes: Size = Size(64 * 2**20)  # full: the destination pauses, nothing is thrown away
