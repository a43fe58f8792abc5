"""Reservations: what is reserved for one cannot be taken by others, and the rest is for who comes first."""

import os
from itertools import count

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from spoolkit import body_of, open_spool, submit

from auditsink.spool import Spool
from auditsink.spool.shares import SMALLEST_SEGMENT, Shares, overbooked
from auditsink.spool.types import Receipt, SpoolRejection, Tally

SIZES = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 400), min_size=1)
MAX = 2**20
SEGMENT = 2**14


@given(SIZES, st.dictionaries(st.sampled_from("abcde"), st.integers(0, 150)))
def test_whoever_takes_his_room_leaves_the_others_theirs(sizes: dict[str, int], reserved: dict[str, int]) -> None:
    shares = Shares(1000, reserved)
    # Where others hold more than is shared, because a reservation came after them, there is less than was promised.
    assume(sum(max(0, shares.beyond(one, size)) for one, size in sizes.items()) <= shares.shared)
    room = shares.room(next(iter(sizes)), sizes)
    assert 0 <= room <= max(0, 1000 - sum(sizes.values()))
    after = sizes | {next(iter(sizes)): next(iter(sizes.values())) + room}
    for other in set(sizes) - {next(iter(sizes))}:
        kept = min(reserved.get(other, 0) - sizes[other], shares.room(other, sizes))
        assert shares.room(other, after) >= kept


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 300)), max_size=40))
def test_a_reservation_can_be_used_in_full_whatever_the_others_did(takes: list[tuple[str, int]]) -> None:
    reserved = {"a": 200, "b": 300}
    shares = Shares(1000, reserved)
    sizes = dict.fromkeys("abcde", 0)
    for cluster, wanted in takes:
        if wanted <= shares.room(cluster, sizes):
            sizes[cluster] += wanted
    for cluster, mine in reserved.items():
        assert shares.room(cluster, sizes) >= mine - sizes[cluster]
        sizes[cluster] = max(sizes[cluster], mine)
    assert sum(sizes.values()) <= 1000


def test_many_rings_take_a_quarter_before_they_hold_anything() -> None:
    assert Shares(2**30).segment_bytes("a", 1) == 2**28
    assert 1000 * Shares(2**30).segment_bytes("a", 1000) <= 2**28
    assert Shares(2**20).segment_bytes("a", 1000) == SMALLEST_SEGMENT
    assert Shares(2**30, {"a": 2**29}).segment_bytes("a", 1000) > 2**27


def test_one_segment_cannot_be_reserved() -> None:
    assert overbooked(1000, 100, 900) is None
    why = overbooked(1000, 100, 901)
    assert why is not None
    assert "901 bytes would be reserved, of 900" in why


FRESH = count()


def noise(size: int = 10_000) -> bytes:
    """An EventList that does not compress, and that was never stored before."""
    return body_of(f"{next(FRESH)}-{os.urandom(size // 2).hex()}")


def fill(spool: Spool, cluster: str) -> int:
    """Store until there is no room; how many were taken."""
    ring = spool.ring(cluster)
    for taken in range(1000):
        if submit(spool, ring, noise()) is SpoolRejection.FULL:
            return taken
    raise AssertionError("there is always room")


def small_spool(when_full: str = "reject", **reserved: int) -> Spool:
    spool = open_spool(when_full=when_full, max_bytes=MAX, segment_bytes=SEGMENT)
    spool.reserve(reserved)
    for cluster in ("greedy", "quiet", "third"):
        spool.ring(cluster).cursor("siem")
    return spool


