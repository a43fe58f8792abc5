"""What becomes of the HTTP client's connections: kept, dropped, closed; and what they say of their host."""

import asyncio
import contextlib
import gc
import socket
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from httpkit import tcp_server

from auditsink.common import resolver
from auditsink.http import client as module
from auditsink.http import connection
from auditsink.http.answers import HttpAnswer
from auditsink.http.client import Client, TransportProblem

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def made(url: str, connections: int = 2) -> Client:
    return Client(url, None, timeout=60.0, connections=connections)


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
async def test_a_connection_that_was_closed_or_spoke_unasked_is_not_used_again(after: bytes) -> None:
    ended: asyncio.Queue[None] = asyncio.Queue()
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        if after:
            writer.write(after)
        else:
            writer.write_eof()
        await reader.read()  # until the client has closed it
        ended.put_nowait(None)

    async with tcp_server(serve) as url:
        http = made(url)
        for _ in range(2):
            assert isinstance(await http.post(url, b"", {}), HttpAnswer)
            await ended.get()
        await http.close()
    assert opened == 2


@pytest.mark.parametrize(("status", "connections"), [(500, 2), (503, 2), (421, 2), (429, 1), (400, 1)])
async def test_what_follows_the_failure_of_a_server_goes_over_a_new_connection(status: int, connections: int) -> None:
    """A balancer of connections leaves each with the server that has it, and that one may be the broken one."""
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        mine = status if opened == 1 else 200
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % mine)

    async with tcp_server(serve) as url:
        http = made(url)
        for _ in range(2):
            assert isinstance(await http.post(url, b"", {}), HttpAnswer)
        await http.close()
    assert opened == connections


