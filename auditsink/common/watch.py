"""Whether a file is another one now: what stands behind every file that is read again when it changes.

Inode, size and modification time follow links, so that the swap of a link shows (Kubernetes changes ConfigMaps and
Secrets that way) and so does an editor's rename.
"""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

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


class FileWatch:
    """Several files, looked at when asked. A file that goes or comes has changed."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._seen = self._look()

    def __repr__(self) -> str:
        return f"<FileWatch of {len(self._files)} files>"

    def __len__(self) -> int:
        return len(self._files)

    def changed(self) -> bool:
        """Whether one of them is another than at the last look."""
        now = self._look()
        changed, self._seen = now != self._seen, now
        return changed

    def _look(self) -> list[Stamp | None]:
        return [stamp_or_none(file) for file in self._files]
