"""The newest records of all rings, kept in memory for destinations that are caught up.

Reading them back would mean decompressing and splitting them again. Bounded over all rings; the oldest go first, and
what every destination of a ring is done with goes before, unless somebody follows the ring. That records are the next
to go is told: whoever waits for a batch to become full takes them while they are here. Used in the loop's thread only.
"""

from collections import OrderedDict
from collections.abc import Callable

from auditsink.spool.types import Record

LIMIT_BYTES = 8 * 2**20
"""Bytes of events kept. A destination that is further behind than this reads from the disk."""
EVENT_OVERHEAD = 90
"""What a `bytes` object and its place in a list cost beside the content, in bytes (CPython, 64 bit)."""


class RecordCache:
    """Records by their first sequence, for one ring; `RecordCaches` bounds them together."""

    def __init__(self, aged: Callable[[], None] = lambda: None) -> None:
        """`aged`: called when `leaving` has risen."""
        self.records: dict[int, Record] = {}
        self.leaving = 0
        """What is here before this sequence is among the oldest half of all rings' records, which goes next."""
        self.aged = aged
        self.followers = 0
        """Those who read behind the destinations: for them records stay, within the limit."""

    def since(self, position: int, max_bytes: int) -> list[Record]:
        """Records from the one that begins at `position` on, at least one if that is here, up to about `max_bytes`."""
        found: list[Record] = []
        size = 0
        while size < max_bytes and (record := self.records.get(position)) is not None:
            found.append(record)
            size += record.size
            position += len(record.events)
        return found

    def beginning(self, position: int) -> int | None:
        """Where the first record from `position` on begins, or else the newest one; None without any."""
        return next((first for first in self.records if first >= position), next(reversed(self.records), None))


_Key = tuple[RecordCache, int]


class RecordCaches:
    """The bound over the caches of all rings."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self.limit = limit
        self.bytes = 0
        self._newer: OrderedDict[_Key, int] = OrderedDict()
        self._older: OrderedDict[_Key, int] = OrderedDict()
        self._newer_bytes = 0
        self._aged: dict[RecordCache, None] = {}

    def add(self, cache: RecordCache, record: Record) -> None:
        """Keep a record and let go of the oldest past the limit. One that is larger than the limit is not kept."""
        size = record.size + EVENT_OVERHEAD * len(record.events)
        if size > self.limit:
            return
        key = (cache, record.first_sequence)
        self._forget(key)
        cache.records[record.first_sequence] = record
        self._newer[key] = size
        self._newer_bytes += size
        self.bytes += size
        while self._newer_bytes > self.limit // 2:
            (older, sequence), its_size = self._newer.popitem(last=False)
            self._older[older, sequence] = its_size
            self._newer_bytes -= its_size
            older.leaving = max(older.leaving, sequence + len(older.records[sequence].events))
            self._aged[older] = None
        while self.bytes > self.limit:
            (oldest, sequence), its_size = self._older.popitem(last=False)
            del oldest.records[sequence]
            self.bytes -= its_size

    def tell_aged(self) -> None:
        """Call back for the caches of which more is among the older half by now."""
        aged, self._aged = self._aged, {}
        for cache in aged:
            cache.aged()

    def let_go(self, cache: RecordCache, consumed: int) -> None:
        """Every destination is done with what is before `consumed`."""
        if cache.followers:
            return
        done = []
        for sequence, record in cache.records.items():
            if sequence + len(record.events) > consumed:
                break
            done.append(sequence)
        for sequence in done:
            del cache.records[sequence]
            self._forget((cache, sequence))

    def _forget(self, key: _Key) -> None:
        if (size := self._newer.pop(key, None)) is None:
            size = self._older.pop(key, 0)
        else:
            self._newer_bytes -= size
        self.bytes -= size
