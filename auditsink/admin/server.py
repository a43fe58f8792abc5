"""The admin port from its binding to its close: Starlette on uvicorn, in the sink's own loop.

uvicorn waits for ever for a request that was begun and for a client that does not read its answer. A few hundred of
either would take every connection that the port has, the probes' among them, and a probe that fails is a restart: so
its connections have bounds of ours.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence
from functools import partial

import uvicorn
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server

from auditsink.admin.access import Access, parse_token
from auditsink.admin.app import AdminRoute, application
from auditsink.admin.content import TrailEndpoints
from auditsink.admin.dead_letters import DeadLetterEndpoints
from auditsink.admin.status_endpoints import StatusEndpoints
from auditsink.admin.view import View
from auditsink.common import descriptors
from auditsink.common.accept import Acceptor
from auditsink.common.listen import ListenError, bound, listen
from auditsink.common.secret import Secret, UnreadableFileError, WatchedFile
from auditsink.config import Admin

uvicorn.Config = Config  # type: ignore[misc] # a part of it asks the package, whose other parts must not run for that
REQUEST_SECONDS = 10.0
"""From a connection's beginning, or a request's first byte, to the request's last."""
READ_SECONDS = 20.0
"""For a client to take in what waits for it once its buffers are full: a listener that stopped reading is dropped."""
GONE_SECONDS = 30
"""Without an acknowledgement from the client's TCP (a phone asleep) the connection ends; else it takes 15 minutes."""
BEYOND = 56
"""Connections past the limit that still get a 503; more are closed at once."""
HEAD_BYTES = 65536
"""Of a request before its body; uvicorn would keep headers for as long as a client goes on sending them."""
_PROBES = (b"/livez", b"/readyz", b"/api/v")  # the last: fluent-bit's, where we stand in its place


class AdminConnection(HttpToolsProtocol):
    """One connection to the admin port."""

    _request: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    _head: int | None = 0  # bytes of the head so far; None from its end to the end of the request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """The transport is there; so is the deadline for the first request."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency + min(
            BEYOND, self.limit_concurrency
        ):
            transport.abort()
            return
        made: socket.socket | None = transport.get_extra_info("socket")
        if made is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_SECONDS * 1000)
        self._request = self.loop.call_later(REQUEST_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        for timer in (self._request, self._reading):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The first byte of a request starts its clock."""
        if self._request is None:
            self._request = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head is not None and self._head > HEAD_BYTES:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """Probes are answered whoever else is there."""
        self._head = None
        limit = self.limit_concurrency
        if self.url.startswith(_PROBES):
            self.limit_concurrency = None
        super().on_headers_complete()
        self.limit_concurrency = limit

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._head = 0
        if self._request is not None:
            self._request.cancel()
            self._request = None
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The buffers are full: the client has so long to read."""
        super().pause_writing()
        self._reading = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again: its deadline no longer runs."""
        if self._reading is not None:
            self._reading.cancel()
        super().resume_writing()


log = logging.getLogger("auditsink.admin")

CONNECTIONS = 200
"""At once; more get 503, but for the probes. Enough for several scrapers and a few dozen people."""
CLOSE_SECONDS = 1
"""For answers under way when the sink stops."""
POLL_SECONDS = 3.0
"""How often the token's file is looked at."""


class _Server(Server):
    """uvicorn without its signal handlers: the sink decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own for sockets that are given, but for how connections are accepted."""
        await self.lifespan.startup()
        made = partial(
            AdminConnection,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        self.servers = [Acceptor(one, made, "admin port") for one in sockets or ()]  # type: ignore[misc]  # as closable
        self.started = True


class AdminServer:
    """The application on its port, from the constructor to `close`."""

    def __init__(self, config: Admin, view: View, guests: Sequence[AdminRoute] = ()) -> None:
        """Bind the port. Raises ListenError, for the token's file too. `guests`: see `application`."""
        self._token = _watched(config)
        self._socket = listen("admin.listen", config.listen)
        self.address = bound(self._socket)
        token = None if self._token is None else self._token.get
        access = Access(loopback=self.address.loopback, token=token, now=view.clock.monotonic)
        self._view = view
        self._numbers = StatusEndpoints(view, access)
        self._content = TrailEndpoints(view)
        self._server = _Server(
            Config(
                application(access, self._numbers, self._content, DeadLetterEndpoints(view), guests),
                http=AdminConnection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=descriptors.for_admin(CONNECTIONS, descriptors.limit()),
                timeout_graceful_shutdown=CLOSE_SECONDS,
            )
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Task[None]":
        """Serve; the task ends with `close`, or with what went wrong."""
        self._task = asyncio.create_task(self._run(), name="admin port")
        return self._task

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._numbers.sample()), group.create_task(self._poll())]
            await self._server.serve([self._socket])
            for task in beside:
                task.cancel()

    async def _poll(self) -> None:
        """A new token is in force within seconds; a file that can no longer be read changes nothing, and is told."""
        told: str | None = None
        while self._token is not None:
            await self._view.clock.sleep(POLL_SECONDS)
            if await asyncio.to_thread(self._token.changed):
                log.info("the admin token has changed")
            if self._token.error not in (None, told):
                log.warning("admin.token_file %s; the last good token stays in force", self._token.error)
            told = self._token.error

    async def close(self) -> None:
        """Stop serving; takes at most `CLOSE_SECONDS` and a bit."""
        self._numbers.live.close()
        self._content.close()
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait([self._task])
        self._socket.close()


def _watched(config: Admin) -> WatchedFile[Secret] | None:
    if config.token_file is None:
        return None
    try:
        return WatchedFile(config.token_file, parse_token)
    except UnreadableFileError as problem:
        raise ListenError(f"admin.token_file {problem}") from None
