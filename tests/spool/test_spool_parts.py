"""The small pure parts of the spool, each by itself."""

import logging
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.audit.eventlist import Mark
from auditsink.common.disk import UNREADABLE, RealDisk, read_around
from auditsink.spool import frame, segment
from auditsink.spool.dedup import WINDOW, Dedup
from auditsink.spool.errors import SpoolError
from auditsink.spool.frame import FrameHeader
from auditsink.spool.record_cache import RecordCache, RecordCaches
from auditsink.spool.segment import Damage, Footer, SegmentHeader
from auditsink.spool.slots import SLOT_BYTES, SlotFile, decode_slot, encode_slot
from auditsink.spool.statistics import SYNC_BUCKETS, SyncTimes
from auditsink.spool.types import Chunk, Record, Tally
from auditsink.testing.disk import FakeDisk

HEADER = SegmentHeader(b"r" * 16, b"s" * 8, 7, 1, 3, 4, b"d" * 32)


def make_frame(
    sequence: int = 7, *, seed: int = HEADER.seed, source: bytes = b"cert:x", payload: bytes = b"pay"
) -> bytes:
    return frame.encode(
        seed,
        first_sequence=sequence,
        events=2,
        marks=Mark.NOT_UTF8,
        source=source,
        received_ns=99,
        body_length=10,
        payload=payload,
        digest=b"0123456789abcdef",
    )


@given(source=st.binary(max_size=40), payload=st.binary(max_size=300), sequence=st.integers(0, 2**63))
def test_a_frame_comes_back_as_it_went_in(source: bytes, payload: bytes, sequence: int) -> None:
    data = make_frame(sequence, source=source, payload=payload)
    assert len(data) % frame.ALIGNMENT == 0
    header = frame.decode(data, 0, 512, HEADER.seed)
    assert header is not None
    assert header == FrameHeader(
        512, len(payload), 10, 2, Mark.NOT_UTF8, len(source), sequence, 99, b"0123456789abcdef", header.checksum
    )
    assert header.size == len(data)
    assert frame.decode_header(data[: frame.HEADER.size], 0, 512, HEADER.seed) == header, (
        "the header is enough to read it"
    )
    assert bytes(frame.payload_of(header, data, 0)) == payload
    assert frame.source_of(header, data, 0) == source.decode(errors="replace")


@pytest.mark.parametrize("other", [replace(HEADER, segment_id=b"t" * 8), replace(HEADER, ring_id=b"R" * 16)])
def test_a_frame_of_another_segment_never_validates(other: SegmentHeader) -> None:
    """A block that the file system hands out again holds frames that were valid once."""
    assert frame.decode(make_frame(), 0, 0, HEADER.seed) is not None
    assert frame.decode(make_frame(), 0, 0, other.seed) is None


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_seen_wherever_it_is(at: int, bit: int) -> None:
    data = make_frame()
    covered = frame.HEADER.size + len(b"cert:x") + len(b"pay")
    flipped = bytearray(data)
    flipped[at % covered] ^= 1 << bit
    assert frame.decode(bytes(flipped), 0, 0, HEADER.seed) is None


@given(data=st.binary(max_size=400))
def test_random_bytes_are_damage_and_never_an_exception(data: bytes) -> None:
    parts = list(segment.walk(data, HEADER.seed, start=0))
    assert all(isinstance(part, Damage) for part in parts)
    assert sum(part.length for part in parts if isinstance(part, Damage)) == len(data.rstrip(b"\0"))


@given(junk=st.binary(min_size=1, max_size=200), before=st.integers(0, 3), after=st.integers(1, 3))
def test_the_walk_finds_the_frames_behind_damage(junk: bytes, before: int, after: int) -> None:
    junk = b"\1" + junk
    junk += b"\1" * (-len(junk) % 8)
    frames = [make_frame(sequence) for sequence in range(before + after)]
    data = b"".join([*frames[:before], junk, *frames[before:]])
    parts = list(segment.walk(data, HEADER.seed, start=0))
    assert [part.first_sequence for part in parts if isinstance(part, FrameHeader)] == list(range(before + after))
    assert sum(part.length for part in parts if isinstance(part, Damage)) == len(junk)


def test_header_and_footer_come_back() -> None:
    assert segment.decode_header(segment.encode_header(HEADER)) == HEADER
    footer = Footer(3, 12, 900, b"f" * 32)
    encoded = segment.encode_footer(footer, HEADER.seed)
    assert len(encoded) == segment.FOOTER.size
    assert segment.decode_footer(encoded, HEADER.seed) == footer
    assert segment.decode_footer(encoded, HEADER.seed + 1) is None
    assert segment.decode_header(b"") is None


