"""Accepts connections, and rests while the process has no file descriptor for another one.

asyncio's own server goes on asking for as many times as connections may wait, says so each time, and begins anew as
often: a process that is out of descriptors becomes a hot loop that fills the log. Here one refusal is one pause. Who
waits in the kernel's queue meanwhile is taken when a descriptor is free.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

log = logging.getLogger("auditsink.common.listen")

AT_ONCE = 16
"""In one turn of the loop: those that are too many must have been closed before their number is reached."""
PAUSE_SECONDS = 1.0
"""Until it is tried again."""
SILENCE_SECONDS = 60.0
"""Between two lines about it."""
NO_RESOURCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """On one listening socket, which is its own from the constructor on. Belongs to the loop's thread."""

    def __init__(self, listening: socket.socket, protocol: Callable[[], asyncio.BaseProtocol], what: str) -> None:
        """Begins at once. `protocol` makes one for each connection; `what` is the port's name for the log."""
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._protocol = protocol
        self._what = what
        self._opening: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._said: float | None = None
        self._closed = False
        listening.setblocking(False)
        self._resume()

    def __repr__(self) -> str:
        return f"<Acceptor {self._what}{' resting' if self._pause else ''}>"

    def close(self) -> None:
        """Accept no more, and close the socket. What was accepted goes on."""
        if self._closed:
            return
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    async def wait_closed(self) -> None:
        """Until the last one that was accepted has its transport."""
        if self._opening:
            await asyncio.wait(self._opening)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                made, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                if problem.errno not in NO_RESOURCE:
                    raise
                self._rest(problem)
                return
            task = self._loop.create_task(self._open(made))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, made: socket.socket) -> None:
        try:
            made.setblocking(False)
            await self._loop.connect_accepted_socket(self._protocol, made)
        except Exception as problem:
            made.close()
            if not isinstance(problem, OSError):  # else the client has gone already
                raise

    def _rest(self, problem: OSError) -> None:
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(PAUSE_SECONDS, self._resume)
        now = self._loop.time()
        if self._said is None or now - self._said >= SILENCE_SECONDS:
            self._said = now
            log.warning(
                "the %s takes no more connections for now: %s; those that wait are taken when others have ended",
                self._what,
                problem.strerror,
            )
