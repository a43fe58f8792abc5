"""Ends the pause of a misconfigured destination early when a file that it was given (token, CA, key) is another one.

A probe every few minutes is right for an account that might be locked, and wrong for the person who has just put in
the new token and looks whether it works.
"""

from collections.abc import Sequence
from pathlib import Path

from auditsink.common.clock import Clock
from auditsink.common.signal import Signal
from auditsink.forward.retry import DestinationPause, Trouble

LOOK_SECONDS = 2.0
"""Between two looks at the files, and only while misconfigured."""

_Stamp = tuple[int, int, int] | None


class Repairs:
    """For one destination. `bell` rings when the trouble may have begun, and is rung when it may be over."""

    def __init__(self, files: Sequence[Path], *, pace: DestinationPause, bell: Signal, clock: Clock) -> None:
        self._files = files
        self._pace = pace
        self._bell = bell
        self._clock = clock
        # Of the start, not of the moment of failure: a change that the failed attempt missed must count as well.
        self._seen = self._look()

    def __repr__(self) -> str:
        return f"<Repairs of {len(self._files)} files>"

    async def run(self) -> None:
        """Look for ever; cancel it to stop."""
        while self._files:
            if self._pace.trouble is not Trouble.MISCONFIGURED:
                await self._bell.wait()
                continue
            await self._clock.sleep(LOOK_SECONDS)
            now = self._look()
            if now != self._seen:
                self._seen = now
                self._pace.repaired(self._clock.monotonic())
                self._bell.ring()

    def _look(self) -> list[_Stamp]:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> _Stamp:
    try:
        status = file.stat()
    except OSError:  # half way through a rotation
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
