"""Who a ring is and where it begins: the payload of its `ring.meta`. The layout is in the package's text."""

import struct
from pathlib import Path
from typing import NamedTuple

from auditsink.spool.disk import Disk
from auditsink.spool.slots import SlotFile

_META = struct.Struct("<16sQ")
FILE = "ring.meta"


class Identity(NamedTuple):
    """`ring_id` is random, 16 bytes; `floor` is the first sequence still held."""

    ring_id: bytes
    floor: int

    def encode(self) -> bytes:
        """For the slot."""
        return _META.pack(*self)

    @classmethod
    def decode(cls, payload: bytes) -> "Identity":
        """From the slot."""
        return cls(*_META.unpack(payload))


def peek(ring: Path, disk: Disk) -> Identity | None:
    """What the ring in this directory says, without changing anything; None when that is lost. Raises OSError."""
    try:
        file = disk.open(ring / FILE)
    except FileNotFoundError:
        return None
    try:
        payload = SlotFile(file).payload
        return None if payload is None else Identity.decode(payload)
    finally:
        file.close()
