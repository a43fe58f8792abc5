"""Who a ring is and where it begins: the payload of its `ring.meta`. The layout is in the package's text."""

import struct
from pathlib import Path
from typing import NamedTuple

from auditsink.common.disk import Disk, read_around
from auditsink.spool import segment
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
    def decode(cls, payload: bytes | None) -> "Identity | None":
        """From the slot; None when there is none or it is something else."""
        return None if payload is None or len(payload) != _META.size else cls(*_META.unpack(payload))


def peek(ring: Path, disk: Disk) -> Identity | None:
    """What the ring in this directory says, without changing anything; None when that is lost. Raises OSError."""
    try:
        file = disk.open(ring / FILE)
    except FileNotFoundError:
        return None
    try:
        return Identity.decode(SlotFile(file).payload)
    finally:
        file.close()


def of_segments(ring: Path, disk: Disk) -> bytes | None:
    """The ring id that the segments in this directory carry: what is left when `ring.meta` is lost. Raises OSError."""
    for path in [ring / name for name in disk.names(ring) if segment.is_file_name(name)]:
        file = disk.open(path)
        try:
            header = segment.decode_header(read_around(file, segment.DATA_START, 0))
        finally:
            file.close()
        if header is not None:
            return header.ring_id
    return None
