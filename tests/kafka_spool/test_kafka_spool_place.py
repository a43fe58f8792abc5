"""What is committed beside an offset: it comes back as it was, fits, and never says too much."""

from hypothesis import given
from hypothesis import strategies as st

from auditsink.kafka_spool.place import LIMIT, GroupPlace, Reached, decode, encode
from auditsink.spool.types import Tally


def place(clusters: int, behind: int = 0, offset: int = 10**6) -> GroupPlace:
    names = [f"shoot--project-{number:04}--name-{number * 7919 % 10007}" for number in range(clusters)]
    return GroupPlace(
        offset,
        offset + 5000,
        1_700_000_000_000,
        {name: Reached(offset + number, number) for number, name in enumerate(names[:behind])},
        {name: Tally(number * 10**6, number, 0, 0) for number, name in enumerate(names)},
        Tally(5, 4, 3, 2),
    )


def total(one: GroupPlace) -> Tally:
    found = one.rest
    for tally in one.tallies.values():
        found = found.plus(tally)
    return found


def test_a_place_comes_back_as_it_was() -> None:
    one = place(20, behind=3)
    assert decode(one.offset, encode(one)) == one


def test_a_hundred_clusters_of_a_partition_are_named() -> None:
    one = place(100)
    assert decode(one.offset, encode(one)) == one


@given(clusters=st.integers(0, 600), behind=st.integers(0, 600))
def test_a_place_fits_and_never_says_that_something_is_done_that_is_not(clusters: int, behind: int) -> None:
    one = place(clusters, min(clusters, behind))
    text = encode(one)
    again = decode(one.offset, text)
    assert len(text) <= LIMIT
    assert again is not None
    assert (again.offset, total(again)) == (one.offset, total(one))
    for name in one.tallies:
        for offset in range(one.offset - 1, one.upto + 1, 97):
            told, so = again.done(name, offset), one.done(name, offset)
            assert so is None or (told is not None and told <= so)


def test_what_others_commit_is_no_place() -> None:
    for text in ("", "hello", "1:", "1:hello", "2:abc", encode(place(3))[:-5], "1:" + "z" * 50):
        assert decode(7, text) is None


def test_what_is_done_is_told_by_cluster() -> None:
    one = GroupPlace(10, 20, behind={"a": Reached(10, 3), "b": Reached(15, 0)})
    assert [one.done("a", offset) for offset in (9, 10, 11)] == [None, 3, 0]
    assert [one.done("b", offset) for offset in (14, 15, 16)] == [None, 0, 0]
    assert [one.done("c", offset) for offset in (10, 19, 20)] == [None, None, 0]
