"""Whether a file is another one now: what stands behind every file that is read again when it changes.

Inode, size and modification time follow links, so that the swap of a link shows (Kubernetes changes ConfigMaps and
Secrets that way) and so does an editor's rename.
"""

import errno
import os
import stat
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
