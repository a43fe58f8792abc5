"""What can stand around a destination: the labels of a cluster, and another shape of its records.

fluent-bit makes one record of a whole EventList, and its filter `modify` adds members beside `items`. Who has saved
searches for that sets `record: batch`. A batch whose list is refused is cut like any other batch that is refused
without naming an event, so one bad event still costs one event.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from auditsink.audit import scan
from auditsink.audit.eventlist import Mark, joined
from auditsink.audit.labels import Edit, LabelsAs, editor
from auditsink.audit.times import event_time, rfc3339
from auditsink.clusters import retained
from auditsink.config import DestinationSection
from auditsink.delivery.destination import Attempt, Batch, Destination, DestinationError, Limits
from auditsink.delivery.outcome import Delivered, Outcome, Poison
from auditsink.destinations.encoding import documents

_INLINE = 65536  # bytes: less is shaped or labelled in 0.1 ms, which is what handing it to a thread costs
LIST_EVENTS = 400
"""Events of a list at most: as many as kube-apiserver posts at once by default. A large object has many such lines."""

_as_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class RecordShape:
    """`add`: members at the top of each record, where none has that name. `time_key`: the name of one with its time."""

    lists: bool = False
    add: Mapping[str, str] = field(default_factory=dict)
    time_key: str | None = None

    @classmethod
    def of(cls, config: DestinationSection) -> "RecordShape":
        """What the section says."""
        return cls(config.record == "batch", config.add, config.time_key)

    @property
    def plain(self) -> bool:
        """Whether each record is an event as it came."""
        return not self.lists and not self.add and self.time_key is None


def shaped(batch: Batch, shape: RecordShape) -> Batch:
    """The batch with its records as events, labels inside where they go there.

    With lists there are fewer of them than events, and `sequences` are still those of all events.
    """
    if Mark.UNSPLIT in batch.marks or not batch.events:
        return batch
    events = batch.events if batch.labelled is None else batch.labelled
    added = [(_as_json(name), _as_json(name) + b":" + _as_json(value)) for name, value in shape.add.items()]
    records: list[bytes]
    if shape.lists:
        members = [member for _, member in added]
        several = (events[start : start + LIST_EVENTS] for start in range(0, len(events), LIST_EVENTS))
        records = [_list(part, members, shape.time_key, batch.received_ns) for part in several]
    elif shape.time_key is None:
        records = [_with(event, added) for event in events]
    else:
        name, received = shape.time_key, batch.received_ns
        key = _as_json(name)
        records = [_with(event, [(key, _time(name, event, received)), *added]) for event in events]
    return replace(batch, events=records, labelled=None)


def _list(events: Sequence[bytes], members: list[bytes], time_key: str | None, received_ns: int) -> bytes:
    if time_key is not None:
        members = [_time(time_key, events[0], received_ns), *members]
    return joined(events).removesuffix(b"}\n") + b"".join(b"," + member for member in members) + b"}"


def _with(event: bytes, added: Sequence[tuple[bytes, bytes]]) -> bytes:
    """At the front: what finds an event's time looks at fixed places from its end."""
    start = event.lstrip()
    if not start.startswith(b"{"):
        return event
    missing = [member for name, member in added if name not in event or not _has(event, name)]
    if not missing:
        return event
    rest = start[1:].lstrip()
    return b"{" + b",".join(missing) + (b"" if rest.startswith(b"}") else b",") + rest


def _has(event: bytes, name: bytes) -> bool:
    """Whether the name stands at the top, and not somewhere below."""
    try:
        return any(member.raw_key == name for member in scan.members(event))
    except scan.UnreadableError:
        return False


def _time(name: str, event: bytes, received_ns: int) -> bytes:
    return b'%b:"%b"' % (_as_json(name), rfc3339(event_time(event, received_ns)))


class ShapedDestination:
    """A destination that is handed records instead of events. See `delivery.destination.Destination`."""

    def __init__(self, inner: Destination, shape: RecordShape) -> None:
        self._inner = inner
        self._shape = shape
        self.name = inner.name
        self.type = inner.type
        self.limits: Limits = inner.limits

    async def prepare(self, batch: Batch) -> Attempt:
        """See `Destination.prepare`."""
        if sum(map(len, batch.events)) <= _INLINE:
            made = shaped(batch, self._shape)
        else:
            made = await asyncio.to_thread(shaped, batch, self._shape)
        attempt = await self._inner.prepare(made)
        if len(made.events) == len(batch.events):
            return attempt

        async def attempted() -> Outcome:
            return of_list(await attempt())

        return attempted

    async def probe(self) -> Outcome:
        """See `Destination.probe`."""
        return await self._inner.probe()

    async def close(self) -> None:
        """See `Destination.close`."""
        await self._inner.close()


def of_list(outcome: Outcome) -> Outcome:
    """What an outcome of lists means for the more events in them: a refusal names none of them."""
    match outcome:
        case Delivered(refused=(first, *_)):
            return Poison(None, first.why)
        case Poison(why=why):
            return Poison(None, why)
        case _:
            return outcome


class LabelledDestination:
    """See `delivery.destination.Destination`."""

    def __init__(self, inner: Destination, how: LabelsAs) -> None:
        self.name = inner.name
        self.type = inner.type
        self.limits = inner.limits
        self._inner = inner
        self._how = how

    async def prepare(self, batch: Batch) -> Attempt:
        """See `Destination.prepare`."""
        # Sorted, so that the same labels make the same bytes, wherever they were read.
        edit = editor(tuple(sorted(batch.labels.items())), self._how)
        if edit is None:
            return await self._inner.prepare(batch)
        if sum(map(len, batch.events)) <= _INLINE:
            return await self._inner.prepare(_edited(batch, edit))
        return await self._inner.prepare(await asyncio.to_thread(_edited, batch, edit))

    async def probe(self) -> Outcome:
        """See `Destination.probe`."""
        return await self._inner.probe()

    async def close(self) -> None:
        """See `Destination.close`."""
        await self._inner.close()


def _edited(batch: Batch, edit: Edit) -> Batch:
    return replace(batch, labelled=[*map(edit, documents(batch))])


class WithLabels:
    """See `delivery.destination.Destination`."""

    def __init__(self, destination: Destination, spool: Path) -> None:
        """Raises DestinationError where what the sink wrote down of the clusters in `spool` cannot be read."""
        self.name = destination.name
        self.type = destination.type
        self.limits = destination.limits
        self._destination = destination
        try:
            known = retained.read(spool)
        except (OSError, ValueError) as problem:
            raise DestinationError(str(problem)) from None
        self._labels = {cluster: one.labels for cluster, one in known.items()}

    async def prepare(self, batch: Batch) -> Attempt:
        """See `Destination.prepare`."""
        return await self._destination.prepare(replace(batch, labels=self._labels.get(batch.cluster, {})))

    async def probe(self) -> Outcome:
        """See `Destination.probe`."""
        return await self._destination.probe()

    async def close(self) -> None:
        """See `Destination.close`."""
        await self._destination.close()
