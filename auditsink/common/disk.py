"""What is asked of a disk: a short list of calls, so that a test can put a disk that lies in their place.

The methods are the system calls with their errors (OSError) and their habits: a write may be short. Whatever must
be retried or completed is done above (`write_all`), where a test with a hostile disk can see it. So is what many need:
how a file is replaced, how lines are appended for good, where the last line begins.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

MAX_BUFFERS = 1024
"""IOV_MAX on Linux: more buffers in one writev are refused with EINVAL."""
PAGE_BYTES = 4096
READ_BYTES = 2**20
BLOCK_BYTES = 2**16
"""Looked at in one go for a line break, from the end of a file."""
UNREADABLE = b"\xff"
"""A byte that the disk cannot give. Not zero: zeros at the end of a segment mean that nothing was written."""


class File(Protocol):
    """An open file of a `Disk`."""

    def write(self, buffers: Sequence[bytes], offset: int) -> int:
        """Write at an offset (pwritev); returns the bytes written, which may be fewer than given."""
        ...

    def read(self, length: int, offset: int) -> bytes:
        """Up to `length` bytes from `offset` (pread); shorter at the end of the file."""
        ...

    def allocate(self, size: int) -> None:
        """Reserve blocks for `size` bytes; ENOSPC now rather than in the middle of a batch."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        ...

    def sync(self) -> None:
        """Return when the data is on stable storage (fdatasync)."""
        ...

    def size(self) -> int:
        """The file's length in bytes."""
        ...

    def linked(self) -> bool:
        """Whether the file still has a name: one that was deleted under us takes writes that nobody will ever read."""
        ...

    def close(self) -> None:
        """Let go of the descriptor."""
        ...


class Closable(Protocol):
    """What holds a descriptor."""

    def close(self) -> None:
        """Let go of it."""
        ...


class Disk(Protocol):
    """A file system, as far as the spool needs one: the real one, or one that forgets and fails in tests."""

    def create(self, path: Path) -> File:
        """A new file for reading and writing; FileExistsError if the name is taken."""
        ...

    def open(self, path: Path, *, write: bool = False) -> File:
        """An existing file."""
        ...

    def make_directory(self, path: Path) -> None:
        """A directory, with its parents; each is synced into its parent. No error if it is there."""
        ...

    def names(self, path: Path) -> list[str]:
        """The names in a directory, sorted."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, replacing what had it."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Return when the directory's entries are on stable storage."""
        ...

    def lock(self, path: Path) -> File:
        """Take the exclusive lock on a file (created if need be) or raise BlockingIOError."""
        ...


def write_all(file: File, buffers: Sequence[bytes], offset: int) -> None:
    """Write all of the buffers at `offset`, however short the single writes are. Raises OSError."""
    for start in range(0, len(buffers), MAX_BUFFERS):
        some = buffers[start : start + MAX_BUFFERS]
        wanted = sum(map(len, some))
        done = file.write(some, offset)
        while done < wanted:
            rest = b"".join(some)[done:]
            written = file.write([rest], offset + done)
            if written <= 0:
                raise OSError(errno.EIO, "the disk takes no more bytes and gives no error")
            done += written
        offset += wanted


def append_all(file: File, buffers: Sequence[bytes], end: int) -> int:
    """Have these bytes durable at the file's `end`, or none of them; returns the new end. Raises OSError.

    After a failure nobody knows what of them is there: it is cut off, and the next try writes the same place again.
    """
    try:
        write_all(file, buffers, end)
        file.sync()
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(end)
        raise
    return end + sum(map(len, buffers))


