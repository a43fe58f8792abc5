"""The order in which one cluster's events must stand in a file, as far as it was stated: a row of fingerprints.

It runs through the statements of all the rings that the cluster has had. Memory holds the fingerprints of two of them.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from auditsink.evidence import EvidenceError
from auditsink.evidence.checkpoint import FINGERPRINT_BYTES, Signed
from auditsink.evidence.verify.archive import Statements

NEAR = 2
"""Statements in which an event is looked for when nothing but its fingerprint speaks for it."""

ANY = 2**63

Load = Callable[[Statements, int], Signed]


class Place(NamedTuple):
    """An event: of the ring with that number, in the statement with that number."""

    ring: int
    statement: int
    sequence: int


class Timeline:
    """`place` is the event that must come next, None past the last one, and `head` its fingerprint."""

    def __init__(self, rings: Sequence[Statements], load: Load) -> None:
        self.rings = rings
        self._load = lru_cache(maxsize=NEAR)(lambda ring, at: _fingerprints(load(rings[ring], at)))
        self.place: Place | None = None
        self.head: int | None = None
        self._go(self._first_of(0))
        self.unstated = 0 if self.place is None else self.place.sequence
        """At most so many events between the one before and this that no statement covers: nobody can judge them."""

    def matching(self, fingerprints: bytes) -> int:
        """How many of these, from the first on, are those of the events from `place` on in its statement."""
        if self.place is None:
            return 0
        ring, at, sequence = self.place
        start = (sequence - self.rings[ring].firsts[at]) * FINGERPRINT_BYTES
        expected = self._load(ring, at)[start : start + len(fingerprints)]
        if fingerprints.startswith(expected):
            return len(expected) // FINGERPRINT_BYTES
        return (
            next(at for at, (one, other) in enumerate(zip(fingerprints, expected, strict=False)) if one != other) // 4
        )

    def advance(self, count: int = 1) -> None:
        """That many events from `place` on, all of its statement, were found: on to the next."""
        assert self.place is not None
        last = self.place._replace(sequence=self.place.sequence + count - 1)
        self._go(self._after(last))
        place = self.place
        # What a ring took after its last statement, before it was made anew, nobody knows.
        self.unstated = 0 if place is None else place.sequence - last.sequence - 1 if place.ring == last.ring else ANY

    def jump(self, place: Place) -> None:
        """Go on there, a place that `find` gave."""
        self._go(place)
        self.unstated = 0

    @property
    def owing(self) -> bool:
        """Whether an event that the input must hold is still to come."""
        return any(self.rings[ring].demanded[at] for ring, at in self._statements())

    @property
    def second(self) -> int | None:
        """The fingerprint that must come after `head`."""
        after = None if self.place is None else self._after(self.place)
        return None if after is None else self._at(after)

    def find(self, fingerprint: int, following: int | None, *, far: bool) -> Place | None:
        """The next place of an event with this fingerprint, the one after it matching `following` too.

        Nearby, or where nothing follows, the first fingerprint alone will do.
        """
        for count, (ring, at) in enumerate(self._statements()):
            near = count < NEAR
            if not near and not far:
                return None
            for place in self._places(ring, at, fingerprint):
                after = self._after(place)
                if near or following is None or (after is not None and self._at(after) == following):
                    return place
        return None

    def _statements(self) -> Iterator[tuple[int, int]]:
        """The statements from the place on, by the numbers of their ring and within it."""
        if self.place is not None:
            ring, at, _sequence = self.place
            yield from ((ring, later) for later in range(at, len(self.rings[ring])))
            for other in range(ring + 1, len(self.rings)):
                yield from ((other, later) for later in range(len(self.rings[other])))

    def _places(self, ring: int, at: int, fingerprint: int) -> Iterator[Place]:
        """Where it stands in a statement, after the place."""
        assert self.place is not None
        first = self.rings[ring].firsts[at]
        begin = max(0, self.place.sequence - first) if ring == self.place.ring else 0
        data, wanted = self._load(ring, at), struct.pack("<I", fingerprint)
        found = data.find(wanted, begin * FINGERPRINT_BYTES)
        while found >= 0:
            if found % FINGERPRINT_BYTES == 0:
                yield Place(ring, at, first + found // FINGERPRINT_BYTES)
            found = data.find(wanted, found + 1)

    def _go(self, place: Place | None) -> None:
        self.place = place
        self.head = None if place is None else self._at(place)

    def _at(self, place: Place) -> int:
        first = self.rings[place.ring].firsts[place.statement]
        (found,) = struct.unpack_from("<I", self._load(place.ring, place.statement), (place.sequence - first) * 4)
        return int(found)

    def _after(self, place: Place) -> Place | None:
        ring, at, sequence = place[0], place[1], place[2] + 1
        statements = self.rings[ring]
        if sequence < statements.nexts[at]:
            return Place(ring, at, sequence)
        for later in range(at + 1, len(statements)):
            if statements.nexts[later] > sequence:
                return Place(ring, later, max(sequence, statements.firsts[later]))
        return self._first_of(ring + 1)

    def _first_of(self, ring: int) -> Place | None:
        return Place(ring, 0, self.rings[ring].firsts[0]) if ring < len(self.rings) else None


def _fingerprints(signed: Signed) -> bytes:
    if not signed.fingerprints:
        raise EvidenceError(
            f"checkpoint {signed.checkpoint.number} has no fingerprints (those in a log have none); "
            "to check a file, give the checkpoint file that the sink wrote"
        )
    return signed.fingerprints
