"""The receive port from start to close: the listener, the sweep every second, files that change under it."""

import asyncio
import logging
from collections.abc import Callable

from auditsink import config
from auditsink.clusters.registry import Registry
from auditsink.common import descriptors
from auditsink.common.accept import Acceptor
from auditsink.common.clock import Clock, SystemClock
from auditsink.common.listen import Address, ListenError, bound, listen
from auditsink.receive.auth import Authorizer
from auditsink.receive.certificates import Certificates
from auditsink.receive.connection import ReceiveConnection
from auditsink.receive.errors import ReceiveError
from auditsink.receive.listener import ListenerState, Room, room
from auditsink.receive.statistics import ReceiveStatistics
from auditsink.receive.store import Store
from auditsink.receive.tls import TlsTransport

log = logging.getLogger("auditsink.receive")

SWEEP_SECONDS = 1.0
POLL_SECONDS = 3.0
"""How often the files of certificates and tokens are looked at."""
CLOSE_SECONDS = 1.0
"""For what is still being written when the port closes."""
_LOOK_SECONDS = 0.02  # between two looks at whether everything is answered, or closed


class Credentials:
    """What is in force now. A file that cannot be used any more changes nothing but `problems`."""

    def __init__(self, settings: config.Receive, registry: Registry) -> None:
        """Raises ReceiveError."""
        self.certificates = None if settings.tls is None else Certificates(settings.tls)
        self._registry = registry

    @property
    def any(self) -> bool:
        """Whether there is a file to look at."""
        return self._registry.watches or self.certificates is not None

    def poll(self) -> bool:
        """Look at the files; True when something new is in force. Reads disks: run it in a thread."""
        clusters = self._registry.watches and self._registry.poll()
        certificates = self.certificates is not None and self.certificates.changed()
        return clusters or certificates

    @property
    def problems(self) -> tuple[str, ...]:
        """Why something in a file is not in force, a sentence each."""
        certificates = self.certificates.problem if self.certificates is not None else None
        return (*self._registry.problems, *([certificates] if certificates else []))


class ReceiveServer:
    """Takes batches from `start` to `close`. Every method belongs to the loop's thread."""

    def __init__(
        self, settings: config.Receive, spool: Store, registry: Registry, *, clock: Clock | None = None
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._registry = registry
        self._clock = clock or SystemClock()
        self._polling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle
        self._credentials: Credentials
        self._listener: ListenerState
        self._acceptor: Acceptor
        self.address: Address
        """Where it really listens, from `start` on."""

    async def start(self) -> None:
        """Listen. Raises ReceiveError when a file or the address cannot be used."""
        settings = self._settings
        self._credentials = Credentials(settings, self._registry)
        try:
            listening = listen("receive.listen", settings.listen)
        except ListenError as problem:
            raise ReceiveError(str(problem)) from None
        self.address = bound(listening)
        rings = max(len(self._spool.rings), len(self._registry.cluster_set.clusters))
        authorizer = Authorizer(settings.path, settings.cluster, lambda: self._registry.cluster_set)
        self._listener = ListenerState(settings, self._spool, authorizer, self._registry.rate, self._clock)
        self._poll_at = self._listener.now + POLL_SECONDS
        self._listener.connections.room = _room(settings.max_connections, rings)
        self._acceptor = Acceptor(listening, self._protocol, "receive port")
        self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        for sentence in self._credentials.problems:
            log.warning(sentence)

    def adopt(self, settings: config.Receive) -> None:
        """Hold to other limits from now on; what is under way keeps those that it began with."""
        self._settings = settings
        self._listener.adopt(settings)
        rings = max(len(self._spool.rings), len(self._registry.cluster_set.clusters))
        self._listener.connections.room = _room(settings.max_connections, rings)

    def stop_accepting(self) -> None:
        """From now on every request that begins gets 503 and its connection is closed; what was begun goes on."""
        self._listener.stopping = True

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 - what is not answered then is told, not cancelled
        """Wait until what was begun is answered, for at most so many seconds; says whether it is."""
        return await self._until(lambda: not any(one.busy for one in self._listener.connections.open), timeout)

    async def close(self) -> None:
        """Stop listening and close all connections, answered or not. What the spool was given is not touched."""
        self._timer.cancel()
        self._acceptor.close()
        if self._polling is not None:
            await asyncio.wait([self._polling])
        for connection in tuple(self._listener.connections.open):
            connection.close()
        await self._until(lambda: not self._listener.connections.open, CLOSE_SECONDS)
        for connection in tuple(self._listener.connections.open):
            connection.abort()
        self._listener.ingest.close()
        await self._acceptor.wait_closed()

    def statistics(self) -> ReceiveStatistics:
        """The figures of this moment."""
        listener = self._listener
        return listener.counters.read(
            connections=len(listener.connections.open),
            in_flight_bytes=listener.ingest.memory.held,
            problems=self._credentials.problems,
        )

    def _protocol(self) -> asyncio.BufferedProtocol:
        certificates = self._credentials.certificates
        return (
            ReceiveConnection(self._listener)
            if certificates is None
            else TlsTransport(self._listener, certificates.context)
        )

    async def _until(self, reached: Callable[[], bool], seconds: float) -> bool:
        ends = self._clock.monotonic() + seconds
        while not reached():
            if self._clock.monotonic() >= ends:
                return False
            await self._clock.sleep(_LOOK_SECONDS)
        return True

    def _sweep(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        self._listener.sweep()
        idle = self._polling is None or self._polling.done()
        if self._credentials.any and idle and self._listener.now >= self._poll_at:
            self._poll_at = self._listener.now + POLL_SECONDS
            self._polling = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        known, certificates = set(self._credentials.problems), self._credentials.certificates
        before = certificates and certificates.context
        if await asyncio.to_thread(self._credentials.poll):
            if certificates and certificates.context is not before:
                self._listener.retire()
            log.info(
                "certificates, tokens or clusters have changed; new connections and requests are held to the new ones"
            )
        for problem in self._credentials.problems:
            if problem not in known:
                log.warning(problem)


def _room(wanted: int, rings: int) -> Room:
    most = descriptors.limit()
    found = room(wanted, descriptors.left_for_connections(rings, most))
    if found.taken < wanted:
        log.warning(
            "fewer connections than receive.max_connections are taken at once, because this process may not have more "
            "files open; raise its limit (ulimit -n, LimitNOFILE), or lower receive.max_connections",
            extra={"max_connections": wanted, "taken": found.taken, "rings": rings, "limit": most},
        )
    return found
