"""How a connection ends: by its client, by a stop, by a limit, by time."""

from typing import Any

import pytest
from receivekit import BODY, EVENT, Client, FakeSpool, make_port, nothing_held, request, spool_of, turns

from auditsink.receive.connection import LINGER_BYTES, LINGER_SECONDS
from auditsink.receive.listener import ListenerState
from auditsink.testing.clock import FakeClock


async def test_a_client_that_is_gone_does_not_take_its_batch_along() -> None:
    port = make_port(FakeSpool(slow=True))
    with nothing_held(port):
        client = Client(port)
        client.send(request())
        client.hang_up()
        spool_of(port).settle()
    assert spool_of(port).events == [EVENT]
    assert port.counters.cluster("default").batches == 1
    assert port.connections.open == set()


async def test_a_client_that_is_gone_in_the_middle_leaves_nothing() -> None:
    port = make_port()
    for data in (request()[:40], request()[:-10], request(b"", "Transfer-Encoding: chunked") + b"5\r\nab"):
        with nothing_held(port):
            client = Client(port)
            client.send(data)
            client.hang_up()
    assert spool_of(port).stored == []


async def test_half_closed_clients_get_their_answer() -> None:
    port = make_port(FakeSpool(slow=True))
    client = Client(port)
    client.send(request())
    client.finish()
    assert not client.wire.closed
    spool_of(port).settle()
    await turns()
    assert client.answers()[0].status == 200
    assert client.wire.closed


async def test_half_closed_clients_get_the_answers_of_all_they_sent() -> None:
    port = make_port(FakeSpool(slow=True))
    client = Client(port)
    client.send(request() * 2 + request()[:50])
    for _ in range(2):
        spool_of(port).settle()
        await turns()
    client.finish()
    assert [answer.status for answer in client.answers()] == [200, 200, 400]


@pytest.mark.parametrize("data", [request()[:40], request()[:-10]])
async def test_half_a_request_is_told_so(data: bytes) -> None:
    port = make_port()
    client = Client(port)
    client.send(data)
    client.finish()
    (answer,) = client.answers()
    assert (answer.status, client.wire.closed) == (400, True)


async def test_an_idle_client_just_goes() -> None:
    port = make_port()
    client = Client(port)
    client.finish()
    assert client.wire.closed
    assert client.answers() == []


async def test_an_early_answer_survives_the_rest_of_the_body() -> None:
    clock = FakeClock()
    port = make_port(clock=clock)
    client = Client(port)
    client.send(request(b"x" * 100_000, length=2**30))
    assert client.answers()[0].status == 413
    assert client.wire.eof
    assert not client.wire.closed
    client.send(b"x" * 2**21)
    assert not client.wire.closed
    client.finish()
    assert client.wire.closed


