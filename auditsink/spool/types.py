"""The values that pass between the spool and its two neighbours, `receive` and `forward`."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import msgspec

from auditsink.audit.eventlist import Mark


class SpoolRejection(StrEnum):
    """Why the spool did not take a batch. The values are the `reason` labels of `auditsink_rejected_requests_total`."""

    FULL = "full"
    """The ring's limit is reached and `when_full` is `reject`."""
    UNAVAILABLE = "disk"
    """The disk failed, and so did a fresh segment."""
    STOPPING = "stopping"
    """The sink is shutting down."""


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """The batch is as durable as `spool.durability` says. A struct, which is quickly made: each request gets one."""

    first_sequence: int
    count: int
    duplicate: bool = False
    """The same bytes were accepted from this cluster within the last ten minutes; nothing was stored again."""


SubmitCallback = Callable[[Receipt | SpoolRejection], None]
"""Told what became of a request, in the loop's thread."""


@dataclass(slots=True)
class Record:
    """An accepted request, or some small ones, as a reader gets it: `events[i]` has the sequence `first_sequence + i`.

    When a reader starts in the middle of a record, `events` begins there. `size`: bytes of the events together. Never
    changed; not frozen because making a frozen one takes several times as long.
    """

    first_sequence: int
    events: list[bytes]
    received_ns: int
    source: str
    marks: Mark
    size: int = -1

    def __post_init__(self) -> None:
        if self.size < 0:  # summed once: everybody on the way asks for it
            self.size = sum(map(len, self.events))

    def since(self, position: int) -> "Record":
        """The part of it from the sequence `position` on."""
        skipped = position - self.first_sequence
        if skipped <= 0:
            return self
        return Record(position, self.events[skipped:], self.received_ns, self.source, self.marks)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a reader found from `start` on: records in order, and `end`, the sequence after all that was looked at.

    Where the sequences of the records leave a gap (dropped segments, damage), those events are gone for good: the
    number missing is `end - start - sum(len(r.events))`.
    """

    start: int
    end: int
    records: list[Record]

    @property
    def missing(self) -> int:
        """Events between `start` and `end` that no longer exist."""
        return self.end - self.start - sum(len(record.events) for record in self.records)


@dataclass(frozen=True, slots=True)
class Drop:
    """Events that one destination had not got when their room was needed, since the start of the process.

    They lay between `first` and `last` (sequences, both included). `at_ns`: when the newest of them went.
    """

    first: int
    last: int
    events: int
    at_ns: int

    def merged(self, later: "Drop") -> "Drop":
        """This drop and a later one as a single one, which may have a gap between them."""
        first, last = min(self.first, later.first), max(self.last, later.last)
        return Drop(first, last, self.events + later.events, later.at_ns)


class Tally(NamedTuple):
    """Events of one ring that one destination is done with, by how they ended."""

    delivered: int = 0
    filtered: int = 0
    dead_lettered: int = 0
    dropped: int = 0

    @property
    def total(self) -> int:
        """Their sum: always the cursor's position minus its start."""
        return sum(self)

    def plus(self, other: "Tally") -> "Tally":
        """The events that ended in either of the two, each end by itself."""
        return Tally(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Account:
    """The identity an auditor checks: accepted = delivered + filtered + dead_lettered + dropped + pending."""

    accepted: int
    delivered: int
    filtered: int
    dead_lettered: int
    dropped: int
    pending: int

    def plus(self, other: "Account") -> "Account":
        """The identity over the events of both."""
        ends = Tally(self.delivered, self.filtered, self.dead_lettered, self.dropped).plus(
            Tally(other.delivered, other.filtered, other.dead_lettered, other.dropped)
        )
        return Account(self.accepted + other.accepted, *ends, self.pending + other.pending)
