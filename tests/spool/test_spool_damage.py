"""Every byte of a small spool flipped once, and cut at every length: nothing false is read, nothing else lost."""

import random
from pathlib import Path

import pytest
from spoolkit import PATH, body_of, events_of, open_spool, read_all, submit

from auditsink.spool.offline import inspect
from auditsink.spool.segment import COPY_BYTES, SECOND_COPY
from auditsink.spool.slots import SLOT_BYTES
from auditsink.spool.types import Receipt, Tally
from auditsink.testing.disk import FakeDisk

NAMES = [f"event-{number}" for number in range(6)]
EVENTS = events_of(*NAMES)


def _spool(*, sealed: bool) -> FakeDisk:
    """Six records of one event in one segment; sealed by a clean stop or left by a kill."""
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    for name in NAMES:
        submit(spool, ring, body_of(name))
    if sealed:
        spool.stop()
    else:
        disk.kill()
    return disk


def _places(length: int) -> list[int]:
    """Every byte, but few of the zeros between the two copies of the header."""
    return [at for at in range(length) if not COPY_BYTES + 8 < at < SECOND_COPY - 8 or at % 256 == 0]


def _segment(disk: FakeDisk) -> Path:
    return next(path for path in disk.paths() if path.suffix == ".seg")


def _is_subsequence(found: list[bytes]) -> bool:
    rest = iter(EVENTS)
    return all(event in rest for event in found)


@pytest.mark.parametrize("sealed", [True, False])
def test_every_byte_flipped_once_costs_at_most_the_record_it_is_in(sealed: bool) -> None:
    original = _spool(sealed=sealed)
    path = _segment(original)
    content = original.content(path).rstrip(b"\0") if not sealed else original.content(path)
    lost_somewhere = 0
    for at in _places(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 0x41
        disk = FakeDisk()
        for one in original.paths():
            disk.put(one, original.content(one))
        disk.make_directory(PATH / "rings" / "default" / "cursors")
        disk.put(path, bytes(flipped))
        spool = open_spool(disk)
        ring = spool.ring("default")
        found, missing = read_all(ring)
        assert _is_subsequence(found), f"a false record after flipping byte {at}"
        assert len(found) >= len(EVENTS) - 1, f"byte {at} cost {len(EVENTS) - len(found)} records"
        torn = not sealed and len(found) + missing < len(EVENTS)
        assert torn or len(found) + missing == len(EVENTS), "what is gone is counted"
        if missing:
            assert ring.damaged_bytes > 0
        lost_somewhere += len(EVENTS) - len(found)
        spool.stop()
    assert lost_somewhere > 100, "the flips did hit records"


def _delivered() -> FakeDisk:
    """The six records, four of them delivered to one destination; cursor and ring.meta written in both their slots."""
    disk = FakeDisk()
    for life in range(2):
        spool = open_spool(disk)
        ring = spool.ring("default")
        for name in NAMES[3 * life : 3 * life + 3]:
            submit(spool, ring, body_of(name))
        for _ in range(2):
            ring.cursor("siem").advance(Tally(delivered=1))
            ring.cursor("siem").sync()
        spool.stop()
    return disk


@pytest.mark.parametrize("name", ["ring.meta", "siem.cursor"])
@pytest.mark.parametrize("cut", [False, True], ids=["flipped", "cut"])
def test_every_byte_of_a_small_file_may_go_and_costs_repeats_alone(name: str, cut: bool) -> None:
    original = _delivered()
    (path,) = [one for one in original.paths() if one.name == name]
    content = original.content(path)
    positions = set()
    for at in [at for at in range(len(content)) if at % SLOT_BYTES < 100]:
        spoiled = content[:at] if cut else content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :]
        disk = FakeDisk()
        disk.make_directory(PATH / "rings" / "default" / "cursors")
        for one in original.paths():
            disk.put(one, spoiled if one == path else original.content(one))
        spool = open_spool(disk)
        ring = spool.ring("default")
        assert read_all(ring) == (EVENTS, 0), at
        account = ring.account(ring.cursor("siem"))
        assert account.accepted == account.delivered + account.pending == 6
        positions.add(account.delivered)
        assert submit(spool, ring, body_of(f"new-{at}")) == Receipt(6, 1)
        spool.stop()
    if name == "siem.cursor":
        assert 4 in positions
        assert len(positions) > 1, "the flips did hit the newer slot"
        assert max(positions) == 4
    else:
        assert positions == {4}


def test_both_copies_of_the_header_must_be_hit_to_lose_a_segment() -> None:
    disk = _spool(sealed=True)
    path = _segment(disk)
    content = bytearray(disk.content(path))
    content[20] ^= 1
    content[SECOND_COPY + 20] ^= 1
    disk.put(path, bytes(content))
    spool = open_spool(disk)
    ring = spool.ring("default")
    assert read_all(ring)[0] == []
    assert ring.damaged_bytes == len(content)
    assert any("damaged" in one.parts for one in disk.paths()), "set aside, not deleted"
    submit(spool, ring, body_of("after"))
    assert read_all(ring, ring.floor)[0] == events_of("after")
    spool.stop()