async def test_an_address_of_a_name_that_takes_connections_and_hangs_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All requests that failed together lead to one next address, and what works stays."""
    asked: list[str] = []
    both = asyncio.Event()

    async def connect(origin: connection.Origin, context: Any, *, proxy: bool = False, turn: int = 0) -> Any:
        found = await connection._address(origin, turn)
        asked.append(found)
        if len(asked) == 2:
            both.set()
        await both.wait()
        raise connection.CannotConnectError(OSError(111, "refused"), to_proxy=proxy)

    async def addresses(*_: Any, **__: Any) -> Any:
        return [(0, 0, 0, "", (address, 80)) for address in ("10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses, raising=False)
    monkeypatch.setattr(module, "connect", connect)
    http = made("http://collector")
    await asyncio.gather(*(http.post("http://collector", b"", {}) for _ in range(2)))
    for _ in range(3):
        await http.post("http://collector", b"", {})
    assert asked == ["collector", "collector", "10.0.0.2", "10.0.0.3", "collector"]


async def test_a_connection_that_nobody_needs_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE", 0.0)
    ended: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        ended.put_nowait(await reader.read())

    async with tcp_server(serve) as url:
        http = made(url)
        assert isinstance(await http.post(url, b"", {}), HttpAnswer)
        assert await ended.get() == b""
        await http.close()


async def hanging(
    act: Callable[[Client, asyncio.Task[HttpAnswer | TransportProblem]], Awaitable[None]],
) -> HttpAnswer | TransportProblem | BaseException:
    """A request whose answer does not come, what `act` does meanwhile, and what became of request and connection."""
    asked, ended = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        assert await reader.read() == b""
        ended.set()

    async with tcp_server(serve) as url:
        http = made(url, connections=1)
        request = asyncio.create_task(http.post(url, b"", {}))
        await asked.wait()
        await act(http, request)
        (result,) = await asyncio.gather(request, return_exceptions=True)
        await ended.wait()
        await http.close()
    return result


async def test_closing_ends_a_request_that_is_under_way() -> None:
    async def close(http: Client, _request: asyncio.Task[HttpAnswer | TransportProblem]) -> None:
        await http.close()

    result = await hanging(close)
    assert isinstance(result, TransportProblem)
    assert "connection broke" in result.why


async def test_a_cancelled_request_leaves_no_connection() -> None:
    async def cancel(_http: Client, request: asyncio.Task[HttpAnswer | TransportProblem]) -> None:
        request.cancel()

    assert isinstance(await hanging(cancel), asyncio.CancelledError)


async def test_a_request_that_was_not_sent_whole_leaves_no_connection() -> None:
    """Its rest would be read as the next request."""
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        await reader.read()

    async with tcp_server(serve) as url:
        http = made(url)
        for _ in range(2):
            assert isinstance(await http.post(url, bytes(2**24), {}), TransportProblem)
        await http.close()
    assert opened == 2


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://siem.example:80/x", "siem.example"),
        ("http://siem.example:8088", "siem.example:8088"),
        ("http://siem.example/", "siem.example"),
        ("http://[::1]:8088/x", "[::1]:8088"),
        ("http://[::1]/", "[::1]"),
    ],
)
def test_the_host_header_has_the_port_where_it_is_not_the_usual_one(url: str, host: str) -> None:
    assert made(url)._headers({})["Host"] == host


def test_a_header_that_is_given_replaces_ours_however_it_is_written() -> None:
    headers = made("http://x/")._headers({"user-agent": "mine", "X-A": "b"})
    assert {name.lower(): value for name, value in headers.items()} == {
        "host": "x", "accept": "*/*", "accept-encoding": "identity", "user-agent": "mine", "x-a": "b"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (OSError(111, "Connect call failed ('127.0.0.1', 1)"), "Connection refused"),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 113] Connect call failed"),
            "Connection refused, No route to host",
        ),
        (OSError(-2, "Name or service not known"), "Name or service not known"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_the_system_has_the_word_where_it_knows_one(problem: OSError, said: str) -> None:
    assert module._reason(problem) == said


@pytest.mark.parametrize(
    "said",
    [
        OK,
        OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"?\r\n",
    ],
)
async def test_nothing_of_a_request_waits_for_the_garbage_collector(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """Bodies and answers are large, and the collector comes after thousands of objects."""
    left: list[weakref.ref[object]] = []

    async def connect(*arguments: Any, **named: Any) -> Any:
        made = await module_connect(*arguments, **named)
        left.extend([weakref.ref(made), weakref.ref(made._reader)])
        return made

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()

    module_connect = connection.connect
    monkeypatch.setattr(module, "connect", connect)
    gc.disable()
    try:
        async with tcp_server(serve) as url:
            http = made(url)
            await http.post(url, bytes(2**20), {})
            await http.close()
        for _ in range(10):  # turns of the loop, for what closes
            await asyncio.sleep(0)
        assert [one() for one in left] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize(("theirs", "told"), [(True, 1), (False, 0)], ids=["they close it", "we close it"])
async def test_a_resting_connection_that_the_other_side_closes_is_told(theirs: bool, told: int) -> None:
    """Nobody's request fails of it, and it may be all that is seen of a restart."""
    answered, ended = asyncio.Event(), asyncio.Event()
    lost: list[None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        await answered.wait()
        if theirs:
            writer.write_eof()
        await reader.read()
        ended.set()

    async with tcp_server(serve) as url:
        http = Client(url, None, timeout=60.0, connections=1, lost=lambda: lost.append(None))
        assert isinstance(await http.post(url, b"", {}), HttpAnswer)
        answered.set()
        if theirs:
            await ended.wait()
        await http.close()
        await ended.wait()
    assert len(lost) == told


@pytest.mark.parametrize(("chance", "renewed_after"), [(0.0, 240.0), (0.5, 300.0)])
async def test_a_connection_under_steady_use_is_renewed_now_and_then(chance: float, renewed_after: float) -> None:
    """So that another address of the name is seen, or another backend behind it; and not all of them at one moment."""
    opened, seconds = 0, 0.0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(OK)

    async with tcp_server(serve) as url:
        client = Client(url, None, timeout=60.0, connections=1, now=lambda: seconds, random=lambda: chance)
        while seconds < renewed_after:
            assert isinstance(await client.get(f"{url}/", {}), HttpAnswer)
            assert opened == 1
            seconds += 5
        assert isinstance(await client.get(f"{url}/", {}), HttpAnswer)
        assert opened == 2
        await client.close()


def test_a_name_whose_look_up_hangs_is_told_from_an_answer_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: release.wait(60))

    async def ask() -> HttpAnswer | TransportProblem:
        client = Client("http://hang.test", None, timeout=0.05, connections=1)
        return await client.get("http://hang.test/", {})

    problem = resolver.run(ask())
    release.set()
    assert isinstance(problem, TransportProblem)
    assert problem.why == (
        "http://hang.test: no connection within 0.05 s; check the look-up of its name, and firewalls in between"
    )
