"""What a stranger can put into events, and what somebody can put into the spool's directory, must not hurt it."""

import random

import pytest
from crc32c import crc32c
from spoolkit import PATH, body_of, events_of, open_spool, read_all, submit

from auditsink.spool import frame, segment
from auditsink.spool.offline import inspect
from auditsink.spool.segment import Damage, SegmentHeader
from auditsink.testing.disk import FakeDisk

HEADER = SegmentHeader(b"r" * 16, b"s" * 8, 0, 1)


def test_content_full_of_false_headers_costs_little_to_pass_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch body may hold bytes that claim to be frames of megabytes; a torn write leaves them to the resync."""
    chance = random.Random(1)
    claims = b"".join(
        frame.HEADER.pack(frame.MAGIC, 1, 2, 2**16 - 64 * number, 9, 9, 1, 0, number, 0, chance.randbytes(16), 0)
        for number in range(1024)
    )
    data = bytes(segment.DATA_START) + b"\1" * 8 + claims + b"the end."
    summed = 0
    real = crc32c

    def counting(content: bytes, seed: int = 0) -> int:
        nonlocal summed
        summed += len(content)
        return real(content, seed)

    monkeypatch.setattr(frame, "crc32c", counting)
    assert list(segment.walk(data, HEADER.seed)) == [Damage(segment.DATA_START, len(data) - segment.DATA_START)]
    assert 0 < summed <= len(data), "each false header is dismissed by its own 64 bytes"


@pytest.mark.parametrize("page", [0, segment.SECOND_COPY])
def test_a_bad_page_at_a_segments_start_costs_at_most_the_records_in_it(page: int) -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    names = [f"{number}-{'x' * 900}{random.Random(number).randbytes(900).hex()}" for number in range(20)]
    for name in names:
        submit(spool, ring, body_of(name))
    path = ring.segments[0].path
    spool.stop()
    disk.spoil(path, page, 4096)
    ring = open_spool(disk).ring("default")
    found, missing = read_all(ring)
    assert found == events_of(*names[missing:])
    assert missing <= 4, "only what lay in the page"
    assert inspect.verify(PATH, "default", disk).events == len(found)


def test_a_bad_page_under_a_seal_costs_the_last_record_and_is_told() -> None:
    """Not taken for the torn tail of a write that nobody was answered."""
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    names = ["first", random.Random(1).randbytes(9000).hex()]
    for name in names:
        submit(spool, ring, body_of(name))
    path = ring.segments[0].path
    spool.stop()
    disk.spoil(path, len(disk.content(path)) - segment.FOOTER.size, 8)
    spool = open_spool(disk)
    ring = spool.ring("default")
    assert read_all(ring) == (events_of("first"), 0)
    assert ring.damaged_bytes > 9000
    spool.stop()
