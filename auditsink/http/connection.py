"""One connection to an HTTP server, straight or through a proxy: bytes out, an answer in."""

import asyncio
import fcntl
import ipaddress
import math
import socket
import ssl
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from auditsink.http.answers import HttpAnswer
from auditsink.http.parser import NoHttpError, ResponseParser, head

_PIECE = 2**18
"""Bytes given to the socket at once; the next ones wait until most of them are gone, so no body is copied whole."""
_NEXT_ADDRESS_SECONDS = 0.25
"""Until the next address of a name is tried beside the first (RFC 8305)."""
_PROXY_ANSWER = 65536
"""Bytes of what a proxy says when it refuses; nobody reads them."""


class CannotConnectError(Exception):
    """There is no connection: `cause` says why; `to_proxy` when not even the proxy was reached."""

    def __init__(self, cause: OSError, *, to_proxy: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.to_proxy = to_proxy


class EarlyAnswerError(ConnectionResetError):
    """A success was answered to a request that had not arrived as a whole: whoever answers has not read it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class ProxyRefusedError(Exception):
    """The proxy opens no tunnel; `status` is its answer."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the requests go: a host (an IPv6 address without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class HttpConnection(asyncio.Protocol):
    """Belongs to one event loop; one exchange at a time."""

    context: ssl.SSLContext | None = None
    """What it was opened with."""
    retires_at: float = math.inf
    """When it is to be used no more, in seconds of its owner's clock."""

    def __init__(self) -> None:
        self._reader = ResponseParser()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._moved: asyncio.Future[None] | None = None
        # Words and not exceptions: a kept one holds its traceback, and so this and the body until the collector comes.
        self._garbage: tuple[type[NoHttpError], str] | None = None
        self._broken = False
        self._alert: ssl.SSLError | None = None  # what TLS ended with
        self._writable = True
        self._sent = True
        self._behind = False
        self._expiry: asyncio.TimerHandle | None = None
        self._on_lost: Callable[[], None] | None = None
        self._lost: asyncio.Future[None] = self._loop.create_future()

    @property
    def usable(self) -> bool:
        """Another exchange may begin."""
        return self._sent and self._reader.reusable and not self._transport.is_closing()

    @property
    def cookies(self) -> list[str]:
        """That came with the last answer."""
        return self._reader.cookies

    async def exchange(self, start: bytes, body: bytes, *, limit: int, tunnel: bool = False) -> HttpAnswer:
        """Send the head and the body, read the answer. Raises NoHttpError, or OSError without an answer.

        Whoever cancels this must abort the connection. An answer may come before all is sent; the rest stays here.
        """
        self._reader.begin(limit, tunnel=tunnel)
        self._sent = False
        rest = memoryview(body)
        self._transport.write(start + rest[:_PIECE])
        while rest := rest[_PIECE:]:
            await self._until(lambda: self._writable)
            if self._over:
                break
            self._transport.write(rest[:_PIECE])
        self._sent = not rest
        await self._until(lambda: False)
        if self._garbage is not None:
            kind, said = self._garbage
            raise kind(said)
        if self._broken:
            raise self._alert or ConnectionResetError
        answer = self._reader.answer()
        if answer.status < 300 and (not self._sent or self._behind):
            raise EarlyAnswerError(answer.status)
        return answer

    def rest(self, seconds: float, lost: Callable[[], None]) -> None:
        """Nobody needs it; after so long it closes. `lost` is called if the other side closes it before."""
        self._expiry = self._loop.call_later(seconds, self.abort)
        self._on_lost = lost

    def wake(self) -> None:
        """It is needed again."""
        self._on_lost = None
        if self._expiry is not None:
            self._expiry.cancel()

    def abort(self) -> None:
        """Close at once. An exchange that is under way fails."""
        self.wake()
        self._transport.abort()

    async def closed(self) -> None:
        """After `abort`: until the socket is closed."""
        await self._lost

    async def secured(self, context: ssl.SSLContext, host: str) -> "HttpConnection":
        """TLS through the tunnel that this is now; use the new one. Raises OSError."""
        inner = HttpConnection()
        transport = await self._loop.start_tls(self._transport, inner, context, server_hostname=host)
        assert transport is not None
        inner.connection_made(transport)
        inner.context = context
        return inner

    @property
    def _over(self) -> bool:
        return self._reader.done or self._broken or self._garbage is not None

    async def _until(self, ready: Callable[[], bool]) -> None:
        while not (self._over or ready()):
            self._moved = self._loop.create_future()
            await self._moved

    def _move(self) -> None:
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)

    def _end(self, *, clean: bool) -> None:
        lost, self._on_lost = self._on_lost, None
        if lost is not None:
            lost()
        try:
            self._reader.end(clean=clean)
        except ConnectionError:
            self._broken = True
        self._move()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A part of the answer, or what nobody asked for."""
        unasked = self._reader.done
        try:
            self._reader.feed(data)
        except NoHttpError as problem:
            self._garbage = type(problem), str(problem)
        if unasked or self._garbage is not None:
            self._transport.abort()
        if self._reader.done and not unasked:
            self._behind = self._transport.get_write_buffer_size() > 0 or _unacknowledged(self._transport) > 0
        self._move()

    def eof_received(self) -> None:
        """The other side sends no more; asyncio closes the connection."""
        self._end(clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, by whomever."""
        self._alert = exc if isinstance(exc, ssl.SSLError) else None
        self._end(clean=False)
        self.wake()
        if not self._lost.done():
            self._lost.set_result(None)

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self._writable = False

    def resume_writing(self) -> None:
        """The transport takes bytes again: whoever waits to write goes on."""
        self._writable = True
        self._move()


