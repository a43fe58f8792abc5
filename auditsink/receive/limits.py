"""How many bytes all requests together may hold (`receive.max_in_flight`), and what a connection keeps within that.

Counted are the bytes of a head that is not complete, of pipelined requests that wait, and of a body as it arrives, not
as it is announced: who only claims must not block others. While a batch waits for the disk it counts its body and the
copies of its events, each with `PER_EVENT` for the object. All is given back when the answer is known.
"""

from mmap import mmap

PER_EVENT = 40
"""Bytes that a `bytes` object and its place in a list take beside its content."""


class MemoryLimit:
    """A counter with a limit.

    What a single request needs beyond its body is granted when nothing else is held, so that the largest body that
    `max_body` allows can pass however small the limit is.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, count: int, mine: int = -1) -> bool:
        """Hold `count` bytes more, or refuse. `mine` of those that are held already are the same request's."""
        if self.held + count > self.limit and self.held != mine:
            return False
        self.held += count
        return True

    def give(self, count: int) -> None:
        """Let go of bytes."""
        self.held -= count


SMALL_PIECE = 4096
"""Smaller pieces are put together at once: as objects, single bytes would take 50 times their size."""


class KeptBody:
    """That of the request being read. `received`: bytes that came, kept or not; `held`: bytes of the memory limit."""

    __slots__ = ("_memory", "_pieces", "held", "received")

    def __init__(self, memory: MemoryLimit) -> None:
        self.received = 0
        self.held = 0
        self._memory = memory
        self._pieces: list[bytes | bytearray] = []

    def hold(self, count: int) -> bool:
        """Hold bytes for what is read before the body; False when there is no room."""
        granted = self._memory.take(count)
        if granted:
            self.held += count
        return granted

    def add(self, piece: bytes) -> bool:
        """Keep a piece; False when there is no room for it."""
        memory, size, pieces = self._memory, len(piece), self._pieces
        if memory.held + size > memory.limit:
            return False
        memory.held += size
        self.held += size
        if size >= SMALL_PIECE or not pieces:
            pieces.append(piece)
        elif isinstance(last := pieces[-1], bytearray):
            last += piece
        else:
            pieces.append(bytearray(piece))
        return True

    def whole(self, size: int) -> int:
        """Room for a body that is there whole: what its request holds from now on; 0 when there is no room."""
        memory = self._memory
        if memory.held + size > memory.limit:
            return 0
        memory.held += size
        held, self.held = self.held + size, 0
        return held

    def taken(self) -> tuple[bytes, int]:
        """The whole body, and what its request holds from now on. What comes next is another one."""
        pieces, held = self._pieces, self.held
        self._pieces, self.held = [], 0
        return (pieces[0] if len(pieces) == 1 and isinstance(pieces[0], bytes) else b"".join(pieces)), held

    def release(self) -> None:
        """Let go of what was kept."""
        self._pieces.clear()
        self._memory.give(self.held)
        self.held = 0


class UnreadBytes:
    """What came behind the request that is answered: `data` from `at` on."""

    __slots__ = ("_memory", "at", "data")

    def __init__(self, memory: MemoryLimit) -> None:
        self.data = b""
        self.at = 0
        self._memory = memory

    def keep(self, raw: bytes | mmap, start: int, stop: int) -> bool:
        """Keep `raw[start:stop]`, which may be the rest of what is kept already; False when there is no room for it."""
        if raw is self.data:
            self.at = start
        elif self._memory.take(stop - start):
            self.data, self.at = bytes(raw[start:stop]), 0
        else:
            return False
        return True

    def drop(self) -> None:
        """Let go of it."""
        self._memory.give(len(self.data))
        self.data, self.at = b"", 0
