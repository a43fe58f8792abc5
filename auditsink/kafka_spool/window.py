"""One partition for one destination: what was fetched and is not done yet, cluster by cluster. Pure.

Records come in as they were fetched; ends of events come in as `forward` tells them. What comes out is the place that
may be committed. Memory holds what is not done and no more: `held_bytes` says how much; whoever fetches stops there.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from auditsink.forward.source import Unfetched
from auditsink.kafka_spool.place import GroupPlace, Reached
from auditsink.kafka_spool.record import StoredRecord
from auditsink.kafka_spool.repeats import DigestWindow
from auditsink.spool.statistics import REST
from auditsink.spool.types import Tally


@dataclass(slots=True, eq=False)
class HeldRecord:
    """A record that is not wholly done. Its events that count have the sequences from `first` on.

    `parts`: which of its events those are, as (start, stop); None for all of them.
    """

    stored: StoredRecord
    first: int
    events: int
    parts: tuple[tuple[int, int], ...] | None = None

    @property
    def size(self) -> int:
        """Bytes that it holds now."""
        return len(self.stored.value)

    @property
    def end(self) -> int:
        """The sequence after its last event."""
        return self.first + self.events

    def index(self, sequence: int) -> int:
        """How many of all its events lie before the one with this sequence."""
        left = sequence - self.first
        if self.parts is None:
            return left
        for start, stop in self.parts:
            if left < stop - start:
                return start + left
            left -= stop - start
        return self.stored.header.events

    def chosen(self, events: list[bytes]) -> list[bytes]:
        """Those of all its events that count."""
        if self.parts is None:
            return events
        return [event for start, stop in self.parts for event in events[start:stop]]


@dataclass(slots=True, eq=False)
class ClusterWindow:
    """One cluster in a partition. Sequences count its events for this destination; `position`: all before are done.

    `end` is the sequence after the last event that was fetched; `claimed` that after the last one in somebody's hands.
    """

    cluster: str
    tally: Tally
    position: int
    end: int
    claimed: int
    held: deque[HeldRecord] = field(default_factory=deque)
    bytes: int = 0
    """Of its records that memory holds."""

    @classmethod
    def resumed(cls, cluster: str, tally: Tally) -> "ClusterWindow":
        """Where the tally left off."""
        return cls(cluster, tally, tally.total, tally.total, tally.total)

    def find(self, sequence: int) -> Iterator[HeldRecord]:
        """The records from the one with this sequence on."""
        return (one for one in self.held if one.end > sequence)

    @property
    def reached(self) -> Reached | None:
        """Where its first event lies that is not done; None when all are."""
        if not self.held:
            return None
        first = self.held[0]
        return Reached(first.stored.offset, first.index(max(self.position, first.first)))


class PartitionWindow:
    """From the committed place on. `next_offset`: what is to be fetched next."""

    def __init__(self, partition: int, place: GroupPlace) -> None:
        self.partition = partition
        self.clusters = {name: ClusterWindow.resumed(name, tally) for name, tally in place.tallies.items()}
        if place.rest.total:
            self.clusters[REST] = ClusterWindow.resumed(REST, place.rest)
        self.next_offset = place.offset
        self.held_bytes = 0
        self.held = 0
        """Records that are not done, those included whose values memory has let go of."""
        self.repeated = 0
        """Events that were passed over because they had been posted before."""
        self.fetched = 0
        """Records from the place on, with `fetched_events` and `fetched_bytes`: what those behind are estimated by."""
        self.fetched_events = self.fetched_bytes = 0
        self.moves = 0
        """How often events ended."""
        self.dirty = False
        """Whether the place has moved since it was asked for."""
        self._began = place
        self._digests = DigestWindow()
        self._at_ms = place.at_ms

    def __repr__(self) -> str:
        return f"<PartitionWindow {self.partition} up to {self.next_offset}, {self.held_bytes} bytes held>"

    def take(self, stored: StoredRecord) -> ClusterWindow | None:
        """A record was fetched: its cluster, if it has events that are not done."""
        if stored.offset >= self.next_offset:
            self.fetched += 1
            self.fetched_events += stored.header.events
            self.fetched_bytes += len(stored.value)
        self.pass_over(stored.offset)
        fresh = self._digests.fresh(stored)
        done = self._began.done(stored.cluster, stored.offset)
        if done is None:
            return None
        everything = stored.header.events
        self.repeated += everything - sum(stop - start for start, stop in fresh)
        cut = [(max(start, done), stop) for start, stop in fresh if stop > done]
        if not cut:
            self.dirty = True
            return None
        events = sum(stop - start for start, stop in cut)
        cluster = self.clusters.get(stored.cluster)
        if cluster is None:
            cluster = self.clusters[stored.cluster] = ClusterWindow.resumed(stored.cluster, Tally())
        parts = None if events == everything else tuple(cut)
        cluster.held.append(HeldRecord(stored, cluster.end, events, parts))
        cluster.end += events
        cluster.bytes += len(stored.value)
        self.held_bytes += len(stored.value)
        self.held += 1
        return cluster

    def pass_over(self, offset: int) -> None:
        """A record at this offset was fetched, and is not needed."""
        self.next_offset = max(self.next_offset, offset + 1)

    def advance(self, cluster: ClusterWindow, done: Tally) -> None:
        """Events of a cluster ended, in order."""
        cluster.tally = cluster.tally.plus(done)
        cluster.position += done.total
        while cluster.held and cluster.held[0].end <= cluster.position:
            gone = cluster.held.popleft()
            cluster.bytes -= gone.size
            self.held_bytes -= gone.size
            self.held -= 1
            self._at_ms = max(self._at_ms, gone.stored.header.received_ns // 10**6)
        self.clusters[cluster.cluster] = self.clusters.pop(cluster.cluster)  # those that moved last stand last
        self.dirty = True
        self.moves += 1

    def let_go(self, cluster: ClusterWindow, count: int) -> None:
        """Let go of the values of a cluster's newest records, at least so many bytes of them if there are so many."""
        for held in reversed(cluster.held):
            if count <= 0:
                return
            size = held.size
            held.stored = replace(held.stored, value=b"")
            cluster.bytes -= size
            self.held_bytes -= size
            count -= size

    @property
    def in_hand(self) -> bool:
        """Whether somebody delivers something of it right now."""
        return any(cluster.claimed > cluster.position for cluster in self.clusters.values())

    def place(self) -> GroupPlace:
        """What may be committed now."""
        self.dirty = False
        behind = self._known_behind()
        behind |= {name: reached for name, one in self.clusters.items() if (reached := one.reached) is not None}
        heads = [one.held[0].stored for one in self.clusters.values() if one.held]
        first = min(heads, key=lambda stored: stored.offset, default=None)
        rest = self.clusters.get(REST)
        return GroupPlace(
            self.next_offset if first is None else first.offset,
            max(self.next_offset, self._began.upto),
            self._at_ms if first is None else first.header.received_ns // 10**6,
            behind,
            {name: one.tally for name, one in self.clusters.items() if name != REST},
            Tally() if rest is None else rest.tally,
        )

    def _known_behind(self) -> dict[str, Reached]:
        """What the place in which this began says of records that were not fetched again yet."""
        found: dict[str, Reached] = {}
        for name, reached in self._began.behind.items():
            if reached.offset >= self.next_offset:
                found[name] = reached
            elif self.next_offset < self._began.upto:
                found[name] = Reached(self.next_offset, 0)
        return found


def unfetched(windows: Collection[PartitionWindow], ends: Mapping[int, int]) -> Unfetched:
    """What lies behind all that was fetched, where the partitions end at these offsets: as what was fetched is."""
    fetched = max(1, sum(window.fetched for window in windows))
    events = max(1.0, sum(window.fetched_events for window in windows) / fetched)
    size = sum(window.fetched_bytes for window in windows) / fetched
    records = sum(max(0, ends.get(window.partition, 0) - window.next_offset) for window in windows)
    return Unfetched(records, round(records * events), round(records * size))
