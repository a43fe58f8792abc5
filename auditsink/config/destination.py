"""What the sections of all destinations share, and what each type says of itself."""

import re
from collections.abc import Set as AbstractSet
from typing import ClassVar, Literal

import msgspec

from auditsink.audit.labels import EVENT_FIELDS
from auditsink.common.units import Duration, Size
from auditsink.config.checks import positive, whole
from auditsink.config.filters import Filter
from auditsink.config.section import Broken, Section

NAME = re.compile(r"[a-z0-9-]{1,40}\Z")


class Packing(Section, frozen=True, kw_only=True):
    """How events are packed into requests; what is left out is the destination type's own default."""

    max_bytes: Size | None = None
    max_events: int | None = None
    max_wait: Duration | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if self.max_bytes is not None:
            yield from positive("max_bytes", self.max_bytes)
        if self.max_events is not None:
            yield from whole("max_events", self.max_events, 1, 1_000_000)


class BackoffSettings(Section, frozen=True, kw_only=True):
    """Full jitter between 0 and initial * 2^n, at most max."""

    initial: Duration = Duration(1)
    max: Duration = Duration(60)

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from positive("initial", self.initial)
        if self.max < self.initial:
            yield "max", "must be at least initial"


class DestinationSection(Section, frozen=True, kw_only=True):
    """What all of them share.

    A type's own section adds its keys, a `tag` (the `type` in the file), `IMPLEMENTATION`, and `describe() -> str`:
    where events go, as the end of the sentence «delivers to NAME: ...», without a secret or a URL's query.
    """

    IMPLEMENTATION: ClassVar[str]
    """`module:Class` of the destination, called with the section and a clock; imported when it is configured."""
    LISTS: ClassVar[bool] = False
    """Whether `record: batch` is offered: a record may be anything, and is not told apart by what is in it."""
    EXTRA: ClassVar[str] = ""
    """What to install for it: `auditsink[EXTRA]`."""

    name: str
    filter: Filter | None = None  # none: everything, byte for byte
    batch: Packing = Packing()
    in_flight: int | None = None
    timeout: Duration = Duration(30)
    backoff: BackoffSettings = BackoffSettings()
    record: Literal["event", "batch"] = (
        "event"  # batch: EventLists of up to 400 of the events that were packed together
    )
    add: dict[str, str] = msgspec.field(default_factory=dict)  # members at the top of each record
    time_key: str | None = None  # the name of one more, with the record's time
    dead_letter_bytes: Size = Size(64 * 2**20)
    when_dead_letters_full: Literal["pause", "drop_oldest"] = "pause"  # pause: nothing is thrown away or goes out

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if not NAME.match(self.name):
            yield "name", "write 1 to 40 of a-z, 0-9 and -"
        if self.in_flight is not None:
            yield from whole("in_flight", self.in_flight, 1, 64)
        yield from positive("timeout", self.timeout)
        yield from positive("dead_letter_bytes", self.dead_letter_bytes)
        if self.record == "batch" and not self.LISTS:
            yield "record", "batch is not offered for this type; write event"
        if "" in self.add or self.time_key == "":
            yield "add" if "" in self.add else "time_key", "has a name that is empty; write one"

    def risks(self) -> Broken:
        """What an operator should know before relying on it: the key, what may happen, what to write instead."""
        yield from ()

    @property
    def kind(self) -> str:
        """What `type` says in the file."""
        return str(self.__struct_config__.tag)


class LabelledSection(DestinationSection, frozen=True, kw_only=True):
    """A type that has no place beside an event where the labels of its cluster could go."""

    labels_as: Literal["annotations", "fields", "none"] = "none"  # none: not at all, and every byte as it came

    def label_risks(self, labels: AbstractSet[str] | None) -> Broken:
        """Which labels would be missing. `labels`: names of those that are declared; None without `clusters`."""
        if self.labels_as == "none":
            return
        if labels is None:
            yield "labels_as", "has no effect without clusters, whose labels these are"
        elif self.labels_as == "fields" and (taken := ", ".join(sorted(labels & EVENT_FIELDS))):
            yield "labels_as", f"fields leaves out the labels {taken}: events have fields of these names; rename them"
