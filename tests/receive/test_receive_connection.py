"""A connection answers every request in order, keeps what it promised, and ends what takes too long."""

import asyncio
import gzip
import json
from typing import Any

import corpus
import pytest
from hypothesis import given
from hypothesis import strategies as st
from receivekit import BODY, EVENT, Client, FakeSpool, chunked, make_port, nothing_held, request, turns, until

from auditsink.receive.connection import LINGER_BYTES, LINGER_SECONDS
from auditsink.receive.port import Port
from auditsink.spool.errors import SpoolError, TooManyRingsError
from auditsink.spool.types import Refusal
from auditsink.testing.clock import FakeClock

STRANGER = b'{"kind":"Pod","apiVersion":"v1"}'
EMPTY = corpus.event_list([])


def spool_of(port: Port) -> FakeSpool:
    spool: Any = port.intake.spool
    return spool


async def exchange(port: Port, *data: bytes, piece: int = 2**20) -> list[tuple[int, Any]]:
    """Send all on one connection; the answers' statuses and documents."""
    client = Client(port)
    for one in data:
        client.send(one, piece)
        await until(lambda: not client.connection.busy)
    return [(answer.status, json.loads(answer.body)) for answer in client.answers()]


async def test_a_batch_is_stored_and_answered():
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


async def test_a_connection_lives_on():
    port = make_port()
    bodies = [corpus.event_list([corpus.event(str(number))] * number) for number in range(1, 4)]
    assert await exchange(port, *map(request, bodies)) == [(200, {"accepted": number}) for number in range(1, 4)]
    assert [stored.body for stored in spool_of(port).stored] == bodies


async def test_an_empty_list_is_answered_and_not_stored():
    port = make_port()
    assert await exchange(port, request(EMPTY)) == [(200, {"accepted": 0})]
    assert spool_of(port).rings == {}


async def test_a_repetition_is_answered_like_the_first():
    port = make_port()
    assert await exchange(port, request(), request()) == [(200, {"accepted": 1})] * 2
    assert len(spool_of(port).stored) == 1


async def test_the_path_names_the_cluster():
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
async def test_refusals_say_why_in_a_sentence(data: bytes, status: int):
    port = make_port()
    with nothing_held(port):
        client = Client(port)
        client.send(data)
        await until(lambda: client.wire.sent)
        (answer,) = client.answers()
    assert answer.status == status
    assert len(json.loads(answer.body)["error"]) > 15
    assert spool_of(port).stored == []


async def test_a_405_names_what_is_allowed_and_a_415_what_is_understood():
    port = make_port()
    client = Client(port)
    client.send(request(b"", method="GET"))
    client.send(request(BODY, "Content-Encoding: br"))
    await turns()
    first, second = client.answers()
    assert first.headers[b"allow"] == b"POST"
    assert second.headers[b"accept-encoding"] == b"gzip"


async def test_refusals_show_nothing_of_the_request_unescaped():
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


async def test_after_a_refusal_without_a_body_the_connection_lives_on():
    port = make_port()
    data = request(b"", method="GET"), request(b"", target="/nowhere"), request()
    assert [status for status, _ in await exchange(port, *data)] == [405, 404, 200]


