"""The admin port as a client sees it."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from moments import moment

from auditsink.admin.app import POLICY
from auditsink.admin.server import AdminServer
from auditsink.admin.view import View
from auditsink.common.listen import ListenError
from auditsink.config import Admin
from auditsink.observe.snapshot import Phase, Snapshot


class Part:
    """What the server shows; a test may change it."""

    def __init__(self) -> None:
        self.now = moment()

    def snapshot(self) -> Snapshot:
        return self.now


@pytest.fixture
def part() -> Part:
    return Part()


@pytest.fixture
async def server(part: Part) -> AsyncIterator[AdminServer]:
    server = AdminServer(Admin(listen="127.0.0.1:0"), View(part.snapshot))
    task = server.start()
    yield server
    await server.close()
    assert task.done()


async def get(server: AdminServer, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
    async with aiohttp.ClientSession() as session, session.request(method, f"http://{server.address}{path}") as answer:
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.text()


async def test_alive_is_always_yes(server: AdminServer, part: Part) -> None:
    part.now = moment(phase=Phase.STOPPING)
    assert (await get(server, "/livez"))[::2] == (200, "alive\n")


async def test_ready_says_why_not(server: AdminServer, part: Part) -> None:
    assert (await get(server, "/readyz"))[0] == 200
    part.now = moment(failures=("thread writer died",))
    code, _, text = await get(server, "/readyz")
    assert (code, text.splitlines()[0]) == (503, "not ready: thread writer died")


async def test_status_and_metrics_are_served(server: AdminServer) -> None:
    code, headers, text = await get(server, "/status")
    assert (code, headers["content-type"]) == (200, "application/json")
    assert '"name":"siem"' in text
    code, headers, text = await get(server, "/metrics")
    assert code == 200
    assert headers["content-type"].startswith("text/plain; version=")
    assert "\nauditsink_ready 1.0\n" in text


async def test_the_page_comes_with_its_policy(server: AdminServer) -> None:
    code, headers, text = await get(server, "/")
    assert code == 200
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert "<title>auditsink</title>" in text


@pytest.mark.parametrize(
    ("path", "method", "code"), [("/none", "GET", 404), ("/status", "POST", 405), ("/", "DELETE", 405)]
)
async def test_nothing_else_is_there(server: AdminServer, path: str, method: str, code: int) -> None:
    assert (await get(server, path, method))[0] == code


async def test_a_port_in_use_is_told(server: AdminServer) -> None:
    with pytest.raises(ListenError, match=r"admin.listen 127.0.0.1:\d+: Address already in use"):
        AdminServer(Admin(listen=str(server.address)), View(moment))


async def test_it_closes_although_a_client_holds_on(part: Part) -> None:
    """An open connection without a request must not hold up the stop."""
    server = AdminServer(Admin(listen="127.0.0.1:0"), View(part.snapshot))
    server.start()
    _, writer = await asyncio.open_connection(*server.address)
    async with asyncio.timeout(20):
        await server.close()
    writer.close()


async def test_it_closes_before_it_was_started(part: Part) -> None:
    server = AdminServer(Admin(listen="127.0.0.1:0"), View(part.snapshot))
    await server.close()
    AdminServer(Admin(listen=str(server.address)), View(part.snapshot))._socket.close()


@pytest.mark.parametrize("endless", [b"X: y\r\n", b"x"], ids=["headers", "one header"])
async def test_a_head_without_an_end_is_cut_off(server: AdminServer, endless: bytes) -> None:
    """uvicorn keeps headers for as long as they come."""
    _, writer = await asyncio.open_connection(server.address.host, server.address.port)
    writer.write(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nY: ")
    sent = 0
    with pytest.raises(ConnectionError):  # noqa: PT012 - which of the writes finds out depends on the system
        while sent < 2**26:
            writer.write(endless * 10_000)
            await writer.drain()
            sent += 10_000 * len(endless)
    writer.close()
    assert (await get(server, "/status"))[0] == 200
