"""A connection answers every request in order, keeps what it promised, and ends what takes too long."""

import asyncio
import gzip
import json

import corpus
import pytest
from hypothesis import given
from hypothesis import strategies as st
from receivekit import (
    BODY,
    EVENT,
    Client,
    FakeSpool,
    chunked,
    exchange,
    make_port,
    nothing_held,
    request,
    spool_of,
    turns,
    until,
)

from auditsink.receive.states import WAITING
from auditsink.spool.types import SpoolRejection

STRANGER = b'{"kind":"Pod","apiVersion":"v1"}'
EMPTY = corpus.event_list([])


async def test_a_batch_is_stored_and_answered() -> None:
    port = make_port()
    with nothing_held(port):
        client = Client(port)
        client.send(request())
        assert client.answers() == []
        await turns()
    (answer,) = client.answers()
    assert (answer.status, answer.body) == (200, b'{"accepted":1}')
    assert answer.headers[b"content-type"] == b"application/json"
    assert answer.headers[b"date"] == b"Tue, 14 Nov 2023 22:13:20 GMT"
    assert b"connection" not in answer.headers
    (stored,) = spool_of(port).stored
    assert (stored.cluster, stored.body, stored.split.events, stored.source) == ("default", BODY, [EVENT], "")


async def test_a_connection_lives_on() -> None:
    port = make_port()
    bodies = [corpus.event_list([corpus.event(str(number))] * number) for number in range(1, 4)]
    assert await exchange(port, *map(request, bodies)) == [(200, {"accepted": number}) for number in range(1, 4)]
    assert [stored.body for stored in spool_of(port).stored] == bodies


async def test_an_empty_list_is_answered_and_not_stored() -> None:
    port = make_port()
    assert await exchange(port, request(EMPTY)) == [(200, {"accepted": 0})]
    assert spool_of(port).rings == {}


async def test_a_repetition_is_answered_like_the_first() -> None:
    port = make_port()
    assert await exchange(port, request(), request()) == [(200, {"accepted": 1})] * 2
    assert len(spool_of(port).stored) == 1


async def test_the_path_names_the_cluster() -> None:
    port = make_port()
    await exchange(port, request(target="/audit/prod-1?timeout=30s"), request(target="http://sink:9880/audit/test"))
    assert sorted(spool_of(port).rings) == ["prod-1", "test"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(STRANGER), 400),
        (request(b""), 400),
        (request(target="/"), 404),
        (request(target="/audit/"), 404),
        (request(target="/audit/UPPER"), 404),
        (request(target="/audit/a/b"), 404),
        (request(target="/audit/.."), 404),
        (request(target="/auditx"), 404),
        (request(b"", method="GET"), 405),
        (request(BODY, "Content-Encoding: br"), 415),
        (request(BODY, "Content-Encoding: gzip, gzip"), 415),
        (request(BODY, "Expect: tea"), 417),
        (request(b"x", "Transfer-Encoding: gzip, chunked"), 501),
        (request(version="2.0"), 505),
        (request(b"", length=2**40), 413),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
async def test_refusals_say_why_in_a_sentence(data: bytes, status: int) -> None:
    port = make_port()
    with nothing_held(port):
        client = Client(port)
        client.send(data)
        await until(lambda: client.wire.sent)
        (answer,) = client.answers()
    assert answer.status == status
    assert len(json.loads(answer.body)["error"]) > 15
    assert spool_of(port).stored == []


async def test_a_405_names_what_is_allowed_and_a_415_what_is_understood() -> None:
    port = make_port()
    client = Client(port)
    client.send(request(b"", method="GET"))
    client.send(request(BODY, "Content-Encoding: br"))
    await turns()
    first, second = client.answers()
    assert first.headers[b"allow"] == b"POST"
    assert second.headers[b"accept-encoding"] == b"gzip"


async def test_refusals_show_nothing_of_the_request_unescaped() -> None:
    port = make_port()
    hostile = b'{"kind":"<script>\\u0000\\"\\r\\n","apiVersion":"v1"}'
    client = Client(port)
    client.send(request(hostile))
    await until(lambda: client.wire.sent)
    (answer,) = client.answers()
    assert b"\n" not in answer.body
    assert b"\\\\x00" in answer.body
    assert "<script>" in json.loads(answer.body)["error"]
    assert answer.headers[b"content-type"] == b"application/json"


async def test_after_a_refusal_without_a_body_the_connection_lives_on() -> None:
    port = make_port()
    data = request(b"", method="GET"), request(b"", target="/nowhere"), request()
    assert [status for status, _ in await exchange(port, *data)] == [405, 404, 200]