async def test_an_answer_to_head_has_no_body():
    port = make_port()
    client = Client(port)
    client.send(request(b"", method="HEAD") + request())
    await turns()
    head, _, rest = bytes(client.wire.sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405 ")
    assert rest.startswith(b"HTTP/1.1 200 OK")


async def test_the_last_answer_of_a_client_that_asks_for_the_end():
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


async def test_early_data_behind_the_last_request_is_thrown_away():
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
def test_any_delivery_gets_the_same_answers(kinds: list[str], piece: int):
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
    async def test_the_next_request_waits_for_the_answer_of_the_one_before(self):
        port = make_port(FakeSpool(slow=True))
        spool = spool_of(port)
        client = Client(port)
        client.send(request() + request(BODY, target="/audit/two"))
        await turns()
        assert [one.cluster for one in spool.waiting] == ["default"]
        assert client.wire.paused
        spool.settle()
        await turns()
        assert [one.cluster for one in spool.waiting] == ["two"]
        assert not client.wire.paused
        spool.settle()
        assert [answer.status for answer in client.answers()] == [200, 200]

    async def test_little_is_read_while_a_request_waits(self):
        port = make_port(FakeSpool(slow=True))
        client = Client(port)
        before = len(client.connection.get_buffer(-1))
        client.send(request())
        assert len(client.connection.get_buffer(-1)) <= 2**14 < before

    async def test_many_requests_at_once_are_each_answered(self):
        port = make_port()
        with nothing_held(port):
            client = Client(port)
            client.send(request() * 200)
            await until(lambda: not client.connection.busy)
        assert [answer.status for answer in client.answers()] == [200] * 200

    async def test_what_does_not_fit_into_memory_ends_the_connection_after_the_answer(self):
        port = make_port(FakeSpool(slow=True), max_in_flight=2 * len(BODY) + 100, max_body=2 * len(BODY))
        client = Client(port)
        with nothing_held(port):
            client.send(request() + request() * 3)
            spool_of(port).settle()
            await turns()
        (answer,) = client.answers()
        assert (answer.status, answer.headers[b"connection"]) == (200, b"close")

    async def test_what_does_not_fit_behind_a_refusal_ends_the_connection(self):
        port = make_port(max_in_flight=500, max_body=500)
        client = Client(port)
        client.send(request(b"", method="GET") * 10)
        await turns()
        assert [answer.status for answer in client.answers()] == [405]
        assert client.wire.eof

    async def test_refused_requests_take_turns_with_other_clients(self):
        port = make_port()
        hog, other = Client(port), Client(port)
        hog.send(request(b"", method="GET") * 100)
        other.send(request())
        await turns(3)
        assert hog.wire.sent.count(b"HTTP/1.1 405") < 10
        assert other.answers()[0].status == 200


class TestExpect:
    async def test_a_client_is_told_to_go_on(self):
        port = make_port()
        client = Client(port)
        head = request(b"", "Expect: 100-Continue", length=len(BODY))
        client.send(head)
        assert bytes(client.wire.sent) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.wire.sent.clear()
        client.send(BODY)
        await turns()
        assert client.answers()[0].status == 200

    async def test_a_client_is_told_before_it_sends(self):
        port = make_port()
        spool_of(port).ring("default")
        spool_of(port).early = Refusal.FULL
        client = Client(port)
        client.send(request(b"", "Expect: 100-continue", length=len(BODY)))
        (answer,) = client.answers()
        assert (answer.status, answer.headers[b"connection"]) == (503, b"close")


class TestFullness:
    @pytest.mark.parametrize("refusal", list(Refusal))
    async def test_a_refusal_that_is_known_early_costs_no_memory(self, refusal: Refusal):
        port = make_port()
        spool_of(port).ring("default")
        spool_of(port).early = refusal
        client = Client(port)
        data = request()
        client.send(data[:-10])
        assert client.answers() == []
        assert port.intake.budget.held == 0
        client.send(data[-10:])
        (answer,) = client.answers()
        assert (answer.status, answer.headers[b"retry-after"]) == (503, b"5")
        assert b"connection" not in answer.headers
        assert port.counters.rejected[refusal] == 1
        spool_of(port).early = None
        client.send(data)
        await turns()
        assert client.answers()[0].status == 200

    @pytest.mark.parametrize("refusal", list(Refusal))
    async def test_a_refusal_of_the_spool(self, refusal: Refusal):
        port = make_port()
        spool_of(port).late = refusal
        with nothing_held(port):
            client = Client(port)
            client.send(request())
            await turns()
        (answer,) = client.answers()
        assert (answer.status, answer.headers[b"retry-after"]) == (503, b"5")
        assert port.counters.rejected[refusal] == 1

    async def test_a_ring_too_many(self):
        port = make_port()
        spool_of(port).ring("other")
        spool_of(port).ring_problem = TooManyRingsError("one more than receive.max_clusters (1) allows")
        assert [status for status, _ in await exchange(port, request())] == [503]
        assert port.counters.rejected["clusters"] == 1

    async def test_made_up_clusters_do_not_fill_the_log(self, caplog: pytest.LogCaptureFixture):
        port = make_port()
        spool_of(port).ring("other")
        spool_of(port).ring_problem = TooManyRingsError("one more than receive.max_clusters (1) allows")
        for number in range(20):
            await exchange(port, request(target=f"/audit/made-up-{number}"))
        assert [record.getMessage().split(";")[0] for record in caplog.records] == [
            "a request was refused: receive.max_clusters is reached, and this cluster is a new one"
        ]

    async def test_a_ring_that_cannot_be_made(self):
        port = make_port()
        spool_of(port).ring_problem = SpoolError("the disk is gone")
        assert [status for status, _ in await exchange(port, request())] == [503]
        assert port.counters.rejected["disk"] == 1

    async def test_bodies_that_arrive_count_and_bodies_that_are_announced_do_not(self):
        port = make_port(max_in_flight=10_000, max_body=10_000)
        claims = [Client(port) for _ in range(50)]
        for client in claims:
            client.send(request(b"", length=9_000))
        holder = Client(port)
        holder.send(request(b"x" * 8_000, length=9_000))
        assert port.intake.budget.held == 8_000
        late = Client(port)
        late.send(request(b"x" * 3_000))
        (answer,) = late.answers()
        assert (answer.status, port.counters.rejected["overload"]) == (503, 1)
        holder.hang_up()
        assert port.intake.budget.held == 0
        late.send(request())
        await turns()
        assert late.answers()[0].status == 200

    async def test_waiting_for_the_disk_counts_the_body_and_its_copies(self):
        port = make_port(FakeSpool(slow=True))
        with nothing_held(port):
            client = Client(port)
            client.send(request())
            assert 2 * len(BODY) < port.intake.budget.held < 2 * len(BODY) + 100
            spool_of(port).settle()

    async def test_copies_that_do_not_fit_are_refused_unless_nothing_else_is_held(self):
        port = make_port(FakeSpool(slow=True), max_in_flight=3 * len(BODY), max_body=3 * len(BODY))
        big = corpus.event_list([corpus.event("big", b"1" * len(BODY))])
        alone, second = Client(port), Client(port)
        alone.send(request(big))
        assert len(spool_of(port).waiting) == 1
        second.send(request())
        await turns()
        assert second.answers()[0].status == 503
        spool_of(port).settle()
        await turns()
        assert alone.answers()[0].status == 200

    async def test_single_bytes_do_not_take_fifty_times_their_size(self):
        port = make_port()
        client = Client(port)
        client.send(request(b"", length=20_001))
        for _ in range(10_000):
            client.send(b"xy")
        assert len(client.connection._chunks) < 10
        assert port.intake.budget.held == 20_000
        client.send(b"z")
        await until(lambda: client.wire.sent)
        assert (client.answers()[0].status, port.intake.budget.held) == (400, 0)

    async def test_a_chunked_body_that_grows_too_large(self):
        port = make_port(max_body=1_000)
        with nothing_held(port):
            client = Client(port)
            client.send(request(b"", "Transfer-Encoding: chunked") + b"7d0\r\n" + b"x" * 1_500)
            (answer,) = client.answers()
        assert (answer.status, answer.headers[b"connection"]) == (413, b"close")
        assert port.counters.rejected["too_large"] == 1

    async def test_a_chunked_body_of_which_nothing_is_kept_is_bounded_too(self):
        port = make_port(max_body=1_000)
        spool_of(port).ring("default")
        spool_of(port).early = Refusal.FULL
        client = Client(port)
        client.send(request(b"", "Transfer-Encoding: chunked") + b"7d0\r\n" + b"x" * 1_500)
        assert client.answers()[0].status == 413

    async def test_a_body_that_could_never_fit_is_told_so(self):
        port = make_port(max_in_flight=1_000, max_body=1_000)
        assert (await exchange(port, request(b"", length=1_001)))[0][0] == 413


class TestEnds:
    async def test_a_client_that_is_gone_does_not_take_its_batch_along(self):
        port = make_port(FakeSpool(slow=True))
        with nothing_held(port):
            client = Client(port)
            client.send(request())
            client.hang_up()
            spool_of(port).settle()
        assert spool_of(port).events == [EVENT]
        assert port.counters.cluster("default").batches == 1
        assert port.connections == set()

    async def test_a_client_that_is_gone_in_the_middle_leaves_nothing(self):
        port = make_port()
        for data in (request()[:40], request()[:-10], request(b"", "Transfer-Encoding: chunked") + b"5\r\nab"):
            with nothing_held(port):
                client = Client(port)
                client.send(data)
                client.hang_up()
        assert spool_of(port).stored == []

    async def test_half_closed_clients_get_their_answer(self):
        port = make_port(FakeSpool(slow=True))
        client = Client(port)
        client.send(request())
        client.finish()
        assert not client.wire.closed
        spool_of(port).settle()
        await turns()
        assert client.answers()[0].status == 200
        assert client.wire.closed

    async def test_half_closed_clients_get_the_answers_of_all_they_sent(self):
        port = make_port(FakeSpool(slow=True))
        client = Client(port)
        client.send(request() * 2 + request()[:50])
        for _ in range(2):
            spool_of(port).settle()
            await turns()
        client.finish()
        assert [answer.status for answer in client.answers()] == [200, 200, 400]

    @pytest.mark.parametrize("data", [request()[:40], request()[:-10]])
    async def test_half_a_request_is_told_so(self, data: bytes):
        port = make_port()
        client = Client(port)
        client.send(data)
        client.finish()
        (answer,) = client.answers()
        assert (answer.status, client.wire.closed) == (400, True)

    async def test_an_idle_client_just_goes(self):
        port = make_port()
        client = Client(port)
        client.finish()
        assert client.wire.closed
        assert client.answers() == []

    async def test_an_early_answer_survives_the_rest_of_the_body(self):
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

    async def test_the_rest_of_the_body_is_bounded(self):
        port = make_port()
        client = Client(port)
        client.send(request(b"", length=2**30))
        for _ in range(LINGER_BYTES // 2**20 + 1):
            client.send(b"x" * 2**20)
        assert client.wire.aborted

    async def test_a_client_that_does_not_read_gets_no_more(self):
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

    async def test_the_last_request_of_a_client_that_did_not_read_for_a_while(self):
        port = make_port()
        client = Client(port)
        data = request(BODY, "Connection: close")
        client.send(data[:-10])
        client.connection.pause_writing()
        client.connection.resume_writing()
        client.send(data[-10:])
        await turns()
        assert client.answers()[0].status == 200

    async def test_a_body_that_had_to_be_dropped_is_refused(self):
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

    async def test_stopping(self):
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

    async def test_one_client_too_many(self):
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

    async def test_far_too_many_are_closed_at_once(self):
        port = make_port(max_connections=1)
        clients = [Client(port) for _ in range(100)]
        assert [client.wire.aborted for client in clients] == [False] * 65 + [True] * 35
        assert port.counters.rejected["connections"] == 35


class TestTime:
    async def sweep(self, port: Port, seconds: float) -> None:
        """Let time pass, and the sweep come by every second."""
        clock: Any = port.clock
        for _ in range(int(seconds)):
            await clock.advance(1)
            port.sweep()

    async def test_a_trickling_client_is_cut_after_a_bound(self):
        for data in (request()[:30], request()[:-300], request(b"", "Transfer-Encoding: chunked") + b"50\r\na"):
            port = make_port(request_timeout=35)
            client = Client(port)
            client.send(data)
            for _ in range(35):
                await self.sweep(port, 1)
                client.send(b"a")
            assert client.answers() == []
            with nothing_held(port):
                await self.sweep(port, 1)
            (answer,) = client.answers()
            assert (answer.status, answer.headers[b"connection"]) == (408, b"close")
            assert port.counters.rejected["timeout"] == 1

    async def test_an_idle_client_is_closed_after_the_apiserver_would_have(self):
        port = make_port(idle_timeout=120)
        fresh, used = Client(port), Client(port)
        used.send(request())
        await turns()
        await self.sweep(port, 120)
        assert not fresh.wire.closed
        assert not used.wire.closed
        await self.sweep(port, 1)
        assert fresh.wire.closed
        assert used.wire.closed

    async def test_every_request_starts_the_time_anew(self):
        port = make_port(idle_timeout=120)
        client = Client(port)
        for _ in range(3):
            client.send(request())
            await turns()
            await self.sweep(port, 100)
        assert not client.wire.closed

    async def test_nobody_is_cut_for_a_slow_disk(self):
        port = make_port(FakeSpool(slow=True))
        client = Client(port)
        client.send(request())
        await self.sweep(port, 600)
        spool_of(port).settle()
        assert client.answers()[0].status == 200

    async def test_a_client_that_lingers_is_cut(self):
        port = make_port()
        client = Client(port)
        client.send(request(b"", length=2**30))
        await self.sweep(port, LINGER_SECONDS)
        assert not client.wire.aborted
        await self.sweep(port, 1)
        assert client.wire.aborted

    async def test_a_client_that_never_reads_is_cut(self):
        port = make_port(request_timeout=35)
        client = Client(port)
        client.connection.pause_writing()
        await self.sweep(port, 36)
        assert client.wire.aborted

    async def test_the_date_moves_on(self):
        port = make_port()
        client = Client(port)
        dates = []
        for _ in range(2):
            client.send(request())
            await turns()
            dates.append(client.answers()[0].headers[b"date"])
            await self.sweep(port, 1)
        assert dates == [b"Tue, 14 Nov 2023 22:13:20 GMT", b"Tue, 14 Nov 2023 22:13:21 GMT"]


@given(
    st.binary(max_size=300) | st.lists(st.sampled_from([request(), request(EMPTY), b"\r\n", b"0", b"x"])).map(b"".join)
)
def test_no_bytes_raise_out_of_the_protocol_and_none_are_left_without_an_end(data: bytes):
    async def run() -> None:
        port = make_port()
        client = Client(port)
        for start in range(0, len(data), 7):
            await until(lambda: not client.wire.paused)
            client.send(data[start : start + 7])
        await until(lambda: not client.wire.paused and client.connection._state != 1)
        client.finish()
        await turns()
        assert client.wire.closed
        client.hang_up()
        assert port.intake.budget.held == 0
        assert port.connections == set()
        answers = client.answers()
        assert len(answers) == port.counters.requests
        assert sum(answer.status != 200 for answer in answers) == sum(port.counters.rejected.values())

    asyncio.run(run())
