"""A ring as `forward` sees it (see `forward.source`): one cluster in one partition, for one destination."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any, Protocol

from auditsink.kafka_spool.record import StoredRecord
from auditsink.kafka_spool.window import ClusterWindow, HeldRecord, PartitionWindow
from auditsink.spool.content import ContentError, Unpacker
from auditsink.spool.errors import MissingKeyError
from auditsink.spool.keys import Keyring
from auditsink.spool.types import Account, Chunk, Drop, Record, Tally

SPLIT_BYTES = 8 * 2**20
"""Bytes of events of one destination that are kept split: what is attempted again need not be split again."""
LARGE_BODY = 2**16
"""Bytes of a body from which it is unpacked in a thread, and not in the loop."""


class Damaged(Protocol):
    """Told of a record that cannot be read."""

    def __call__(self, held: HeldRecord, why: str) -> None:
        """Once for each time that it is asked for."""
        ...


class Fetch(Protocol):
    """Gets values again that memory let go of."""

    def __call__(self, partition: int, wanted: Collection[int]) -> dict[int, bytes]:
        """By offset: the first one that is wanted, and others. Blocks. Raises OSError."""
        ...


class SplitRecords:
    """The records that were unpacked last, for all rings of a destination."""

    def __init__(self, keys: Keyring | None, damaged: Damaged, fetch: Fetch, limit: int = SPLIT_BYTES) -> None:
        self.fetch = fetch
        self._unpacker = Unpacker(keys)
        self._damaged = damaged
        self._limit = limit
        self._bytes = 0
        self._known: OrderedDict[HeldRecord, Record] = OrderedDict()

    def __repr__(self) -> str:
        return f"<SplitRecords {len(self._known)} of {self._bytes} bytes>"

    def cached(self, held: HeldRecord) -> Record | None:
        """The record, if it is kept, or if it is soon unpacked. In the loop's thread."""
        found, header = self._known.get(held), held.stored.header
        if found is None and held.size and header.body_length < LARGE_BODY and not header.encrypted:
            found = self.read(held, held.stored, self._unpacker)
            if found is not None:
                self.keep(held, found)
        return found

    def read(self, held: HeldRecord, stored: StoredRecord, unpacker: Unpacker) -> Record | None:
        """The record, unpacked; None where it cannot be. Any thread. Raises OSError where its key is not there.

        `stored`: with its value, which memory may let go of at any moment.
        """
        try:
            whole = unpacker.record(stored.segment, stored.header, stored.value, 0)
        except MissingKeyError as problem:
            raise OSError(str(problem)) from None
        except ContentError as problem:
            self._damaged(held, str(problem))
            return None
        return Record(held.first, held.chosen(whole.events), whole.received_ns, whole.source, whole.marks)

    def keep(self, held: HeldRecord, record: Record) -> None:
        """Remember it for a while. In the loop's thread."""
        self._known[held] = record
        self._bytes += record.size
        while self._bytes > self._limit and len(self._known) > 1:
            self._bytes -= self._known.popitem(last=False)[1].size

    def forget(self, held: HeldRecord) -> None:
        """It is done."""
        gone = self._known.pop(held, None)
        if gone is not None:
            self._bytes -= gone.size


class TopicReader:
    """See `forward.source.SourceReader`."""

    def __init__(self, partition: int, window: ClusterWindow, split: SplitRecords, keys: Keyring | None) -> None:
        self._partition = partition
        self._window = window
        self._split = split
        self._unpacker = Unpacker(keys)

    def cached(self, position: int, max_bytes: int) -> Chunk | None:
        """See `SourceReader.cached`."""
        records: list[Record] = []
        size, end = 0, position
        for held in self._window.find(position):
            record = self._split.cached(held) if size < max_bytes else None
            if record is None:
                break
            records.append(record)
            size += record.size
            end = held.end
        if not records:
            return None
        records[0] = records[0].since(position)
        return Chunk(position, end, records)

    def leaving(self, position: int) -> bool:  # noqa: ARG002 - it goes when its values do, and those stay longer
        """See `SourceReader.leaving`."""
        return False

    def read(self, position: int, max_bytes: int) -> Chunk:
        """See `SourceReader.read`."""
        records: list[Record] = []
        size, end = 0, position
        wanted = [held for held in list(self._window.held) if held.end > position]
        values: dict[int, bytes] = {}
        for place, held in enumerate(wanted):
            stored = held.stored
            if not stored.value:
                if stored.offset not in values:
                    if records:
                        break
                    gone = {one.stored.offset for one in wanted[place:] if not one.size}
                    values = self._split.fetch(self._partition, {stored.offset, *gone})
                stored = replace(stored, value=values.get(stored.offset, b""))
            record = self._split.read(held, stored, self._unpacker)
            end = held.end
            if record is not None:
                records.append(record.since(position))
                size += record.size
            if size >= max_bytes:
                break
        return Chunk(position, end, records)

    def close(self) -> None:
        """See `SourceReader.close`."""


