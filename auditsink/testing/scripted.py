"""What the scripted servers share: HTTP on 127.0.0.1 that answers exactly what it is told, or breaks off.

A server is an async context manager. Its `script` is a list of replies, one for each request; `None` in it, and all
after its end, means that the server answers as the real thing would.
"""

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from aiohttp import web
from isal import isal_zlib


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, byte for byte. `commit`: whether what was posted counts as taken, whatever the answer says.

    `cut` breaks the connection: `before` anything is answered, or in the `middle` of the answer. The answer waits
    `delay` seconds, and until `hold` is set.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    commit: bool = False
    cut: Literal["before", "middle"] | None = None
    delay: float = 0.0
    hold: asyncio.Event | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """One request: its path with the query, header names in lower case, the body after decompression, who sent it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    wire_size: int
    peer: tuple[str, int]


class ScriptedServer:
    """Keeps every request in `requests`. What it answers when the script has nothing to say is for subclasses."""

    def __init__(self, *, script: Iterable[Reply | None] = (), tls: ssl.SSLContext | None = None) -> None:
        self.script = list(script)
        self.requests: list[Received] = []
        self.url = ""
        self._tls = tls
        self._runner: web.ServerRunner | None = None

    async def respond(self, request: Received) -> Reply:
        """The answer to a request whose turn in the script is free."""
        raise NotImplementedError

    def take(self, request: Received) -> None:
        """Count what a request posted as taken, because a scripted reply says `commit`."""
        raise NotImplementedError

    def scripted(self, request: Received) -> list[Reply | None]:  # noqa: ARG002 - subclasses look at it
        """The script that a request is answered from."""
        return self.script

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Listen; `url` tells where. A server that was stopped may start again on the same port."""
        self._runner = web.ServerRunner(web.Server(self._handle, auto_decompress=False), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=self._tls).start()
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close the port and all connections."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @property
    def port(self) -> int:
        """Where it listens, or did."""
        return int(self.url.rpartition(":")[2])

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        received = await _read(request)
        self.requests.append(received)
        script = self.scripted(received)
        planned = script.pop(0) if script else None
        if planned is None:
            reply = await self.respond(received)
        else:
            reply = planned
            if reply.commit:
                self.take(received)
        if reply.delay:
            await asyncio.sleep(reply.delay)
        if reply.hold is not None:
            await reply.hold.wait()
        return _send(request, reply)


async def _read(request: web.BaseRequest) -> Received:
    body = await request.content.read()
    wire_size = len(body)
    if request.headers.get("Content-Encoding") == "gzip":
        body = isal_zlib.decompress(body, 31)
    return Received(
        request.method,
        request.path_qs,
        {name.lower(): value for name, value in request.headers.items()},
        body,
        wire_size,
        request.transport.get_extra_info("peername") if request.transport else ("", 0),
    )


def _send(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    transport = request.transport
    if transport is not None and reply.cut == "before":
        transport.abort()
    elif transport is not None and reply.cut == "middle":
        # All but the last byte of what the header promises.
        head = f"HTTP/1.1 {reply.status} Cut\r\nContent-Length: {len(reply.body)}\r\n\r\n".encode()
        transport.write(head + reply.body[:-1])
        transport.close()
    return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
