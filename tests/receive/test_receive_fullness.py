"""What is refused for want of room, and that a refusal costs none: the ring, the memory, the connections."""

import corpus
import pytest
from receivekit import BODY, Client, FakeSpool, exchange, make_port, nothing_held, request, spool_of, turns, until

from auditsink.spool.errors import SpoolError, TooManyRingsError
from auditsink.spool.types import SpoolRejection


@pytest.mark.parametrize("refusal", list(SpoolRejection))
async def test_a_refusal_that_is_known_early_costs_no_memory(refusal: SpoolRejection) -> None:
    port = make_port()
    spool_of(port).ring("default")
    spool_of(port).early = refusal
    client = Client(port)
    data = request()
    client.send(data[:-10])
    assert client.answers() == []
    assert port.ingest.memory.held == 0
    client.send(data[-10:])
    (answer,) = client.answers()
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"5")
    assert b"connection" not in answer.headers
    assert port.counters.rejected[refusal] == 1
    spool_of(port).early = None
    client.send(data)
    await turns()
    assert client.answers()[0].status == 200


@pytest.mark.parametrize("refusal", list(SpoolRejection))
async def test_a_refusal_of_the_spool(refusal: SpoolRejection) -> None:
    port = make_port()
    spool_of(port).late = refusal
    with nothing_held(port):
        client = Client(port)
        client.send(request())
        await turns()
    (answer,) = client.answers()
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"5")
    assert port.counters.rejected[refusal] == 1


async def test_a_ring_too_many() -> None:
    port = make_port()
    spool_of(port).ring("other")
    spool_of(port).ring_problem = TooManyRingsError("one more than receive.max_clusters (1) allows")
    assert [status for status, _ in await exchange(port, request())] == [503]
    assert port.counters.rejected["clusters"] == 1


async def test_made_up_clusters_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    port = make_port()
    spool_of(port).ring("other")
    spool_of(port).ring_problem = TooManyRingsError("one more than receive.max_clusters (1) allows")
    for number in range(20):
        await exchange(port, request(target=f"/audit/made-up-{number}"))
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "a request was refused: receive.max_clusters is reached, and this cluster is a new one"
    ]


@pytest.mark.parametrize("length", [0, 10])
async def test_made_up_clusters_are_forgotten_with_their_request(length: int) -> None:
    port = make_port()
    spool_of(port).ring("other")
    spool_of(port).ring_problem = TooManyRingsError("one more than receive.max_clusters (1) allows")
    for number in range(20):
        await exchange(port, request(b"x" * length, target=f"/audit/made-up-{number}"))
    assert not port.clusters._known


async def test_a_ring_that_cannot_be_made() -> None:
    port = make_port()
    spool_of(port).ring_problem = SpoolError("the disk is gone")
    assert [status for status, _ in await exchange(port, request())] == [503]
    assert port.counters.rejected["disk"] == 1


async def test_bodies_that_arrive_count_and_bodies_that_are_announced_do_not() -> None:
    port = make_port(max_in_flight=10_000, max_body=10_000)
    claims = [Client(port) for _ in range(50)]
    for client in claims:
        client.send(request(b"", length=9_000))
    holder = Client(port)
    holder.send(request(b"x" * 8_000, length=9_000))
    assert port.ingest.memory.held == 8_000
    late = Client(port)
    late.send(request(b"x" * 3_000))
    (answer,) = late.answers()
    assert (answer.status, port.counters.rejected["overload"]) == (503, 1)
    holder.hang_up()
    assert port.ingest.memory.held == 0
    late.send(request())
    await turns()
    assert late.answers()[0].status == 200


async def test_waiting_for_the_disk_counts_the_body_and_its_copies() -> None:
    port = make_port(FakeSpool(slow=True))
    with nothing_held(port):
        client = Client(port)
        client.send(request())
        assert 2 * len(BODY) < port.ingest.memory.held < 2 * len(BODY) + 100
        spool_of(port).settle()


async def test_copies_that_do_not_fit_are_refused_unless_nothing_else_is_held() -> None:
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


async def test_single_bytes_do_not_take_fifty_times_their_size() -> None:
    port = make_port()
    client = Client(port)
    client.send(request(b"", length=20_001))
    for _ in range(10_000):
        client.send(b"xy")
    assert len(client.connection._body._pieces) < 10
    assert port.ingest.memory.held == 20_000
    client.send(b"z")
    await until(lambda: client.wire.sent)
    assert (client.answers()[0].status, port.ingest.memory.held) == (400, 0)


async def test_a_chunked_body_that_grows_too_large() -> None:
    port = make_port(max_body=1_000)
    with nothing_held(port):
        client = Client(port)
        client.send(request(b"", "Transfer-Encoding: chunked") + b"7d0\r\n" + b"x" * 1_500)
        (answer,) = client.answers()
    assert (answer.status, answer.headers[b"connection"]) == (413, b"close")
    assert port.counters.rejected["too_large"] == 1


async def test_a_chunked_body_of_which_nothing_is_kept_is_bounded_too() -> None:
    port = make_port(max_body=1_000)
    spool_of(port).ring("default")
    spool_of(port).early = SpoolRejection.FULL
    client = Client(port)
    client.send(request(b"", "Transfer-Encoding: chunked") + b"7d0\r\n" + b"x" * 1_500)
    assert client.answers()[0].status == 413


async def test_a_body_that_could_never_fit_is_told_so() -> None:
    port = make_port(max_in_flight=1_000, max_body=1_000)
    assert (await exchange(port, request(b"", length=1_001)))[0][0] == 413
