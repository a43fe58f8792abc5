"""Small requests that meet in a commit share a record, and each is still a request of its own."""

from itertools import chain, pairwise
from pathlib import Path
from typing import cast

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from spoolkit import PATH, body_of, config, die, events_of, open_spool, parts, read_all, submit, submit_together

from auditsink.audit import eventlist
from auditsink.audit.eventlist import Mark, Split
from auditsink.common.units import Size
from auditsink.config import Encryption
from auditsink.spool import Spool, frame, record_batch
from auditsink.spool.commit import (
    TOGETHER_NS,
    Append,
    WriteJob,
    entries_of,
    is_small,
    make_entries,
)
from auditsink.spool.log import RingLog
from auditsink.spool.offline import inspect
from auditsink.spool.record_batch import StoredRequest
from auditsink.spool.ring import Ring
from auditsink.spool.types import Receipt, SpoolRejection
from auditsink.testing.disk import FakeDisk

SEGMENT = PATH / "rings/default/00000000000000000000.seg"
NAMES = [f"small-{number}" for number in range(9)]


def together(spool: Spool, ring: Ring, bodies: list[bytes], source: str = "") -> list[Receipt | SpoolRejection]:
    """All in one commit: they wait for the thread, as they do during a sync."""
    return submit_together(spool, ring, bodies, source)


def gathered(
    *bodies: bytes, disk: FakeDisk | None = None, source: str = ""
) -> tuple[FakeDisk, list[Receipt | SpoolRejection]]:
    """A stopped spool that got these in its first commit, and what it answered."""
    disk = disk or FakeDisk()
    spool = Spool.open(config(), disk=disk)
    answers: list[Receipt | SpoolRejection] = []
    for body in bodies:
        spool.submit(spool.ring("default"), body, eventlist.split(body), source, answers.append)
    spool.start(lambda call: call())
    spool.stop()
    return disk, answers


def test_they_share_a_record_and_keep_their_order_and_their_receipts() -> None:
    bodies = [body_of(*NAMES[:2]), body_of(NAMES[2]), body_of(*NAMES[3:])]
    disk, answers = gathered(*bodies)
    assert answers == [Receipt(0, 2), Receipt(2, 1), Receipt(3, 6)]
    _, (header,), content = parts(disk, SEGMENT)
    assert (header.requests, header.events, header.body_length) == (3, 9, sum(map(len, bodies)))
    table = frame.table_of(header, bytes(content), header.offset)
    assert [(one.length, one.events) for one in table] == [
        (len(bodies[0]), 2),
        (len(bodies[1]), 1),
        (len(bodies[2]), 6),
    ]
    spool = open_spool(disk)
    assert read_all(spool.ring("default")) == (events_of(*NAMES), 0)
    spool.stop()


def test_a_reader_may_begin_in_the_middle_of_one() -> None:
    disk, _ = gathered(*map(body_of, NAMES))
    spool = open_spool(disk)
    for position in range(len(NAMES) + 1):
        assert read_all(spool.ring("default"), position, max_bytes=1) == (events_of(*NAMES)[position:], 0)
    spool.stop()


def test_memory_hands_on_what_the_disk_would() -> None:
    disk = FakeDisk()
    spool = Spool.open(config(), disk=disk)
    ring = spool.ring("default")
    for name in NAMES:
        spool.submit(ring, body_of(name), eventlist.split(body_of(name)), "cert:a", lambda _answer: None)
    spool.start(lambda call: call())
    spool._writer.stop()
    fresh, stored = ring.reader().cached(0, 10**6), ring.reader().read(0, 10**6)
    assert fresh is not None
    assert fresh.records == stored.records
    spool.stop()


def test_what_is_large_marked_or_of_another_source_has_a_record_of_its_own() -> None:
    large = body_of("x" * (record_batch.SMALL_BODY + 1))
    not_utf8 = body_of("a").replace(b'"a"', b'"\xff"')
    disk = FakeDisk()
    spool = Spool.open(config(), disk=disk)
    several = [
        (body_of("a"), ""),
        (body_of("b"), ""),
        (large, ""),
        (body_of("c"), ""),
        (not_utf8, ""),
        (body_of("d"), ""),
    ]
    several += [(body_of("e"), "cert:a"), (body_of("f"), "cert:a"), (body_of("g"), "")]
    for body, source in several:
        spool.submit(spool.ring("default"), body, eventlist.split(body), source, lambda _answer: None)
    spool.start(lambda call: call())
    spool.stop()
    _, frames, _ = parts(disk, SEGMENT)
    assert [one.requests for one in frames] == [2, 0, 0, 0, 0, 2, 0]
    assert [one.marks for one in frames] == [0, 0, 0, Mark.NOT_UTF8, 0, 0, 0]


