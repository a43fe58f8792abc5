"""What the operating system says of a process and its children: CPU and memory. Linux only."""

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `anonymous` leaves out mapped files, which the kernel may drop: some systems map their buffers."""

    rss: int
    anonymous: int


def cpu(pid: int) -> float:
    """Seconds, user and system, of the process and its descendants, with those that have ended and were waited for."""
    # utime, stime, cutime, cstime: fields 14 to 17 of /proc/PID/stat, see proc(5)
    return sum(int(field) for one in _tree(pid) for field in _stat(one)[11:15]) / TICKS


def memory(pid: int) -> Memory:
    """Of the process and its descendants."""
    tree = _tree(pid)
    return Memory(
        sum(_field(one, "smaps_rollup", "Rss") * 1024 for one in tree),
        sum(_field(one, "smaps_rollup", "Anonymous") * 1024 for one in tree),
    )


def descriptors(pid: int) -> int:
    """Open file descriptors of the process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


class Peak:
    """Looks at the memory twice a second from `with` to its end, and keeps the largest that it saw."""

    INTERVAL = 0.5

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.memory = Memory(0, 0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            try:
                now = memory(self._pid)
            except OSError:  # it died, which is told elsewhere
                return
            self.memory = Memory(max(self.memory.rss, now.rss), max(self.memory.anonymous, now.anonymous))
            if self._done.wait(self.INTERVAL):
                return


def _tree(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended meanwhile
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
    tree = [pid]
    for one in tree:  # grows while it is walked
        tree += [child for child, parent in parents.items() if parent == one]
    return tree


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on: the second may hold spaces and brackets."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _field(pid: int, file: str, name: str) -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise LookupError(f"/proc/{pid}/{file} has no {name}")
