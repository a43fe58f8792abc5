"""Two-slot files: a small state that is either the new one or the one before, whatever happens in between.

Each slot lies in a page of its own, so that a torn write can spoil one of them and never both. Written in turn.
"""

import struct
from pathlib import Path
from threading import Lock

from auditsink.common.crc32c import crc32c
from auditsink.common.disk import Disk, File, closed_on_error, read_around, write_all

_HEAD = struct.Struct("<4sIQI")
_MAGIC = b"SLOT"
SLOT_BYTES = 4096
"""One page: the unit in which a disk writes or fails to."""
_NOTHING: tuple[int, bytes | None] = (0, None)


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
    """An open two-slot file. `payload` is the state last written or found; None when neither slot was whole.

    `write` and `sync` may run in two threads. The slot that is known to be durable is never the one that is written,
    so that state is left whatever happens between two syncs. What is written while a sync runs waits for its end.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        slots = [decode_slot(read_around(file, SLOT_BYTES, at)) for at in (0, SLOT_BYTES)]
        newest = max((0, 1), key=lambda at: slots[at] or (0, b""))
        self._generation, self.payload = slots[newest] or _NOTHING
        self._spare = 1 - newest
        self._waits = False
        self._in_sync = False
        self._writing = Lock()
        self._syncing = Lock()

    @classmethod
    def open(cls, disk: Disk, path: Path) -> "SlotFile":
        """The file at `path`, made if it is not there, and all of it durable. Raises OSError."""
        try:
            file = disk.open(path, write=True)
        except FileNotFoundError:
            file = disk.create(path)
        with closed_on_error(file):
            if file.size() < 2 * SLOT_BYTES:
                file.allocate(2 * SLOT_BYTES)
            # Of an old one too: what a process left behind that was killed half-way counts now, so it must stay.
            file.sync()
            disk.sync_directory(path.parent)
            return cls(file)

    def write(self, payload: bytes) -> None:
        """Put the state into the spare slot, not synced. Raises OSError; the next `sync` then tries again."""
        with self._writing:
            self.payload, self._waits = payload, True
            if not self._in_sync:
                self._put()

    def _put(self) -> None:
        assert self.payload is not None
        write_all(self._file, [encode_slot(self._generation + 1, self.payload)], self._spare * SLOT_BYTES)
        self._generation += 1
        self._waits = False

    def sync(self) -> None:
        """Return when the state of now is on stable storage; a second caller waits for the first. Raises OSError."""
        with self._syncing:
            with self._writing:
                if self._waits:
                    self._put()
                self._in_sync = True
            try:
                self._file.sync()
                self._spare = 1 - self._spare
            except OSError:
                # The kernel may have thrown the page away, and would call a second sync a success: write it again.
                self._waits = self.payload is not None
                raise
            finally:
                with self._writing:
                    self._in_sync = False
            with self._writing:
                if self._waits:
                    self._put()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
