"""Faults that come two at a time, threads that meet, and what is left when removing a segment is cut short."""

import errno
import random
import threading
from collections.abc import Callable
from functools import partial

import pytest
from spoolkit import PATH, body_of, config, die, events_of, noise, open_spool, read_all, submit, submit_all

from auditsink.audit import eventlist
from auditsink.spool import Spool, frame, segment
from auditsink.spool.frame import Entry
from auditsink.spool.log import RingLog
from auditsink.spool.ring import Ring
from auditsink.spool.segment import Damage, Segment, SegmentHeader
from auditsink.spool.types import Account, Receipt, SpoolRejection, Tally
from auditsink.testing.disk import FakeDisk


def segments_on_disk(disk: FakeDisk) -> int:
    return sum(len(disk.content(path)) for path in disk.paths() if path.suffix == ".seg")


def test_a_sequence_from_the_first_try_is_no_receipt_for_what_the_second_had_no_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both tries fail; in the second the first batch found no room, and the next one became durable in its place."""
    disk = FakeDisk()
    spool = open_spool(disk)
    submit(spool, spool.ring("default"), body_of("before"))
    spool.stop()
    place, tries = RingLog.place, 0

    def placing(log: RingLog, entries: list[Entry]) -> list[Entry]:
        nonlocal tries
        tries += 1
        place(log, entries if tries == 1 else entries[1:])
        if tries == 2:
            log.sync()
            log.settle()
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(RingLog, "place", placing)
    spool = Spool.open(config(), disk=disk)
    ring = spool.ring("default")
    answers: list[Receipt | SpoolRejection] = []
    for body, source in ((body_of("no-room"), "one"), (body_of("stored"), "other")):  # so they share no record
        spool.submit(ring, body, eventlist.split(body), source, answers.append)
    spool.start(lambda call: call())  # both come to the writer in one piece
    spool.stop()
    assert answers == [SpoolRejection.UNAVAILABLE, Receipt(1, 1)]
    assert read_all(ring) == (events_of("before", "stored"), 0)


def test_a_source_that_is_no_text_costs_nobody_an_answer() -> None:
    """A certificate may name anybody anything."""
    spool = open_spool()
    ring = spool.ring("default")
    assert submit_all(spool, ring, [body_of("a")], "cert:\udcff") == [Receipt(0, 1)]
    assert submit_all(spool, ring, [body_of("b")], "x" * 5000 + "\u20ac") == [Receipt(1, 1)]
    records = ring.reader().read(0, 10_000).records
    assert records[0].source == "cert:?"
    assert len(records[1].source) == frame.MAX_SOURCE
    spool.stop()


def test_what_is_submitted_after_the_stop_is_answered() -> None:
    spool = open_spool()
    ring = spool.ring("default")
    submit(spool, ring, body_of("a"))
    spool.stop()
    assert submit(spool, ring, body_of("b")) is SpoolRejection.STOPPING


def test_what_is_submitted_during_a_stop_is_stored_or_refused_and_nobody_waits_for_ever() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    answers: list[tuple[str, Receipt | SpoolRejection]] = []
    begun = threading.Barrier(5)

    def client(number: int) -> None:
        begun.wait()
        for at in range(40):
            name = f"{number}-{at}"
            answers.append((name, submit(spool, ring, body_of(name))))

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for one in clients:
        one.start()
    begun.wait()
    while len(answers) < 20:
        threading.Event().wait(0.001)
    spool.stop()
    for one in clients:
        one.join(30)
        assert not one.is_alive()
    stored = {name: answer for name, answer in answers if isinstance(answer, Receipt)}
    assert {answer for _name, answer in answers if not isinstance(answer, Receipt)} <= {SpoolRejection.STOPPING}
    spool = open_spool(disk)
    found, missing = read_all(spool.ring("default"))
    assert missing == 0
    assert [found[answer.first_sequence] for answer in stored.values()] == events_of(*stored)
    assert len(found) == len(stored)
    spool.stop()


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.EPERM])
def test_a_segment_that_cannot_be_removed_keeps_its_place_in_the_count(error: int) -> None:
    """Else the ring would grow past its limit on a disk that removes nothing."""
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    cursor = ring.cursor("siem")
    disk.fail("unlink", error, times=10**6)
    refused = 0
    for number in range(420):
        if isinstance(answer := submit(spool, ring, noise(number)), Receipt):
            cursor.advance(Tally(delivered=1))
        else:
            refused += answer is SpoolRejection.UNAVAILABLE
        assert segments_on_disk(disk) <= 2**20
    assert refused > 100
    disk.heal()
    assert isinstance(submit(spool, ring, noise(1000)), Receipt)
    account = ring.account(cursor)
    assert (account.dropped, account.pending) == (0, 1)
    spool.stop()


def test_a_segment_that_somebody_else_removed_is_removed() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    cursor = ring.cursor("siem")
    for number in range(300):
        assert isinstance(submit(spool, ring, noise(number)), Receipt)
        cursor.advance(Tally(delivered=1))
        oldest = ring.segments[0].path
        if number % 20 == 10 and oldest in disk.paths() and len(ring.segments) > 2:
            disk.unlink(oldest)
    assert ring.account(cursor).dropped == 0
    spool.stop()


def drop_green(disk: FakeDisk, cut: Callable[[], None]) -> Account:
    """The green ring has one segment, which is wanted; the blue one needs its room. Green's account after a restart."""
    limits: dict[str, object] = {"when_full": "drop_oldest", "max_bytes": 2**17}
    spool = open_spool(disk, **limits)
    green = spool.ring("green")
    submit_all(spool, green, [noise(number, 6000) for number in range(9)])
    green.cursor("siem")
    spool.stop()
    spool = open_spool(disk, **limits)
    blue = spool.ring("blue")
    spool.ring("green").cursor("siem")
    submit_all(spool, blue, [noise(number, 9000) for number in range(100, 105)])
    assert spool.ring("green").floor == 0
    cut()
    for number in range(105, 115):
        submit(spool, blue, noise(number, 9000))
    die(spool, disk)
    disk.kill()
    spool = open_spool(disk, **limits)
    green = spool.ring("green")
    assert green.durable == 9, "no sequence is given out twice"
    account = green.account(green.cursor("siem"))
    spool.stop()
    return account


