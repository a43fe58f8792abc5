"""Dead letters of a destination on the disk: appended by the sink, listed and taken away by commands beside it.

::

    <spool>/deadletters/<destination>/letters.ndjson   one `DeadLetter` a line, oldest first
    <spool>/deadletters/<destination>/letters.new      the next version of it, while it is rewritten
    <spool>/deadletters/<destination>/dropped          how many were thrown away for want of room, ever: a number
    <spool>/deadletters/<destination>/lock             flock around every change

A dead letter is durable before `append` returns, so the cursor may pass its event. A crash in the middle of an append
leaves a torn last line, whose event will be refused again: the next append cuts it off. A crash after it may leave
the same one twice: readers show it once. Rewriting goes through a new file that is synced and renamed into place.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol

from auditsink.common.disk import Disk, File, RealDisk, append_all, line_start, replace
from auditsink.common.operator_error import OperatorError
from auditsink.common.units import Size
from auditsink.common.watch import stamp_or_none
from auditsink.forward.dead_letter import DeadLetter, decode

log = logging.getLogger("auditsink.forward")

DIRECTORY = "deadletters"
"""In the spool's directory; one directory per destination in it."""

_BLOCK = 2**20
_DROPPED = "dropped"
_SPARE = 8
"""A full file is made emptier by this part of its size: writing it anew for each dead letter would be slow."""
_LOCK_TRIES, _LOCK_PAUSE = 200, 0.01  # 2 s: rewriting the default 64 MiB takes well under one


class DeadLettersFullError(OperatorError):
    """No room for another dead letter. The message says for whom and what to do."""


class DeadLetterQueue(Protocol):
    """The dead letters of one destination, wherever they are kept. Everything blocks; it belongs into a thread."""

    @property
    def where(self) -> str:
        """Names the place, and what to look at when nothing can be kept there."""
        ...

    def append(self, dead_letters: Sequence[DeadLetter]) -> int:
        """See `DeadLetters.append`."""
        ...

    def dropped(self) -> int:
        """See `DeadLetters.dropped`."""
        ...

    def __iter__(self) -> Iterator[DeadLetter]:
        """See `DeadLetters.__iter__`."""
        ...

    def get(self, dead_letter_id: str) -> DeadLetter | None:
        """See `DeadLetters.get`."""
        ...

    def remove(self, ids: Container[str]) -> int:
        """See `DeadLetters.remove`."""
        ...

    def clear(self) -> int:
        """See `DeadLetters.clear`."""
        ...

    def identity(self) -> tuple[object, int]:
        """See `DeadLetters.identity`."""
        ...

    def since(self, start: int) -> Iterator[tuple[DeadLetter | None, int]]:
        """See `DeadLetters.since`."""
        ...


