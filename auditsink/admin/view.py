"""What the admin port sees of the sink, and the little that it may do to it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from auditsink.common.clock import Clock, SystemClock
from auditsink.config import DestinationSection
from auditsink.config.changes import Changes
from auditsink.delivery.destination import Destination
from auditsink.delivery.filter import EventFilter
from auditsink.forward.dead_letters import DeadLetterQueue
from auditsink.observe.expiry import Expiries
from auditsink.observe.snapshot import Snapshot
from auditsink.spool.ring import Ring

Build = Callable[[DestinationSection], tuple[Destination, EventFilter | None]]
"""A destination and its filter, built anew for one use. Blocks. Raises DestinationError."""


class Reload(Protocol):
    """Reads the configuration's file again and takes it up; raises what has a line for each cause."""

    def __call__(self, *, force: bool) -> Awaitable[Changes]:
        """What was taken up."""
        ...


def _nothing(one: DestinationSection) -> tuple[Destination, EventFilter | None]:
    raise NotImplementedError(one.name)


@dataclass(frozen=True, slots=True)
class View:
    """`snapshot` and `rings` are called in the loop's thread. `dead_letters`: by destination; blocks, raises OSError.

    `unread`: why events cannot be looked at here, a sentence; None where they can.
    """

    snapshot: Callable[[], Snapshot]
    rings: Callable[[], Mapping[str, Ring]] = dict
    dead_letters: Callable[[], Mapping[str, DeadLetterQueue]] = dict
    unread: str | None = None
    destinations: Sequence[DestinationSection] = ()
    expiries: Expiries | None = None
    build: Build = _nothing
    reload: Reload | None = None
    clock: Clock = field(default_factory=SystemClock)
