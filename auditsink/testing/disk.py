"""A disk that forgets: what was not synced may be gone after a crash, in whole, in part, or torn at any sector.

It models what POSIX allows and not what one file system happens to do: writes reach the platter in any order, directory
entries are only as durable as the last sync of their directory, and a failed sync throws the data away while the
cache goes on showing it (what PostgreSQL learnt in 2018 as "fsyncgate").
"""

import errno
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from auditsink.common.disk import File

SECTOR = 512
"""Of a write that was not synced, each stretch of so many bytes reaches the platter whole, in part, or not at all."""
BLOCK = 4096
"""What a file system allocates, and knows to be written or only reserved."""


class _Inode:
    """A file's content: as the cache shows it, as the platter has it, and the operations in between."""

    def __init__(self) -> None:
        self.cached = bytearray()
        self.platter = bytearray()
        self.pending: list[tuple[int, bytes | None]] = []  # (offset, data), or (size, None) for a truncation
        self.links = 0
        self.bad: range | None = None
        self.written: set[int] = set()  # blocks; all others up to the size are only reserved
        self.converted: set[int] = set()  # by the last sync

    def apply(self, content: bytearray, offset: int, data: bytes | None) -> None:
        if data is None:
            del content[offset:]
            content.extend(bytes(offset - len(content)))
            return
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data

    def do(self, offset: int, data: bytes | None) -> None:
        self.apply(self.cached, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        touched: set[int] = set()
        for offset, data in self.pending:
            self.apply(self.platter, offset, data)
            if data:
                touched.update(range(offset // BLOCK, (offset + len(data) - 1) // BLOCK + 1))
        self.pending.clear()
        self.converted = touched - self.written
        self.written |= touched

    def revert(self) -> None:
        """The last sync was of reserved blocks, and what makes them written ones did not reach the platter."""
        for block in self.converted:
            self.apply(self.platter, block * BLOCK, bytes(min(BLOCK, len(self.platter) - block * BLOCK)))
        self.written -= self.converted

    def crash(self, chance: random.Random) -> None:
        for offset, data in self.pending:
            if data is None:
                if chance.random() < 0.5:
                    self.apply(self.platter, offset, None)
                continue
            for start in range(0, len(data), SECTOR):
                piece = data[start : start + SECTOR]
                share = min(1.0, max(0.0, chance.uniform(-4.5, 5.5)))  # nothing, all, or now and then some bytes of it
                self.apply(self.platter, offset + start, piece[: int(len(piece) * share)])
        self.pending.clear()
        self.cached = bytearray(self.platter)


class FakeDisk:
    """Implements `auditsink.common.disk.Disk` in memory.

    `fail(operation, error, times)` makes the next calls of that name raise; `cut_power` ends everything in the middle
    of something; `capacity` bounds what may be allocated; `short_writes` makes each write take only some of the bytes.
    `calls` counts what was asked for, `open_files` what was opened in this life and not closed.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.capacity: int | None = None
        self.short_writes = False
        self.open_files = 0
        self._calls_left: int | None = None
        self._power_loss: Callable[[], None] = lambda: None
        self._failures: dict[str, list[int]] = {}
        self._held: dict[str, tuple[threading.Event, threading.Event]] = {}
        self._entries: dict[Path, _Inode] = {}
        self._durable_entries: dict[Path, _Inode] = {}
        self._directories: set[Path] = {Path("/")}
        self._locked: set[Path] = set()
        self._mutex = threading.RLock()
        self._life = 0
        self._synced: _Inode | None = None

    def fail(self, operation: str, error: int, times: int = 1) -> None:
        """The next `times` calls of `operation` (a method's name) raise OSError(`error`)."""
        self.fail_later(operation, error, 0, times)

    def fail_later(self, operation: str, error: int, after: int, times: int = 1) -> None:
        """The same, after the next `after` calls have succeeded."""
        self._failures.setdefault(operation, []).extend([0] * after + [error] * times)

    def hold(self, operation: str, reached: threading.Event, go_on: threading.Event) -> None:
        """The next call of `operation` (sync, open or unlink) sets `reached` and begins when `go_on` is set."""
        self._held[operation] = (reached, go_on)

    def _pause(self, operation: str) -> None:
        if (held := self._held.pop(operation, None)) is not None:
            held[0].set()
            held[1].wait()

    def heal(self) -> None:
        """Forget failures that were ordered and have not struck, and give back the room."""
        self._failures.clear()
        self.capacity = None

    def cut_power(self, after: int, chance: random.Random | None) -> None:
        """Let `after` more calls succeed; then `crash(chance)`, and each call answers EIO until `power_on`.

        Without a chance the process is killed at that call and not the machine.
        """
        self._calls_left = after
        self._power_loss = self.kill if chance is None else partial(self.crash, chance)

    def power_on(self) -> None:
        """Calls work again, on what survived. Where no call came after the last that was let through, it ends now."""
        if self._calls_left is not None and self._calls_left >= 0:
            self._power_loss()
        self._calls_left = None

    def crash(self, chance: random.Random) -> None:
        """Power loss: only what was synced is certain. Open files of the life before answer EBADF."""
        with self._mutex:
            self._end_life()
            names = sorted(set(self._entries) | set(self._durable_entries))
            survived: dict[Path, _Inode] = {}
            for name in names:
                now, before = self._entries.get(name), self._durable_entries.get(name)
                kept = now if now is before or chance.random() < 0.5 else before
                if kept is not None:
                    survived[name] = kept
            for inode in {id(one): one for one in survived.values()}.values():
                inode.crash(chance)
                inode.links = 1
            self._entries = dict(survived)
            self._durable_entries = dict(survived)

    def abort_journal(self) -> None:
        """Power loss right after a journal's abort: the last sync returned, and holds only where no metadata changed.

        What ext4 can do: of blocks that were reserved (fallocate) and then written, the next mount shows zeros.
        """
        with self._mutex:
            if self._synced is not None:
                self._synced.revert()
            self.crash(random.Random(0))

    def kill(self) -> None:
        """The process dies, the machine does not: everything written stays, synced or not; locks are gone."""
        with self._mutex:
            self._end_life()

    def _end_life(self) -> None:
        self._life += 1
        self.open_files = 0
        self._locked.clear()
        self._failures.clear()

    def content(self, path: Path) -> bytes:
        """What the cache shows of a file."""
        return bytes(self._entries[path].cached)

    def put(self, path: Path, content: bytes) -> None:
        """Replace a file's content, durably: bit rot, truncation, or a file from elsewhere."""
        inode = self._entries.setdefault(path, _Inode())
        inode.links = 1
        self._durable_entries[path] = inode
        inode.cached, inode.platter, inode.pending = bytearray(content), bytearray(content), []

    def spoil(self, path: Path, offset: int, length: int) -> None:
        """A bad stretch of the medium: reads that touch it answer EIO, for ever."""
        self._entries[path].bad = range(offset, offset + length)

    def paths(self) -> list[Path]:
        """The paths of all files there are."""
        return sorted(self._entries)

    def _enter(self, operation: str, path: Path | None = None) -> None:
        if self._calls_left is not None:
            self._calls_left -= 1
            if self._calls_left == -1:
                self._power_loss()
            if self._calls_left < 0:
                raise OSError(errno.EIO, "the power is off")
        self.calls[operation] += 1
        waiting = self._failures.get(operation)
        if waiting:
            number = waiting.pop(0)
            if number:
                raise OSError(number, os.strerror(number), str(path))

    def allocated(self) -> int:
        """Bytes that all files take."""
        return sum(len(inode.cached) for inode in {id(entry): entry for entry in self._entries.values()}.values())

    def create(self, path: Path) -> File:
        """See `Disk.create`."""
        with self._mutex:
            self._enter("create", path)
            if path in self._entries:
                raise FileExistsError(errno.EEXIST, "File exists", str(path))
            self._need_directory(path.parent)
            inode = self._entries[path] = _Inode()
            inode.links = 1
            return _FakeFile(self, inode, self._life)

    def open(self, path: Path, *, write: bool = False) -> File:  # noqa: ARG002 - the same for the fake
        """See `Disk.open`."""
        self._pause("open")
        with self._mutex:
            self._enter("open", path)
            if path not in self._entries:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
            return _FakeFile(self, self._entries[path], self._life)

    def make_directory(self, path: Path) -> None:
        """See `Disk.make_directory`. Directories survive a crash: the spool syncs each into its parent."""
        with self._mutex:
            self._enter("make_directory", path)
            self._directories.update((path, *path.parents))

    def names(self, path: Path) -> list[str]:
        """See `Disk.names`."""
        with self._mutex:
            self._enter("names", path)
            self._need_directory(path)
            inside = [one.name for one in (*self._entries, *self._directories) if one.parent == path and one != path]
            return sorted(set(inside))

    def rename(self, old: Path, new: Path) -> None:
        """See `Disk.rename`."""
        with self._mutex:
            self._enter("rename", old)
            if old not in self._entries:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(old))
            if new in self._entries:
                self._entries[new].links = 0
            self._entries[new] = self._entries.pop(old)

    def unlink(self, path: Path) -> None:
        """See `Disk.unlink`."""
        self._pause("unlink")
        with self._mutex:
            self._enter("unlink", path)
            if path not in self._entries:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
            self._entries.pop(path).links = 0

    def sync_directory(self, path: Path) -> None:
        """See `Disk.sync_directory`."""
        with self._mutex:
            self._enter("sync_directory", path)
            for name in [entry for entry in self._durable_entries if entry.parent == path]:
                del self._durable_entries[name]
            self._durable_entries.update({one: inode for one, inode in self._entries.items() if one.parent == path})

    def lock(self, path: Path) -> File:
        """See `Disk.lock`."""
        with self._mutex:
            self._enter("lock", path)
            if path in self._locked:
                raise BlockingIOError(errno.EWOULDBLOCK, "locked", str(path))
            self._locked.add(path)
            inode = self._entries.setdefault(path, _Inode())
            inode.links = 1
            return _FakeFile(self, inode, self._life, unlock=path)

    def _need_directory(self, path: Path) -> None:
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))


class _FakeFile:
    """A descriptor; it dies with the process or the machine."""

    def __init__(self, disk: FakeDisk, inode: _Inode, life: int, unlock: Path | None = None) -> None:
        self._disk = disk
        self._inode = inode
        self._life = life
        self._unlock = unlock
        self._closed = False
        disk.open_files += 1

    def _enter(self, operation: str) -> None:
        if self._closed or self._life != self._disk._life:  # noqa: SLF001 - the two are one model
            raise OSError(errno.EBADF, "the process that opened this file is dead")
        self._disk._enter(operation)  # noqa: SLF001

    def write(self, buffers: Sequence[bytes], offset: int) -> int:
        with self._disk._mutex:  # noqa: SLF001
            self._enter("write")
            data = b"".join(buffers)
            if self._disk.short_writes and len(data) > 1:
                data = data[: len(data) // 2]
            self._inode.do(offset, data)
            return len(data)

    def read(self, length: int, offset: int) -> bytes:
        with self._disk._mutex:  # noqa: SLF001
            self._enter("read")
            bad = self._inode.bad
            if bad is not None and offset < bad.stop and bad.start < offset + length:
                raise OSError(errno.EIO, "Input/output error")
            return bytes(self._inode.cached[offset : offset + length])

    def allocate(self, size: int) -> None:
        with self._disk._mutex:  # noqa: SLF001
            self._enter("allocate")
            grown = max(0, size - len(self._inode.cached))
            if self._disk.capacity is not None and self._disk.allocated() + grown > self._disk.capacity:
                raise OSError(errno.ENOSPC, "No space left on device")
            if grown:
                self._inode.do(size, None)

    def truncate(self, size: int) -> None:
        with self._disk._mutex:  # noqa: SLF001
            self._enter("truncate")
            self._inode.do(size, None)

    def sync(self) -> None:
        self._disk._pause("sync")  # noqa: SLF001
        with self._disk._mutex:  # noqa: SLF001
            try:
                self._enter("sync")
            except OSError:
                if self._life == self._disk._life:  # noqa: SLF001
                    self._inode.pending.clear()  # the cache shows it still; the platter will never have it
                raise
            self._inode.sync()
            self._disk._synced = self._inode  # noqa: SLF001

    def size(self) -> int:
        return len(self._inode.cached)

    def linked(self) -> bool:
        return self._inode.links > 0

    def close(self) -> None:
        if self._closed or self._life != self._disk._life:  # noqa: SLF001
            return
        self._closed = True
        self._disk.open_files -= 1
        if self._unlock is not None:
            self._disk._locked.discard(self._unlock)  # noqa: SLF001
