"""Whose the topic's bytes are: what a receiver counts beside what lies there, and what it lets each cluster take."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from auditsink.kafka_spool.usage import LEAST_BUCKETS, MOST_BUCKETS, OffsetBuckets, RecordSize, TopicUsage
from auditsink.spool.shares import Shares
from auditsink.spool.statistics import REST

CLUSTERS = st.sampled_from(["a", "b", "c"])
SIZES = st.integers(1, 300)
MANY = 2**62


def usage(max_bytes: int = 1000, **reserved: int) -> TopicUsage:
    return TopicUsage(Shares(max_bytes, reserved), 10)


def stored(found: TopicUsage, offset: int, cluster: str, size: int) -> None:
    """A record of this receiver, from the beginning to the end."""
    found.sending(cluster, size)
    found.confirmed(0, offset, cluster, size)


class Topics(RuleBasedStateMachine):
    """Two receivers on a topic, its brokers, and whoever deletes; the second receiver is observed as well."""

    def __init__(self) -> None:
        super().__init__()
        self.shares = Shares(10_000, {"a": 1000, "b": 500})
        self.seen = [TopicUsage(self.shares, 10) for _ in range(2)]
        self.records: dict[int, list[RecordSize]] = defaultdict(list)
        self.low: Counter[int] = Counter()
        self.freed: Counter[int] = Counter()
        self.under_way: list[tuple[int, int, str, int]] = []
        self.least = [Counter[int]() for _ in range(2)]  # what each receiver knows to lie in each partition
        for one in self.seen:
            for partition in range(2):
                one.begin(partition, 0)

    @rule(who=st.integers(0, 1), partition=st.integers(0, 1), cluster=CLUSTERS, size=SIZES)
    def send(self, who: int, partition: int, cluster: str, size: int) -> None:
        self.seen[who].sending(cluster, size)
        self.under_way.append((who, partition, cluster, size))

    @rule(number=st.integers(0, 5), answered=st.booleans())
    def arrive(self, number: int, *, answered: bool) -> None:
        """It is there; perhaps nobody says so."""
        if number < len(self.under_way):
            who, partition, cluster, size = self.under_way.pop(number)
            offset = len(self.records[partition])
            self.records[partition].append(RecordSize(offset, cluster, size))
            if answered:
                self.seen[who].confirmed(partition, offset, cluster, size)
                self.least[who][partition] += size
            else:
                self.seen[who].failed(cluster, size)

    @rule(number=st.integers(0, 5))
    def get_lost(self, number: int) -> None:
        if number < len(self.under_way):
            who, _, cluster, size = self.under_way.pop(number)
            self.seen[who].failed(cluster, size)

    @rule(who=st.integers(0, 1), partition=st.integers(0, 1), count=st.integers(1, 20))
    def read(self, who: int, partition: int, count: int) -> None:
        start = max(self.seen[who].next_offset(partition), self.low[partition])
        self.seen[who].read(partition, self.records[partition][start : start + count])

    @rule(partition=st.integers(0, 1), count=st.integers(1, 20))
    def delete(self, partition: int, count: int) -> None:
        self.low[partition] = min(len(self.records[partition]), self.low[partition] + count)

    @rule(partition=st.integers(0, 1))
    def free(self, partition: int) -> None:
        self.freed[partition] = self.low[partition]

    @rule(who=st.integers(0, 1), partition=st.integers(0, 1))
    def restart(self, who: int, partition: int) -> None:
        """Of what reads along, not of the receiver: it goes on where it was, or where the partition begins by now."""
        one = self.seen[who]
        one.begin(partition, max(one.next_offset(partition), self.low[partition]))

    @rule(who=st.integers(0, 1), partition=st.integers(0, 1))
    def look(self, who: int, partition: int) -> None:
        records = self.records[partition]
        size = sum(one.size for one in records[self.freed[partition] :])
        self.seen[who].measured(partition, size, (self.low[partition], len(records)))
        self.least[who][partition] = size

    @invariant()
    def the_sums_are_those_of_the_parts(self) -> None:
        for one in self.seen:
            assert min(one.used.values(), default=1) > 0
            assert one.total == sum(one.used.values()) + one.uncounted
            assert one.uncounted >= 0
            # The short way to a room is as good as the long one.
            sizes = {"a": 0, "b": 0, "c": 0, "d": 0} | one.used
            whole = one.shares.rooms(sizes | {"uncounted": one.uncounted})
            assert {cluster: one.room(cluster) for cluster in sizes} == {each: whole[each] for each in sizes}

    @invariant()
    def no_byte_is_forgotten(self) -> None:
        """So nobody is promised room that was taken at the last look, or by this receiver since."""
        for who, one in enumerate(self.seen):
            sent = sum(size for sender, _, _, size in self.under_way if sender == who)
            assert one.total >= sum(self.least[who].values()) + sent

    def teardown(self) -> None:
        """At rest, when all has been read and looked at, whoever reads along knows whose all is."""
        while self.under_way:
            self.get_lost(0)
        held: Counter[str] = Counter()
        for partition, records in self.records.items():
            for each in records[self.low[partition] :]:
                held[each.cluster] += each.size
        for who, one in enumerate(self.seen):
            for partition in range(2):
                self.read(who, partition, MANY)
                self.look(who, partition)
            unfreed = sum(
                each.size
                for partition, records in self.records.items()
                for each in records[self.freed[partition] : self.low[partition]]
            )
            assert (one.used, one.uncounted, one.behind) == (dict(held), unfreed, False)


TestTopics = Topics.TestCase
TestTopics.settings = settings(max_examples=60, stateful_step_count=40)


def test_what_is_reserved_is_left_by_all_others_and_used_in_full() -> None:
    found = usage(a=300)
    found.begin(0, 0)
    for offset in range(7):
        assert found.room("b") == 700 - 100 * offset
        stored(found, offset, "b", 100)
    assert (found.room("b"), found.room("c"), found.room("a")) == (0, 0, 300)
    found.sending("a", 300)
    assert found.room("a") == 0
    found.failed("a", 300)
    assert found.room("a") == 300


def test_what_others_put_in_counts_when_it_is_read_and_own_records_count_once() -> None:
    found = usage()
    found.begin(0, 0)
    stored(found, 0, "a", 100)
    assert found.used == {"a": 100}
    found.read(0, [RecordSize(0, "a", 100), RecordSize(1, "b", 50)])
    assert found.used == {"a": 100, "b": 50}
    found.sending("a", 70)
    found.read(0, [RecordSize(2, "a", 70)])
    assert found.used["a"] == 240  # for as long as its answer is on the way
    found.confirmed(0, 2, "a", 70)
    assert found.used["a"] == 170


def test_what_is_not_read_yet_is_shared_so_nobody_takes_what_is_reserved() -> None:
    found = usage(a=300)
    found.measured(0, 700)
    assert (found.behind, found.room("b"), found.room("a")) == (True, 0, 300)
    found.begin(0, 0)
    found.measured(0, 700, (0, 2))
    found.read(0, [RecordSize(0, "a", 200)])
    assert (found.uncounted, found.room("b"), found.room("a")) == (500, 200, 300)
    found.read(0, [RecordSize(1, "b", 500)])
    assert (found.behind, found.uncounted, found.room("b")) == (False, 0, 200)


def test_a_cluster_that_has_more_than_is_left_takes_nothing_however_much_is_reserved() -> None:
    found = usage(a=300)
    found.begin(0, 0)
    found.measured(0, 900, (0, 0))  # deleted and not freed
    assert (found.room("b"), found.room("a")) == (0, 100)


def test_what_is_deleted_is_room_again_once_the_disk_is_freed() -> None:
    found = usage(a=300)
    found.begin(0, 0)
    for offset in range(7):
        stored(found, offset, "b", 100)
    found.read(0, [RecordSize(offset, "b", 100) for offset in range(7)])
    found.measured(0, 700, (7, 7))
    assert (found.used, found.uncounted, found.room("b")) == ({}, 700, 0)
    found.measured(0, 0, (7, 7))
    assert found.room("b") == 700


def test_reservations_change_while_bytes_are_held() -> None:
    found = usage()
    found.begin(0, 0)
    stored(found, 0, "b", 900)
    assert found.room("a") == 100
    found.shares = Shares(1000, {"a": 300})
    assert (found.room("a"), found.room("b"), found.room("c")) == (100, 0, 0)
    found.shares = Shares(1000, {"b": 900})
    assert (found.room("a"), found.room("b")) == (100, 100)


def test_a_topic_that_begins_anew_is_counted_anew() -> None:
    found = usage()
    found.begin(0, 0)
    found.read(0, [RecordSize(offset, "a", 10) for offset in range(20)])
    stored(found, 20, "a", 10)
    found.begin(0, 0)
    assert (found.used, found.next_offset(0)) == ({}, 0)


def test_clusters_without_number_are_one_but_not_those_with_a_reservation() -> None:
    found = TopicUsage(Shares(1000, {"z": 100}), 2)
    found.begin(0, 0)
    found.read(0, [RecordSize(offset, name, 10) for offset, name in enumerate("abcdz")])
    assert found.used == {"a": 10, "b": 10, REST: 20, "z": 10}
    found.measured(0, 0, (5, 5))
    assert found.used == {}


@given(st.lists(st.tuples(CLUSTERS, SIZES), max_size=400), st.integers(LEAST_BUCKETS, MOST_BUCKETS), st.data())
@settings(max_examples=60)
def test_parts_are_few_let_go_of_too_late_rather_than_too_early_and_not_by_much(
    several: list[tuple[str, int]], most: int, data: st.DataObject
) -> None:
    buckets = OffsetBuckets()
    for offset, (cluster, size) in enumerate(several):
        buckets.add(RecordSize(offset, cluster, size), most)
        assert len(buckets) <= most
    below = data.draw(st.integers(0, len(several)))
    gone = buckets.drop(below)
    before = Counter[str]()
    for cluster, size in several[:below]:
        before[cluster] += size
    assert all(gone[cluster] <= before[cluster] for cluster in gone)
    widest = 8 * sum(size for _, size in several) // most + 300
    assert sum(before.values()) - sum(gone.values()) <= widest
    rest = buckets.drop(MANY)
    assert sum(gone.values()) + sum(rest.values()) == sum(size for _, size in several)
    assert (buckets.size, len(buckets)) == (0, 0)


@pytest.mark.parametrize("clusters", [100, 10_000])
def test_so_many_clusters_share_their_counts(clusters: int) -> None:
    found = TopicUsage(Shares(2**40), clusters)
    found.begin(0, 0)
    for first in range(0, 60_000, 500):
        found.read(0, [RecordSize(offset, f"c{offset % clusters}", 1000) for offset in range(first, first + 500)])
    parts = len(found._partitions[0].read)
    assert parts * clusters <= 200_000
    assert parts >= (8 if clusters == 10_000 else 32)