def test_each_is_recognised_when_it_comes_again_also_after_a_restart() -> None:
    bodies = [body_of(name) for name in NAMES]
    disk, _ = gathered(*bodies)
    spool = open_spool(disk)
    ring = spool.ring("default")
    for number, body in enumerate(bodies):
        assert submit(spool, ring, body) == Receipt(number, 1, duplicate=True)
    assert submit(spool, ring, body_of("new")) == Receipt(len(NAMES), 1)
    spool.stop()


def test_one_that_comes_twice_in_a_commit_is_stored_once() -> None:
    disk, answers = gathered(body_of("a"), body_of("b"), body_of("a"))
    assert answers == [Receipt(0, 1), Receipt(1, 1), Receipt(0, 1, duplicate=True)]
    spool = open_spool(disk)
    assert read_all(spool.ring("default")) == (events_of("a", "b"), 0)
    spool.stop()


def test_a_torn_record_answers_nobody_that_it_has_his_request() -> None:
    """The header and the table are on the disk, what follows is not: the write that nobody was answered."""
    bodies = [body_of(name) for name in NAMES]
    disk, _ = gathered(*bodies)
    _, (header,), content = parts(disk, SEGMENT)
    payload = header.offset + frame.HEADER.size + header.bound_length
    content[payload + 3 :] = bytes(len(content) - payload - 3)
    disk.put(SEGMENT, bytes(content))
    spool = open_spool(disk)
    answers = [submit(spool, spool.ring("default"), body) for body in bodies]
    assert not any(isinstance(one, Receipt) and one.duplicate for one in answers)
    assert read_all(spool.ring("default"))[0] == events_of(*NAMES)
    spool.stop()


def test_every_flipped_byte_of_a_shared_record_is_damage_and_none_is_a_false_event() -> None:
    disk, _ = gathered(*map(body_of, NAMES[:3]))
    _, (header,), content = parts(disk, SEGMENT)
    for at in range(header.offset, header.offset + header.size):
        if at >= header.offset + frame.HEADER.size + header.bound_length + header.payload_length:
            break  # the padding
        spoilt = bytearray(content)
        spoilt[at] ^= 0x40
        disk.put(SEGMENT, bytes(spoilt))
        assert [event for one in inspect.records(PATH, "default", disk) for event in one.events] == []


@pytest.mark.parametrize("change", ["length", "events"])
def test_a_table_that_is_not_that_of_its_bodies_costs_its_record_alone(change: str) -> None:
    """Checksums that hold: somebody wrote this who can write, or a writer at fault."""
    disk, _ = gathered(*map(body_of, NAMES[:3]))
    header, (one,), content = parts(disk, SEGMENT)
    start = one.offset + frame.HEADER.size
    table = frame.table_of(one, bytes(content), one.offset)
    first = table[0]._replace(length=table[0].length + 1) if change == "length" else table[0]._replace(events=2)
    content[start : start + record_batch.ENTRY.size] = record_batch.encode([first])
    end = start + one.bound_length + one.payload_length
    content[one.offset + 8 : one.offset + 12] = crc32c(bytes(content[start:end]), header.seed).to_bytes(4, "little")
    packed = bytes(content[one.offset + 8 : start])
    content[one.offset + 4 : one.offset + 8] = crc32c(packed, header.seed).to_bytes(4, "little")
    disk.put(SEGMENT, bytes(content))
    spool = open_spool(disk)
    ring = spool.ring("default")
    assert submit(spool, ring, body_of("after")) == Receipt(3, 1)
    assert read_all(ring) == (events_of("after"), 3)
    assert ring.damaged_bytes > 0
    spool.stop()