async def test_an_answer_to_head_has_no_body() -> None:
    port = make_port()
    client = Client(port)
    client.send(request(b"", method="HEAD") + request())
    await turns()
    head, _, rest = bytes(client.wire.sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405 ")
    assert rest.startswith(b"HTTP/1.1 200 OK")


async def test_the_last_answer_of_a_client_that_asks_for_the_end() -> None:
    port = make_port()
    for data in (request(BODY, "Connection: close"), request(version="1.0")):
        client = Client(port)
        client.send(data)
        await turns()
        (answer,) = client.answers()
        assert (answer.status, answer.headers[b"connection"]) == (200, b"close")
        assert client.wire.eof
        client.finish()
        assert client.wire.closed


async def test_early_data_behind_the_last_request_is_thrown_away() -> None:
    port = make_port()
    client = Client(port)
    client.send(request(BODY, "Connection: close") + request())
    await turns()
    assert len(client.answers()) == 1
    assert len(spool_of(port).stored) == 1


@given(
    st.lists(st.sampled_from(["plain", "chunked", "empty", "get", "stranger", "gzip"]), min_size=1, max_size=4),
    st.integers(1, 400),
)
def test_any_delivery_gets_the_same_answers(kinds: list[str], piece: int) -> None:
    """Pipelined, in pieces of any size, with a socket's manners: nothing arrives while the protocol does not read."""
    made = {
        "plain": (request(), 200),
        "chunked": (request(b"", "Transfer-Encoding: chunked") + chunked(BODY, [3, 50], b"X: y\r\n"), 200),
        "empty": (request(EMPTY), 200),
        "get": (request(b"", method="GET"), 405),
        "stranger": (request(STRANGER), 400),
        "gzip": (request(gzip.compress(BODY), "Content-Encoding: gzip"), 200),
    }
    stream = b"".join(made[kind][0] for kind in kinds)

    async def run() -> None:
        port = make_port()
        with nothing_held(port):
            client = Client(port)
            for start in range(0, len(stream), piece):
                await until(lambda: not client.wire.paused)
                client.send(stream[start : start + piece])
            await until(lambda: client.wire.sent.count(b"HTTP/1.1 ") == len(kinds))
            assert [answer.status for answer in client.answers()] == [made[kind][1] for kind in kinds]
            assert not client.connection.busy
        assert port.counters.requests == len(kinds)

    asyncio.run(run())


class TestPipelining:
    async def test_the_next_request_waits_for_the_answer_of_the_one_before(self) -> None:
        port = make_port(FakeSpool(slow=True))
        spool = spool_of(port)
        client = Client(port)
        client.send(request() + request(BODY, target="/audit/two"))
        await turns()
        assert [one.cluster for one in spool.waiting] == ["default"]
        paused = [client.wire.paused]
        spool.settle()
        await turns()
        assert [one.cluster for one in spool.waiting] == ["two"]
        paused.append(client.wire.paused)
        assert paused == [True, False]
        spool.settle()
        assert [answer.status for answer in client.answers()] == [200, 200]

    async def test_little_is_read_while_a_request_waits(self) -> None:
        port = make_port(FakeSpool(slow=True))
        client = Client(port)
        before = len(client.connection.get_buffer(-1))
        client.send(request())
        assert len(client.connection.get_buffer(-1)) <= 2**14 < before

    async def test_many_requests_at_once_are_each_answered(self) -> None:
        port = make_port()
        with nothing_held(port):
            client = Client(port)
            client.send(request() * 200)
            await until(lambda: not client.connection.busy)
        assert [answer.status for answer in client.answers()] == [200] * 200

    async def test_what_does_not_fit_into_memory_ends_the_connection_after_the_answer(self) -> None:
        port = make_port(FakeSpool(slow=True), max_in_flight=2 * len(BODY) + 100, max_body=2 * len(BODY))
        client = Client(port)
        with nothing_held(port):
            client.send(request() + request() * 3)
            spool_of(port).settle()
            await turns()
        (answer,) = client.answers()
        assert (answer.status, answer.headers[b"connection"]) == (200, b"close")

    async def test_what_does_not_fit_behind_a_refusal_ends_the_connection(self) -> None:
        port = make_port(max_in_flight=500, max_body=500)
        client = Client(port)
        client.send(request(b"", method="GET") * 10)
        await turns()
        assert [answer.status for answer in client.answers()] == [405]
        assert client.wire.eof

    async def test_refused_requests_take_turns_with_other_clients(self) -> None:
        port = make_port()
        hog, other = Client(port), Client(port)
        hog.send(request(b"", method="GET") * 100)
        other.send(request())
        await turns(3)
        assert hog.wire.sent.count(b"HTTP/1.1 405") < 10
        assert other.answers()[0].status == 200


class TestExpect:
    async def test_a_client_is_told_to_go_on(self) -> None:
        port = make_port()
        client = Client(port)
        head = request(b"", "Expect: 100-Continue", length=len(BODY))
        client.send(head)
        assert bytes(client.wire.sent) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.wire.sent.clear()
        client.send(BODY)
        await turns()
        assert client.answers()[0].status == 200

    async def test_a_client_is_told_before_it_sends(self) -> None:
        port = make_port()
        spool_of(port).ring("default")
        spool_of(port).early = SpoolRejection.FULL
        client = Client(port)
        client.send(request(b"", "Expect: 100-continue", length=len(BODY)))
        (answer,) = client.answers()
        assert (answer.status, answer.headers[b"connection"]) == (503, b"close")


@given(
    st.binary(max_size=300) | st.lists(st.sampled_from([request(), request(EMPTY), b"\r\n", b"0", b"x"])).map(b"".join)
)
def test_no_bytes_raise_out_of_the_protocol_and_none_are_left_without_an_end(data: bytes) -> None:
    async def run() -> None:
        port = make_port()
        client = Client(port)
        for start in range(0, len(data), 7):
            await until(lambda: not client.wire.paused)
            client.send(data[start : start + 7])
        await until(lambda: not client.wire.paused and client.connection._request != WAITING)
        client.finish()
        await turns()
        assert client.wire.closed
        client.hang_up()
        assert port.ingest.memory.held == 0
        assert port.connections.open == set()
        answers = client.answers()
        assert len(answers) == port.counters.requests
        assert sum(answer.status != 200 for answer in answers) == sum(port.counters.rejected.values())

    asyncio.run(run())