def test_a_segment_of_a_later_format_is_refused_with_the_remedy() -> None:
    from crc32c import crc32c  # noqa: PLC0415

    copy = bytearray(segment.encode_header(HEADER)[:256])
    copy[8:10] = (3).to_bytes(2, "little")
    copy[12:16] = crc32c(bytes(copy[:12] + copy[16:])).to_bytes(4, "little")
    with pytest.raises(SpoolError, match="format version 3, this auditsink reads 1 and 2: run the newer"):
        segment.decode_header(bytes(copy) * 2)


@given(generation=st.integers(1, 2**40), payload=st.binary(max_size=200))
def test_a_slot_comes_back_and_a_damaged_one_does_not(generation: int, payload: bytes) -> None:
    slot = encode_slot(generation, payload)
    assert decode_slot(slot.ljust(SLOT_BYTES, b"\0")) == (generation, payload)
    spoilt = bytearray(slot)
    spoilt[-1] ^= 1
    assert decode_slot(bytes(spoilt)) is None
    assert decode_slot(slot[:-1]) is None


@given(crash=st.randoms(use_true_random=False), writes=st.integers(1, 6))
def test_a_torn_slot_leaves_the_state_before_it(crash: random.Random, writes: int) -> None:
    disk = FakeDisk()
    disk.make_directory(Path("/d"))
    file = SlotFile.open(disk, Path("/d/s"))
    for number in range(writes):
        file.write(bytes([number]) * 2000)
        file.sync()
    file.write(b"new" * 600)
    disk.crash(crash)
    assert SlotFile.open(disk, Path("/d/s")).payload in {b"new" * 600, bytes([writes - 1]) * 2000}


def test_a_digest_is_remembered_for_a_window_and_forgets_after_two() -> None:
    dedup = Dedup()
    dedup.add(b"digest", 5, now=0.0)
    assert dedup.find(b"digest", now=WINDOW - 1) == 5
    assert dedup.find(b"digest", now=WINDOW + 1) == 5
    assert dedup.find(b"digest", now=2 * WINDOW + 2) is None
    dedup.add(b"again", 6, now=10 * WINDOW)
    assert dedup.find(b"again", now=12 * WINDOW + 1) is None


def test_dedup_is_bounded_and_keeps_the_newest() -> None:
    dedup = Dedup(limit=100)
    for number in range(1000):
        dedup.add(number.to_bytes(4), number, now=0.0)
    assert len(dedup) <= 100
    assert dedup.find((999).to_bytes(4), now=0.0) == 999
    assert dedup.find((1).to_bytes(4), now=0.0) is None


def test_the_record_caches_of_all_rings_are_bounded_together_and_the_oldest_go_first() -> None:
    caches = RecordCaches(limit=10_000)
    blue, green = RecordCache(), RecordCache()
    for number in range(50):
        caches.add(blue if number % 2 else green, Record(number, [b"x" * 900], 0, "", Mark(0)))
    assert caches.bytes <= 10_000
    assert sorted([*blue.records, *green.records]) == list(range(40, 50))
    caches.add(blue, Record(99, [b"x" * 20_000], 0, "", Mark(0)))
    assert 99 not in blue.records


def test_what_every_destination_is_done_with_leaves_the_memory_unless_somebody_follows() -> None:
    caches = RecordCaches(limit=10_000)
    blue, green = RecordCache(), RecordCache()
    for first in (0, 2, 4, 6):
        for cache in (blue, green):
            caches.add(cache, Record(first, [b"x" * 100] * 2, 0, "", Mark(0)))
    kept = caches.bytes
    green.followers = 1
    caches.let_go(green, 8)
    caches.let_go(blue, 5)
    assert list(blue.records) == [4, 6]  # the event at 5 is not delivered
    assert list(green.records) == [0, 2, 4, 6]
    green.followers = 0
    caches.let_go(green, 8)
    caches.let_go(blue, 8)
    assert not blue.records
    assert not green.records
    assert (kept > 0, caches.bytes) == (True, 0)
    for first in range(100):
        caches.add(blue, Record(first, [b"x" * 900], 0, "", Mark(0)))
    assert caches.bytes <= 10_000
    assert list(blue.records) == list(range(90, 100))