def test_what_was_dropped_stays_counted() -> None:
    disk = FakeDisk()
    assert drop_green(disk, lambda: None) == Account(9, 0, 0, 0, dropped=9, pending=0)


@pytest.mark.parametrize("calls", range(36))
def test_what_was_dropped_stays_counted_when_the_power_goes_in_the_middle(calls: int) -> None:
    for seed in range(4):
        disk, chance = FakeDisk(), random.Random(seed)
        account = drop_green(disk, partial(disk.cut_power, calls, chance))
        assert account.accepted == account.dropped + account.pending == 9
        assert account.dropped in {0, 9}


@pytest.mark.parametrize("calls", range(24))
def test_what_was_delivered_is_not_called_dropped_when_the_power_goes_in_the_middle(calls: int) -> None:
    for seed in range(4):
        disk = FakeDisk()
        spool = open_spool(disk, max_bytes=2**18)
        ring = spool.ring("default")
        cursor = ring.cursor("siem")
        number = 0
        while ring.size + 2**16 <= 2**18 or len(ring.segments) < 4:
            submit(spool, ring, noise(number := number + 1, 9000))
        cursor.advance(Tally(delivered=number))  # and never synced by its owner
        disk.cut_power(calls, random.Random(seed))
        for _ in range(8):
            submit(spool, ring, noise(number := number + 1, 9000))
        die(spool, disk)
        spool = open_spool(disk, max_bytes=2**18)
        ring = spool.ring("default")
        account = ring.account(ring.cursor("siem"))
        assert account.dropped == 0
        assert account.accepted == account.delivered + account.pending
        spool.stop()


def test_a_smaller_segment_is_taken_where_the_disk_has_room_for_no_larger_one() -> None:
    disk = FakeDisk()
    spool = open_spool(disk, max_bytes=2**26, segment_bytes=2**24, when_full="drop_oldest")
    ring = spool.ring("default")
    ring.cursor("siem")
    sizes = []
    for number in range(70):
        assert isinstance(submit(spool, ring, noise(number, 90_000)), Receipt)
        sizes.append(ring.segments[-1].size)
        if len(ring.segments) == 2 and disk.capacity is None:
            disk.capacity = disk.allocated() + 3 * 2**20
    assert len(ring.segments) >= 3
    assert (sizes[0], sizes[30], sizes[60]) == (2**20, 2**22, 2**20), "16 MiB were wanted"
    assert read_all(ring)[1] == 0
    assert ring.floor == 0, "nothing had to be dropped for it"
    spool.stop()


def test_frames_that_changed_places_are_not_read_out_of_order() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    submit_all(spool, spool.ring("default"), [body_of(name) for name in ("a", "b", "c", "d")])
    path = spool.ring("default").segments[0].path
    spool.stop()
    content = disk.content(path)
    header = segment.decode_header(content)
    assert header is not None
    first, second, *_ = [part for part in segment.walk(content, header.seed) if isinstance(part, frame.FrameHeader)]
    begin, middle, end = first.offset, second.offset, second.offset + second.size
    disk.put(path, content[:begin] + content[middle:end] + content[begin:middle] + content[end:])
    spool = open_spool(disk)
    ring = spool.ring("default")
    chunk = ring.reader().read(0, 10_000)
    assert [record.first_sequence for record in chunk.records] == [1, 2, 3]
    assert (chunk.missing, read_all(ring)) == (1, (events_of("b", "c", "d"), 1))
    assert ring.damaged_bytes == middle - begin
    spool.stop()


