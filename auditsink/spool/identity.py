"""Who a ring is and where it begins: the payload of its `ring.meta`. The layout is in the package's text."""

import struct
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from auditsink.common.disk import Disk
from auditsink.spool.segment_file import StoredSegment
from auditsink.spool.slots import SlotFile

_META = struct.Struct("<16sQ")
FILE = "ring.meta"


class Identity(NamedTuple):
    """`ring_id` is random, 16 bytes; `floor` is the first sequence still held."""

    ring_id: bytes
    floor: int

    def encode(self) -> bytes:
        """The bytes that a slot of `ring.meta` holds."""
        return _META.pack(*self)

    @classmethod
    def decode(cls, payload: bytes | None) -> "Identity | None":
        """From the slot; None when there is none or it is something else."""
        return None if payload is None or len(payload) != _META.size else cls(*_META.unpack(payload))


def peek(ring: Path, disk: Disk) -> Identity | None:
    """What the ring in this directory says, without changing anything; None when that is lost. Raises OSError."""
    try:
        file = disk.open(ring / FILE)
    except FileNotFoundError:
        return None
    with closing(file):
        return Identity.decode(SlotFile(file).payload)


def of_segments(several: Sequence[StoredSegment]) -> Identity | None:
    """What the oldest of a ring's segments says: what is left when `ring.meta` is lost."""
    return Identity(several[0].header.ring_id, several[0].header.first_sequence) if several else None
