"""One POST to an audit webhook, with the headers that kube-apiserver sends (recorded from v1.36.2)."""

import io
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from auditsink.secret import Secret
from auditsink.sender.patience import Answer

HEADERS = {
    "User-Agent": "Go-http-client/1.1",
    "Accept": "application/json, */*",
    "Content-Type": "application/json",
    "Accept-Encoding": "gzip",
}
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+\s*(;.*)?\Z")
ANSWER_BYTES = 64 * 2**10
"""Read of an answer; kube-apiserver reads it all and looks at none."""
LARGE_BODY = 2**20
"""aiohttp warns about `bytes` above this, which it would hand to the socket in one go."""


def tls_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """How to check the webhook's certificate and what to show. Raises OSError (with ssl.SSLError) and ValueError."""
    context = ssl.create_default_context(cafile=ca)
    if cert is not None:
        # Without a password callback OpenSSL would ask on the terminal.
        context.load_cert_chain(cert, key, password=lambda: "")
    return context


class Webhook:
    """A client for one URL, to be used as an async context manager.

    The URL loses its query string, like in a kubeconfig. `token` is called for each request, so that a rotated token
    is taken up; over http:// it is never sent, as in client-go.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        token: Callable[[], Secret] | None = None,
        connections: int = 0,
    ) -> None:
        parts = urlsplit(url)
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}?timeout=30s"
        self._tls = tls
        self._token = token if parts.scheme == "https" else None
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._connections, ssl=self._tls or True, keepalive_timeout=90)
        self._session = aiohttp.ClientSession(connector=connector, headers=HEADERS, auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def post(self, body: bytes, timeout: float) -> Answer:  # noqa: ASYNC109 - the protocol has a time limit
        """Post once. Never raises for what the network or the other side does."""
        assert self._session is not None
        headers = {"Authorization": f"Bearer {self._token().reveal()}"} if self._token else {}
        limit = aiohttp.ClientTimeout(total=max(timeout, 0.001))
        data = io.BytesIO(body) if len(body) > LARGE_BODY else body
        try:
            async with self._session.post(
                self.url, data=data, headers=headers, timeout=limit, allow_redirects=False
            ) as response:
                await response.content.read(ANSWER_BYTES)
                return _answer(response)
        except TimeoutError:
            return Answer(0, problem=f"no answer within {timeout:.0f} s")
        except (aiohttp.ClientError, OSError) as problem:
            return Answer(0, problem=str(problem) or type(problem).__name__)


def _answer(response: aiohttp.ClientResponse) -> Answer:
    wish = response.headers.get("Retry-After", "")
    retry_after = int(wish) if wish.isascii() and wish.isdecimal() and len(wish) < 10 else None
    kind = response.headers.get("Content-Type")
    if response.status < 300 and kind is not None and not _MEDIA_TYPE.match(kind):
        return Answer(response.status, problem=f"HTTP {response.status} with a malformed Content-Type")
    return Answer(response.status, retry_after)