def test_an_encrypted_table_cannot_be_changed_without_the_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key_file = tmp_path / "keys"
    key_file.write_text("first AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
    disk = FakeDisk()
    settings = config(encryption=Encryption(key_file=key_file))
    spool = Spool.open(settings, disk=disk)
    for name in NAMES[:3]:
        spool.submit(spool.ring("default"), body_of(name), eventlist.split(body_of(name)), "", lambda _answer: None)
    spool.start(lambda call: call())
    spool.stop()
    header, (one,), content = parts(disk, SEGMENT)
    start = one.offset + frame.HEADER.size
    content[start] ^= 1  # a digest
    end = start + one.bound_length + one.payload_length
    content[one.offset + 8 : one.offset + 12] = crc32c(bytes(content[start:end]), header.seed).to_bytes(4, "little")
    packed = bytes(content[one.offset + 8 : start])
    content[one.offset + 4 : one.offset + 8] = crc32c(packed, header.seed).to_bytes(4, "little")
    disk.put(SEGMENT, bytes(content))
    spool = Spool.open(settings, disk=disk)
    assert read_all(spool.ring("default")) == ([], 3)
    assert any(record.message.startswith("TAMPERING") for record in caplog.records)
    spool.stop()


def test_a_full_ring_refuses_all_of_a_record() -> None:
    disk = FakeDisk()
    spool = Spool.open(config(max_bytes=Size(2**16), segment_bytes=Size(2**16)), disk=disk)
    ring = spool.ring("default")
    ring.cursor("nobody")
    spool.start(lambda call: call())
    number = 0
    while isinstance(submit(spool, ring, body_of(f"{number}-" + "x" * 9000)), Receipt):
        number += 1
        assert number < 10_000
    spool._writer.stop()
    held = ring.durable
    assert read_all(ring)[0] == [event for at in range(number) for event in events_of(f"{at}-" + "x" * 9000)]
    assert ring.durable == held
    spool.stop()


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_failed_write_places_all_of_a_record_again(operation: str) -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    assert submit(spool, ring, body_of("before")) == Receipt(0, 1)
    disk.fail(operation, 5)
    answers = together(spool, ring, [body_of(name) for name in NAMES])
    assert sorted(one.first_sequence for one in answers if isinstance(one, Receipt)) == list(range(1, 10))
    assert sorted(read_all(ring)[0]) == sorted(events_of("before", *NAMES))
    spool.stop()


def test_a_power_cut_in_a_record_takes_all_of_it_or_nothing() -> None:
    import random  # noqa: PLC0415

    for seed in range(40):
        disk = FakeDisk()
        spool = Spool.open(config(), disk=disk)
        ring = spool.ring("default")
        answers: list[Receipt | SpoolRejection] = []
        for name in NAMES:
            spool.submit(ring, body_of(name), eventlist.split(body_of(name)), "", answers.append)
        disk.cut_power(seed % 12, random.Random(seed))
        spool.start(lambda call: call())
        die(spool, disk)
        again = open_spool(disk)
        found, missing = read_all(again.ring("default"))
        assert found in ([], events_of(*NAMES))
        assert missing == 0
        assert found or not any(isinstance(one, Receipt) for one in answers)
        again.stop()


# The pure part.


def appended(size: int, source: str, mark: int, at_ns: int) -> Append:
    body = body_of("x" * size)
    split = Split(eventlist.split(body).events, Mark(mark))
    return Append(_LOG, body, split, source, at_ns, lambda _answer: None)


_LOG = cast("RingLog", None)  # it is not looked at here

APPENDS = st.lists(
    st.builds(
        appended,
        st.one_of(st.integers(0, 200), st.integers(15_000, 20_000)),
        st.sampled_from(["", "cert:a"]),
        st.sampled_from([0, 0, 0, 2]),
        st.integers(0, 3 * TOGETHER_NS),
    ),
    max_size=40,
)


@given(APPENDS)
def test_every_request_has_its_place_in_order_and_no_record_is_too_large(several: list[Append]) -> None:
    jobs = [WriteJob(one, bytes(16), None if is_small(one.body) else b"payload") for one in several]
    make_entries(jobs, lambda body: b"z" + body)
    made = entries_of(jobs)
    assert sum(entry.events for entry in made) == sum(len(one.split.events) for one in several)
    by_entry = {id(entry): [job for job in jobs if job.entry is entry] for entry in made}
    assert list(chain.from_iterable(by_entry.values())) == jobs
    for entry in made:
        mine = by_entry[id(entry)]
        table = [StoredRequest(job.digest, len(job.append.body), len(job.append.split.events)) for job in mine]
        assert list(record_batch.decode(entry.table)) == (table if len(mine) > 1 else [])
        assert entry.body_length == sum(len(job.append.body) for job in mine)
        assert [job.offset for job in mine] == [sum(one.events for one in table[:at]) for at in range(len(table))]
        if len(mine) > 1:
            assert entry.payload == b"z" + b"".join(job.append.body for job in mine)
            assert entry.body_length <= record_batch.MOST_BYTES
            assert {job.append.source.encode() for job in mine} == {entry.source}
            assert not any(job.append.split.marks or job.payload for job in mine)
            assert all(0 <= job.append.received_ns - entry.received_ns <= TOGETHER_NS for job in mine)
    for one, other in pairwise(made):
        assert one is not other


@given(st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 99), st.integers(1, 9)), max_size=9))
def test_a_table_comes_back(several: list[tuple[bytes, int, int]]) -> None:
    requests = [StoredRequest(*one) for one in several]
    assert list(record_batch.decode(record_batch.encode(requests))) == requests
    body = bytes(sum(one.length for one in requests))
    assert [len(one) for one in record_batch.cut(body, requests) or []] == [one.length for one in requests]
    assert record_batch.cut(body + b"x", requests) is None
    before = 0
    seen: set[bytes] = set()
    for one in requests:
        if one.digest not in seen:
            assert record_batch.place_of(one.digest, requests) == before
        seen.add(one.digest)
        before += one.events
    assert record_batch.place_of(b"not in there at all", requests) is None
