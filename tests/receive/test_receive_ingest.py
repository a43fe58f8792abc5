"""Complete bodies become batches: gzip, hostile ones, and many of them at once."""

import gzip
import json
import random
import threading
import zlib
from collections.abc import Callable
from typing import Any

import corpus
import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import isal_zlib
from receivekit import BODY, EVENT, Client, FakeSpool, make_port, nothing_held, request, turns, until

from auditsink.audit.eventlist import Mark, split_slow
from auditsink.receive import ingest
from auditsink.receive.ingest import InflateError, inflate

SURROGATE = corpus.event_list([corpus.event("bad", rb'{"a":"\ud800"}'), EVENT])


async def post(port: Any, body: bytes, *headers: str) -> tuple[int, Any]:
    """One request; its answer's status and document."""
    client = Client(port)
    with nothing_held(port):
        client.send(request(body, *headers))
        await until(lambda: client.wire.sent)
    (answer,) = client.answers()
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize("body", corpus.hostile_bodies(), ids=lambda body: body.name)
async def test_nothing_inside_an_event_makes_its_batch_refused(body: corpus.Body) -> None:
    port = make_port(spool := FakeSpool())
    assert await post(port, body.data) == (200, {"accepted": len(body.events)})
    assert spool.events == body.events


async def test_recorded_batches_arrive_as_they_were() -> None:
    port = make_port(spool := FakeSpool())
    expected = []
    for body in corpus.bodies("hostile-patches", "batch100-metadata-mtls-h2"):
        status, _ = await post(port, body.data)
        assert status == 200
        expected += body.events
    assert spool.events == expected
    assert len(expected) == 30 + 1402


async def test_what_cannot_be_split_is_kept_whole_marked_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    port = make_port(spool := FakeSpool())
    body = BODY[:-5]
    assert await post(port, body) == (200, {"accepted": 1})
    assert (spool.stored[0].split.events, spool.stored[0].split.marks) == ([body], Mark.UNSPLIT)
    assert await post(port, BODY) == (200, {"accepted": 1})
    assert await post(port, BODY[:-4]) == (200, {"accepted": 1})
    (counted,) = port.counters.clusters.values()
    assert (counted.batches, counted.unsplit) == (3, 2)
    assert [record.getMessage()[:52] for record in caplog.records] == [
        "a batch could not be split into its events and is ke"
    ], "a cluster that posts nothing else must not fill the log"


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "GZIP"])
async def test_gzip_is_understood(name: str) -> None:
    port = make_port(spool := FakeSpool())
    assert await post(port, gzip.compress(BODY), f"Content-Encoding: {name}") == (200, {"accepted": 1})
    assert spool.stored[0].body == BODY
    assert port.counters.cluster("default").bytes == len(BODY)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
async def test_a_byte_order_mark_is_no_part_of_a_list(pack: Callable[[bytes], bytes]) -> None:
    port = make_port(spool := FakeSpool())
    headers = ["Content-Encoding: gzip"] if pack is gzip.compress else []
    assert await post(port, pack(b"\xef\xbb\xbf" + BODY), *headers) == (200, {"accepted": 1})
    assert (spool.stored[0].body, spool.events) == (BODY, [EVENT])


async def test_gzip_and_hostile() -> None:
    port = make_port(spool := FakeSpool())
    assert await post(port, gzip.compress(SURROGATE), "Content-Encoding: gzip") == (200, {"accepted": 2})
    assert spool.events[1] == EVENT


@pytest.mark.parametrize(
    ("packed", "status"),
    [
        (gzip.compress(BODY)[:-1], 400),
        (gzip.compress(BODY)[:20], 400),
        (BODY, 400),
        (zlib.compress(BODY), 400),
        (gzip.compress(BODY) + b"x", 400),
        (gzip.compress(b"") * 2000, 400),
        (b"", 400),
        (gzip.compress(b"{}"), 400),
        (gzip.compress(b" " * 2**21), 413),
    ],
    ids=["no end", "half", "none", "zlib", "a byte behind", "2,000 members", "empty", "no EventList", "too large"],
)
async def test_bad_gzip(packed: bytes, status: int) -> None:
    port = make_port(spool := FakeSpool(), max_body=2**20)
    assert (await post(port, packed, "Content-Encoding: gzip"))[0] == status
    assert spool.stored == []


async def test_what_unpacks_beyond_the_memory_that_is_left_is_refused() -> None:
    port = make_port(FakeSpool(slow=True), max_body=2**20, max_in_flight=2**20)
    holder, bomb = Client(port), Client(port)
    holder.send(request())
    large = corpus.event_list([corpus.event("large", b" " * (2**20 - 1000) + b"1")])
    bomb.send(request(gzip.compress(large), "Content-Encoding: gzip"))
    await until(lambda: bomb.wire.sent)
    (answer,) = bomb.answers()
    assert (answer.status, port.counters.rejected["overload"]) == (503, 1)


async def test_slow_bodies_do_not_keep_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """While every thread is busy with a hostile body, ordinary ones pass."""
    gate = threading.Event()
    split = split_slow
    monkeypatch.setattr(ingest, "split_slow", lambda body: gate.wait(30) and split(body))
    port = make_port(spool := FakeSpool())
    hostile = [Client(port) for _ in range(5)]
    for client in hostile:
        client.send(request(SURROGATE))
    assert await post(make_port(), BODY) == (200, {"accepted": 1})
    ordinary = Client(port)
    ordinary.send(request())
    await turns()
    assert ordinary.answers()[0].status == 200
    assert not any(client.wire.sent for client in hostile)
    gate.set()
    await until(lambda: all(client.wire.sent for client in hostile))
    assert spool.events.count(EVENT) == 2  # one alone, one beside the hostile event, whose repetitions are not stored


