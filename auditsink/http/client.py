"""Requests to one origin: kept-alive connections, and every way in which a request can end as a value.

HTTP/1.1 is ours but for the parser: a sink posts whole bodies to one address and reads small answers, and a client for
everything took 10 of its 51 MB at rest and a fifth of its CPU at full speed (benchmarks/README.md).

Nothing is retried or redirected here. What follows a failure goes over a new connection, to the name's next address. No
compression is asked for; one that comes all the same is undone. No text that leaves this module holds a path, a header
or a body: each may carry a secret.
"""

import asyncio
import os
import random as random_module
import re
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import urlsplit

import zstandard

from auditsink import __version__
from auditsink.delivery.outcome import Misconfigured, Outcome, Retry, RetryCause
from auditsink.http.answers import HttpAnswer, by_proxy, foreign
from auditsink.http.connection import (
    CannotConnectError,
    EarlyAnswerError,
    HttpConnection,
    Origin,
    ProxyRefusedError,
    connect,
    tunnel,
)
from auditsink.http.parser import NoHttpError, SpeaksHttp2Error, SpeaksTlsError, head
from auditsink.http.proxy import ProxyRoute

_MOST = 32
"""A balancer sets one or two; who sets more and more must not grow our memory and our requests."""
_LONGEST = 4096  # characters: what browsers keep (RFC 6265, 6.1)


class Cookies:
    """Names and values, kept so that a load balancer sends us to the same indexer again.

    Paths and domains are not looked at: one origin, one service. An expired one is replaced.
    """

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def take(self, several: Iterable[str]) -> None:
        """What an answer's Set-Cookie headers say (RFC 6265, 5.2), each the value of one."""
        for one in several:
            pair, _, attributes = one.partition(";")
            name, equals, value = (part.strip() for part in pair.partition("="))
            if not name or not equals or len(pair) > _LONGEST:
                continue
            self._values.pop(name, None)  # the newest stands last
            if not _ended(attributes):
                self._values[name] = value
        while len(self._values) > _MOST:
            del self._values[next(iter(self._values))]

    def header(self) -> dict[str, str]:
        """What goes with a request; nothing when there are none."""
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self._values.items())} if self._values else {}


def _ended(attributes: str) -> bool:
    """`Max-Age=0` or less: the other side takes the cookie back."""
    for attribute in attributes.split(";"):
        name, _, value = attribute.partition("=")
        if name.strip().lower() == "max-age":
            return value.strip().startswith("-") or value.strip().strip("0") == ""
    return False


_ZLIB = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib's `wbits` for what is understood (RFC 9110, 8.4.1)."""
_RAW_DEFLATE = -15  # what some servers call deflate


class UnknownCodingError(ValueError):
    """The answer is compressed in a way that is not understood, or is not what it says; the message names it."""


def decoded(body: bytes, coding: str, limit: int) -> bytes:
    """The body as it was before, at most `limit` bytes of it; a body that was cut short gives what is there."""
    name = coding.strip().lower()
    if name in ("", "identity") or not body:
        return body
    try:
        if name in _ZLIB:
            return _inflated(body, _ZLIB[name], limit)
        if name == "zstd":
            return zstandard.ZstdDecompressor().stream_reader(body).read(limit)
    except (zlib.error, zstandard.ZstdError):
        pass
    raise UnknownCodingError(name)


def _inflated(body: bytes, bits: int, limit: int) -> bytes:
    try:
        return zlib.decompressobj(bits).decompress(body, limit)
    except zlib.error:
        if bits != _ZLIB["deflate"]:
            raise
        return zlib.decompressobj(_RAW_DEFLATE).decompress(body, limit)


