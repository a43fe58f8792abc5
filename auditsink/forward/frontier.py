"""Which sequences of one ring are settled, and how far without a hole: what the cursor may move over. Pure.

The window is a row of slots without gaps. A slot is taken (somebody is delivering it), returned (to be taken again,
before anything new), or settled with a tally. The cursor moves over settled slots at the front only, so a crash
repeats at most the window and never skips.
"""

from bisect import insort
from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter

from auditsink.forward.trials import Trial
from auditsink.spool.types import Tally

_start = attrgetter("start")


class Slot:
    """The sequences from `start` to `stop` (exclusive). `received_ns`: when the first of them was accepted.

    `trial`: what is known of it if it failed.
    """

    __slots__ = ("received_ns", "start", "stop", "tally", "trial")

    def __init__(self, start: int, stop: int, received_ns: int) -> None:
        self.start = start
        self.stop = stop
        self.received_ns = received_ns
        self.tally: Tally | None = None
        self.trial: Trial | None = None

    def __repr__(self) -> str:
        return f"<Slot {self.start}..{self.stop} {self.tally or 'open'}>"


class Frontier:
    """The window between `position`, up to where all is settled, and `end`, where the next new slot begins."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.end = position
        self.returned: Slot | None = None
        """The first slot that waits to be taken again."""
        self._slots: list[Slot] = []
        self._returned: list[Slot] = []

    def __repr__(self) -> str:
        return f"<Frontier {self.position} {self._slots}, {len(self._returned)} returned>"

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def head(self) -> Slot | None:
        """The oldest slot that is not settled; None when everything read so far is."""
        return self._slots[0] if self._slots else None

    @property
    def dropped(self) -> int:
        """Events between `position` and `end` that are known to exist no more."""
        return sum(slot.tally.dropped for slot in self._slots if slot.tally is not None)

    def append(self, stop: int, received_ns: int) -> Slot:
        """A new slot, taken, from `end` to `stop`."""
        slot = Slot(self.end, stop, received_ns)
        self._slots.append(slot)
        self.end = stop
        return slot

    def skip(self, stop: int, delivered: int = 0) -> None:
        """The sequences from `end` to `stop` no longer exist: dropped, but those that were delivered before."""
        slot = self.append(stop, 0)
        self.settle(slot, Tally(delivered=delivered, dropped=stop - slot.start - delivered))

    def take(self, slot: Slot) -> None:
        """Somebody delivers a returned slot."""
        self._returned.remove(slot)
        self._update()

    def give_back(self, slot: Slot) -> None:
        """Nobody delivers a taken slot any more: it is to be taken again."""
        if slot.tally is None:
            insort(self._returned, slot, key=_start)
            self._update()

    def split(self, slot: Slot, cuts: Sequence[int]) -> list[Slot]:
        """Return the slot as parts, cut at these sequences (ascending, strictly inside it)."""
        if slot in self._returned:
            self._returned.remove(slot)
        at = self._slots.index(slot)
        parts = [Slot(start, stop, slot.received_ns) for start, stop in pairwise((slot.start, *cuts, slot.stop))]
        self._slots[at : at + 1] = parts
        for part in parts:
            insort(self._returned, part, key=_start)
        self._update()
        return parts

    def settle(self, slot: Slot, tally: Tally) -> None:
        """The slot's events ended like this; the tally covers each of its sequences once."""
        assert tally.total == slot.stop - slot.start, f"{tally} does not add up to {slot}"
        if self._returned and slot in self._returned:
            self.take(slot)
        slot.tally = tally

    def collect(self) -> Tally:
        """Move `position` over the settled slots at the front; returns what they add up to."""
        done = Tally()
        count = 0
        for slot in self._slots:
            if slot.tally is None:
                break
            done = done.plus(slot.tally)
            count += 1
        if count:
            del self._slots[:count]
            self.position += done.total
        return done

    def _update(self) -> None:
        self.returned = self._returned[0] if self._returned else None