async def test_the_rest_of_the_body_is_bounded() -> None:
    port = make_port()
    client = Client(port)
    client.send(request(b"", length=2**30))
    for _ in range(LINGER_BYTES // 2**20 + 1):
        client.send(b"x" * 2**20)
    assert client.wire.aborted


async def test_a_client_that_does_not_read_gets_no_more() -> None:
    port = make_port()
    client = Client(port)
    client.send(request())
    client.connection.pause_writing()
    assert client.wire.paused
    await turns()
    client.wire.paused = False
    client.send(request())
    await turns()
    assert len(client.answers()) == 1
    client.connection.resume_writing()
    await turns()
    assert len(client.answers()) == 1
    assert not client.wire.paused


async def test_the_last_request_of_a_client_that_did_not_read_for_a_while() -> None:
    port = make_port()
    client = Client(port)
    data = request(BODY, "Connection: close")
    client.send(data[:-10])
    client.connection.pause_writing()
    client.connection.resume_writing()
    client.send(data[-10:])
    await turns()
    assert client.answers()[0].status == 200


async def test_a_body_that_had_to_be_dropped_is_refused() -> None:
    port = make_port(max_in_flight=1_000, max_body=1_000)
    client = Client(port)
    client.send(request(b"x" * 600, length=900))
    client.connection.pause_writing()
    client.wire.paused = False  # what was read already
    other = Client(port)
    other.send(request(b"x" * 350, length=900))
    client.send(b"x" * 100)
    client.connection.resume_writing()
    (answer,) = client.answers()
    assert (answer.status, answer.headers[b"connection"]) == (503, b"close")


async def test_stopping() -> None:
    port = make_port(FakeSpool(slow=True))
    under_way, waiting, idle = Client(port), Client(port), Client(port)
    waiting.send(request())
    under_way.send(request()[:-5])
    port.stopping = True
    under_way.send(request()[-5:])
    assert len(spool_of(port).waiting) == 2
    for _ in range(2):
        spool_of(port).settle()
    for client in (waiting, under_way):
        (answer,) = client.answers()
        assert (answer.status, answer.headers[b"connection"]) == (200, b"close")
    idle.send(request())
    (answer,) = idle.answers()
    assert (answer.status, answer.headers[b"retry-after"], answer.headers[b"connection"]) == (503, b"5", b"close")
    assert port.counters.rejected["stopping"] == 1


async def test_one_client_too_many() -> None:
    port = make_port(max_connections=1)
    first, second = Client(port), Client(port)
    second.send(request())
    await turns()
    (answer,) = second.answers()
    assert (answer.status, answer.headers[b"connection"]) == (503, b"close")
    assert b"retry-after" in answer.headers
    first.send(request())
    await turns()
    assert first.answers()[0].status == 200


async def test_far_too_many_are_closed_at_once() -> None:
    port = make_port(max_connections=1)
    clients = [Client(port) for _ in range(100)]
    assert [client.wire.aborted for client in clients] == [False] * 65 + [True] * 35
    assert port.counters.rejected["connections"] == 35
    assert port.counters.refusals["connections"].count == 35, "the verdict sees them"


async def sweep(port: ListenerState, seconds: float) -> None:
    """Let time pass, and the sweep come by every second."""
    clock: Any = port.ingest.clock
    for _ in range(int(seconds)):
        await clock.advance(1)
        port.sweep()


async def test_a_trickling_client_is_cut_after_a_bound() -> None:
    for data in (request()[:30], request()[:-300], request(b"", "Transfer-Encoding: chunked") + b"50\r\na"):
        port = make_port(request_timeout=35)
        client = Client(port)
        client.send(data)
        for _ in range(35):
            await sweep(port, 1)
            client.send(b"a")
        assert client.answers() == []
        with nothing_held(port):
            await sweep(port, 1)
        (answer,) = client.answers()
        assert (answer.status, answer.headers[b"connection"]) == (408, b"close")
        assert port.counters.rejected["timeout"] == 1


async def test_an_idle_client_is_closed_after_the_apiserver_would_have() -> None:
    port = make_port(idle_timeout=120)
    fresh, used = Client(port), Client(port)
    used.send(request())
    await turns()
    await sweep(port, 120)
    before = (fresh.wire.closed, used.wire.closed)
    assert before == (False, False)
    await sweep(port, 1)
    assert (fresh.wire.closed, used.wire.closed) == (True, True)


async def test_every_request_starts_the_time_anew() -> None:
    port = make_port(idle_timeout=120)
    client = Client(port)
    for _ in range(3):
        client.send(request())
        await turns()
        await sweep(port, 100)
    assert not client.wire.closed


async def test_nobody_is_cut_for_a_slow_disk() -> None:
    port = make_port(FakeSpool(slow=True))
    client = Client(port)
    client.send(request())
    await sweep(port, 600)
    spool_of(port).settle()
    assert client.answers()[0].status == 200


async def test_a_client_that_lingers_is_cut() -> None:
    port = make_port()
    client = Client(port)
    client.send(request(b"", length=2**30))
    await sweep(port, LINGER_SECONDS)
    assert not client.wire.aborted
    await sweep(port, 1)
    assert client.wire.aborted


async def test_a_client_that_never_reads_is_cut() -> None:
    port = make_port(request_timeout=35)
    client = Client(port)
    client.connection.pause_writing()
    await sweep(port, 36)
    assert client.wire.aborted


async def test_the_date_moves_on() -> None:
    port = make_port()
    client = Client(port)
    dates = []
    for _ in range(2):
        client.send(request())
        await turns()
        dates.append(client.answers()[0].headers[b"date"])
        await sweep(port, 1)
    assert dates == [b"Tue, 14 Nov 2023 22:13:20 GMT", b"Tue, 14 Nov 2023 22:13:21 GMT"]