_ANSWER_LIMIT = 65536  # bytes kept of an answer where nobody needs more; whoever sends more loses the connection
_IDLE = 10.0  # seconds: shorter than Splunk's 12 under load, or a request would meet a connection that is being closed
_LIFETIME = 300.0  # seconds that a connection is used: long enough to cost nothing, and a changed DNS answer is seen
_JITTER = 0.2  # of it, so that many connections do not go at once
_MISDIRECTED = 421  # RFC 9110, 15.5.20: not over this connection
_PORTS = {"http": 80, "https": 443}
_OURS = {"User-Agent": f"auditsink/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})
"""What OpenSSL says to an answer that is no TLS (HTTP's begins with `HTTP/`)."""
_NUMBER = re.compile(r"\[Errno (\d+)\]")


@dataclass(frozen=True, slots=True)
class TransportProblem:
    """There is no answer. `lasting`: trying again will not help, a person must act. `tls`: it is TLS that failed."""

    why: str
    lasting: bool = False
    tls: bool = False
    cause: RetryCause = RetryCause.UNKNOWN

    def outcome(self) -> Outcome:
        """What it means for a batch: whether the other side has it is not known."""
        return Misconfigured(self.why) if self.lasting else Retry(self.why, cause=self.cause)


def lifetime(random: Callable[[], float]) -> float:
    """Seconds for which a connection is used. `random` gives floats from [0, 1)."""
    return _LIFETIME * (1 + _JITTER * (2 * random() - 1))


class Contexts(Protocol):
    """What `tls.Tls` is for us."""

    def context(self) -> ssl.SSLContext:
        """For the next connection; those of another context are not used again."""
        ...


class Client:
    """Kept-alive connections to one origin. Belongs to one event loop."""

    def __init__(
        self,
        url: str,
        tls: Contexts | None,
        *,
        timeout: float,
        connections: int,
        cookies: bool = False,
        proxy: ProxyRoute | None = None,
        answer_limit: int = _ANSWER_LIMIT,
        remedy: str = "check tls.ca_file and tls.server_name",
        lost: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """`tls`: for https, and only then. `cookies`: keep what the other side sets (sticky sessions).

        `timeout`: seconds for a whole request, its wait for one of the `connections` included.
        `remedy`: for a certificate that is refused. `lost`: called when the other side closes a connection that rests:
        no request knows of it, and the other side may have been restarted.
        `proxy`: the only way in which a proxy comes in; the environment's variables are not looked at.
        """
        parts = urlsplit(url)
        assert (tls is not None) == (parts.scheme == "https")
        place = parts.netloc.rpartition("@")[2]  # a name and a password before it are no part of an origin
        self._origin = f"{parts.scheme}://{place}"
        self._address = _address(url)
        self._host = place.removesuffix(f":{_PORTS[parts.scheme]}")
        self._tls = tls
        self._timeout = timeout
        self._cookies = Cookies() if cookies else None
        self._proxy = proxy
        self._answer_limit = answer_limit
        self._remedy = remedy
        self._lost = lost
        self._now = now
        self._random = random
        self._slots = asyncio.Semaphore(connections)
        self._idle: list[HttpConnection] = []
        self._open: set[HttpConnection] = set()
        self._closed = 0  # times
        self._turn = 0  # failures: which of the name's addresses is next

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpAnswer | TransportProblem:
        """`url` is on the client's origin. The body goes out with its length, as it is."""
        return await self.request("POST", url, body, headers)

    async def get(self, url: str, headers: Mapping[str, str]) -> HttpAnswer | TransportProblem:
        """`url` is on the client's origin."""
        return await self.request("GET", url, b"", headers)

    async def request(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str]
    ) -> HttpAnswer | TransportProblem:
        """Any other method. `url` is on the client's origin."""
        connected, turn = False, self._turn
        try:
            start = head(method, self._target(url), self._headers(headers), len(body))
            async with asyncio.timeout(self._timeout), self._slots:
                connection = await self._connection()
                connected = True
                answer = await self._exchange(connection, start, body)
        except (CannotConnectError, ProxyRefusedError, OSError, ValueError) as problem:
            self._next_address(turn)
            return self._explain(problem, connected=connected)
        if _broken(answer.status):
            self._next_address(turn)
        return answer

    async def close(self) -> None:
        """Close all connections; a request that is under way fails."""
        self._closed += 1
        several, self._open = self._open, set()
        self._idle.clear()
        for one in several:
            one.abort()
        for one in several:
            await one.closed()

    def _next_address(self, failed: int) -> None:
        """Once for all requests that failed at one."""
        if failed == self._turn:
            self._turn += 1

    async def _connection(self) -> HttpConnection:
        context = None if self._tls is None else self._tls.context()
        connection = self._rested(context)
        if connection is None:
            connection = await self._connected(context)
            connection.retires_at = self._now() + lifetime(self._random)
        return connection

    async def _exchange(self, connection: HttpConnection, start: bytes, body: bytes) -> HttpAnswer:
        closed = self._closed
        self._open.add(connection)
        try:
            answer = await connection.exchange(start, body, limit=self._answer_limit)
        except BaseException:
            self._drop(connection)
            raise
        if self._cookies is not None:
            self._cookies.take(connection.cookies)
        if connection.usable and closed == self._closed and not _broken(answer.status):
            connection.rest(_IDLE, self._lost)
            self._idle.append(connection)
        else:
            self._drop(connection)
        return self._read(answer)

    def _read(self, answer: HttpAnswer) -> HttpAnswer:
        """Without the compression that it should not have. A status that is no success says enough by itself."""
        coding = answer.headers.get("content-encoding", "")
        if not coding:
            return answer
        try:
            return replace(answer, body=decoded(answer.body, coding, self._answer_limit))
        except UnknownCodingError:
            if answer.status < 300:
                raise
            return replace(answer, body=b"")

    def _rested(self, context: ssl.SSLContext | None) -> HttpConnection | None:
        """The one that was used last; not one with older certificates, that has closed meanwhile, or had its time."""
        while self._idle:
            connection = self._idle.pop()
            connection.wake()
            if connection.usable and connection.context is context and self._now() < connection.retires_at:
                return connection
            self._drop(connection)
        return None

    async def _connected(self, context: ssl.SSLContext | None) -> HttpConnection:
        if self._proxy is None:
            return await connect(self._address, context, turn=self._turn)
        proxy = _address(self._proxy.url)
        if context is None:
            return await connect(proxy, None, proxy=True, turn=self._turn)
        return await tunnel(proxy, self._proxy.headers(), self._address, context, turn=self._turn)

    def _drop(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        connection.abort()

    def _target(self, url: str) -> str:
        """As it was written; the whole address where a proxy has to know it."""
        parts = urlsplit(url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        return self._origin + target if self._proxy is not None and self._tls is None else target

    def _headers(self, given: Mapping[str, str]) -> dict[str, str]:
        ours = {"Host": self._host, **_OURS}
        if self._cookies is not None:
            ours |= self._cookies.header()
        if self._proxy is not None and self._tls is None:
            ours |= self._proxy.headers()  # a tunnel takes them once, in CONNECT
        names = {name.lower() for name in given}
        return {name: value for name, value in ours.items() if name.lower() not in names} | dict(given)

    def _explain(self, problem: Exception, *, connected: bool) -> TransportProblem:
        match problem:
            case ssl.SSLCertVerificationError():
                said = foreign(problem.verify_message)
                remedy = f"{self._remedy}, or the other side's certificate"
                why = f"{self._origin}: its certificate is refused ({said}); {remedy}"
                found = TransportProblem(why, lasting=True, tls=True)
            case TimeoutError():
                cause = RetryCause.TIMED_OUT if connected else RetryCause.ELSEWHERE
                why = f"{self._origin}: no {'answer' if connected else 'connection'} within {self._timeout:g} s"
                more = "" if connected else "; check the look-up of its name, and firewalls in between"
                found = TransportProblem(f"{why}{more}", cause=cause)
            case ProxyRefusedError():
                refused = by_proxy(problem.status)
                lasting = isinstance(refused, Misconfigured)
                found = TransportProblem(f"{self._origin}: {refused.why}", lasting, cause=RetryCause.ELSEWHERE)
            case CannotConnectError():
                found = self._unconnected(problem)
            case _:
                found = self._unanswered(problem)
                if not connected:  # the other side has seen nothing of the batch
                    found = replace(found, cause=RetryCause.ELSEWHERE)
        return found

    def _unanswered(self, problem: Exception) -> TransportProblem:
        if isinstance(problem, EarlyAnswerError):
            why = (
                f"{self._origin}: answered HTTP {problem.status} before it had the whole request, so it has not read it"
            )
            return TransportProblem(f"{why}; check url, and what stands between")
        if isinstance(problem, UnknownCodingError):
            why = f"{self._origin}: its answer is compressed ({problem}), which nobody asked for and is not understood"
            return TransportProblem(f"{why}; turn that off in what stands between", lasting=True)
        if isinstance(problem, OSError):
            # With TLS 1.3 a client is told of the certificate that it does not show when it is connected already.
            tls = _is_tls(problem)
            said = f" ({_reason(problem)})" if tls else ""
            cause = RetryCause.ELSEWHERE if tls else RetryCause.UNKNOWN
            why = f"{self._origin}: the connection broke before the answer was complete{said}"
            return TransportProblem(why, tls=tls, cause=cause)
        if isinstance(problem, SpeaksTlsError):
            why = f"{self._origin}: what listens there speaks TLS; write https:// into url"
            return TransportProblem(why, lasting=True)
        if isinstance(problem, SpeaksHttp2Error):
            why = f"{self._origin}: what listens there speaks HTTP/2 only, as for gRPC"
            return TransportProblem(f"{why}; write the port for HTTP/1.1 into url (OTLP: 4318, not 4317)", lasting=True)
        said = str(problem) if isinstance(problem, NoHttpError) else type(problem).__name__
        return TransportProblem(f"{self._origin}: the answer is no HTTP ({said})")

    def _unconnected(self, problem: CannotConnectError) -> TransportProblem:
        if isinstance(problem.cause, ssl.SSLError) and problem.cause.reason in _NO_TLS:
            why = f"{self._origin}: what listens there does not speak TLS; write http:// into url, or check the port"
            return TransportProblem(why, lasting=True, tls=True)
        where = " to its proxy" if problem.to_proxy else ""
        why = f"{self._origin}: cannot connect{where} ({_reason(problem.cause)})"
        return TransportProblem(why, tls=_is_tls(problem.cause), cause=RetryCause.ELSEWHERE)


def _broken(status: int) -> bool:
    """Whether the server behind this connection seems to be, or the wrong one; another one may be well.

    A balancer of connections, a Service of Kubernetes too, keeps each where it was first, for as long as it is used.
    """
    return status >= 500 or status == _MISDIRECTED


def _address(url: str) -> Origin:
    parts = urlsplit(url)
    assert parts.hostname is not None
    return Origin(parts.hostname, parts.port or _PORTS[parts.scheme])


def _is_tls(problem: OSError) -> bool:
    """Whether the two do not agree on TLS. A connection that ends in the middle says nothing of that."""
    cut = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    return isinstance(problem, ssl.SSLError) and not isinstance(problem, cut)


def _reason(problem: OSError) -> str:
    if isinstance(problem, ssl.SSLError) and problem.reason:
        return foreign(problem.reason)
    # asyncio puts its own words into `strerror`, and those for all addresses of a name into one sentence without a
    # number of its own; the numbers say more, where they are the system's.
    numbers = {problem.errno} if problem.errno else {int(number) for number in _NUMBER.findall(str(problem))}
    if numbers and min(numbers) > 0:
        return ", ".join(os.strerror(number) for number in sorted(numbers))
    return foreign(problem.strerror or str(problem) or type(problem).__name__)
