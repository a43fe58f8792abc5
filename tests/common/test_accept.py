"""Accepting connections, with and without file descriptors for them."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from running import eventually

from auditsink.common import accept
from auditsink.common.accept import Acceptor
from auditsink.common.listen import listen


class Hello(asyncio.Protocol):
    """Greets, and keeps the connection."""

    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        Hello.made += 1
        transport.write(b"hello")
        transport.close()


class Scarce(socket.socket):
    """A listening socket whose `accept` fails as often as the test says."""

    failures: list[int]
    asked = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.asked += 1
        if self.failures:
            number = self.failures.pop()
            raise OSError(number, os.strerror(number))
        return super().accept()


def scarce(*failures: int) -> Scarce:
    plain = listen("test", "127.0.0.1:0")
    found = Scarce(fileno=plain.detach())
    found.failures = list(failures)
    return found


@asynccontextmanager
async def accepting(listening: socket.socket, protocol: Any = Hello) -> AsyncIterator[Acceptor]:
    acceptor = Acceptor(listening, protocol, "test port")
    yield acceptor
    acceptor.close()
    await acceptor.wait_closed()


async def greeting(address: Any) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    said = await reader.read()
    writer.close()
    return said


async def test_connections_get_their_protocol() -> None:
    listening = scarce()
    async with accepting(listening) as acceptor:
        found = await asyncio.gather(*(greeting(listening.getsockname()) for _ in range(20)))
        assert found == [b"hello"] * 20
        assert repr(acceptor) == "<Acceptor test port>"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_without_descriptors_it_asks_once_a_pause_says_so_once_and_loses_nobody(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accept, "PAUSE_SECONDS", 0.01)
    listening = scarce(*[number] * 5)
    async with accepting(listening):
        found = await asyncio.gather(*(greeting(listening.getsockname()) for _ in range(20)))
        assert found == [b"hello"] * 20
    assert len(caplog.records) == 1
    assert "the test port takes no more connections for now" in caplog.text
    assert listening.asked < 5 + 20 + 20 + 1


async def test_a_client_that_has_gone_already_is_nobodys_trouble() -> None:
    listening = scarce(errno.ECONNABORTED)
    async with accepting(listening):
        assert await greeting(listening.getsockname()) == b"hello"


async def test_closing_frees_the_port_also_while_it_rests() -> None:
    listening = scarce(*[errno.EMFILE] * 1000)
    address = listening.getsockname()
    async with accepting(listening) as acceptor:
        with socket.create_connection(address):
            await eventually(lambda: "resting" in repr(acceptor))
        acceptor.close()
    with socket.create_server(address):
        pass


async def test_a_protocol_that_cannot_be_made_leaks_no_descriptor() -> None:
    def broken() -> asyncio.Protocol:
        raise ZeroDivisionError

    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    listening = scarce()
    async with accepting(listening, broken):
        assert await greeting(listening.getsockname()) == b""
