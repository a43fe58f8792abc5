"""Equal log lines, said once and then counted: what a flood of them comes down to. Pure.

The first one (or the first few, where the caller says so) goes out at once. Those that follow within `WINDOW_SECONDS`
are counted and come out as one line at its end; then the next window begins, until one of them brings nothing.
"""

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

WINDOW_SECONDS = 10.0
MOST_KEYS = 512
"""Different lines that are remembered; the one that was first seen longest ago makes room."""

T = TypeVar("T")


class Repeats(NamedTuple, Generic[T]):
    """`number` lines equal to `line` were held back."""

    line: T
    number: int


class LogGroups(Generic[T]):
    """`T` is what the caller wants to have back of a line. Times are seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._windows: dict[Hashable, tuple[float, int, Repeats[T]]] = {}  # when it began, how many were written

    def __repr__(self) -> str:
        return f"<LogGroups of {len(self._windows)} lines>"

    def admit(self, key: Hashable, line: T, now: float, at_once: int = 1) -> bool:
        """Whether to write the line, one of the first `at_once` of its window. Call `due` first."""
        began, written, held = self._windows.get(key, (now, 0, Repeats(line, 0)))
        if written < at_once:
            self._windows[key] = began, written + 1, held
            return True
        self._windows[key] = began, written, Repeats(line, held.number + 1)
        return False

    def due(self, now: float, *, ending: bool = False) -> list[Repeats[T]]:
        """What to write now of what was held back; all of it when it is `ending`."""
        over = [
            key
            for place, (key, (began, *_)) in enumerate(self._windows.items())
            if ending or now - began >= WINDOW_SECONDS or len(self._windows) - place > MOST_KEYS
        ]
        repeats = []
        for key in over:
            _, written, held = self._windows.pop(key)
            if held.number:
                repeats.append(held)
                self._windows[key] = now, written, Repeats(held.line, 0)
        return repeats

    @property
    def next_due(self) -> float | None:
        """When something may be due; None while nothing is held."""
        return next((began + WINDOW_SECONDS for began, *_ in self._windows.values()), None)
