"""How far one destination is in one ring, and how the events before that ended.

Position and tally lie in one slot, so they cannot disagree: whatever a crash leaves behind adds up.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from auditsink.common.disk import Disk, closed_on_error
from auditsink.spool.slots import SlotFile
from auditsink.spool.types import Tally

_STATE = struct.Struct("<6Q")
SUFFIX = ".cursor"


@dataclass(frozen=True, slots=True)
class CursorState:
    """A slot's payload: where the destination began, where it is, and the four ends that an event can have."""

    start: int
    position: int
    tally: Tally

    def encode(self) -> bytes:
        """The bytes that a slot holds of it."""
        return _STATE.pack(self.start, self.position, *self.tally)

    @classmethod
    def decode(cls, payload: bytes | None) -> "CursorState | None":
        """From the slot; None when there is none or it does not add up."""
        if payload is None or len(payload) != _STATE.size:
            return None
        start, position, *ends = _STATE.unpack(payload)
        tally = Tally(*ends)
        return cls(start, position, tally) if tally.total == position - start else None


class Cursor:
    """One destination's place in one ring. `advance` belongs to the loop's thread, `sync` may run in any."""

    def __init__(self, file: SlotFile, state: CursorState) -> None:
        self._file = file
        self.start = state.start
        self.position = state.position
        self.tally = state.tally
        self.claimed = state.position
        """Events before it are in somebody's hands: what is given up of them is lost only if they are not delivered."""
        self.early: frozenset[int] = frozenset()
        """Sequences behind them that are being delivered before their turn, or were: they are not lost either."""
        self._unsynced = False
        self._syncing = Lock()

    @classmethod
    def open(cls, disk: Disk, path: Path, *, floor: int) -> "Cursor":
        """The cursor stored at `path`; a new or a lost one begins at `floor`: repeats are allowed, gaps are not."""
        file = SlotFile.open(disk, path)
        with closed_on_error(file):
            state = CursorState.decode(file.payload)
            if state is None:
                state = CursorState(floor, floor, Tally())
                file.write(state.encode())
                file.sync()
            return cls(file, state)

    def __repr__(self) -> str:
        return f"<Cursor {self.start}..{self.position} {self.tally}>"

    def advance(self, done: Tally) -> None:
        """Move over `done.total` events. Raises OSError if the slot cannot be written; the move in memory stands."""
        self.tally = self.tally.plus(done)
        self.position += done.total
        self._unsynced = True
        self._file.write(CursorState(self.start, self.position, self.tally).encode())

    def sync(self) -> None:
        """Put the last move on stable storage, if there was one. Blocks. Raises OSError; the next call tries again."""
        with self._syncing:  # who comes second may not go on before the first one is done
            if self._unsynced:
                self._unsynced = False
                try:
                    self._file.sync()
                except OSError:
                    self._unsynced = True
                    raise

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def peek(disk: Disk, path: Path) -> CursorState | None:
    """What the cursor file at `path` says, without changing anything (another process may own the spool)."""
    file = disk.open(path)
    try:
        return CursorState.decode(SlotFile(file).payload)
    finally:
        file.close()
