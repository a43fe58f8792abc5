"""What is uploaded, stated and deleted: the plan, by tables and against a store that is only a dictionary."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditsink.backup import plan
from auditsink.backup.manifest import CopiedCursor, CopiedFile, CopiedPiece, CopiedRing, CopiedSegment, CopyManifest
from auditsink.backup.plan import CHUNK, FANOUT, SMALL, LocalFile, LocalRing, LocalSegment, LocalState, Stretch
from auditsink.backup.restore import restore_plan

RING = 32 * "a"
HOUR = 3600 * 10**9
NOW = 10**18


def cursor(position: int) -> CopiedCursor:
    return CopiedCursor(0, position, position, 0, 0, 0)


def local(*segments: LocalSegment, consumed: int = 0, floor: int = 0) -> LocalState:
    end = max([floor, consumed, *(one.end for one in segments)])
    return LocalState([LocalRing("prod", RING, floor, end, {"siem": cursor(consumed)}, segments)])


def held(first: int, end: int, size: int, *, closed: bool = True, identity: str = "") -> LocalSegment:
    return LocalSegment(first, end, first, size, closed, identity or f"{first:x}")


def piece(start: int, length: int, name: str = "00000001-000000000001") -> CopiedPiece:
    return CopiedPiece(name, 0, start, length, 64 * "0")


def pieces(*lengths: int) -> tuple[CopiedPiece, ...]:
    starts = [sum(lengths[:at]) for at in range(len(lengths))]
    return tuple(piece(start, length) for start, length in zip(starts, lengths, strict=True))


def copied(
    first: int, end: int, *lengths: int, delivered_ns: int | None = None, closed: bool = True, identity: str = ""
) -> CopiedSegment:
    file = CopiedFile(plan.path_of("prod", first), identity or f"{first:x}", pieces(*lengths))
    return CopiedSegment(first, end, first, closed, file, delivered_ns)


def ring(*segments: CopiedSegment, consumed: int = 0, end: int = 0) -> CopiedRing:
    return CopiedRing(
        "prod", RING, end or max([consumed, *(one.end for one in segments)]), {"siem": cursor(consumed)}, segments
    )


def manifest(*rings: CopiedRing, files: Sequence[CopiedFile] = ()) -> CopyManifest:
    return CopyManifest(
        auditsink="0", sink="x", number=1, fence=1, holder=RING, session=RING, written_ns=1, lease_seconds=1,
        rings=rings, files=tuple(files),
    )  # fmt: skip


def planned(
    state: LocalState, *before: CopiedRing, now: int = NOW, keep: int = HOUR
) -> tuple[list[Stretch], CopiedRing]:
    rings = plan.next_rings(state, before, now, keep)
    return plan.stretches(state, rings, {}), rings[0]


def test_a_segment_is_uploaded_as_far_as_it_is_durable_and_then_what_is_new() -> None:
    todo, _ring = planned(local(held(0, 10, 5000, closed=False)))
    assert [(one.start, one.stop) for one in todo] == [(0, 5000)]
    todo, _ring = planned(local(held(0, 20, 9000, closed=False)), ring(copied(0, 10, 5000, closed=False)))
    assert [(one.start, one.stop) for one in todo] == [(5000, 9000)]
    todo, _ring = planned(local(held(0, 20, 9000)), ring(copied(0, 20, 9000)))
    assert todo == []


def test_large_files_go_in_chunks_and_the_oldest_first() -> None:
    todo, _ring = planned(local(held(0, 10, 2 * CHUNK + 1), held(10, 20, 100)))
    assert [(one.path[-5:], one.start, one.stop) for one in todo] == [
        ("0.seg", 0, CHUNK), ("0.seg", CHUNK, 2 * CHUNK), ("0.seg", 2 * CHUNK, 2 * CHUNK + 1), ("0.seg", 0, 100),
    ]  # fmt: skip


def test_another_segment_of_the_same_name_begins_anew() -> None:
    todo, made = planned(local(held(0, 10, 500, identity="new")), ring(copied(0, 10, 400, identity="old")))
    assert [(one.start, one.identity) for one in todo] == [(0, "new")]
    assert made.segments[0].file.pieces == ()


def test_one_that_has_become_shorter_begins_anew() -> None:
    todo, _ring = planned(local(held(0, 8, 300)), ring(copied(0, 10, 400)))
    assert [(one.start, one.stop) for one in todo] == [(0, 300)]


@pytest.mark.parametrize(
    ("age", "keep", "there"), [(0, HOUR, True), (HOUR - 1, HOUR, True), (HOUR, HOUR, False), (0, 0, False)]
)
def test_what_every_destination_has_goes_after_keep(age: int, keep: int, there: bool) -> None:
    before = ring(copied(0, 10, 100, delivered_ns=NOW - age), copied(10, 20, 100), consumed=10)
    _todo, made = planned(local(held(0, 10, 100), held(10, 20, 100), consumed=10), before, keep=keep)
    assert [one.first for one in made.segments] == ([0, 10] if there else [10])


def test_what_went_after_keep_does_not_go_there_again_while_the_ring_has_it() -> None:
    state = local(held(0, 10, 100), held(10, 20, 100), held(20, 30, 90, closed=False), consumed=30)
    first = ring(
        copied(0, 10, 100, delivered_ns=NOW - HOUR),
        copied(10, 20, 100, delivered_ns=NOW),
        copied(20, 30, 90),
        consumed=30,
    )
    todo, made = planned(state, first)
    assert ([one.first for one in made.segments], todo) == ([10, 20], [])
    todo, made = planned(state, made)
    assert ([one.first for one in made.segments], todo) == ([10, 20], [])
    todo, made = planned(local(held(0, 10, 100), held(10, 20, 100), consumed=20), ring(consumed=20, end=20))
    assert (made.segments, todo) == ((), [])


def test_a_ring_that_the_copy_does_not_know_is_copied_with_what_is_delivered() -> None:
    _todo, made = planned(local(held(0, 10, 100), held(10, 20, 100), consumed=20))
    assert [one.first for one in made.segments] == [0, 10]


def test_what_the_ring_gave_back_stays_until_keep_is_over() -> None:
    before = ring(copied(0, 10, 100), copied(10, 20, 100), consumed=0)
    _todo, made = planned(local(held(10, 20, 100), consumed=10, floor=10), before)
    assert [(one.first, one.delivered_ns) for one in made.segments] == [(0, NOW), (10, None)]
    _todo, later = planned(local(held(10, 20, 100), consumed=10, floor=10), made, now=NOW + HOUR)
    assert [one.first for one in later.segments] == [10]


def test_what_the_ring_dropped_undelivered_is_dropped_there_too() -> None:
    _todo, made = planned(local(held(10, 20, 100), consumed=5, floor=10), ring(copied(0, 10, 100)))
    assert [one.first for one in made.segments] == [10]


def test_without_keep_what_is_delivered_is_not_uploaded_at_all() -> None:
    todo, made = planned(local(held(0, 10, 100), held(10, 20, 90, closed=False), consumed=20), keep=0)
    assert (todo, made.segments) == ([], ())
    assert made.end == 20


def test_a_clock_that_goes_back_only_keeps_longer() -> None:
    before = ring(copied(0, 10, 100, delivered_ns=NOW), consumed=10)
    _todo, made = planned(local(held(0, 10, 100), consumed=10), before, now=NOW - 10 * HOUR)
    assert made.segments[0].delivered_ns == NOW - 10 * HOUR


def test_small_ones_share_an_object_and_large_ones_do_not() -> None:
    small, large = [Stretch("a", "", 0, 100), Stretch("b", "", 0, 200)], Stretch("c", "", 0, SMALL)
    assert plan.grouped([*small, large, *small]) == [small, [large], small]
    many = [Stretch(str(at), "", 0, SMALL - 1) for at in range(40)]
    groups = plan.grouped(many)
    assert [one for group in groups for one in group] == many
    assert all(sum(one.length for one in group) <= CHUNK for group in groups)


@given(st.lists(st.integers(1, 2 * SMALL), min_size=1, max_size=400))
def test_pieces_stay_few_and_each_byte_is_sent_a_few_times_at_most(growth: list[int]) -> None:
    file, size, sent = CopiedFile("f", "1"), 0, 0
    for more in growth:
        size += more
        for one in plan._missing(file, "1", size):
            file = plan.extended(file, one, piece(one.start, one.length))
            sent += one.length
        ends = [0, *(one.end for one in file.pieces)]
        assert [one.start for one in file.pieces] == ends[:-1]
        assert file.size == size
    small = sum(one.length < SMALL for one in file.pieces)
    assert small <= FANOUT * 7 + size // SMALL
    assert sent <= 7 * size


@given(st.lists(st.integers(1, 200), min_size=FANOUT, max_size=300))
def test_a_trickle_makes_no_crowd_of_pieces(growth: list[int]) -> None:
    file, size = CopiedFile("f", "1"), 0
    for more in growth:
        size += more
        for one in plan._missing(file, "1", size):
            file = plan.extended(file, one, piece(one.start, one.length))
    assert len(file.pieces) <= FANOUT * 6


def test_a_ring_is_stated_up_to_its_first_segment_that_is_not_whole() -> None:
    rings = (ring(copied(0, 10, 100), copied(10, 20, 40), copied(20, 30, 100)),)
    sizes = {plan.path_of("prod", first): 100 for first in (0, 10, 20)}
    (made,) = plan.settled(rings, sizes)
    assert [(one.first, one.end, one.closed) for one in made.segments] == [(0, 10, True), (10, 10, False)]
    assert made.end == 30


@pytest.mark.parametrize(
    ("state", "of", "whether"),
    [
        (local(held(0, 10, 100)), ring(copied(0, 10, 100)), True),
        (local(held(0, 20, 200)), ring(copied(0, 10, 100)), True),
        (local(held(0, 5, 50)), ring(copied(0, 10, 100)), False),  # a volume from before
        (local(held(0, 10, 100, identity="x")), ring(copied(0, 10, 100)), False),
        (local(held(10, 20, 9), consumed=10, floor=10), ring(copied(0, 10, 100)), True),  # delivered meanwhile
        (local(held(10, 20, 9), consumed=0), ring(copied(0, 10, 100)), False),  # a segment is lost
        (LocalState([]), ring(copied(0, 10, 100)), False),
        (LocalState([]), ring(copied(0, 10, 100), consumed=10), True),
    ],
)
def test_a_spool_goes_on_with_a_copy_that_it_is_not_behind(state: LocalState, of: CopiedRing, whether: bool) -> None:
    assert plan.continues(state, manifest(of), own=True) is whether


@pytest.mark.parametrize(
    ("state", "of", "whether"),
    [
        (local(held(0, 10, 100)), ring(copied(0, 10, 100)), True),
        (local(held(0, 10, 100)), ring(copied(0, 5, 50)), True),
        (local(held(10, 20, 9), consumed=10, floor=10), ring(copied(0, 10, 100)), False),  # whose were they?
        (local(held(10, 20, 9), consumed=10, floor=10), ring(copied(0, 10, 100), consumed=10), True),
        # What was given out twice: here in the segment that grew on, there in another one.
        (local(held(0, 20, 200), consumed=20), ring(copied(0, 5, 50), copied(5, 9, 40)), False),
        (local(held(0, 20, 200), consumed=20), ring(copied(0, 5, 50), copied(5, 9, 40), consumed=9), False),
    ],
)
def test_a_copy_that_another_directory_wrote_to_may_hold_other_events_under_the_same_sequences(
    state: LocalState, of: CopiedRing, whether: bool
) -> None:
    assert plan.continues(state, manifest(of), own=False) is whether


def test_of_the_copy_of_another_directory_only_what_is_here_too_is_gone_on_with() -> None:
    state = local(held(10, 20, 100), held(20, 30, 100, identity="x"), consumed=30, floor=10)
    theirs = ring(copied(0, 10, 100), copied(10, 20, 100), copied(20, 30, 100), consumed=30)
    (left,) = plan.shared(state, manifest(theirs)).rings
    assert [one.first for one in left.segments] == [10]
    assert plan.shared(LocalState([]), manifest(theirs)).rings == ()


def test_a_restore_brings_what_is_wanted_and_of_the_rest_the_newest_that_fits() -> None:
    segments = [copied(at, at + 10, 100) for at in range(0, 50, 10)]
    of = manifest(ring(*segments, consumed=35))
    (tight,) = restore_plan(of, 200).rings
    assert [one.first for one in tight.segments] == [30, 40]
    (roomy,) = restore_plan(of, 600).rings
    assert [one.first for one in roomy.segments] == [20, 30, 40]
    (none,) = restore_plan(manifest(ring(*segments, consumed=50)), 10).rings
    assert (len(none.segments), none.floor, none.next_sequence) == (0, 50, 50)


def test_a_restore_gives_no_sequence_out_twice_that_somebody_knows() -> None:
    of = manifest(ring(copied(0, 10, 100), consumed=12, end=15))
    assert restore_plan(of, 1000).rings[0].next_sequence == 15
    assert restore_plan(of, 1000, {RING: 40}).rings[0].next_sequence == 40


class Store:
    """Data objects by name, and the manifest."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.stated: tuple[CopiedRing, ...] = ()
        self.files: dict[str, CopiedFile] = {}

    def content(self, file: CopiedFile) -> bytes:
        return b"".join(self.objects[one.object][one.at : one.at + one.length] for one in file.pieces)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_happens_a_manifest_names_only_what_is_there_and_it_is_what_was_durable(data: st.DataObject) -> None:
    """Segments grow, close, are delivered and removed; uploads fail at any place; objects that nothing needs go."""
    contents: dict[int, bytearray] = {}
    closed: set[int] = set()
    store, count, floor, consumed, next_first, now = Store(), 0, 0, 0, 0, NOW
    for _ in range(data.draw(st.integers(1, 25))):
        now += data.draw(st.sampled_from([0, HOUR // 2, HOUR]))
        active = max(contents) if contents and max(contents) not in closed else None
        if active is None:
            contents[next_first] = bytearray(b"h" * 8)
            active, next_first = next_first, next_first + 10
        contents[active] += data.draw(st.binary(min_size=1, max_size=40))
        if data.draw(st.booleans()):
            closed.add(active)
        whole = [first for first in contents if first in closed]
        consumed = max(consumed, data.draw(st.sampled_from([0, *(first + 10 for first in whole)])))
        for first in [first for first in whole if first + 10 <= consumed and data.draw(st.booleans())]:
            if first == min(contents):
                del contents[first]
                floor = first + 10
        segments = [held(first, first + 10, len(body), closed=first in closed) for first, body in contents.items()]
        state = local(*segments, consumed=consumed, floor=floor)
        rings = plan.next_rings(state, plan.with_pieces(store.stated, store.files), now, HOUR)
        working = {one.file.path: one.file for made in rings for one in made.segments}
        todo = plan.stretches(state, rings, working)
        done = todo[: data.draw(st.integers(0, len(todo)))]
        for one in done:
            first = int(one.path[-24:-4])
            count += 1
            name = f"00000001-{count:012d}"
            body = bytes(contents[first][one.start : one.stop])
            store.objects[name] = body
            made_piece = CopiedPiece(name, 0, one.start, one.length, hashlib.sha256(body).hexdigest())
            working[one.path] = plan.extended(working[one.path], one, made_piece)
        store.files = working
        stated = plan.settled(plan.with_pieces(rings, working), plan.sizes_of(state))
        needed = manifest(*stated).objects() | {p.object for file in working.values() for p in file.pieces}
        for name in plan.garbage(store.objects, needed):
            del store.objects[name]
        store.stated = rings
        for made in stated:
            for copy in made.segments:
                if copy.first in contents:
                    assert contents[copy.first].startswith(store.content(copy.file))
            if len(done) == len(todo):
                there = {copy.first: store.content(copy.file) for copy in made.segments}
                wanted = {first: bytes(body) for first, body in contents.items() if first + 10 > consumed}
                assert {first: there.get(first) for first in wanted} == wanted


def test_a_file_that_was_replaced_is_uploaded_anew_and_one_that_grew_is_not() -> None:
    before = {"deadletters/siem/letters.ndjson": CopiedFile("deadletters/siem/letters.ndjson", "1", pieces(100))}
    grown = LocalState([], [LocalFile("deadletters/siem/letters.ndjson", "1", 150)])
    replaced = LocalState([], [LocalFile("deadletters/siem/letters.ndjson", "2", 150)])
    assert [(one.start, one.stop) for one in plan.stretches(grown, [], before)] == [(100, 150)]
    assert [(one.start, one.stop) for one in plan.stretches(replaced, [], before)] == [(0, 150)]
