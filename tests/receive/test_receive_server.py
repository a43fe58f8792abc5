"""The receive port on real sockets: its listener, its stop, and clients that are many or slow."""

import asyncio
import gc
import json
import logging
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import corpus
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from receivekit import BODY, Client, FakeSpool, make_port, make_server, read_answers, request, until

from auditsink.clusters.registry import ClustersError
from auditsink.common import descriptors
from auditsink.common.descriptors import left_for_connections
from auditsink.config import Receive
from auditsink.receive import ReceiveError, ReceiveServer, connection, server
from auditsink.receive.connection import ReceiveConnection
from auditsink.receive.listener import BEYOND, room
from auditsink.testing.clock import FakeClock


@asynccontextmanager
async def running(spool: FakeSpool | None = None, **settings: Any) -> AsyncIterator[ReceiveServer]:
    """A server on a port of its own."""
    one = make_server(Receive(listen="127.0.0.1:0", **settings), spool)
    await one.start()
    try:
        yield one
    finally:
        await one.close()


async def post(one: ReceiveServer, data: bytes, **named: Any) -> list[tuple[int, Any]]:
    """Send all on a connection of its own, read to the end; the answers' statuses and documents."""
    reader, writer = await asyncio.open_connection(*one.address, **named)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return [(found.status, json.loads(found.body)) for found in read_answers(answer)]


async def test_a_recorded_batch_passes_the_socket() -> None:
    spool = FakeSpool()
    bodies = list(corpus.bodies("batch50-request-h2tls"))
    async with running(spool) as one:
        requests = b"".join(request(body.data) for body in bodies[:-1]) + request(bodies[-1].data, "Connection: close")
        answers = await post(one, requests)
    assert answers == [(200, {"accepted": len(body.events)}) for body in bodies]
    assert spool.events == [event for body in bodies for event in body.events]


async def test_a_large_body_passes_the_socket() -> None:
    spool = FakeSpool()
    big = corpus.plain_body("big", count=40, padding=200_000)
    async with running(spool) as one:
        assert await post(one, request(big.data, "Connection: close")) == [(200, {"accepted": 40})]
    assert spool.events == big.events


async def test_an_answer_arrives_although_the_body_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred mebibytes are sent before anybody looks for an answer."""
    monkeypatch.setattr(connection, "LINGER_SECONDS", 600.0)  # a slow machine may take a while
    async with running() as one:
        (answer,) = await post(one, request(b"x" * 100 * 2**20))
    assert answer[0] == 413


@given(st.binary(max_size=2000))
@settings(max_examples=30)
def test_random_bytes_end_in_an_answer_or_a_close(data: bytes) -> None:
    async def run() -> None:
        async with running() as one:
            reader, writer = await asyncio.open_connection(*one.address)
            writer.write(data)
            writer.write_eof()
            answers = list(read_answers(await reader.read()))
            writer.close()
            assert all(answer.status >= 400 for answer in answers)
            assert len(answers) == one.statistics().requests

    asyncio.run(run())


async def test_a_busy_port_is_named() -> None:
    async with running() as one:
        other = make_server(Receive(listen=str(one.address)))
        with pytest.raises(ReceiveError, match=f"receive.listen {one.address}: Address already in use; stop what"):
            await other.start()


async def test_a_host_that_nobody_knows_is_named() -> None:
    one = make_server(Receive(listen="no-such-host.invalid:0"))
    with pytest.raises(ReceiveError, match=r"receive.listen no-such-host.invalid:0: "):
        await one.start()


async def test_statistics_follow() -> None:
    spool = FakeSpool(slow=True)
    async with running(spool) as one:
        _, writer = await asyncio.open_connection(*one.address)
        writer.write(request() + request(b"", method="GET"))
        await until(lambda: spool.waiting)
        figures = one.statistics()
        assert (figures.connections, figures.requests) == (1, 0)
        assert figures.in_flight_bytes > 2 * len(BODY)
        spool.settle()
        await until(lambda: one.statistics().requests == 2)
        figures = one.statistics()
        assert (figures.batches, figures.in_flight_bytes, figures.rejected["method"]) == (1, 0, 1)
        writer.close()
        await until(lambda: one.statistics().connections == 0)


async def test_a_stop_answers_what_was_begun_and_refuses_what_begins() -> None:
    spool = FakeSpool(slow=True)
    async with running(spool, retry_after=7) as one:
        idle, begun = [await asyncio.open_connection(*one.address) for _ in range(2)]
        begun[1].write(request())
        await until(lambda: spool.waiting)
        one.stop_accepting()
        draining = asyncio.create_task(one.drain(30))
        for reader, writer in (idle, await asyncio.open_connection(*one.address)):
            writer.write(request())
            (answer,) = read_answers(await reader.read())
            assert (answer.status, answer.headers[b"retry-after"]) == (503, b"7")
            writer.close()
        assert not draining.done()
        spool.settle()
        assert await draining is True
        (answer,) = read_answers(await begun[0].read())
        assert (answer.status, answer.headers[b"connection"]) == (200, b"close")
        begun[1].close()


async def test_a_drain_has_an_end() -> None:
    clock = FakeClock()
    spool = FakeSpool(slow=True)
    one = make_server(Receive(listen="127.0.0.1:0"), spool, clock)
    await one.start()
    _, writer = await asyncio.open_connection(*one.address)
    writer.write(request())
    await until(lambda: spool.waiting)
    one.stop_accepting()
    draining = asyncio.create_task(one.drain(2))
    await clock.advance(1.9)
    assert not draining.done()
    await clock.advance(0.2)
    assert await draining is False
    closing = asyncio.create_task(one.close())
    while not closing.done():
        await clock.advance(1)
    spool.settle()
    writer.close()


async def test_close_ends_every_connection() -> None:
    async with running() as one:
        streams = [await asyncio.open_connection(*one.address) for _ in range(20)]
        await until(lambda: one.statistics().connections == 20)
        address = one.address
    for reader, writer in streams:
        assert await reader.read() == b""
        writer.close()
    assert one.statistics().connections == 0
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection(*address)


async def test_the_sweep_runs_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.001)
    clock = FakeClock()
    one = make_server(Receive(listen="127.0.0.1:0"), FakeSpool(), clock)
    await one.start()
    reader, writer = await asyncio.open_connection(*one.address)
    await until(lambda: one.statistics().connections)
    await clock.advance(121)
    assert await reader.read() == b""
    writer.close()
    await one.close()


def replaced(path: Path, text: str) -> None:
    """As secrets are changed in a cluster: whole, by a rename. A file caught half written is another test's affair."""
    draft = path.with_name("draft")
    draft.write_text(text)
    draft.rename(path)