async def test_a_closed_intake_begins_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, begun = threading.Event(), threading.Semaphore(0)
    split = split_slow

    def held(body: Any) -> Any:
        begun.release()
        return gate.wait(60) and split(body)

    monkeypatch.setattr(ingest, "split_slow", held)
    port = make_port(FakeSpool())
    clients = [Client(port) for _ in range(ingest.WORKERS + 1)]
    for client in clients:
        client.send(request(SURROGATE))
    assert all(begun.acquire(timeout=60) for _ in range(ingest.WORKERS))
    port.ingest.close()
    gate.set()
    await until(lambda: all(client.wire.sent for client in clients))
    assert sorted(client.answers()[0].status for client in clients) == [200] * ingest.WORKERS + [503]


LARGE = corpus.event_list([corpus.event("large", b" " * ingest.LARGE_BODY + b"1")])


async def test_large_bodies_take_turns_with_all_else_that_the_loop_does() -> None:
    port = make_port(spool := FakeSpool(slow=True))
    clients = [Client(port) for _ in range(3)]
    for client in clients:
        client.send(request(LARGE))
    seen = []
    for _ in range(4):
        seen.append(len(spool.waiting))
        await turns(1)
    assert seen == [0, 1, 2, 3]


async def test_a_small_body_does_not_wait_for_large_ones() -> None:
    port = make_port(spool := FakeSpool(slow=True))
    large, small = Client(port), Client(port)
    large.send(request(LARGE))
    small.send(request())
    assert [one.body for one in spool.waiting] == [BODY]
    await turns()
    assert [one.body for one in spool.waiting] == [BODY, LARGE]


async def test_a_closed_intake_refuses_what_waits_for_its_turn() -> None:
    port = make_port(spool := FakeSpool())
    clients = [Client(port) for _ in range(3)]
    with nothing_held(port):
        for client in clients:
            client.send(request(LARGE))
        port.ingest.close()
        await turns()
        assert [client.answers()[0].status for client in clients] == [503] * 3
    assert not spool.stored


async def test_acknowledgements_are_timed_and_counted() -> None:
    port = make_port(spool := FakeSpool(slow=True))
    clients = [Client(port) for _ in range(3)]
    for client, name in zip(clients, ("a", "a", "b"), strict=True):
        client.send(request(BODY, target=f"/audit/{name}"))
    clock: Any = port.ingest.clock
    await clock.advance(0.004)
    for _ in clients:
        spool.settle()
    figures = port.counters.read(connections=3, in_flight_bytes=0, problems=())
    assert (figures.requests, figures.batches, figures.events, figures.bytes, figures.duplicates) == (
        3,
        2,
        2,
        2 * len(BODY),
        1,
    )
    assert figures.clusters["a"].requests == 2
    assert figures.clusters["b"].duplicates == 0
    assert figures.ack_counts[4] == 3  # 3 to 5 ms
    assert sum(figures.ack_counts) == 3
    assert figures.ack_seconds == pytest.approx(0.012)
    assert set(figures.rejected.values()) == {0}


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5), st.integers(0, 300))
def test_inflate_gives_back_all_members_or_says_that_they_are_too_much(members: list[bytes], most: int) -> None:
    data = b"".join(members)
    assert inflate(b"".join(map(gzip.compress, members)), most) == (data if len(data) <= most else None)


@given(st.binary(max_size=60), st.integers(0, 40), st.integers(1, 255))
def test_a_broken_gzip_is_never_taken_for_another_body(data: bytes, place: int, flip: int) -> None:
    packed = bytearray(gzip.compress(data, mtime=0))
    packed[place % len(packed)] ^= flip
    try:
        found = inflate(bytes(packed), 10_000)
    except InflateError:
        return
    assert found == data  # a flip in the name, the time or the system of the header


def test_members_do_not_cost_the_size_of_what_follows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """isal copies what is left behind a member; 32 MiB of empty members were 32 GB of copies, under the GIL."""
    given: list[int] = []
    real = isal_zlib.decompressobj

    class Counted:
        def __init__(self, **options: int) -> None:
            self._state = real(**options)

        def decompress(self, piece: memoryview, most: int) -> bytes:
            given.append(len(piece))
            return self._state.decompress(piece, most)

        def __getattr__(self, name: str) -> object:
            return getattr(self._state, name)

    monkeypatch.setattr(isal_zlib, "decompressobj", Counted)
    empty = gzip.compress(b"")
    size = 2**21
    with pytest.raises(InflateError, match="1000 members"):
        inflate(empty * (size // len(empty)), 100)
    assert len(given) >= 1000
    assert sum(given) < size + 1000 * 2**16
    assert max(given[1:]) <= 2**16


def test_members_larger_than_a_piece_are_put_together() -> None:
    members = [random.Random(seed).randbytes(200_000) for seed in range(3)]
    assert inflate(b"".join(map(gzip.compress, members)), 600_000) == b"".join(members)
    assert inflate(b"".join(map(gzip.compress, members)), 599_999) is None


def test_a_bomb_stops_early() -> None:
    bomb = gzip.compress(b"\0" * 2**26)
    assert inflate(bomb, 2**20) is None
