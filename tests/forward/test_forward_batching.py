"""Records become batches: limits, sources, marks, gaps."""

from hypothesis import given
from hypothesis import strategies as st

from auditsink.audit.eventlist import Mark
from auditsink.delivery.destination import Limits
from auditsink.forward.batching import BatchGauge, BatchLimits, Boundaries, Gap, Packed, pack, section
from auditsink.spool.types import Chunk, Record

PLAIN = Mark(0)


def record(first: int, *events: bytes, source: str = "", marks: Mark = PLAIN, received_ns: int = 7) -> Record:
    return Record(first, list(events), received_ns, source, marks)


def chunk(*records: Record, start: int = 0, end: int | None = None) -> Chunk:
    last = records[-1].first_sequence + len(records[-1].events) if records else start
    return Chunk(start, last if end is None else end, list(records))


def packed(chunk: Chunk, start: int = 0, max_bytes: int = 100, max_events: int = 10) -> Packed:
    found = pack("c", chunk, start, max_bytes=max_bytes, max_events=max_events)
    assert isinstance(found, Packed)
    return found


def test_many_small_records_make_one_batch() -> None:
    found = packed(chunk(*(record(at, b"event") for at in range(8))))
    assert found.batch.events == [b"event"] * 8
    assert found.batch.sequences == range(8)
    assert (found.stop, found.size, found.closed) == (8, 40, False)


def test_the_first_event_gives_time_and_source() -> None:
    found = packed(chunk(record(0, b"a", source="api", received_ns=3), record(1, b"b", source="api", received_ns=5)))
    assert (found.batch.cluster, found.batch.source, found.batch.received_ns) == ("c", "api", 3)


def test_a_batch_closes_before_the_event_that_does_not_fit() -> None:
    found = packed(chunk(record(0, b"x" * 60), record(1, b"y" * 60)))
    assert (found.stop, found.closed, found.resume) == (1, True, 1)
    found = packed(chunk(record(0, b"x" * 60), record(1, b"y" * 30, b"z" * 30)))
    assert (found.stop, found.closed, found.resume) == (2, True, 1)


def test_a_batch_closes_before_too_many_events() -> None:
    found = packed(chunk(record(0, *[b"x"] * 6), record(6, *[b"x"] * 6)))
    assert (found.stop, found.closed, found.resume) == (10, True, 6)


def test_a_batch_that_is_exactly_full_is_closed() -> None:
    assert packed(chunk(record(0, b"x" * 100))).closed
    assert packed(chunk(record(0, *[b"x"] * 10))).closed


def test_a_record_larger_than_a_batch_is_cut() -> None:
    large = chunk(record(0, *[b"x" * 30] * 8))
    assert [packed(large, start).stop for start in (0, 3, 6)] == [3, 6, 8]
    assert [packed(large, start).closed for start in (0, 3, 6)] == [True, True, False]
    many = chunk(record(0, *[b"x"] * 25))
    assert [packed(many, start).batch.sequences for start in (0, 10, 20)] == [range(10), range(10, 20), range(20, 25)]


def test_an_event_larger_than_a_batch_is_alone() -> None:
    found = packed(chunk(record(0, b"a", b"x" * 500, b"b")), 1)
    assert (found.batch.events, found.closed) == ([b"x" * 500], True)
    assert packed(chunk(record(0, b"a", b"x" * 500))).stop == 1


def test_a_change_of_source_closes() -> None:
    found = packed(chunk(record(0, b"a", source="one"), record(1, b"b", source="two")))
    assert (found.stop, found.closed) == (1, True)


def test_an_unsplit_body_is_alone_before_and_after() -> None:
    three = chunk(record(0, b"a"), record(1, b"body", marks=Mark.UNSPLIT), record(2, b"b"))
    assert [(packed(three, at).stop, packed(three, at).batch.marks) for at in (0, 1, 2)] == [
        (1, Mark(0)),
        (2, Mark.UNSPLIT),
        (3, Mark(0)),
    ]
    assert packed(chunk(record(0, b"body", marks=Mark.UNSPLIT))).closed


def test_bytes_that_are_not_utf8_mark_the_batch() -> None:
    found = packed(chunk(record(0, b"a"), record(1, b"\xff", marks=Mark.NOT_UTF8), record(2, b"b")))
    assert (found.stop, found.batch.marks) == (3, Mark.NOT_UTF8)


