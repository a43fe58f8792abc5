"""Who may open a spool: the lock on it, and the version of what is inside."""

import contextlib
import os
from pathlib import Path

from auditsink.common.disk import Disk, File, replace, write_all
from auditsink.spool.errors import SpoolError

VERSION_LINE = b"auditsink spool 2\n"
EARLIER = b"auditsink spool 1\n"
"""What is read as well; from the moment it is opened for writing it is a spool of ours."""


def take_lock(disk: Disk, path: Path) -> File:
    """The spool is ours until the file is closed or the process ends. Raises SpoolError when another has it."""
    try:
        lock = disk.lock(path / "lock")
    except BlockingIOError as problem:
        raise SpoolError(
            f"spool.path {path} is in use by another auditsink (its pid is in {path / 'lock'}); "
            "stop that one, or give this one a directory of its own"
        ) from problem
    with contextlib.suppress(OSError):  # for people; a full disk must not keep a sink from delivering what it holds
        lock.truncate(0)
        write_all(lock, [f"{os.getpid()}\n".encode()], 0)
    return lock


def check_version(disk: Disk, path: Path) -> None:
    """Refuse a spool in another format (SpoolError); mark a new one, and one of the format before, with ours."""
    name = path / "version"
    try:
        file = disk.open(name)
    except FileNotFoundError:
        replace(disk, name, [VERSION_LINE])
        return
    try:
        found = file.read(64, 0)
    finally:
        file.close()
    if found == EARLIER:
        replace(disk, name, [VERSION_LINE])  # before anything that its readers would take for damage
    elif found != VERSION_LINE:
        raise SpoolError(
            f"{name} says {found.decode(errors='replace').strip()!r}, this auditsink reads "
            f"{VERSION_LINE.decode().strip()!r} and the one before: "
            "run the auditsink that wrote it, or give this one an empty directory"
        )
