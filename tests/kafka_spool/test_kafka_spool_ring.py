"""A ring of a partition as `forward` reads it, also where memory has let go of its records."""

from collections.abc import Collection

import pytest
from topickit import fetched, names

from auditsink.kafka_spool.place import GroupPlace
from auditsink.kafka_spool.record import StoredRecord
from auditsink.kafka_spool.ring import SplitRecords, TopicRing
from auditsink.kafka_spool.window import HeldRecord, PartitionWindow
from auditsink.spool.types import Chunk, Tally


class Topic:
    """A partition with one cluster in it, and what was fetched again of it."""

    def __init__(self, *events: int) -> None:
        self.log: list[StoredRecord] = [fetched(offset, "a", offset, count) for offset, count in enumerate(events)]
        self.asked: list[set[int]] = []
        self.damaged: list[str] = []
        self.window = PartitionWindow(3, GroupPlace(0, 0))
        for one in self.log:
            self.window.take(one)
        split = SplitRecords(None, self._damaged, self._fetch)
        self.ring = TopicRing(
            self.window, self.window.clusters["a"], name="t/3", split=split, keys=None, sync=lambda: None
        )

    def _fetch(self, partition: int, wanted: Collection[int]) -> dict[int, bytes]:
        self.asked.append(set(wanted))
        return {offset: self.log[offset].value for offset in sorted(wanted)[:2]}

    def _damaged(self, held: HeldRecord, why: str) -> None:
        self.damaged.append(why)


def told(chunk: Chunk | None) -> list[str]:
    assert chunk is not None
    assert chunk.missing == 0
    return [name for record in chunk.records for name in names(record.events)]


def test_a_ring_is_read_from_any_sequence() -> None:
    topic = Topic(2, 3, 1)
    reader = topic.ring.reader()
    for read in (reader.cached, reader.read):
        assert told(read(0, 10**6)) == ["a-0-0", "a-0-1", "a-1-0", "a-1-1", "a-1-2", "a-2-0"]
        assert told(read(3, 10**6)) == ["a-1-1", "a-1-2", "a-2-0"]
        assert told(read(3, 1)) == ["a-1-1", "a-1-2"]
    assert reader.cached(6, 10**6) is None


def test_what_memory_has_let_go_of_is_fetched_again() -> None:
    topic = Topic(2, 3, 1, 2)
    reader = topic.ring.reader()
    cluster = topic.window.clusters["a"]
    topic.window.let_go(cluster, topic.window.held_bytes - 1)
    assert (cluster.bytes, topic.window.held_bytes, topic.window.held) == (0, 0, 4)
    assert reader.cached(0, 10**6) is None
    assert told(reader.read(0, 10**6)) == ["a-0-0", "a-0-1", "a-1-0", "a-1-1", "a-1-2"]
    assert told(reader.read(5, 10**6)) == ["a-2-0", "a-3-0", "a-3-1"]
    assert topic.asked == [{0, 1, 2, 3}, {2, 3}]
    topic.ring.advance(Tally(8))
    assert (cluster.bytes, topic.window.held_bytes, topic.window.held) == (0, 0, 0)


def test_the_newest_go_first_and_what_comes_next_stays() -> None:
    topic = Topic(1, 1, 1, 1)
    cluster = topic.window.clusters["a"]
    topic.window.let_go(cluster, cluster.bytes // 2)
    assert [one.size > 0 for one in cluster.held] == [True, True, False, False]
    assert told(topic.ring.reader().cached(0, 10**6)) == ["a-0-0", "a-1-0"]


def test_a_record_that_cannot_be_read_is_a_gap_and_is_told() -> None:
    topic = Topic(2, 3, 1)
    topic.window.let_go(topic.window.clusters["a"], 10**6)
    topic.log[1] = fetched(1, "other", 1, 3)
    chunk = topic.ring.reader().read(0, 10**6)
    assert len(topic.damaged) == 1
    assert (chunk.end, chunk.missing) == (5, 3)


def test_an_event_has_a_name_of_its_own() -> None:
    topic = Topic(2, 3)
    assert [topic.ring.origin(sequence) for sequence in range(6)] == ["t/3/0"] * 2 + ["t/3/1"] * 3 + [None]


@pytest.mark.parametrize("done", [Tally(3), Tally(1, 1, 1), Tally(0, 0, 0, 3)])
def test_the_account_adds_up(done: Tally) -> None:
    topic = Topic(2, 3)
    topic.ring.advance(done)
    account = topic.ring.account(topic.ring.cursor("x"))
    assert (account.accepted, account.pending, account.delivered) == (5, 2, done.delivered)
