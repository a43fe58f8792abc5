"""A range of a ring's events on its way to a checkpoint: a running SHA-256 and the fingerprints, no events. Pure."""

import hashlib
import sys
from array import array
from dataclasses import dataclass

from auditsink.audit import eventlist
from auditsink.common.crc32c import crc32c
from auditsink.spool.types import Record

MOST_EVENTS = 2**17
"""Of one checkpoint, give or take a request: bounds its line in the file to about 700 kB."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range that is closed: events from `first` to `next` (exclusive). `sha256` is the raw digest of their lines."""

    cluster: str
    ring_id: bytes
    first: int
    next: int
    first_received_ns: int
    last_received_ns: int
    sha256: bytes
    fingerprints: bytes


class OpenSpan:
    """A range that grows at its end."""

    def __init__(self, record: Record) -> None:
        """Empty; it will begin with this record."""
        self.first = self.next = record.first_sequence
        self.first_received_ns = self._last_received_ns = record.received_ns
        self._digest = hashlib.sha256()
        self._fingerprints = array("I")

    def __repr__(self) -> str:
        return f"<OpenSpan {self.first}..{self.next}>"

    @property
    def full(self) -> bool:
        """Whether it must be closed before the next record."""
        return self.next - self.first >= MOST_EVENTS

    def add(self, record: Record) -> int:
        """The next record, which begins at `next`; returns the bytes of its lines."""
        lines = eventlist.ndjson(record.events, record.marks)
        joined = b"\n".join([*lines, b""])
        self._digest.update(joined)
        self._fingerprints.extend(map(crc32c, lines))
        self.next += len(lines)
        self._last_received_ns = record.received_ns
        return len(joined)

    def close(self, cluster: str, ring_id: bytes) -> Span:
        """The range as it is now, with its digest and its fingerprints."""
        return Span(
            cluster, ring_id, self.first, self.next, self.first_received_ns, self._last_received_ns,
            self._digest.digest(), packed(self._fingerprints),
        )  # fmt: skip


def packed(fingerprints: "array[int]") -> bytes:
    """As they stand in the file: four bytes each, little-endian."""
    if sys.byteorder == "big":
        fingerprints = fingerprints[:]
        fingerprints.byteswap()
    return fingerprints.tobytes()