class DeadLetters:
    """The dead letters of one destination on the disk. All methods block; `append` belongs into a thread."""

    def __init__(
        self,
        path: Path,
        max_bytes: int | None = None,
        *,
        drop_oldest: bool = False,
        disk: Disk | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`path` is the destination's own directory, made when needed. No `max_bytes`: commands only take away.

        `drop_oldest`: when there is no room, the oldest are thrown away and counted.
        """
        self.path = path
        self.max_bytes = max_bytes
        self.torn = 0
        """Torn last lines that were cut off."""
        self._drop_oldest = drop_oldest
        self._disk = disk or RealDisk()
        self._sleep = sleep
        self._file = path / "letters.ndjson"
        self._named: File | None = None

    def __repr__(self) -> str:
        return f"<DeadLetters {self.path}>"

    @property
    def where(self) -> str:
        """See `DeadLetterQueue.where`."""
        return f"{self.path} (check the disk)"

    def append(self, dead_letters: Sequence[DeadLetter]) -> int:
        """Store them durably, all or none; returns how many were thrown away for it.

        Raises DeadLettersFullError, OSError.
        """
        lines = [dead_letter.encode() for dead_letter in dead_letters]
        self._disk.make_directory(self.path)
        with self._locked():
            if self.max_bytes is None or self.size() + sum(map(len, lines)) <= self.max_bytes:
                dropped = 0
            elif self._drop_oldest:
                dropped, lines = self._made_room(lines, self.max_bytes)
            else:
                raise DeadLettersFullError(self._full())
            self._write(b"".join(lines))
        return dropped

    def dropped(self) -> int:
        """How many were thrown away for want of room, ever. Raises OSError."""
        try:
            file = self._disk.open(self.path / _DROPPED)
        except FileNotFoundError:
            return 0
        with contextlib.closing(file):
            found = file.read(32, 0).strip()
        return int(found) if found.isdigit() else 0

    def _made_room(self, lines: list[bytes], max_bytes: int) -> tuple[int, list[bytes]]:
        """Throw away the oldest, and more than needed, for it means writing the others anew; of the new ones too."""
        room = max_bytes - max_bytes // _SPARE
        fitting = len(lines)
        while fitting and sum(map(len, lines[-fitting:])) > room:
            fitting -= 1
        kept = lines[len(lines) - fitting :]
        dropped, excess = len(lines) - fitting, self.size() + sum(map(len, kept)) - room
        older = self._lines()
        for line in older:
            if excess <= 0:
                older = chain([line], older)
                break
            excess -= len(line)
            dropped += decode(line) is not None
        self._replace(_DROPPED, [b"%d\n" % (self.dropped() + dropped)])
        self._replace(self._file.name, older)
        self._forget_name()
        return dropped, kept

    def _write(self, data: bytes) -> None:
        with self._opened() as file:
            end = self._whole_lines(file)
            append_all(file, [data], end)
            try:
                self._make_name_durable()
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(end)
                raise

    def __iter__(self) -> Iterator[DeadLetter]:
        """They, oldest first, each once. What is none is passed over. Raises OSError."""
        seen: set[str] = set()
        for line in self._lines():
            dead_letter = decode(line)
            if dead_letter is not None and dead_letter.id not in seen:
                seen.add(dead_letter.id)
                yield dead_letter

    def get(self, dead_letter_id: str) -> DeadLetter | None:
        """The one with that id."""
        return next((dead_letter for dead_letter in self if dead_letter.id == dead_letter_id), None)

    def remove(self, ids: Container[str]) -> int:
        """Take those with these ids away, at once and for good; returns how many there were.

        Lines that cannot be read stay: they may be all that is left of an event.
        """
        if self.size() == 0:
            return 0
        with self._locked():
            removed = {dead_letter.id for dead_letter in self if dead_letter.id in ids}
            if removed:
                self._replace(self._file.name, self._kept(removed))
        return len(removed)

    def clear(self) -> int:
        """Take everything away, unreadable lines too; returns how many there were."""
        if self.size() == 0:
            return 0
        with self._locked():
            count = sum(1 for _ in self)
            self._replace(self._file.name, ())
        return count

    def identity(self) -> tuple[object, int]:
        """What tells this version of the file from one that was put in its place, and its bytes. Raises OSError."""
        stamp = stamp_or_none(self._file)
        return (None if stamp is None else stamp[0], self.size())

    def since(self, start: int) -> Iterator[tuple[DeadLetter | None, int]]:
        """Those that stand behind a byte of the file at which a line begins, each with the byte behind its line.

        None for a line that is none. Raises OSError.
        """
        end = start
        for line in self._lines(start):
            end += len(line)
            yield decode(line), end

    def size(self) -> int:
        """Bytes on the disk. Raises OSError."""
        try:
            file = self._disk.open(self._file)
        except FileNotFoundError:
            return 0
        with contextlib.closing(file):
            return file.size()

    def _full(self) -> str:
        name = self.path.name
        return (
            f"dead letters of destination {name!r} are full ({Size(self.max_bytes or 0)} in {self.path}): run "
            f"`auditsink deadletter replay --destination {name}` or `auditsink deadletter drop --destination {name}`, "
            "or raise dead_letter_bytes; `when_dead_letters_full: drop_oldest` would not pause the destination"
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock against other processes; OSError when one of them does not let go of it."""
        for _ in range(_LOCK_TRIES):
            try:
                lock = self._disk.lock(self.path / "lock")
                break
            except BlockingIOError:
                self._sleep(_LOCK_PAUSE)
        else:
            raise TimeoutError(f"{self.path / 'lock'} is held by another process; let that command end or stop it")
        with contextlib.closing(lock):
            yield

    @contextlib.contextmanager
    def _opened(self) -> Iterator[File]:
        try:
            file = self._disk.open(self._file, write=True)
        except FileNotFoundError:
            self._forget_name()
            file = self._disk.create(self._file)
        with contextlib.closing(file):
            yield file

    def _make_name_durable(self) -> None:
        """Sync the directory, unless that was done for this very file.

        The file may be new, or renamed by a command that died before it could do this. While one is held open that
        still has its name, it is the one; each sync of the directory would hold up the spool's on the same disk.
        """
        if self._named is None or not self._named.linked():
            self._disk.sync_directory(self.path)
            self._forget_name()
            self._named = self._disk.open(self._file)

    def _forget_name(self) -> None:
        if self._named is not None:
            self._named.close()
            self._named = None

    def _whole_lines(self, file: File) -> int:
        """The length of the file without a torn last line, which is cut off."""
        size = file.size()
        end = line_start(file, size)
        if end < size:
            self.torn += 1
            log.warning(
                "cut off a dead letter that a crash left half written; its event will be tried again",
                extra={"destination": self.path.name, "file": str(self._file), "bytes": size - end},
            )
            file.truncate(end)
        return end

    def _lines(self, start: int = 0) -> Iterator[bytes]:
        """Complete lines with their line breaks; a line without one is still being written, or torn."""
        try:
            file = self._disk.open(self._file)
        except FileNotFoundError:
            return
        with contextlib.closing(file):
            at = start
            parts: list[bytes] = []
            while block := file.read(_BLOCK, at):
                at += len(block)
                head, *others = block.split(b"\n")
                parts.append(head)
                for other in others:
                    yield b"".join(parts) + b"\n"
                    parts = [other]

    def _kept(self, ids: Container[str]) -> Iterator[bytes]:
        """The lines that stay when these dead letters go; repeats go too."""
        seen: set[str] = set()
        for line in self._lines():
            dead_letter = decode(line)
            if dead_letter is None:
                yield line
            elif dead_letter.id not in ids and dead_letter.id not in seen:
                seen.add(dead_letter.id)
                yield line

    def _replace(self, name: str, lines: Iterable[bytes]) -> None:
        """Put these lines in the place of a file's. A crash leaves either the old file or the new one."""
        replace(self._disk, self.path / name, lines, draft=self.path / "letters.new")


def place(spool_path: Path, destination: str) -> Path:
    """Where a destination's dead letters lie."""
    return spool_path / DIRECTORY / destination


def open_all(spool_path: Path, *, disk: Disk | None = None) -> dict[str, DeadLetters]:
    """The dead letters of every destination that ever had one, by its name. Raises OSError."""
    disk = disk or RealDisk()
    try:
        names = disk.names(spool_path / DIRECTORY)
    except FileNotFoundError:
        return {}
    return {name: DeadLetters(place(spool_path, name), disk=disk) for name in names}