def _unacknowledged(transport: asyncio.Transport) -> int:
    """Bytes that the other side's system has not confirmed. None, when it answers a request that it has read.

    An answer carries the confirmation of all that had arrived before it was sent (RFC 9293, 3.4), so what is left then
    was not read by whoever answered.
    """
    try:
        found = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except (OSError, ValueError, AttributeError):  # closed by now, or a system that does not tell
        return 0
    return int.from_bytes(found, sys.byteorder)


def _is_address(host: str) -> bool:
    """Whether there is no other one to race with.

    A race that is cancelled when it has just been won (asyncio.staggered) forgets a socket that is open.
    """
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


async def connect(
    origin: Origin, context: ssl.SSLContext | None, *, proxy: bool = False, turn: int = 0
) -> HttpConnection:
    """A connection to an address; with TLS if there is a context. `proxy`: it is one, for the error.

    `turn`: so many times it did not work; of a name with several addresses another one is taken each time, for one that
    takes connections and then hangs would be the first one always.

    Raises CannotConnectError, and SSLCertVerificationError for a certificate that is not what `context` wants.
    """
    with _telling(to_proxy=proxy):
        _, connection = await asyncio.get_running_loop().create_connection(
            HttpConnection,
            await _address(origin, turn),
            origin.port,
            ssl=context,
            server_hostname=None if context is None else origin.host,
            happy_eyeballs_delay=None if _is_address(origin.host) else _NEXT_ADDRESS_SECONDS,
        )
    connection.context = context
    return connection


async def _address(origin: Origin, turn: int) -> str:
    """The one whose turn it is; the name itself first and after the last, so that all are tried side by side."""
    if not turn:
        return origin.host
    found = await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    several = list(dict.fromkeys(str(address[0]) for *_, address in found))
    place = turn % max(len(several), 1)
    return several[place] if place else origin.host


async def tunnel(
    proxy: Origin, shown: dict[str, str], origin: Origin, context: ssl.SSLContext, *, turn: int = 0
) -> HttpConnection:
    """TLS to the origin through a tunnel of the proxy (RFC 9110, 9.3.6), which is `shown` these headers.

    Raises ProxyRefusedError, NoHttpError, and what `connect` raises.
    """
    outer = await connect(proxy, None, proxy=True, turn=turn)
    try:
        with _telling(to_proxy=True):
            await _ask_for_tunnel(outer, shown, origin)
        with _telling(to_proxy=False):
            return await outer.secured(context, origin.host)
    except BaseException:
        outer.abort()
        raise


async def _ask_for_tunnel(outer: HttpConnection, shown: dict[str, str], origin: Origin) -> None:
    start = head("CONNECT", str(origin), {"Host": str(origin), **shown}, 0)
    answer = await outer.exchange(start, b"", limit=_PROXY_ANSWER, tunnel=True)
    if not 200 <= answer.status < 300:
        raise ProxyRefusedError(answer.status)


@contextmanager
def _telling(*, to_proxy: bool) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError:
        raise
    except OSError as problem:
        raise CannotConnectError(problem, to_proxy=to_proxy) from None
