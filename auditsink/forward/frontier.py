"""Which sequences of one ring are settled, and how far without a hole: what the cursor may move over. Pure.

The window is a row of slots without gaps. A slot is taken (somebody is delivering it), returned (to be taken again,
before anything new), or settled with a tally. The cursor moves over settled slots at the front only, so a crash
repeats at most the window and never skips.
"""

from collections.abc import Sequence
from itertools import pairwise

from auditsink.spool.types import Tally


class Slot:
    """The sequences from `start` to `stop` (exclusive). `received_ns`: when the first of them was accepted."""

    __slots__ = ("received_ns", "start", "stop", "taken", "tally")

    def __init__(self, start: int, stop: int, received_ns: int, *, taken: bool = True) -> None:
        self.start = start
        self.stop = stop
        self.received_ns = received_ns
        self.taken = taken
        self.tally: Tally | None = None

    def __repr__(self) -> str:
        state = self.tally or ("taken" if self.taken else "returned")
        return f"<Slot {self.start}..{self.stop} {state}>"


class Frontier:
    """The window between `position`, up to where all is settled, and `end`, where the next new slot begins."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.end = position
        self._slots: list[Slot] = []

    def __repr__(self) -> str:
        return f"<Frontier {self.position} {self._slots}>"

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def head(self) -> Slot | None:
        """The oldest slot that is not settled; None when everything read so far is."""
        return self._slots[0] if self._slots else None

    def claim(self, stop: int, received_ns: int) -> Slot:
        """A new slot, taken, from `end` to `stop`."""
        slot = Slot(self.end, stop, received_ns)
        self._slots.append(slot)
        self.end = stop
        return slot

    def skip(self, stop: int) -> None:
        """The sequences from `end` to `stop` no longer exist: dropped."""
        slot = self.claim(stop, 0)
        self.settle(slot, Tally(dropped=stop - slot.start))

    def returned(self) -> Slot | None:
        """The first slot that waits to be taken again."""
        for slot in self._slots:
            if not slot.taken:
                return slot
        return None

    def split(self, slot: Slot, cuts: Sequence[int]) -> None:
        """Return the slot as parts, cut at these sequences (ascending, strictly inside it)."""
        at = self._slots.index(slot)
        bounds = (slot.start, *cuts, slot.stop)
        self._slots[at : at + 1] = [
            Slot(start, stop, slot.received_ns, taken=False) for start, stop in pairwise(bounds)
        ]

    def settle(self, slot: Slot, tally: Tally) -> None:
        """The slot's events ended like this; the tally covers each of its sequences once."""
        assert tally.total == slot.stop - slot.start, f"{tally} does not add up to {slot}"
        slot.taken = True
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