async def test_tokens_are_read_again_while_a_connection_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.001)
    monkeypatch.setattr(server, "POLL_SECONDS", 0)
    tokens = tmp_path / "tokens"
    tokens.write_text("prod first-token\n")
    async with running(tokens_file=tokens) as one:
        reader, writer = await asyncio.open_connection(*one.address)

        async def status(token: str) -> int:
            writer.write(request(BODY, f"Authorization: Bearer {token}"))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"}")
            return int(head.split()[1])

        assert await status("first-token") == 200
        replaced(tokens, "nonsense\n")
        await until(lambda: one.statistics().problems)
        (problem,) = one.statistics().problems
        assert problem.startswith(f"receive.tokens_file {tokens}: line 1 has 1 words")
        assert problem.endswith("the last good tokens stay in force")
        assert await status("first-token") == 200
        replaced(tokens, "prod second-token\n")
        await until(lambda: not one.statistics().problems)
        assert await status("second-token") == 200
        assert await status("first-token") == 401
        writer.close()


@pytest.mark.parametrize("take_back", [lambda path: replaced(path, ""), Path.unlink])
async def test_a_tokens_file_that_is_emptied_or_removed_revokes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take_back: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.001)
    monkeypatch.setattr(server, "POLL_SECONDS", 0)
    tokens = tmp_path / "tokens"
    tokens.write_text("prod first-token\n")
    async with running(tokens_file=tokens) as one:
        assert await status_with(one, "first-token") == 200
        take_back(tokens)
        await until(lambda: one.statistics().problems)
        assert "so none is valid" in one.statistics().problems[0]
        assert await status_with(one, "first-token") == 401
        replaced(tokens, "prod first-token\n")
        await until(lambda: not one.statistics().problems)
        assert await status_with(one, "first-token") == 200


async def status_with(one: ReceiveServer, token: str) -> int:
    reader, writer = await asyncio.open_connection(*one.address)
    writer.write(request(BODY, f"Authorization: Bearer {token}"))
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1])


async def test_a_missing_tokens_file_is_named(tmp_path: Path) -> None:
    one = Receive(listen="127.0.0.1:0", tokens_file=tmp_path / "none")
    with pytest.raises(ClustersError, match=r"receive.tokens_file .*/none: is not there"):
        make_server(one)


async def test_refusals_are_logged_once_a_minute_and_counted_always(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    port = make_port(clock=clock)
    for _ in range(3):
        Client(port).send(request(b"", method="GET"))
    assert len(caplog.records) == 1
    assert port.counters.rejected["method"] == 3
    await clock.advance(60)
    port.sweep()
    Client(port).send(request(b"", method="GET"))
    assert len(caplog.records) == 2
    assert caplog.records[0].levelno == logging.WARNING
    assert vars(caplog.records[0])["peer"] == "192.0.2.1:4711"


async def test_an_idle_connection_is_cheap() -> None:
    """Two thousand of them have to fit beside everything else."""
    port = make_port()
    gc.collect()
    tracemalloc.start()
    connections = [ReceiveConnection(port) for _ in range(500)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / len(connections) < 2_000


async def test_many_idle_clients_do_not_slow_the_others() -> None:
    async with running() as one:
        idle = []
        for _ in range(500):
            client = socket.socket()
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, tuple(one.address))
            idle.append(client)
        await until(lambda: one.statistics().connections == 500)
        assert await post(one, request(BODY, "Connection: close")) == [(200, {"accepted": 1})]
        for client in idle:
            client.close()
        await until(lambda: one.statistics().connections == 0)


async def test_connections_stay_below_what_the_process_may_have_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(descriptors, "limit", lambda: 120)
    async with running(max_connections=4096) as one:
        assert one._listener.connections.room == room(4096, left_for_connections(0, 120))
        assert "fewer connections than receive.max_connections are taken" in caplog.text
    monkeypatch.setattr(descriptors, "limit", lambda: 65536)
    caplog.clear()
    async with running(max_connections=4096) as one:
        assert one._listener.connections.room == (4096, BEYOND)
        assert not caplog.records
