"""Writes log lines by a thread of its own, because whoever reads standard error may stop reading.

A pipe that nobody empties blocks its writer for ever: then no request would be answered, no probe, no signal. Here
lines wait in a queue with a bound; what finds no room is skipped and counted, and said when lines go out again.
"""

import os
import select
import threading
from collections import deque
from collections.abc import Callable

QUEUED_BYTES = 2**20
"""Lines that wait: some thousands, which a reader that is only slow catches up with."""


class LogWriter:
    """Lines to a file descriptor. `put` may be called in any thread and never waits for the reader."""

    def __init__(
        self,
        fd: int,
        *,
        skipped_line: Callable[[int], str],
        idle: Callable[[], float | None] = lambda: None,
        queued_bytes: int = QUEUED_BYTES,
    ) -> None:
        """`skipped_line` makes the line that says how many were skipped.

        `idle` is called when nothing waits; it may `put`, and says in how many seconds it wants to be called again.
        """
        self.skipped = 0
        """Lines, since the start."""
        self._fd = fd
        self._skipped_line = skipped_line
        self._idle = idle
        self._limit = queued_bytes
        self._told = 0
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._writing = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="auditsink-log", daemon=True).start()

    def __repr__(self) -> str:
        return f"<LogWriter {len(self._lines)} lines wait, {self.skipped} skipped>"

    def put(self, line: str) -> None:
        """Have the line written, with its line break; or skip it."""
        data = line.encode(errors="backslashreplace") + b"\n"
        with self._changed:
            if self._bytes + len(data) > self._limit:
                self.skipped += 1
                return
            self._say_skipped()
            self._lines.append(data)
            self._bytes += len(data)
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all lines are out, for so long; says whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._lines or self._writing), seconds)

    def _run(self) -> None:
        while True:
            self._write(self._next())

    def _next(self) -> bytes:
        while True:
            wait = None if self._lines else self._idle()
            with self._changed:
                self._writing = False
                if not self._lines:
                    self._say_skipped()
                self._changed.notify_all()
                if self._lines or self._changed.wait_for(lambda: self._lines, wait):
                    self._writing = True
                    line = self._lines.popleft()
                    self._bytes -= len(line)
                    return line

    def _say_skipped(self) -> None:
        if self.skipped > self._told:
            data = self._skipped_line(self.skipped - self._told).encode() + b"\n"
            self._told = self.skipped
            self._lines.append(data)  # past the bound, but for one line
            self._bytes += len(data)

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # somebody who shares it has made it so
                waiting = select.poll()
                waiting.register(self._fd, select.POLLOUT)
                waiting.poll()
            except OSError:  # its reader has gone: there is nobody to tell
                with self._changed:
                    self.skipped += 1
                    self._told = self.skipped
                return
