"""What a client of the admin port may withhold, and for how long."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from moments import moment

from auditsink.admin import server
from auditsink.admin.server import AdminServer
from auditsink.admin.view import View
from auditsink.config import Admin

REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
async def admin(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AdminServer]:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.05)
    monkeypatch.setattr(server, "READ_SECONDS", 0.05)
    monkeypatch.setattr(server, "CONNECTIONS", 4)
    one = AdminServer(Admin(listen="127.0.0.1:0"), View(moment))
    one.start()
    yield one
    await one.close()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that came until the server ended the connection, however it did."""
    async with asyncio.timeout(30):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize("sent", [b"", b"G", REQUEST, REQUEST + b"Content-Length: 9\r\n\r\n1"])
async def test_a_request_that_is_not_finished_is_not_waited_for(admin: AdminServer, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection(*admin.address)
    writer.write(sent)
    assert b"200 OK" not in (await ended(reader))[:20] or b"Content-Length" in sent
    writer.close()


async def test_a_second_request_that_is_not_finished_is_not_waited_for(
    admin: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 60.0)
    reader, writer = await asyncio.open_connection(*admin.address)
    writer.write(REQUEST + b"\r\n")
    await reader.readuntil(b"alive\n")
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.05)  # only what is to fail is hurried
    writer.write(b"GET /li")
    assert await ended(reader) == b""
    writer.close()


async def test_whoever_does_not_read_is_dropped(admin: AdminServer) -> None:
    client = socket.create_connection(admin.address)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # full after a few answers
    client.setblocking(False)
    _, writer = await asyncio.open_connection(sock=client, limit=1)
    try:
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5000)
        async with asyncio.timeout(120):
            while not admin._server.server_state.connections:  # noqa: ASYNC110 - the server's loop turn
                await asyncio.sleep(0.01)
            for one in admin._server.server_state.connections:
                assert isinstance(one, server.AdminConnection)
            while admin._server.server_state.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        writer.close()


async def test_probes_are_answered_whoever_else_is_there(admin: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 30.0)
    idle = [await asyncio.open_connection(*admin.address) for _ in range(6)]
    for path, beginning in (("/status", b"HTTP/1.1 503 "), ("/livez", b"HTTP/1.1 200 "), ("/readyz", b"HTTP/1.1 200 ")):
        reader, writer = await asyncio.open_connection(*admin.address)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert (await ended(reader)).startswith(beginning)
        writer.close()
    for _, writer in idle:
        writer.close()


async def test_past_the_last_connection_there_is_none(admin: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 30.0)
    monkeypatch.setattr(server, "BEYOND", 0)
    idle = [await asyncio.open_connection(*admin.address) for _ in range(4)]
    reader, writer = await asyncio.open_connection(*admin.address)
    assert await ended(reader) == b""
    for _, one in (*idle, (reader, writer)):
        one.close()
