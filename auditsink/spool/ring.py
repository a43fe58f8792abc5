"""A ring as its readers and the rest of the sink see it: what is held, what is durable, who is how far.

The writing side is `auditsink.spool.log`. The two share the list of segments, which is replaced and never changed: a
reader in another thread sees either the state before or the one after. `durable` only grows, in the loop's thread.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock

from auditsink.common.disk import Disk
from auditsink.spool.cursor import SUFFIX, Cursor
from auditsink.spool.keys import Keyring
from auditsink.spool.reader import Reader
from auditsink.spool.record_cache import RecordCache
from auditsink.spool.segment import Damage, Segment
from auditsink.spool.types import Account, Drop

log = logging.getLogger("auditsink.spool")

MAX_SET_ASIDE = 64
"""Damaged stretches that are copied out of a ring's segments. A dying disk must not fill itself with its own errors."""


class Ring:
    """The events of one cluster."""

    def __init__(
        self, cluster: str, path: Path, ring_id: bytes, disk: Disk, *, floor: int, keys: Keyring | None = None
    ) -> None:
        self.cluster = cluster
        self.path = path
        self.ring_id = ring_id
        self.disk = disk
        self.keys = keys
        self.segments: tuple[Segment, ...] = ()
        self.floor = floor
        self.durable = floor
        self.record_cache = RecordCache(self._aged)
        self.cursors: dict[str, Cursor] = {}
        self.drops: dict[str, Drop] = {}
        self.damaged_bytes = 0
        self.prepared_bytes = 0
        """What the file takes that becomes the next segment."""
        self._damage: set[tuple[int, int]] = set()
        self._noting = Lock()
        self._dropping = Lock()
        self._listeners: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Ring {self.cluster} {self.floor}..{self.durable} in {len(self.segments)} segments>"

    @property
    def size(self) -> int:
        """What its segments take of the disk, the one that is prepared included."""
        return sum(segment.size for segment in self.segments) + self.prepared_bytes

    @property
    def wanted(self) -> int:
        """The part of `size` that some destination still needs."""
        consumed = self.consumed()
        return sum(segment.size for segment in self.segments if segment.end > consumed)

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest segment that still holds events was begun (nanoseconds since the epoch)."""
        return self.segments[0].header.created_ns if self.segments and self.durable > self.floor else None

    def cursor(self, destination: str) -> Cursor:
        """That destination's cursor; the same object each time. Raises OSError."""
        if destination not in self.cursors:
            path = self.path / "cursors" / f"{destination}{SUFFIX}"
            # Replaced and not changed: the writer's thread may be going through them.
            self.cursors = {**self.cursors, destination: Cursor.open(self.disk, path, floor=self.floor)}
        return self.cursors[destination]

    def reader(self) -> Reader:
        """A reader of this ring, for one destination."""
        return Reader(self)

    def origin(self, sequence: int) -> str | None:
        """The ring's id and that of the segment which holds the sequence, in hex; None where none does.

        A ring that lost its end, or that was restored from an older copy, gives sequences out again; but in a new
        segment, with an id of its own.
        """
        for held in self.segments:
            if held.first <= sequence < held.end:
                return f"{self.ring_id.hex()}/{held.header.segment_id.hex()}"
        return None

    def boundaries(self, start: int, stop: int) -> list[int]:
        """The sequences between the two (both excluded) at which a segment begins."""
        return [segment.first for segment in self.segments if start < segment.first < stop]

    def consumed(self) -> int:
        """Every destination is done with the events before this sequence."""
        return min((cursor.position for cursor in self.cursors.values()), default=self.floor)

    def claim(self, cursor: Cursor, start: int, stop: int) -> int:
        """Have the events from `start` to `stop` for delivery; returns the floor.

        Where that is above `start` nothing is claimed: what lies below it is given up, and counted as dropped.
        """
        with self._dropping:
            if self.floor <= start:
                cursor.claimed = max(cursor.claimed, stop)
            return self.floor

    def claim_early(self, cursor: Cursor, sequence: int) -> bool:
        """Have one event for delivery before its turn; False when it is given up, and counted as dropped."""
        with self._dropping:
            if cursor.claimed <= sequence < self.floor and sequence not in cursor.early:
                return False
            cursor.early = cursor.early | {sequence}
            return True

    def forget_early(self, cursor: Cursor, sequences: Iterable[int]) -> None:
        """These were not delivered before their turn, or their turn has come."""
        with self._dropping:
            cursor.early = cursor.early.difference(sequences)

    def give_up(self, stop: int, now_ns: int) -> dict[str, Drop]:
        """The events before `stop` are no longer held; what each destination loses by that. In the writer's thread."""
        with self._dropping:
            before, self.floor = self.floor, max(self.floor, stop)
            firsts = {
                name: (first := max(one.position, one.claimed, before), _between(one.early, first, self.floor))
                for name, one in self.cursors.items()
            }
        drops = {
            name: Drop(first, self.floor - 1, self.floor - first - early, now_ns)
            for name, (first, early) in firsts.items()
            if first + early < self.floor
        }
        for name, drop in drops.items():
            self.note_drop(name, drop)
        return drops

    def account(self, cursor: Cursor, *, claimed: int = 0, dropped: int = 0) -> Account:
        """The identity for one destination. Events below the floor that nobody has claimed count as dropped at once.

        `claimed`: up to where it has events in its hands; `dropped`: how many of these are gone, as far as it knows.
        """
        durable = self.durable
        # The writer's thread moves the floor, and may be ahead of what was announced.
        first, floor = max(cursor.position, claimed), min(self.floor, durable)
        lost = dropped + max(0, floor - first) - _between(cursor.early, first, floor)
        tally = cursor.tally
        return Account(
            accepted=durable - cursor.start,
            delivered=tally.delivered,
            filtered=tally.filtered,
            dead_lettered=tally.dead_lettered,
            dropped=tally.dropped + lost,
            pending=durable - cursor.position - lost,
        )

    def on_durable(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called in the loop's thread whenever `durable` or `floor` has moved, until that is ended."""
        self._listeners = [*self._listeners, callback]
        return lambda: self._forget_listener(callback)

    def _forget_listener(self, callback: Callable[[], None]) -> None:
        self._listeners = [one for one in self._listeners if one is not callback]

    def forget(self, destination: str) -> None:
        """Nobody reads for this destination any more: what only it needed may be given up. Its file stays."""
        cursor = self.cursors.get(destination)
        self.cursors = {name: one for name, one in self.cursors.items() if name != destination}
        if cursor is not None:
            cursor.close()

    def note_drop(self, destination: str, drop: Drop) -> None:
        """Remember it for whoever asks; the account counts it by itself. Any thread."""
        with self._dropping:
            known = self.drops.get(destination)
            self.drops = {**self.drops, destination: drop if known is None else known.merged(drop)}

    def announce(self) -> None:
        """Call the listeners; in the loop's thread."""
        for listener in self._listeners:
            listener()

    def _aged(self) -> None:
        """Memory is about to let go of records: news for a destination that has not got them."""
        if self.consumed() < self.record_cache.leaving:
            self.announce()

    def note_damage(self, segment: Segment, damage: Damage, content: bytes) -> None:
        """Count a damaged stretch once, tell the operator, and put its bytes aside for a person to look at."""
        key = (segment.first, damage.offset)
        with self._noting:  # readers come here from threads of their own
            if key in self._damage:
                return
            self._damage.add(key)
            self.damaged_bytes += damage.length
        aside = self.path / "damaged" / f"{segment.first:020d}-{damage.offset}.bin"
        log.error(
            "damage in the spool: events in it are lost, all others are read; check the disk",
            extra={
                "cluster": self.cluster,
                "segment": str(segment.path),
                "offset": damage.offset,
                "bytes": damage.length,
                "set_aside": str(aside),
            },
        )
        if len(self._damage) <= MAX_SET_ASIDE:
            self._set_aside(aside, content)

    def _set_aside(self, path: Path, content: bytes) -> None:
        try:
            self.disk.make_directory(path.parent)
            file = self.disk.create(path)
        except OSError:  # set aside by an earlier run, or the disk takes nothing: the log line stands either way
            return
        try:
            file.write([content], 0)
        except OSError as problem:
            log.warning("cannot set damage aside", extra={"file": str(path), "error": str(problem)})
        finally:
            file.close()

    def close(self) -> None:
        """Let go of the cursors."""
        for cursor in self.cursors.values():
            cursor.close()


def _between(sequences: frozenset[int], start: int, stop: int) -> int:
    """How many of them lie between the two (`stop` excluded)."""
    return sum(start <= sequence < stop for sequence in sequences)