def test_a_ring_is_told_before_memory_lets_go_of_its_records() -> None:
    told: list[str] = []
    caches = RecordCaches(limit=10_000)
    blue, green = RecordCache(lambda: told.append("blue")), RecordCache(lambda: told.append("green"))
    for number, cache in enumerate((blue, *[green] * 5)):
        caches.add(cache, Record(number, [b"x" * 900], 0, "", Mark(0)))
        caches.tell_aged()
    assert (told, blue.leaving, green.leaving) == (["blue"], 1, 0)
    assert 0 in blue.records
    caches.add(green, Record(6, [b"x" * 900], 0, "", Mark(0)))
    caches.tell_aged()
    assert (told, green.leaving) == (["blue", "green"], 2)


def test_a_chunk_counts_what_is_missing() -> None:
    record = Record(10, [b"a", b"b"], 0, "", Mark(0))
    assert Chunk(8, 15, [record]).missing == 5


def test_a_tally_adds_up() -> None:
    tally = Tally(1, 2, 3, 4).plus(Tally(delivered=10))
    assert tally == Tally(11, 2, 3, 4)
    assert tally.total == 20


def test_sync_times_count_every_sync_in_one_bucket() -> None:
    times = SyncTimes()
    for seconds in (0.0001, 0.0005, 0.003, 99.0):
        times.observe(seconds)
    assert times.counts[0] == 2
    assert times.counts[SYNC_BUCKETS.index(0.005)] == 1
    assert times.counts[-1] == 1
    assert sum(times.counts) == 4


def test_a_bad_sector_reads_as_no_zeros_and_the_rest_as_it_is() -> None:
    import errno  # noqa: PLC0415

    disk = FakeDisk()
    disk.make_directory(Path("/d"))
    disk.put(Path("/d/f"), b"a" * 4096 + b"b" * 4096 + b"c" * 100)
    file = disk.open(Path("/d/f"))
    disk.fail("read", errno.EIO, times=2)  # the whole, then the first page
    assert read_around(file, 8292, 0) == UNREADABLE * 4096 + b"b" * 4096 + b"c" * 100
    disk.fail("read", errno.EACCES)
    with pytest.raises(PermissionError):
        read_around(file, 10, 0)


def test_a_real_file_does_what_the_protocol_says(tmp_path: Path) -> None:
    disk = RealDisk()
    disk.make_directory(tmp_path / "a" / "b")
    path = tmp_path / "a" / "b" / "f"
    file = disk.create(path)
    file.allocate(8192)
    assert file.size() == 8192
    assert file.write([b"one", b"two"], 10) == 6
    file.sync()
    assert file.read(6, 10) == b"onetwo"
    file.truncate(16)
    assert file.size() == 16
    disk.rename(path, path.with_name("g"))
    assert disk.names(path.parent) == ["g"]
    assert file.linked()
    disk.unlink(path.with_name("g"))
    assert not file.linked()
    file.close()
    with pytest.raises(FileNotFoundError):
        disk.open(path)
    lock = disk.lock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        disk.lock(tmp_path / "lock")
    lock.close()
    disk.lock(tmp_path / "lock").close()


def test_each_new_directory_is_synced_into_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power loss would take a new cluster's ring with it, and all that was answered."""
    disk = RealDisk()
    synced: list[tuple[Path, list[str]]] = []
    monkeypatch.setattr(RealDisk, "sync_directory", lambda disk, path: synced.append((path, disk.names(path))))
    disk.make_directory(tmp_path / "a" / "b" / "c")
    assert synced == [(tmp_path, ["a"]), (tmp_path / "a", ["b"]), (tmp_path / "a" / "b", ["c"])]
    disk.make_directory(tmp_path / "a" / "b")
    assert len(synced) == 3


def test_no_more_is_set_aside_than_the_bound(caplog: pytest.LogCaptureFixture) -> None:
    from auditsink.spool.ring import MAX_SET_ASIDE, Ring  # noqa: PLC0415
    from auditsink.spool.segment import Segment  # noqa: PLC0415

    disk = FakeDisk()
    disk.make_directory(Path("/r"))
    ring = Ring("c", Path("/r"), b"r" * 16, disk, floor=0)
    held = Segment(Path("/r/x.seg"), HEADER, 1000, 9, 1000)
    with caplog.at_level(logging.ERROR):
        for number in range(MAX_SET_ASIDE + 20):
            ring.note_damage(held, Damage(512 + 8 * number, 8), b"12345678")
    assert ring.damaged_bytes == 8 * (MAX_SET_ASIDE + 20), "all are counted"
    assert len(caplog.records) == MAX_SET_ASIDE + 20, "and told"
    assert len([one for one in disk.paths() if "damaged" in one.parts]) == MAX_SET_ASIDE