class TopicCursor:
    """See `forward.source.SourceCursor`."""

    def __init__(self, ring: "TopicRing", sync: Callable[[], None]) -> None:
        self._ring = ring
        self._sync = sync

    def __repr__(self) -> str:
        return f"<TopicCursor of {self._ring}>"

    @property
    def position(self) -> int:
        """See `SourceCursor.position`."""
        return self._ring.window.position

    def advance(self, done: Tally) -> None:
        """See `SourceCursor.advance`."""
        self._ring.advance(done)

    def sync(self) -> None:
        """See `SourceCursor.sync`."""
        self._sync()


class TopicRing:
    """See `forward.source.SourceRing`. Belongs to the loop's thread."""

    def __init__(
        self,
        partition: PartitionWindow,
        window: ClusterWindow,
        *,
        name: str,
        split: SplitRecords,
        keys: Keyring | None,
        sync: Callable[[], None],
    ) -> None:
        """`name`: of the partition, as nothing else is called. `sync`: makes the place durable."""
        self.cluster = window.cluster
        self.window = window
        self.drops: dict[str, Drop] = {}
        self._partition = partition
        self._name = name
        self._split = split
        self._keys = keys
        self._cursor = TopicCursor(self, sync)
        self._listeners: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<TopicRing {self.cluster} in {self._name}, {self.window.position}..{self.window.end}>"

    @property
    def durable(self) -> int:
        """See `SourceRing.durable`."""
        return self.window.end

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest event that is not done was accepted; None when all are."""
        held = self.window.held
        return held[0].stored.header.received_ns if held else None

    def cursor(self, destination: str) -> TopicCursor:  # noqa: ARG002 - this ring is of one destination
        """See `SourceRing.cursor`."""
        return self._cursor

    def reader(self) -> TopicReader:
        """See `SourceRing.reader`."""
        return TopicReader(self._partition.partition, self.window, self._split, self._keys)

    def origin(self, sequence: int) -> str | None:
        """See `SourceRing.origin`."""
        held = next(self.window.find(sequence), None)
        return None if held is None or held.first > sequence else f"{self._name}/{held.stored.offset}"

    def on_durable(self, callback: Callable[[], None]) -> Callable[[], None]:
        """See `SourceRing.on_durable`."""
        self._listeners = [*self._listeners, callback]
        return lambda: self._forget(callback)

    def announce(self) -> None:
        """There is more."""
        for listener in self._listeners:
            listener()

    def claim(self, cursor: Any, start: int, stop: int) -> int:  # noqa: ARG002 - there is one
        """See `SourceRing.claim`. Nothing of a topic is ever given up."""
        self.window.claimed = max(self.window.claimed, stop)
        return start

    def claim_early(self, cursor: Any, sequence: int) -> bool:  # noqa: ARG002 - nothing is ever given up
        """See `SourceRing.claim_early`."""
        return True

    def forget_early(self, cursor: Any, sequences: Iterable[int]) -> None:
        """See `SourceRing.forget_early`."""

    def note_drop(self, destination: str, drop: Drop) -> None:
        """See `SourceRing.note_drop`."""
        known = self.drops.get(destination)
        self.drops = {**self.drops, destination: drop if known is None else known.merged(drop)}

    def advance(self, done: Tally) -> None:
        """Events ended."""
        for held in self.window.held:
            if held.end > self.window.position + done.total:
                break
            self._split.forget(held)
        self._partition.advance(self.window, done)

    def account(self, cursor: Any, *, claimed: int = 0, dropped: int = 0) -> Account:  # noqa: ARG002 - there is one
        """See `SourceRing.account`."""
        window, tally = self.window, self.window.tally
        return Account(
            accepted=window.end,
            delivered=tally.delivered,
            filtered=tally.filtered,
            dead_lettered=tally.dead_lettered,
            dropped=tally.dropped + dropped,
            pending=window.end - window.position - dropped,
        )

    def _forget(self, callback: Callable[[], None]) -> None:
        self._listeners = [one for one in self._listeners if one is not callback]
