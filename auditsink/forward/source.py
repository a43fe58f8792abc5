"""What `forward` asks of the spool, and nothing more. `auditsink.spool` keeps these promises; so could a Kafka topic.

Sequences count the events of one ring, from 0. Everything here belongs to the loop's thread but where it says "blocks".
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from auditsink.spool.types import Account, Chunk, Drop, Tally


class SourceCursor(Protocol):
    """How far one destination is in one ring, kept over restarts."""

    @property
    def position(self) -> int:
        """The next sequence that the destination needs."""
        ...

    def advance(self, done: Tally) -> None:
        """Move over `done.total` events. OSError: it could not be stored, the move in memory stands."""
        ...

    def sync(self) -> None:
        """Make the last move durable. Blocks. Raises OSError."""
        ...


class SourceReader(Protocol):
    """Reads one ring for one destination."""

    def cached(self, position: int, max_bytes: int) -> Chunk | None:
        """What follows `position` if memory has it; None sends the caller to `read`. Never blocks."""
        ...

    def leaving(self, position: int) -> bool:
        """Whether memory is about to let go of what is at `position`, so that it had better be taken. Never blocks."""
        ...

    def read(self, position: int, max_bytes: int) -> Chunk:
        """What follows `position`, at least one record if there is any. Blocks. Raises OSError."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class SourceRing(Protocol):
    """The events of one cluster."""

    @property
    def cluster(self) -> str:
        """Its name."""
        ...

    @property
    def durable(self) -> int:
        """One past the last sequence that may be read."""
        ...

    def cursor(self, destination: str) -> SourceCursor:
        """That destination's cursor; the same object each time. Raises OSError."""
        ...

    def reader(self) -> SourceReader:
        """A reader for one destination."""
        ...

    def origin(self, sequence: int) -> str | None:
        """Names the event at a sequence as no other event is ever named; None when it is not held (any more)."""
        ...

    def on_durable(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after `durable` or the ring's floor has moved, until what this returns is called."""
        ...

    def claim(self, cursor: Any, start: int, stop: int) -> int:
        """Have the events from `start` to `stop` for delivery: they are not dropped before somebody says so.

        Returns the floor. Where that is above `start` nothing is claimed, and what lies below it counts as dropped.
        """
        ...

    def claim_early(self, cursor: Any, sequence: int) -> bool:
        """Have one event for delivery before its turn; False when it counts as dropped already."""
        ...

    def forget_early(self, cursor: Any, sequences: Iterable[int]) -> None:
        """These were not delivered before their turn, or their turn has come."""
        ...

    def note_drop(self, destination: str, drop: Drop) -> None:
        """Claimed events could not be had after all."""
        ...

    def account(self, cursor: Any, *, claimed: int = 0, dropped: int = 0) -> Account:
        """The accounting identity for one of this ring's own cursors (which is why its type is the ring's business).

        `claimed`: up to where events are claimed; `dropped`: how many of these do not exist any more.
        """
        ...


class Routing(Protocol):
    """What goes where. Asked anew each time: it may change while the sink runs."""

    def wanted(self, cluster: str, destination: str) -> bool:
        """Whether the cluster's events go to the destination; those that do not count as filtered."""
        ...

    def labels(self, cluster: str) -> Mapping[str, str]:
        """What goes beside the cluster's events."""
        ...


class Everything:
    """All events go to all destinations, without labels."""

    def wanted(self, cluster: str, destination: str) -> bool:  # noqa: ARG002 - see `Routing`
        """See `Routing.wanted`."""
        return True

    def labels(self, cluster: str) -> Mapping[str, str]:  # noqa: ARG002 - see `Routing`
        """See `Routing.labels`."""
        return {}


@dataclass(frozen=True, slots=True)
class Unfetched:
    """What waits behind all that is known of. `records` are counted, `events` and `bytes` estimated by those before."""

    records: int
    events: int
    bytes: int


class Source(Protocol):
    """The spool."""

    @property
    def unfetched(self) -> Unfetched | None:
        """What no ring knows of yet; None where they know all."""
        ...

    @property
    def rings(self) -> Mapping[str, SourceRing]:
        """By cluster."""
        ...

    def on_new_ring(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Call back with each `SourceRing` that is made from now on, until what this returns is called."""
        ...

    def on_lost_ring(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Call back with each `SourceRing` that somebody else delivers from now on, until what this returns is called.

        What is under way of it may end; nothing more is taken.
        """
        ...
