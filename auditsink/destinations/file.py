"""NDJSON in a file that rotates: each event on a line, byte for byte as the apiserver wrote it.

Delivered means synced: the cursor must never be ahead of the file. A line that a crash tore is cut off at the next
start. That loses nothing, because its batch was never reported as delivered and comes again; completing it instead
would leave half an event in the trail for ever. What does not look like a line of ours is completed, not cut.

Others may work on the file as well: a command that replays dead letters into it, logrotate. Each batch is appended
under `flock`, and when the file at `path` is another one by then, that one is opened.

Its disk may hang, as NFS does. All of this happens on a thread of its own, and an attempt ends in time; the next one
waits until the call of the last one has returned, which then may have written its batch after all.
"""

import contextlib
import errno
import fcntl
import os
import stat
import threading
from functools import partial
from pathlib import Path

from auditsink.common.blocking import BlockingCalls, StuckError
from auditsink.common.clock import Clock
from auditsink.common.disk import RealDisk, RealFile, append_all, line_start
from auditsink.config import FileConfig
from auditsink.delivery.destination import Attempt, Batch, UnavailableError
from auditsink.delivery.outcome import Delivered, Outcome, Retry, RetryCause
from auditsink.delivery.settings import key
from auditsink.destinations import defaults
from auditsink.destinations.encoding import documents, lines

CLOSE_SECONDS = 1.0
_MODE = 0o600  # as kube-apiserver creates its own audit log: events hold names, addresses and request bodies


class FileDestination:
    """See `Destination`."""

    type = "file"

    def __init__(self, config: FileConfig, clock: Clock) -> None:  # noqa: ARG002 - what every destination is built with
        """Makes the directory, opens and repairs the file. Raises UnavailableError."""
        self.name = config.name
        self._timeout = config.timeout
        self._calls = BlockingCalls(f"file-{config.name}")
        self.limits = defaults.limits(config)
        try:
            config.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = RotatingFile(config.path, config.rotate_bytes, config.keep)
        except OSError as problem:
            raise UnavailableError(f"{key(config, 'path')}: {explain(config.path, problem)}") from None

    async def prepare(self, batch: Batch) -> Attempt:
        """See `Destination.prepare`."""
        return partial(self._attempt, lines(documents(batch)))

    async def probe(self) -> Outcome:
        """Appending nothing opens the file if need be."""
        return await self._attempt(b"")

    async def close(self) -> None:
        """See `Destination.close`."""
        with contextlib.suppress(StuckError):
            await self._calls.run(CLOSE_SECONDS, self._file.close)
        self._calls.close()

    async def _attempt(self, content: bytes) -> Outcome:
        try:
            await self._calls.run(self._timeout, self._file.append, content)
        except OSError as problem:
            return Retry(explain(self._file.path, problem), cause=RetryCause.ELSEWHERE)
        except StuckError:
            return Retry(
                f"{self._file.path}: its disk has not answered for {self._timeout:g} s; check it",
                cause=RetryCause.ELSEWHERE,
            )
        return Delivered()


def explain(path: Path, problem: OSError) -> str:
    """What is wrong with the file, for an operator."""
    if isinstance(problem, BlockingIOError):
        return f"{path}: another process is writing to it; it goes on when that is done"
    return f"{path}: {problem.strerror or type(problem).__name__}; check the disk, the path and its permissions"


class RotatingFile:
    """The file and its predecessors, `path.1` (the newest) to `path.keep`. All methods block.

    They may be called from several threads: an attempt that was cancelled is still writing when the next one starts.
    """

    def __init__(self, path: Path, rotate_bytes: int, keep: int) -> None:
        """Opens the file and repairs its last line. Raises OSError."""
        self.path = path
        self._rotate_bytes = rotate_bytes
        self._keep = keep
        self._lock = threading.Lock()
        self._fd: int | None = None
        # Busy: whoever is writing repairs it, too.
        with contextlib.suppress(BlockingIOError):
            self.append(b"")

    def append(self, content: bytes) -> None:
        """All of `content` at the end of the file and on the disk, or nothing of it. Raises OSError."""
        with self._lock:
            try:
                self._append(content)
            except OSError:
                self._let_go()  # and of the lock on it
                raise

    def _append(self, content: bytes) -> None:
        fd = self._opened()
        size = os.fstat(fd).st_size
        if content and size and size + len(content) > self._rotate_bytes:
            self._rotate()
            fd = self._opened()
            size = os.fstat(fd).st_size
        append_all(RealFile(fd), [content], size)
        fcntl.flock(fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; the next `append` opens it again."""
        with self._lock:
            self._let_go()

    def _opened(self) -> int:
        """The file that is at `path` now, locked, its last line complete."""
        while True:
            if self._fd is None:
                self._fd = _open(self.path)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same(self._fd, self.path):
                _repair(self._fd)
                return self._fd
            self._let_go()

    def _let_go(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _rotate(self) -> None:
        # The oldest first: a crash in between leaves a gap in the numbers, and no file is lost but the one over `keep`.
        for number in range(self._keep, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        self._let_go()

    def _numbered(self, number: int) -> Path:
        return self.path if number == 0 else self.path.with_name(f"{self.path.name}.{number}")


def _open(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is no regular file")  # noqa: TRY301 - one way out for all that close the file
        RealDisk().sync_directory(path.parent)
    except OSError:
        os.close(fd)
        raise
    return fd


def _repair(fd: int) -> None:
    """End the last line: cut it off if it is ours (an event opens with a brace), else complete it."""
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return
    file = RealFile(fd)
    start = line_start(file, size)
    if file.read(1, start) == b"{":
        file.truncate(start)
        file.sync()
    else:
        append_all(file, [b"\n"], size)


def _same(fd: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
