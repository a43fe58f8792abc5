"""The one module that knows which HTTP client we use (aiohttp: a third of httpx2's CPU for a POST of 60-700 kB).

A request ends in a value: the other side's answer, or why there is none. Nothing is retried, redirected or
decompressed here, and no text that leaves this module holds a path, a header or a body: each may carry a secret.
"""

import io
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from auditsink import __version__
from auditsink.destinations.answers import Answer, by_proxy, foreign
from auditsink.destinations.proxy import Proxy
from auditsink.destinations.tls import Tls
from auditsink.forward.outcome import Misconfigured, Outcome, Retry

_ANSWER_LIMIT = 65536  # bytes kept of an answer where nobody needs more; whoever sends more loses the connection
_IDLE = 10.0  # seconds: shorter than Splunk's 12 under load, or a request would meet a connection that is being closed
_BYTES_LIMIT = 2**20  # aiohttp warns about larger `bytes`: it would copy them to the socket in one go


@dataclass(frozen=True, slots=True)
class TransportProblem:
    """There is no answer. `lasting`: trying again will not help, a person must act."""

    why: str
    lasting: bool = False

    def outcome(self) -> Outcome:
        """What it means for a batch: whether the other side has it is not known."""
        return Misconfigured(self.why) if self.lasting else Retry(self.why)


class Client:
    """Kept-alive connections to one origin. Belongs to one event loop."""

    def __init__(
        self,
        url: str,
        tls: Tls | None,
        *,
        timeout: float,
        connections: int,
        cookies: bool = False,
        proxy: Proxy | None = None,
        answer_limit: int = _ANSWER_LIMIT,
    ) -> None:
        """`timeout`: seconds for a whole request. `cookies`: keep what the other side sets (sticky sessions).

        `proxy`: the only way in which a proxy comes in; the environment's variables are not looked at.
        """
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._tls = tls
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._connections = connections
        self._cookies = cookies
        self._proxy = proxy
        self._answer_limit = answer_limit
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer | TransportProblem:
        """`url` is on the client's origin. The body goes out with its length, as it is."""
        return await self.request("POST", url, body, headers)

    async def get(self, url: str, headers: Mapping[str, str]) -> Answer | TransportProblem:
        """`url` is on the client's origin."""
        return await self.request("GET", url, b"", headers)

    async def request(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer | TransportProblem:
        """Any other method. `url` is on the client's origin."""
        data = io.BytesIO(body) if len(body) > _BYTES_LIMIT else body
        on_the_way = self._proxy.headers() if self._proxy is not None else {}
        # A tunnel takes our credentials once, in CONNECT; without one they go with every request.
        tunnel = self._origin.startswith("https:")
        try:
            async with self._opened().request(
                method,
                URL(url, encoded=True),
                data=data or None,
                headers=headers if tunnel else {**headers, **on_the_way},
                allow_redirects=False,
                ssl=True if self._tls is None else self._tls.context(),
                proxy=None if self._proxy is None else self._proxy.url,
                proxy_headers=on_the_way if tunnel and on_the_way else None,
            ) as response:
                content = await _bounded(response, self._answer_limit)
                return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, content)
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            return self._explain(problem)

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=_IDLE),
                cookie_jar=aiohttp.CookieJar(unsafe=True) if self._cookies else aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                headers={"User-Agent": f"auditsink/{__version__}", "Accept-Encoding": "identity"},
                auto_decompress=False,
            )
        return self._session

    def _explain(self, problem: Exception) -> TransportProblem:
        if isinstance(problem, aiohttp.ClientConnectorCertificateError):
            said = foreign(str(getattr(problem.certificate_error, "verify_message", "")))
            remedy = "check tls.ca_file and tls.server_name, or the other side's certificate"
            return TransportProblem(f"{self._origin}: its certificate is refused ({said}); {remedy}", lasting=True)
        if isinstance(problem, TimeoutError):
            return TransportProblem(f"{self._origin}: no answer within {self._timeout.total:g} s")
        if isinstance(problem, aiohttp.ClientHttpProxyError):
            found = by_proxy(problem.status)
            return TransportProblem(f"{self._origin}: {found.why}", lasting=isinstance(found, Misconfigured))
        if isinstance(problem, aiohttp.ClientConnectorError):
            where = " to its proxy" if isinstance(problem, aiohttp.ClientProxyConnectionError) else ""
            return TransportProblem(f"{self._origin}: cannot connect{where} ({_reason(problem.os_error)})")
        if isinstance(problem, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError | OSError):
            return TransportProblem(f"{self._origin}: the connection broke before the answer was complete")
        return TransportProblem(f"{self._origin}: the answer is no HTTP ({type(problem).__name__})")


def _reason(problem: OSError) -> str:
    if isinstance(problem, ssl.SSLError) and problem.reason:
        return foreign(problem.reason)
    # asyncio puts its own words into `strerror`; the number says more, where it is one of the system's.
    if problem.errno is not None and problem.errno > 0:
        return os.strerror(problem.errno)
    return foreign(problem.strerror or str(problem) or type(problem).__name__)


async def _bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    content = bytearray()
    try:
        while chunk := await response.content.read(limit - len(content)):
            content += chunk
            if len(content) >= limit:
                response.close()
                break
    except (aiohttp.ClientPayloadError, ConnectionError):
        # A refusal is one even if its page is cut short (a server that answers early and closes); a success is not.
        if response.status < 300:
            raise
    return bytes(content)
