"""The files that a log becomes: the one that grows, and those that rotation left beside it.

kube-apiserver renames `audit.log` to `audit-<time>.log`, and packs it as `.log.gz` where it is told to; logrotate makes
`audit.log.1` or `audit.log-<date>`, by renaming or by copying and truncating; kubelet `0.log.<time>`. None of the names
says which is older, so that is read from the first event of each.
"""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from auditsink.auditlogs.compression import DAMAGE, decompressed
from auditsink.auditlogs.place import HEAD_BYTES

_BEGIN_BYTES = 2**18  # in which the first event of a log, or at least a time of it, stands
_TIME = re.compile(rb'(?:stageTimestamp|requestReceivedTimestamp)\\?"\s*:\s*\\?"(\d{4}-[0-9T:.-]{10,24}Z)')


class LogFile(NamedTuple):
    """A file of the log at the moment of the look.

    `head` are its first bytes, unpacked; `began` as in `LogPlace`. `size` in bytes; None for a packed one.
    """

    path: Path
    inode: int
    head: bytes
    began: str
    size: int | None


def look(path: Path) -> LogFile | None:
    """A file as it is; None when it is not there, cannot be read, or is no file."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            unpacked = decompressed(stream)
            begin = _read(unpacked or stream, _BEGIN_BYTES)
            status = os.fstat(stream.fileno())
    except DAMAGE:
        return None
    size = status.st_size if unpacked is None else None
    return LogFile(path, status.st_ino, begin[:HEAD_BYTES], began(begin, status.st_mtime), size)


def rotated(path: Path) -> Iterator[LogFile]:
    """The others of the same log, in no order."""
    for other in sorted(path.parent.iterdir()):
        if other.name != path.name and _is_of(other.name, path):
            found = look(other)
            if found is not None and found.head:
                yield found


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """Its content, unpacked. Raises OSError."""
    with path.open("rb") as stream:
        unpacked = decompressed(stream)
        if unpacked is None:
            yield stream
        else:
            with unpacked:
                yield unpacked


def began(begin: bytes, modified: float) -> str:
    """When the log begins of which this is the beginning; "" where it holds no event yet, or is no such log.

    `modified`, in seconds since the epoch, stands in for the time of a first event that has none.
    """
    found = _TIME.search(begin)
    if found is not None:
        return found[1].decode()
    if b"auditID" not in begin:
        return ""
    return datetime.fromtimestamp(modified, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _is_of(name: str, path: Path) -> bool:
    if name.startswith((f"{path.name}.", f"{path.name}-")):
        return True
    return name.startswith(f"{path.stem}-") and path.suffix in name.removeprefix(path.stem)


def _read(stream: io.BufferedReader, size: int) -> bytes:
    """So many bytes, or as many as there are before the end or the damage."""
    found = b""
    try:
        while len(found) < size and (chunk := stream.read1(size - len(found))):
            found += chunk
    except DAMAGE:
        if not found:
            raise
    return found
