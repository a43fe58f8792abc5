"""What a stranger can put into events, and what somebody can put into the spool's directory, must not hurt it."""

import random

import pytest

from auditsink.spool import frame, segment
from auditsink.spool.segment import Damage, SegmentHeader

HEADER = SegmentHeader(b"r" * 16, b"s" * 8, 0, 1)


def test_content_full_of_false_headers_costs_little_to_pass_over(monkeypatch: pytest.MonkeyPatch):
    """A patch body may hold bytes that claim to be frames of megabytes; a torn write leaves them to the resync."""
    chance = random.Random(1)
    claims = b"".join(
        frame.HEADER.pack(frame.MAGIC, 1, 2, 2**16 - 64 * number, 9, 9, 1, 0, number, 0, chance.randbytes(16))
        for number in range(1024)
    )
    data = bytes(segment.DATA_START) + b"\1" * 8 + claims + b"the end."
    summed = 0
    real = frame.crc32c

    def counting(content: bytes, seed: int = 0) -> int:
        nonlocal summed
        summed += len(content)
        return real(content, seed)

    monkeypatch.setattr(frame, "crc32c", counting)
    assert list(segment.walk(data, HEADER.seed)) == [Damage(segment.DATA_START, len(data) - segment.DATA_START)]
    assert 0 < summed <= len(data), "each false header is dismissed by its own 64 bytes"
