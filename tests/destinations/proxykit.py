"""A small HTTP proxy: tunnels for CONNECT, forwards absolute URLs, and keeps what it was asked for."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class SmallProxy:
    """`asked`: the first line of each request; `shown`: the credentials that came with it."""

    def __init__(self, *, credentials: str | None = None, refuse: int | None = None) -> None:
        """`credentials`: the header without which the answer is 407. `refuse`: the status for everybody."""
        self._credentials = credentials
        self._refuse = refuse
        self.asked: list[str] = []
        self.shown: list[str | None] = []
        self.seen = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._request(reader, writer)
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.asked.append(first)
        self.shown.append(headers.get("proxy-authorization"))
        status = self._refuse or (
            407 if self._credentials is not None and self.shown[-1] != self._credentials else None
        )
        if status is not None:
            writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        method, target, _ = first.split(" ")
        address = target if method == "CONNECT" else urlsplit(target).netloc
        host, _, port = address.rpartition(":")
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        self._writers.append(upstream_writer)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            parts = urlsplit(target)
            path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            kept = [line for line in lines if not line.lower().startswith(("proxy-", "connection:"))]
            kept.append("Connection: close")  # so that each request comes with a head of its own
            upstream_writer.write("\r\n".join([f"{method} {path} HTTP/1.1", *kept, "", ""]).encode())
        await asyncio.gather(self._pipe(reader, upstream_writer), self._pipe(upstream_reader, writer))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            self.seen += chunk
            writer.write(chunk)
            await writer.drain()
        writer.close()
