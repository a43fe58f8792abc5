"""One ring as checkpoints are made of it: when memory is asked, when the disk, and what the cursor moves over."""

from evidencekit import event, record

from auditsink.evidence.make.ring_hasher import RingHasher
from auditsink.spool.types import Chunk, Tally


class Stub:
    """A ring that says what a test wants, its own cursor and reader too. `memory`: what `cached` finds."""

    cluster, ring_id = "c", bytes(16)

    def __init__(self) -> None:
        self.durable = self.position = 0
        self.begins: list[int] = []
        self.memory: Chunk | None = None
        self.moves: list[Tally] = []

    def cursor(self, _destination: str) -> "Stub":
        return self

    def claim(self, _cursor: object, _start: int, _stop: int) -> int:
        return 0

    def reader(self) -> "Stub":
        return self

    def boundaries(self, start: int, stop: int) -> list[int]:
        return [at for at in self.begins if start < at < stop]

    def cached(self, _position: int, _max_bytes: int) -> Chunk | None:
        return self.memory

    def advance(self, done: Tally) -> None:
        self.moves.append(done)
        self.position += done.total


def chunk(*firsts: int, size: int = 2, end: int | None = None) -> Chunk:
    """Records of two events that begin at these sequences."""
    records = [record(first, [event(at) for at in range(first, first + size)]) for first in firsts]
    return Chunk(firsts[0], firsts[-1] + size if end is None else end, records)


def test_whoever_has_read_all_of_memory_waits_for_an_announcement() -> None:
    """The writer makes a batch durable a moment before memory has it."""
    ring = Stub()
    hasher = RingHasher(ring)  # type: ignore[arg-type]  # as much of a ring as is asked for
    ring.durable = 4
    ring.memory = chunk(0)
    assert hasher.cached(100) is ring.memory
    hasher.absorb(ring.memory)
    ring.memory = None
    assert hasher.cached(100) == Chunk(2, 2, [])
    caught_up = [hasher.caught_up]
    hasher.announced = True
    assert hasher.cached(100) is None, "announced, and memory has let go of it already: from the disk"
    caught_up.append(hasher.caught_up)
    assert caught_up == [True, False]
    assert hasher.cached(100) is None, "who reads a backlog reads on"


def test_a_backlog_is_read_from_the_disk_at_once() -> None:
    assert RingHasher(Stub()).cached(100) is None  # type: ignore[arg-type]  # as above


def test_ranges_end_at_gaps_and_where_segments_begin() -> None:
    ring = Stub()
    hasher = RingHasher(ring)  # type: ignore[arg-type]  # as above
    ring.begins = [4, 12]
    hasher.absorb(chunk(0, 2, 4, 8, 10))
    hasher.absorb(chunk(12, 14, end=20))
    hasher.absorb(chunk(20))
    assert [(span.first, span.next) for span in hasher.cut()] == [(0, 4), (4, 6), (8, 12), (12, 16), (20, 22)]
    hasher.stated(2)
    hasher.stated(3)
    assert ring.moves == [Tally(delivered=6, dropped=2), Tally(delivered=10, dropped=4)]
    assert ring.position == hasher.position == 22


def test_a_gap_alone_moves_the_cursor_too() -> None:
    ring = Stub()
    hasher = RingHasher(ring)  # type: ignore[arg-type]  # as above
    hasher.absorb(Chunk(0, 7, []))
    assert hasher.uncovered
    assert hasher.cut() == []
    hasher.stated(0)
    assert ring.moves == [Tally(dropped=7)]


def test_what_was_hashed_and_not_stated_can_be_forgotten() -> None:
    ring = Stub()
    hasher = RingHasher(ring)  # type: ignore[arg-type]  # as above
    hasher.absorb(chunk(0, 2))
    hasher.rewind()
    assert (hasher.position, hasher.uncovered, hasher.cut()) == (0, False, [])