@pytest.mark.parametrize("sealed", [True, False])
def test_cut_at_every_length_the_records_before_the_cut_are_read(sealed: bool) -> None:
    original = _spool(sealed=sealed)
    path = _segment(original)
    content = original.content(path)
    counts = []
    for length in _places(len(content.rstrip(b"\0")) + 1):
        disk = FakeDisk()
        for one in original.paths():
            disk.put(one, original.content(one))
        disk.make_directory(PATH / "rings" / "default" / "cursors")
        disk.put(path, content[:length])
        spool = open_spool(disk)
        ring = spool.ring("default")
        found, missing = read_all(ring)
        assert found == EVENTS[: len(found)], f"cut at {length}"
        assert missing == 0
        answer_goes_on = submit(spool, ring, body_of(f"new-{length}"))
        assert isinstance(answer_goes_on, Receipt)
        assert answer_goes_on.count == 1
        assert read_all(ring)[0] == [*found, *events_of(f"new-{length}")]
        counts.append(len(found))
        spool.stop()
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, len(EVENTS))


def test_damage_in_the_middle_is_set_aside_with_its_bytes_and_verify_names_it() -> None:
    disk = _spool(sealed=True)
    path = _segment(disk)
    content = bytearray(disk.content(path))
    middle = content.index(b"ASR1", len(content) // 2)
    content[middle + 70] ^= 0xFF
    disk.put(path, bytes(content))
    report = inspect.verify(PATH, "default", disk)
    assert any("damaged bytes" in problem for problem in report.problems)
    assert any("digest" in problem for problem in report.problems)
    spool = open_spool(disk)
    ring = spool.ring("default")
    found, missing = read_all(ring)
    assert (len(found), missing) == (5, 1)
    (aside,) = [one for one in disk.paths() if "damaged" in one.parts]
    assert disk.content(aside) == bytes(content[middle : middle + ring.damaged_bytes])
    assert read_all(ring)[1] == 1, "read again"
    assert ring.damaged_bytes == len(disk.content(aside)), "and counted once"
    spool.stop()


@pytest.mark.parametrize("length", [0, 2**16])
def test_a_segment_that_was_opened_and_never_written_to_is_no_damage(length: int) -> None:
    """The power went between a rotation and its first sync, or the sink is rotating right now."""
    disk = _spool(sealed=True)
    disk.put(_segment(disk).with_name(f"{len(EVENTS):020d}.seg"), bytes(length))
    report = inspect.verify(PATH, "default", disk)
    assert (report.problems, report.events) == ([], len(EVENTS))
    assert [note for note in report.notes if "never written to" in note]


def test_a_segment_in_the_middle_that_holds_nothing_is_damage() -> None:
    disk = _spool(sealed=True)
    spool = open_spool(disk)
    submit(spool, spool.ring("default"), body_of("after"))
    spool.stop()
    disk.put(_segment(disk), bytes(2**16))
    assert any("neither copy of the header" in problem for problem in inspect.verify(PATH, "default", disk).problems)


def test_verify_sees_a_segment_that_was_taken_out_of_the_chain() -> None:
    disk = FakeDisk()
    for number in range(4):
        spool = open_spool(disk)
        submit(spool, spool.ring("default"), body_of(f"life-{number}", "x"))
        spool.stop()
    assert inspect.verify(PATH, "default", disk).problems == []
    victim = [path for path in disk.paths() if path.suffix == ".seg"][1]
    disk.unlink(victim)
    problems = inspect.verify(PATH, "default", disk).problems
    assert any("events 2 to 3 are missing" in problem for problem in problems), problems


def test_verify_sees_a_segment_that_was_rewritten_with_valid_checksums() -> None:
    """Whoever can write the disk can make frames that validate; the chain is what tells on them."""
    disk = FakeDisk()
    for number in range(3):
        spool = open_spool(disk)
        for at in range(3):
            submit(spool, spool.ring("default"), body_of(f"life-{number}-{at}"))
        spool.stop()
    paths = [path for path in disk.paths() if path.suffix == ".seg"]
    from auditsink.spool import frame, segment  # noqa: PLC0415

    data = disk.content(paths[0])
    header = segment.decode_header(data)
    assert header is not None
    frames = [part for part in segment.walk(data, header.seed) if isinstance(part, frame.FrameHeader)]
    forged = data[: frames[2].offset]  # the last record cut out, resealed
    import hashlib  # noqa: PLC0415

    footer = segment.Footer(2, 2, len(forged), hashlib.sha256(forged).digest())
    disk.put(paths[0], forged + segment.encode_footer(footer, header.seed))
    problems = inspect.verify(PATH, "default", disk).problems
    assert any("the chain breaks" in problem for problem in problems), problems


@pytest.mark.parametrize("lost", [0, 4096])
def test_a_lost_cursor_slot_means_repeats_and_never_a_skip(lost: int) -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    for name in NAMES:
        submit(spool, ring, body_of(name))
    cursor = ring.cursor("siem")
    for _ in range(4):
        cursor.advance(Tally(delivered=1))
        cursor.sync()
    spool.stop()
    path = next(one for one in disk.paths() if one.suffix == ".cursor")
    content = bytearray(disk.content(path))
    content[lost : lost + 4096] = random.Random(1).randbytes(4096)
    disk.put(path, bytes(content))
    ring = open_spool(disk).ring("default")
    cursor = ring.cursor("siem")
    assert cursor.position in {3, 4}
    account = ring.account(cursor)
    assert account.accepted == account.delivered + account.pending == 6
