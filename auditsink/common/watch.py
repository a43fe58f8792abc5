"""Whether a file is another one now: what stands behind every file that is read again when it changes.

Inode, size and modification time follow links, so that the swap of a link shows (Kubernetes changes ConfigMaps and
Secrets that way) and so does an editor's rename.

A file may lie on a disk that hangs, and whoever asks may be the event loop: `Look` never waits long.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar, cast

from auditsink.common.blocking import BlockingCalls, StuckError

T = TypeVar("T")

FRESH_SECONDS = 0.2
"""A file that was looked at so recently is not looked at again: a request must not pay for it."""
PATIENCE_SECONDS = 0.2
"""For a look. A file that is there takes microseconds."""
_calls = BlockingCalls("look", 8)

Stamp = tuple[int, int, int]
"""Inode, size in bytes, modification time in nanoseconds: two looks at an unchanged file give the same."""


def stamp(file: "Path | str | os.DirEntry[str]") -> Stamp:
    """What the file is now. Raises OSError."""
    status = os.stat(file)  # noqa: PTH116 - takes directory entries too
    return status.st_ino, status.st_size, status.st_mtime_ns


def stamp_or_none(file: Path) -> Stamp | None:
    """The same; None while it is not there or may not be looked at, as in the middle of a rotation."""
    try:
        return stamp(file)
    except OSError:
        return None


def content(file: Path) -> bytes:
    """What stands in it. Raises OSError, also for what is no file: a pipe would be waited for, for ever."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(errno.EINVAL, "is no regular file", str(file))
    return file.read_bytes()


class Look(Generic[T]):
    """Asks something of a disk again and again, on threads that all looks share. For one caller at a time."""

    def __init__(self) -> None:
        self._at = float("-inf")
        self._out: Future[T] | None = None

    def __repr__(self) -> str:
        return f"<Look {'out' if self._out else 'home'}>"

    def __call__(self, ask: Callable[[], T]) -> T | None:
        """What `ask` returns, the same each time; None when it was asked a moment ago.

        Raises what it raises; StuckError while it does not return, at once from the second time on.
        """
        if self._out is None:
            if time.monotonic() - self._at < FRESH_SECONDS:
                return None
            self._out = _calls.begin(ask)
            wait([self._out], PATIENCE_SECONDS)
        if not self._out.done():
            raise StuckError
        out, self._out = self._out, None
        self._at = time.monotonic()
        return out.result()


class FileWatch:
    """Several files, looked at when asked. A file that goes or comes has changed."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._seen = self._stamps()
        self._look: Look[tuple[list[Stamp | None], object]] = Look()

    def __repr__(self) -> str:
        return f"<FileWatch of {len(self._files)} files>"

    def __len__(self) -> int:
        return len(self._files)

    def changed(self) -> bool:
        """Whether one of them is another than at the last look."""
        try:
            return self.rebuilt(lambda: True) is not None
        except StuckError:
            return False

    def rebuilt(self, build: Callable[[], T]) -> T | None:
        """What `build` makes of them when one is another than at the last look, else None. It runs where looks do.

        Raises StuckError while their disk does not answer. `build` is the same each time, and raises nothing.
        """
        found = self._look(partial(self._again, build)) if self._files else None
        if found is None:
            return None
        self._seen, built = found
        return cast("T | None", built)

    def _again(self, build: Callable[[], T]) -> tuple[list[Stamp | None], T | None]:
        now = self._stamps()
        return now, None if now == self._seen else build()

    def _stamps(self) -> list[Stamp | None]:
        return [stamp_or_none(file) for file in self._files]
