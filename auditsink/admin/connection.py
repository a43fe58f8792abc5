"""uvicorn's connection, with bounds on what a client of the admin port may withhold.

uvicorn waits for ever for a request that was begun and for a client that does not read its answer. A few hundred of
either would take every connection that the port has, the probes' among them, and a probe that fails is a restart.
"""

import asyncio
import socket

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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
        """It reads."""
        if self._reading is not None:
            self._reading.cancel()
        super().resume_writing()
