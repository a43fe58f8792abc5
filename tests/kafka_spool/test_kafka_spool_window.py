"""One partition for one destination, through restarts: nothing is lost, and repeats come of what was not committed."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from topickit import EPOCH, SECOND, body, fetched, names, posted, stored

from auditsink.forward.source import Unfetched
from auditsink.kafka_spool import place
from auditsink.kafka_spool.place import GroupPlace
from auditsink.kafka_spool.record import StoredRecord
from auditsink.kafka_spool.window import ClusterWindow, PartitionWindow, unfetched
from auditsink.spool.content import Unpacker
from auditsink.spool.statistics import REST
from auditsink.spool.types import Tally

START = GroupPlace(0, 0)


def pending(cluster: ClusterWindow) -> list[str]:
    """What is not done of a cluster, in order."""
    found: list[str] = []
    for held in cluster.held:
        events = Unpacker(None).record(held.stored.segment, held.stored.header, held.stored.value, 0).events
        chosen = names(held.chosen(events))
        assert len(chosen) == held.events
        found += chosen[max(0, cluster.position - held.first) :]
    assert len(found) == cluster.end - cluster.position
    return found


def restarted(window: PartitionWindow) -> PartitionWindow:
    """Another forwarder, from what this one committed."""
    one = window.place()
    committed = place.decode(one.offset, place.encode(one))
    assert committed is not None
    return PartitionWindow(window.partition, committed)


@given(seed=st.integers(0, 10**6))
def test_a_partition_through_restarts_delivers_each_event_once_where_the_place_was_committed(seed: int) -> None:
    chance = random.Random(seed)
    clusters = ["a", "b", "c"]
    log = [
        fetched(offset, chance.choice(clusters), offset, chance.choice([1, 2, 5]), EPOCH + offset * SECOND)
        for offset in range(30)
    ]
    everything = Counter(f"{one.cluster}-{one.offset}-{index}" for one in log for index in range(one.header.events))
    delivered: Counter[str] = Counter()
    window = PartitionWindow(0, START)
    while sum(delivered.values()) < everything.total():
        for _ in range(chance.randrange(10)):
            if window.next_offset < len(log):
                window.take(log[window.next_offset])
        for cluster in list(window.clusters.values()):
            several = pending(cluster)[: chance.randrange(4)]
            delivered.update(several)
            window.advance(cluster, Tally(len(several)))
        if chance.random() < 0.3:
            window = restarted(window)
    assert delivered == everything
    tallies = window.place().tallies
    assert sum(tally.total for tally in tallies.values()) == everything.total()


def test_a_cluster_that_waits_holds_up_the_offset_and_not_what_others_have_delivered() -> None:
    window = PartitionWindow(0, START)
    window.take(fetched(0, "slow", 0, 3))
    for offset in range(1, 50):
        window.take(fetched(offset, "quick", offset, 2))
    window.advance(window.clusters["slow"], Tally(1))
    window.advance(window.clusters["quick"], Tally(98))
    assert window.place().offset == 0
    again = restarted(window)
    for offset in range(50):
        again.take(fetched(offset, "slow" if offset == 0 else "quick", offset, 3 if offset == 0 else 2))
    assert pending(again.clusters["slow"]) == ["slow-0-1", "slow-0-2"]
    assert pending(again.clusters["quick"]) == []
    assert (again.clusters["slow"].tally, again.clusters["quick"].tally) == (Tally(1), Tally(98))


def test_sequences_go_on_where_they_stood() -> None:
    window = PartitionWindow(0, START)
    window.take(fetched(0, "a", 0, 5))
    window.advance(window.clusters["a"], Tally(2, 1))
    again = restarted(window)
    again.take(fetched(0, "a", 0, 5))
    (held,) = again.clusters["a"].held
    assert (again.clusters["a"].position, held.first, held.index(3), held.end) == (3, 3, 3, 5)


def twice(offset: int, first: StoredRecord, at_ns: int) -> StoredRecord:
    return fetched(offset, first.cluster, 0, first.header.events, at_ns)


def test_a_retry_that_another_receiver_took_is_passed_over_for_ten_minutes() -> None:
    window = PartitionWindow(0, START)
    first = fetched(0, "a", 0, 3)
    window.take(first)
    assert window.take(twice(1, first, EPOCH + 599 * SECOND)) is None
    assert window.repeated == 3
    assert window.take(twice(2, first, EPOCH + 1201 * SECOND)) is not None
    assert pending(window.clusters["a"]) == ["a-0-0", "a-0-1", "a-0-2"] * 2


def test_the_same_bytes_of_two_clusters_are_two() -> None:
    window = PartitionWindow(0, START)
    content = body("x", 0, 2)
    for offset, cluster in enumerate("ab"):
        window.take(stored(offset, posted(cluster, content)))
    assert [len(one.held) for one in window.clusters.values()] == [1, 1]


def test_of_small_requests_that_share_a_record_only_the_retry_is_passed_over() -> None:
    window = PartitionWindow(0, START)
    window.take(stored(0, posted("a", body("a", 1, 2))))
    several = [posted("a", body("a", number, 2)) for number in (0, 1, 2)]
    window.take(stored(1, *several))
    assert pending(window.clusters["a"]) == ["a-1-0", "a-1-1", "a-0-0", "a-0-1", "a-2-0", "a-2-1"]
    window.advance(window.clusters["a"], Tally(5))
    again = restarted(window)
    assert again.take(stored(1, *several)) is not None
    assert pending(again.clusters["a"]) == ["a-2-1"]


def test_what_lies_before_the_place_is_known_and_not_delivered() -> None:
    window = PartitionWindow(0, GroupPlace(5, 5))
    first = fetched(4, "a", 0, 3)
    assert window.take(first) is None
    assert window.take(twice(5, first, EPOCH + SECOND)) is None
    assert window.place().offset == 6


def test_clusters_that_are_named_no_more_stay_in_the_sum() -> None:
    window = PartitionWindow(0, GroupPlace(0, 0, tallies={"a": Tally(3)}, rest=Tally(7, 1)))
    assert window.clusters[REST].tally == Tally(7, 1)
    assert window.place().rest == Tally(7, 1)


def test_memory_is_what_is_not_done() -> None:
    window = PartitionWindow(0, START)
    one = fetched(0, "a", 0, 3)
    window.take(one)
    assert window.held_bytes == len(one.value)
    window.advance(window.clusters["a"], Tally(3))
    assert window.held_bytes == 0


def test_what_lies_behind_is_counted_and_estimated_by_what_was_fetched() -> None:
    first, second = PartitionWindow(0, GroupPlace(10, 10)), PartitionWindow(1, GroupPlace(0, 0))
    assert unfetched([first, second], {}) == Unfetched(0, 0, 0)
    assert unfetched([first, second], {0: 15, 1: 3}) == Unfetched(8, 8, 0)  # nothing is known of them
    for offset in range(7, 12):  # the first three are there for their digests
        first.take(fetched(offset, "a", offset, 5 if offset >= 10 else 99))
    assert unfetched([first, second], {0: 15, 1: 3, 7: 99}) == Unfetched(6, 30, round(6 * first.fetched_bytes / 2))
    assert first.fetched_bytes > 200
