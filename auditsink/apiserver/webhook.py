"""One POST to an audit webhook, with the headers that kube-apiserver sends (recorded from v1.36.2)."""

import asyncio
import math
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import orjson

from auditsink.apiserver.retry_schedule import PostResult
from auditsink.common.secret import Secret
from auditsink.http import answers
from auditsink.http.client import Client, TransportProblem

HEADERS = {
    "User-Agent": "Go-http-client/1.1",
    "Accept": "application/json, */*",
    "Content-Type": "application/json",
    "Accept-Encoding": "gzip",
}
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+\s*(;.*)?\Z")


def tls_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """How to check the webhook's certificate and what to show. Raises OSError (with ssl.SSLError) and ValueError."""
    context = ssl.create_default_context(cafile=ca)
    if cert is not None:
        # Without a password callback OpenSSL would ask on the terminal.
        context.load_cert_chain(cert, key, password=lambda: "")
    return context


@dataclass(frozen=True, slots=True)
class _Fixed:
    """One context for all connections: the command is short-lived."""

    one: ssl.SSLContext

    def context(self) -> ssl.SSLContext:
        return self.one


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
        connections: int = 1000,
        remedy: str = "check --ca and the URL",
    ) -> None:
        """`remedy`: for a certificate that is refused."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}?timeout=30s"
        self._tls = _Fixed(tls or tls_context(None, None, None)) if secure else None
        self._token = token if secure else None
        self._connections = connections
        self._remedy = remedy

    async def __aenter__(self) -> Self:
        # Each request has a time of its own. kube-apiserver reads all of an answer and looks at none of it.
        self._client = Client(self.url, self._tls, timeout=math.inf, connections=self._connections, remedy=self._remedy)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def post(self, body: bytes, timeout: float) -> PostResult:  # noqa: ASYNC109 - the protocol has a time limit
        """Post once. Never raises for what the network or the other side does."""
        shown = {"Authorization": f"Bearer {self._token().reveal()}"} if self._token else {}
        try:
            async with asyncio.timeout(max(timeout, 0.001)):
                answer = await self._client.post(self.url, body, HEADERS | shown)
        except TimeoutError:
            return PostResult(0, problem=f"no answer within {timeout:.0f} s")
        if isinstance(answer, TransportProblem):
            return PostResult(0, problem=answer.why, tls=answer.tls)
        return _read(answer)


def _read(answer: answers.HttpAnswer) -> PostResult:
    wish = answer.headers.get("retry-after", "")
    retry_after = int(wish) if wish.isascii() and wish.isdecimal() and len(wish) < 10 else None
    kind = answer.headers.get("content-type")
    if answer.status < 300 and kind is not None and not _MEDIA_TYPE.match(kind):
        return PostResult(answer.status, problem=f"HTTP {answer.status} with a malformed Content-Type")
    accepted, said = _content(answer.body)
    repeated = answer.headers.get("auditsink-repeated") == "true"
    return PostResult(answer.status, retry_after, accepted=accepted, repeated=repeated, said=said)


def _content(body: bytes) -> tuple[int | None, str]:
    """What an auditsink says: how many events it accepted, or why it did not."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, ""
    if not isinstance(found, dict):
        return None, ""
    accepted, error = found.get("accepted"), found.get("error")
    counted = isinstance(accepted, int) and not isinstance(accepted, bool)
    return accepted if counted else None, answers.foreign(error) if isinstance(error, str) else ""