def test_a_greedy_cluster_is_refused_and_a_reservation_stays_free() -> None:
    spool = small_spool(quiet=MAX // 2)
    fill(spool, "greedy")
    assert spool.rings["greedy"].size > MAX // 2 - 2 * SEGMENT
    assert spool.rings["greedy"].size <= MAX // 2
    assert submit(spool, spool.ring("third"), noise()) is SpoolRejection.FULL, "what is shared is gone"
    fill(spool, "quiet")
    assert spool.rings["quiet"].size > MAX // 2 - 2 * SEGMENT
    assert sum(ring.size for ring in spool.rings.values()) <= MAX
    spool.stop()


def test_two_fight_for_the_last_bytes_and_one_gets_them() -> None:
    spool = small_spool(quiet=MAX // 4)
    taken = {"greedy": 0, "third": 0}
    while fights := [submit(spool, spool.ring(cluster), noise()) for cluster in taken]:
        for cluster, result in zip(taken, fights, strict=True):
            taken[cluster] += isinstance(result, Receipt)
        if all(result is SpoolRejection.FULL for result in fights):
            break
    assert min(taken.values()) > 10
    assert sum(ring.size for ring in spool.rings.values()) <= MAX * 3 // 4
    assert isinstance(submit(spool, spool.ring("quiet"), noise()), Receipt)
    spool.stop()


def test_drop_oldest_takes_from_the_greediest_and_never_what_is_reserved_for_another() -> None:
    spool = small_spool("drop_oldest", quiet=MAX // 4)
    quiet, greedy = spool.ring("quiet"), spool.ring("greedy")
    for _ in range(15):
        assert isinstance(submit(spool, quiet, noise()), Receipt)
    assert quiet.size <= MAX // 4
    for _ in range(300):
        assert isinstance(submit(spool, greedy, noise()), Receipt)
        assert isinstance(submit(spool, spool.ring("third"), noise()), Receipt)
    assert (quiet.floor, quiet.durable) == (0, 15), "nothing of it was dropped"
    assert greedy.floor > 0
    assert spool.ring("third").floor > 0
    assert sum(ring.size for ring in spool.rings.values()) <= MAX
    spool.stop()


def test_who_is_beyond_his_own_reservation_drops_his_own() -> None:
    spool = small_spool("drop_oldest", quiet=MAX // 4, greedy=MAX // 2, third=MAX // 4)
    for _ in range(60):
        assert isinstance(submit(spool, spool.ring("quiet"), noise()), Receipt)
    for _ in range(20):
        assert isinstance(submit(spool, spool.ring("third"), noise()), Receipt)
    quiet, third = spool.rings["quiet"], spool.rings["third"]
    assert quiet.floor > 0
    assert quiet.size <= MAX // 4
    assert third.floor == 0
    spool.stop()


def test_a_reservation_that_grows_takes_effect_as_the_others_give_back() -> None:
    spool = small_spool()
    fill(spool, "greedy")
    spool.reserve({"quiet": MAX // 2})
    assert submit(spool, spool.ring("quiet"), noise()) is SpoolRejection.FULL, "the room is still taken"
    greedy = spool.rings["greedy"]
    greedy.cursors["siem"].advance(Tally(delivered=greedy.durable))
    fill(spool, "quiet")
    assert spool.rings["quiet"].size > MAX // 2
    assert submit(spool, spool.ring("greedy"), noise()) is SpoolRejection.FULL
    spool.stop()


def test_with_drop_oldest_a_reservation_that_grows_is_had_at_once() -> None:
    spool = small_spool("drop_oldest")
    for _ in range(120):
        submit(spool, spool.ring("greedy"), noise())
    spool.reserve({"quiet": MAX // 2})
    for _ in range(40):
        assert isinstance(submit(spool, spool.ring("quiet"), noise()), Receipt)
    assert spool.rings["quiet"].floor == 0
    spool.stop()


def test_a_reservation_lowered_below_what_is_used_makes_the_rest_shared() -> None:
    spool = small_spool(quiet=MAX // 2)
    for _ in range(40):
        assert isinstance(submit(spool, spool.ring("quiet"), noise()), Receipt)
    spool.reserve({"quiet": MAX // 8})
    used = spool.rings["quiet"].size
    fill(spool, "greedy")
    assert spool.rings["quiet"].durable == 40, "nothing was taken from it"
    assert MAX - 2 * SEGMENT < used + spool.rings["greedy"].size <= MAX
    spool.stop()


def test_what_everybody_has_is_no_reason_to_refuse_and_stays_where_it_is_reserved() -> None:
    spool = small_spool(quiet=MAX // 4)
    quiet, greedy = spool.ring("quiet"), spool.ring("greedy")
    for _ in range(10):
        submit(spool, quiet, noise())
        quiet.cursors["siem"].advance(Tally(delivered=1))
    for _ in range(200):
        assert isinstance(submit(spool, greedy, noise()), Receipt)
        greedy.cursors["siem"].advance(Tally(delivered=1))
    assert quiet.floor == 0, "its history is within its reservation, for a replay"
    spool.stop()


@pytest.mark.parametrize("rings", [3, 60])
def test_the_statistics_say_what_may_be_taken(rings: int) -> None:
    spool = small_spool(quiet=MAX // 4)
    for number in range(rings - 3):
        spool.ring(f"c{number}")
    by_name = {ring.cluster: ring for ring in spool.statistics().rings}
    assert len(by_name) == rings
    assert (by_name["quiet"].reserved_bytes, by_name["quiet"].room_bytes) == (MAX // 4, MAX)
    assert (by_name["greedy"].reserved_bytes, by_name["greedy"].room_bytes) == (0, MAX * 3 // 4)
    spool.stop()