def test_a_new_cursor_is_not_in_the_way_of_whoever_goes_through_them() -> None:
    spool = open_spool()
    ring = spool.ring("default")
    ring.cursor("siem")
    through = iter(ring.cursors.values())
    ring.cursor("lake")
    assert len(list(through)) == 1
    assert set(ring.cursors) == {"siem", "lake"}
    spool.stop()


def test_an_account_never_goes_negative_while_the_writer_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer's thread may move durable and floor between the two reads of an account."""
    spool = open_spool()
    ring = spool.ring("default")
    submit(spool, ring, body_of("a", "b"))
    cursor = ring.cursor("siem")

    class Moving(Ring):
        @property
        def floor(self) -> int:  # type: ignore[override]  # stands in for another thread
            durable: int = self.__dict__["durable"] + 100
            self.__dict__["durable"] = durable
            return durable - 1

    ring.__dict__.pop("floor")
    ring.__class__ = Moving
    account = ring.account(cursor)
    assert account.pending >= 0
    assert account.accepted == account.dropped + account.pending
    ring.__class__ = Ring
    ring.floor = 0
    spool.stop()


def test_damage_that_two_readers_meet_at_once_is_counted_once() -> None:
    disk = FakeDisk()
    disk.make_directory(PATH)
    ring = Ring("c", PATH, b"r" * 16, disk, floor=0)
    held = Segment(PATH / "x.seg", SegmentHeader(b"r" * 16, b"s" * 8, 7, 1), 1000, 9, 1000)
    start = threading.Barrier(4)

    def meet() -> None:
        start.wait()
        for number in range(200):
            ring.note_damage(held, Damage(8 * number, 8), b"12345678")

    readers = [threading.Thread(target=meet) for _ in range(4)]
    for one in readers:
        one.start()
    for one in readers:
        one.join()
    assert ring.damaged_bytes == 8 * 200


@pytest.mark.parametrize("when_full", ["reject", "drop_oldest"])
def test_readers_in_threads_of_their_own_see_everything_once_and_in_order(when_full: str) -> None:
    """Each reads on its own and moves a cursor, while the writer appends, seals, and removes what it may."""
    spool = open_spool(when_full=when_full, max_bytes=2**18, segment_bytes=2**15)
    ring = spool.ring("default")
    ended = threading.Event()
    problems: list[str] = []
    delivered: dict[str, list[bytes]] = {"quick": [], "slow": [], "slower": []}
    gone = dict.fromkeys(delivered, 0)
    cursors = {name: ring.cursor(name) for name in delivered}

    def read(name: str, max_bytes: int) -> None:
        reader, cursor = ring.reader(), cursors[name]
        while not (ended.is_set() and cursor.position == ring.durable):
            chunk = reader.read(cursor.position, max_bytes)
            expected = chunk.start
            for record in chunk.records:
                if record.first_sequence < expected:
                    problems.append(f"{name} went back to {record.first_sequence}")
                expected = record.first_sequence + len(record.events)
                delivered[name] += record.events
            gone[name] += chunk.missing
            cursor.advance(Tally(delivered=chunk.end - chunk.start - chunk.missing, dropped=chunk.missing))
            if chunk.end == chunk.start:
                threading.Event().wait(0.001)
        reader.close()

    sizes = {"quick": 50_000, "slow": 5000, "slower": 1}
    readers = [threading.Thread(target=read, args=item) for item in sizes.items()]
    for one in readers:
        one.start()
    accepted = []
    for number in range(600):
        body = noise(number, 900)
        if isinstance(submit(spool, ring, body), Receipt):
            accepted += eventlist.split(body).events
    ended.set()
    for one in readers:
        one.join(60)
        assert not one.is_alive()
    assert problems == []
    for name, found in delivered.items():
        account = ring.account(cursors[name])
        assert account.accepted == len(accepted) == len(found) + gone[name]
        assert (account.delivered, account.dropped, account.pending) == (len(found), gone[name], 0)
        at = iter(accepted)
        assert all(event in at for event in found), "in order, once"
        if when_full == "reject":
            assert gone[name] == 0
    assert ring.damaged_bytes == 0
    spool.stop()


@pytest.mark.parametrize("seed", range(8))
def test_a_segment_that_was_removed_for_another_ring_does_not_come_back(seed: int) -> None:
    """Its room was given away."""
    disk = FakeDisk()
    limits: dict[str, object] = {"when_full": "drop_oldest", "max_bytes": 2**17}
    spool = open_spool(disk, **limits)
    submit_all(spool, spool.ring("green"), [noise(number, 6000) for number in range(9)])
    spool.stop()
    spool = open_spool(disk, **limits)
    (green,) = [one.path for one in spool.ring("green").segments]
    submit_all(spool, spool.ring("blue"), [noise(number, 9000) for number in range(100, 115)])
    assert green not in disk.paths()
    disk.crash(random.Random(seed))
    assert green not in disk.paths()
    die(spool, disk)