def test_a_gap_closes_and_is_named() -> None:
    holed = chunk(record(2, b"a"), record(5, b"b"), end=9)
    assert pack("c", holed, 0, max_bytes=100, max_events=10) == Gap(2)
    assert (packed(holed, 2).stop, packed(holed, 2).closed) == (3, True)
    assert pack("c", holed, 3, max_bytes=100, max_events=10) == Gap(5)
    assert packed(holed, 5).closed
    assert pack("c", holed, 6, max_bytes=100, max_events=10) == Gap(9)
    assert pack("c", holed, 9, max_bytes=100, max_events=10) is None


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.lists(st.binary(max_size=40), min_size=1, max_size=15),
            st.sampled_from(["", "a", "b"]),
            st.sampled_from([Mark(0), Mark.NOT_UTF8, Mark.UNSPLIT]),
        ),
        max_size=12,
    ),
    st.integers(1, 200),
    st.integers(1, 12),
)
def test_whatever_the_records_every_event_is_packed_once_in_order_within_the_limits(
    shapes: list[tuple[int, list[bytes], str, Mark]], max_bytes: int, max_events: int
) -> None:
    records, at = [], 0
    for gap, events, source, marks in shapes:
        some = events[:1] if marks is Mark.UNSPLIT else events
        records.append(record(at + gap, *some, source=source, marks=marks))
        at += gap + len(some)
    whole = Chunk(0, at + 3, records)
    expected = {r.first_sequence + i: event for r in records for i, event in enumerate(r.events)}
    origin = {r.first_sequence + i: r for r in records for i in range(len(r.events))}

    at = 0
    seen: dict[int, bytes] = {}
    while (found := pack("c", whole, at, max_bytes=max_bytes, max_events=max_events)) is not None:
        assert found.stop > at
        if isinstance(found, Packed):
            batch = found.batch
            assert len(batch.events) == len(batch.sequences) == found.stop - at <= max_events
            assert found.size == sum(map(len, batch.events))
            assert found.size <= max_bytes or len(batch.events) == 1
            assert {origin[sequence].source for sequence in batch.sequences} == {batch.source}
            if Mark.UNSPLIT in batch.marks:
                assert len(batch.events) == 1
            seen.update(zip(batch.sequences, batch.events, strict=True))
        at = found.stop
    assert at == whole.end
    assert list(seen.items()) == list(expected.items())


def test_a_section_holds_just_those_sequences() -> None:
    held = chunk(record(0, b"a", b"b", b"c"), record(3, b"d"), record(6, b"e", b"f"))
    part = section(held, 1, 7)
    assert (part.start, part.end, part.missing) == (1, 7, 2)
    assert [(r.first_sequence, r.events) for r in part.records] == [(1, [b"b", b"c"]), (3, [b"d"]), (6, [b"e"])]


LIMITS = Limits(max_bytes=100, max_events=10, max_wait=1, in_flight=1)


def weighed(*records: Record) -> BatchGauge:
    gauge = BatchGauge(BatchLimits(LIMITS))
    for one in records:
        gauge.add(Chunk(one.first_sequence, one.first_sequence + len(one.events), [one]))
    return gauge


def test_the_scale_says_when_a_batch_is_full() -> None:
    assert not weighed(record(0, b"x" * 60), record(1, b"x" * 39)).full
    assert weighed(record(0, b"x" * 60), record(1, b"x" * 40)).full
    assert not weighed(record(0, *[b"x"] * 9)).full
    assert weighed(record(0, *[b"x"] * 9), record(9, b"x")).full
    assert weighed(record(0, b"x"), record(1, b"x", source="other")).full
    assert weighed(record(0, b"x", marks=Mark.UNSPLIT)).full


def test_the_scale_begins_again() -> None:
    gauge = weighed(record(0, *[b"x"] * 10))
    gauge.reset(10)
    assert (gauge.full, gauge.at) == (False, 10)


def test_who_comes_second_ends_where_the_first_did_and_is_in_step_from_then_on() -> None:
    boundaries = Boundaries()
    assert boundaries.stop("c", 100, 520) == 520
    assert boundaries.stop("c", 102, 522) == 520
    assert boundaries.stop("c", 520, 940) == 940
    assert boundaries.stop("c", 520, 940) == 940


def test_a_batch_is_not_made_less_than_half_as_long_for_others() -> None:
    boundaries = Boundaries()
    boundaries.stop("c", 0, 100)
    assert boundaries.stop("c", 60, 160) == 160
    assert boundaries.stop("another", 60, 120) == 120