def line_start(file: File, before: int) -> int:
    """Where the line begins that holds the byte before `before`; `before` itself, where a line break ends there."""
    at = before
    while at > 0:
        start = max(0, at - BLOCK_BYTES)
        found = file.read(at - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0


def create_anew(disk: Disk, path: Path) -> File:
    """A new file in place of what a crash may have left under its name. Raises OSError."""
    try:
        return disk.create(path)
    except FileExistsError:
        disk.unlink(path)
        return disk.create(path)


def replace(disk: Disk, path: Path, pieces: Iterable[bytes], *, draft: Path | None = None) -> None:
    """Put a file with these bytes in the place of `path`: a crash leaves the old one or the new one. Raises OSError.

    `draft`: what it is called until it is whole, beside `path`; `<name>.new` where nothing else is said.
    """
    draft = draft or path.with_name(f"{path.name}.new")
    with contextlib.closing(create_anew(disk, draft)) as file:
        end = 0
        for piece in pieces:
            write_all(file, [piece], end)
            end += len(piece)
        file.sync()
    disk.rename(draft, path)
    disk.sync_directory(path.parent)


@contextlib.contextmanager
def closed_on_error(file: Closable) -> Iterator[None]:
    """Close the file when what is done with it fails: descriptors are few, and a full disk is tried again and again."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()
        raise


def read_around(
    file: File, length: int, offset: int, unreadable: Callable[[int], object] = lambda _place: None
) -> bytes:
    """Read past bad sectors: they then cost the records in them and not the segment.

    A page that the disk cannot give comes out as `UNREADABLE` bytes, and `unreadable` is called with its place.
    Raises OSError for anything but EIO.
    """
    try:
        return file.read(length, offset)
    except OSError as problem:
        if problem.errno != errno.EIO:
            raise
    pieces = []
    start, end = offset, min(offset + length, file.size())
    while start < end:
        wanted = min(PAGE_BYTES - start % PAGE_BYTES, end - start)
        try:
            pieces.append(file.read(wanted, start))
        except OSError as problem:
            if problem.errno != errno.EIO:
                raise
            unreadable(start)
            pieces.append(UNREADABLE * wanted)
        start += wanted
    return b"".join(pieces)


class RealFile:
    """A file of the operating system, by its descriptor."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, buffers: Sequence[bytes], offset: int) -> int:
        """See `File.write`."""
        return os.pwritev(self._fd, buffers, offset)

    def read(self, length: int, offset: int) -> bytes:
        """See `File.read`."""
        return os.pread(self._fd, length, offset)

    def allocate(self, size: int) -> None:
        """See `File.allocate`."""
        os.posix_fallocate(self._fd, 0, size)

    def truncate(self, size: int) -> None:
        """See `File.truncate`."""
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        """See `File.sync`."""
        os.fdatasync(self._fd)

    def size(self) -> int:
        """See `File.size`."""
        return os.fstat(self._fd).st_size

    def linked(self) -> bool:
        """See `File.linked`."""
        return os.fstat(self._fd).st_nlink > 0

    def close(self) -> None:
        """See `File.close`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class RealDisk:
    """The operating system's files."""

    def create(self, path: Path) -> File:
        """See `Disk.create`. Readable by the owner alone: audit events are nobody else's business."""
        return RealFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def open(self, path: Path, *, write: bool = False) -> File:
        """See `Disk.open`."""
        return RealFile(os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC))

    def make_directory(self, path: Path) -> None:
        """See `Disk.make_directory`."""
        missing = [place for place in (path, *path.parents) if not place.is_dir()]
        for place in reversed(missing):
            place.mkdir(mode=0o700, exist_ok=True)
            self.sync_directory(place.parent)

    def names(self, path: Path) -> list[str]:
        """See `Disk.names`."""
        return sorted(place.name for place in path.iterdir())

    def rename(self, old: Path, new: Path) -> None:
        """See `Disk.rename`."""
        old.rename(new)

    def unlink(self, path: Path) -> None:
        """See `Disk.unlink`."""
        path.unlink()

    def sync_directory(self, path: Path) -> None:
        """See `Disk.sync_directory`."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self, path: Path) -> File:
        """See `Disk.lock`. The lock goes with the descriptor, so a killed sink leaves none behind."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return RealFile(fd)
