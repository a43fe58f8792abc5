"""Two-slot files: a small state that is either the new one or the one before, whatever happens in between.

Each slot lies in a page of its own, so that a torn write can spoil one of them and never both. Written in turn.
"""

import struct
from pathlib import Path

from crc32c import crc32c

from auditsink.spool.disk import Disk, File, write_all

_HEAD = struct.Struct("<4sIQI")
_MAGIC = b"SLOT"
SLOT_BYTES = 4096
"""One page: the unit in which a disk writes or fails to."""


def encode_slot(generation: int, payload: bytes) -> bytes:
    """A slot's bytes; the payload is at most 4,076 bytes."""
    rest = struct.pack("<QI", generation, len(payload)) + payload
    return _MAGIC + struct.pack("<I", crc32c(rest)) + rest


def decode_slot(data: bytes) -> tuple[int, bytes] | None:
    """(generation, payload) if the slot is whole."""
    if len(data) < _HEAD.size:
        return None
    magic, crc, generation, length = _HEAD.unpack_from(data)
    if magic != _MAGIC or length > SLOT_BYTES - _HEAD.size:
        return None
    end = _HEAD.size + length
    if len(data) < end or crc32c(data[8:end]) != crc:
        return None
    return generation, data[_HEAD.size : end]


class SlotFile:
    """An open two-slot file. `payload` is the state last written or found; None when neither slot was whole."""

    def __init__(self, file: File) -> None:
        self._file = file
        found = [slot for at in (0, SLOT_BYTES) if (slot := decode_slot(file.read(SLOT_BYTES, at))) is not None]
        newest = max(found, default=None)
        self._generation = newest[0] if newest else 0
        self.payload: bytes | None = newest[1] if newest else None

    @classmethod
    def open(cls, disk: Disk, path: Path) -> "SlotFile":
        """The file at `path`, made and synced into its directory if it is not there. Raises OSError."""
        try:
            return cls(disk.open(path, write=True))
        except FileNotFoundError:
            pass
        file = disk.create(path)
        file.allocate(2 * SLOT_BYTES)
        file.sync()
        disk.sync_directory(path.parent)
        return cls(file)

    def write(self, payload: bytes) -> None:
        """Put the state into the older slot, not synced. Raises OSError; the other slot then still counts."""
        generation = self._generation + 1
        write_all(self._file, [encode_slot(generation, payload)], (generation % 2) * SLOT_BYTES)
        self._generation = generation
        self.payload = payload

    def sync(self) -> None:
        """Return when what was written is on stable storage. Raises OSError."""
        self._file.sync()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
