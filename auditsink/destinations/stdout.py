"""NDJSON on standard output, for a container whose runtime collects it.

The reader of a pipe may stall. Waiting for it must block neither the event loop nor the exit of the process, so a
pipe is written in pieces that fit when it says it is writable. When time runs out in the middle of a line, the rest
of that line goes out before anything else: no reader ever sees two events glued together.

A reader that has gone never comes back to this process: that is `Misconfigured`, and the events stay in the spool.
"""

import asyncio
import os
import select
import stat
from typing import NamedTuple

from auditsink.common.blocking import BlockingCalls
from auditsink.common.clock import Clock
from auditsink.config import StdoutConfig
from auditsink.delivery.destination import Attempt, Batch, UnavailableError
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry, RetryCause
from auditsink.delivery.settings import key
from auditsink.destinations import defaults
from auditsink.destinations.encoding import documents, lines

_PIECE = 4096  # bytes: what a pipe that calls itself writable takes without blocking (PIPE_BUF)


class Progress(NamedTuple):
    """How far the lines of a batch are out: all before `position`, and `torn` is what is owed before the rest."""

    torn: bytes
    position: int


def after(progress: Progress, content: bytes, written: int) -> Progress:
    """The progress once `written` bytes of `torn + content[position:]` are out. Pure."""
    if written < len(progress.torn):
        return Progress(progress.torn[written:], progress.position)
    reached = progress.position + written - len(progress.torn)
    if reached == progress.position or content[reached - 1 : reached] == b"\n":
        return Progress(b"", reached)
    end = content.index(b"\n", reached) + 1
    return Progress(content[reached:end], end)


class StdoutDestination:
    """See `Destination`."""

    type = "stdout"

    def __init__(self, config: StdoutConfig, clock: Clock, *, fd: int = 1) -> None:  # noqa: ARG002 - as all are built
        """Raises UnavailableError when standard output is closed."""
        self.name = config.name
        self.limits = defaults.limits(config)
        self._timeout = config.timeout
        self._fd = fd
        self._lock = asyncio.Lock()
        self._calls = BlockingCalls(f"stdout-{config.name}")  # for a file, whose disk may hang
        self._torn = b""
        try:
            self._may_stall = not stat.S_ISREG(os.fstat(fd).st_mode)
        except OSError:
            where = key(config, "type")
            raise UnavailableError(f"{where}: standard output is closed; start the sink with one") from None
        self._piece = _PIECE if self._may_stall else self.limits.max_bytes

    async def prepare(self, batch: Batch) -> Attempt:
        """See `Destination.prepare`."""
        return _Lines(self, lines(documents(batch)))

    async def probe(self) -> Outcome:
        """Any byte would be taken for an event: only a reader that has gone is noticed."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
        return _GONE if gone else Delivered()

    async def close(self) -> None:
        """Standard output itself is not ours to close."""
        self._calls.close()

    async def write(self, content: bytes, position: int) -> tuple[Outcome, int]:
        """Write `content` from `position`; the outcome, and from where to go on if it has to be called again."""
        async with self._lock:
            progress = Progress(self._torn, position)
            data = self._torn + content[position:]
            written = 0
            outcome: Outcome = Delivered()
            try:
                async with asyncio.timeout(self._timeout):
                    while written < len(data):
                        written += await self._some(data[written : written + self._piece])
            except TimeoutError:
                outcome = Retry(
                    f"standard output: its reader took no more within {self._timeout:g} s", cause=RetryCause.ELSEWHERE
                )
            except BrokenPipeError:
                outcome = _GONE
            except OSError as problem:
                outcome = Retry(f"standard output: {problem.strerror}", cause=RetryCause.ELSEWHERE)
            finally:
                self._torn, position = after(progress, content, written)
            return outcome, position

    async def _some(self, piece: bytes) -> int:
        if not self._may_stall:
            return await self._calls.run(None, os.write, self._fd, piece)
        await self._writable()
        try:
            return os.write(self._fd, piece)
        except BlockingIOError:
            return 0

    async def _writable(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if poll.poll(0):
            return
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._fd, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._fd)


class _Lines:
    """An attempt that remembers how far it came."""

    def __init__(self, destination: StdoutDestination, content: bytes) -> None:
        self._destination = destination
        self._content = content
        self._position = 0

    async def __call__(self) -> Outcome:
        outcome, self._position = await self._destination.write(self._content, self._position)
        return outcome


_GONE = Misconfigured("standard output: its reader is gone; restart the sink with a reader, the events are kept")
