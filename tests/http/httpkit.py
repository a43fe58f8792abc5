"""What the tests of the HTTP client share: a client that is closed again, and a server that says what a test wants."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from auditsink.http.client import Client
from auditsink.http.tls import Tls

SECRET = {"Authorization": "Bearer s3cr3t"}


@contextlib.asynccontextmanager
async def client(url: str, tls: Tls | None = None, **settings: Any) -> AsyncIterator[Client]:
    """It has two connections and waits a minute, where a test does not say otherwise; it is closed at the end."""
    made = Client(url, tls, **{"timeout": 60.0, "connections": 2, **settings})
    try:
        yield made
    finally:
        await made.close()


@contextlib.asynccontextmanager
async def tcp_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The URL of a TCP server. A connection is closed once `serve` is done with it; all are when this ends."""
    serving: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    listener = await asyncio.start_server(one, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    await asyncio.gather(*serving)
