"""What the admin port sees of the sink, and the little that it may do to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from auditsink.common.clock import Clock, SystemClock
from auditsink.config import DestinationSection
from auditsink.observe.expiry import Expiries
from auditsink.observe.snapshot import Snapshot
from auditsink.spool.ring import Ring


@dataclass(frozen=True, slots=True)
class View:
    """`snapshot` and `rings` are called in the loop's thread. `spool_path`: where dead letters lie; None: nowhere."""

    snapshot: Callable[[], Snapshot]
    rings: Callable[[], Mapping[str, Ring]] = dict
    spool_path: Path | None = None
    destinations: Sequence[DestinationSection] = ()
    expiries: Expiries | None = None
    clock: Clock = field(default_factory=SystemClock)
