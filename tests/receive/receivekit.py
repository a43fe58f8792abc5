"""What the tests of the receive port share: a spool that does as it is told, a transport without a socket, requests."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import corpus
import h11

from auditsink.audit.eventlist import Split
from auditsink.clusters.cluster_set import ClusterSet
from auditsink.clusters.registry import Registry
from auditsink.clusters.tokens import parse_tokens
from auditsink.config import Config, Rate, Receive
from auditsink.receive.auth import NOBODY, Authorizer, Peer
from auditsink.receive.connection import ReceiveConnection
from auditsink.receive.listener import ListenerState
from auditsink.receive.server import ReceiveServer
from auditsink.spool import SpoolError
from auditsink.spool.types import Receipt, SpoolRejection, SubmitCallback
from auditsink.testing.clock import FakeClock

EVENT = corpus.event("one")
BODY = corpus.event_list([EVENT])


class Stored(NamedTuple):
    """What the fake spool was given."""

    cluster: str
    body: bytes
    split: Split
    source: str
    done: SubmitCallback


class FakeSpool:
    """Accepts everything: at once (on the loop's next turn), or when `settle` is called if `slow`."""

    def __init__(self, *, slow: bool = False) -> None:
        self.rings: dict[str, Any] = {}
        self.stored: list[Stored] = []
        self.waiting: list[Stored] = []
        self.slow = slow
        self.early: SpoolRejection | None = None
        self.late: SpoolRejection | None = None
        self.ring_problem: SpoolError | None = None

    def ring(self, cluster: str) -> Any:
        return self.rings.setdefault(cluster, SimpleNamespace(cluster=cluster))

    def make_ring(self, cluster: str, made: Callable[[Any], None]) -> None:
        if self.ring_problem:
            asyncio.get_running_loop().call_soon(made, self.ring_problem)
        else:
            made(self.ring(cluster))

    def refusal(self, ring: Any) -> SpoolRejection | None:
        return self.early

    def submit(self, ring: Any, body: bytes, split: Split, source: str, done: SubmitCallback) -> None:
        assert split.events
        one = Stored(ring.cluster, body, split, source, done)
        if self.slow:
            self.waiting.append(one)
        else:
            asyncio.get_running_loop().call_soon(self._settle, one)

    def settle(self) -> None:
        """Answer the oldest that waits."""
        self._settle(self.waiting.pop(0))

    def _settle(self, one: Stored) -> None:
        if self.late is not None:
            one.done(self.late)
            return
        duplicate = any((known.cluster, known.body) == (one.cluster, one.body) for known in self.stored)
        if not duplicate:
            self.stored.append(one)
        one.done(Receipt(len(self.stored), len(one.split.events), duplicate))

    @property
    def events(self) -> list[bytes]:
        return [event for one in self.stored for event in one.split.events]


class Wire(asyncio.Transport):
    """The transport of a connection: remembers what the protocol did to it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.paused = self.eof = self.closed = self.aborted = False
        self.limit = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 4711) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limit = high or 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof, "written after the end"
        assert not self.closed, "written after close"
        self.sent += data

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True


class Client:
    """One connection without a socket, and the answers on it as h11 reads them."""

    def __init__(self, port: ListenerState, peer: Peer = NOBODY) -> None:
        self.port = port
        self.wire = Wire()
        self.connection = ReceiveConnection(port, peer)
        self.connection.connection_made(self.wire)

    def send(self, data: bytes, piece: int = 2**20) -> None:
        """Let the bytes arrive in pieces of that size; like a socket, only while the protocol reads."""
        for start in range(0, len(data), piece):
            rest = data[start : start + piece]
            while rest and not self.wire.closed:
                assert not self.wire.paused, "the protocol does not read now"
                view = self.connection.get_buffer(-1)
                count = min(len(view), len(rest))
                view[:count] = rest[:count]
                self.connection.buffer_updated(count)
                rest = rest[count:]

    def finish(self) -> None:
        """The client sends no more."""
        if not self.connection.eof_received():
            self.wire.closed = True

    def hang_up(self) -> None:
        """The connection is lost."""
        self.wire.closed = True
        self.connection.connection_lost(None)

    def answers(self) -> list["Answer"]:
        """All that has come back, taken out."""
        sent, self.wire.sent = bytes(self.wire.sent), bytearray()
        return list(read_answers(sent))


class Answer(NamedTuple):
    """An answer as h11 understands it."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


def read_answers(data: bytes, method: str = "POST") -> Iterator[Answer]:
    """Parse answers by an independent implementation of HTTP/1.1, which must find nothing wrong and nothing left."""
    while data:
        peer = h11.Connection(h11.CLIENT)
        peer.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        peer.send(h11.EndOfMessage())
        peer.receive_data(data)
        answer, body = None, bytearray()
        while not isinstance(event := peer.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA, f"an answer is cut: {data!r}"
            if isinstance(event, h11.Response):
                answer = event
            elif isinstance(event, h11.Data):
                body += event.data
        assert answer is not None
        yield Answer(answer.status_code, dict(answer.headers), bytes(body))
        data = peer.trailing_data[0]
        assert not (data and b"close" in dict(answer.headers).get(b"connection", b"")), "answers after the last one"


def request(
    body: bytes = BODY,
    *headers: str,
    target: str = "/audit?timeout=30s",
    method: str = "POST",
    version: str = "1.1",
    length: int | None = None,
) -> bytes:
    """A request as kube-apiserver sends it, with other headers added."""
    lines = [f"{method} {target} HTTP/{version}", "Host: sink:9880", "User-Agent: Go-http-client/1.1"]
    if not any(header.lower().startswith("transfer-encoding") for header in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    lines += ["Accept: application/json, */*", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def chunked(body: bytes, sizes: list[int], trailer: bytes = b"") -> bytes:
    """The body in chunks of these sizes, the last one taking the rest."""
    pieces = []
    for size in [*sizes, len(body)]:
        if piece := body[:size]:
            pieces.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        body = body[size:]
    return b"".join(pieces) + b"0\r\n" + trailer + b"\r\n"


def make_port(
    spool: FakeSpool | None = None,
    clock: FakeClock | None = None,
    tokens: str | None = None,
    rates: dict[str, Rate] | None = None,
    **settings: Any,
) -> ListenerState:
    """A port without a listener."""
    config = Receive(**settings)
    cluster_set = ClusterSet(closed=False) if tokens is None else ClusterSet(tokens=parse_tokens(tokens.encode()))
    authorizer = Authorizer(config.path, config.cluster, lambda: cluster_set)
    return ListenerState(config, spool or FakeSpool(), authorizer, (rates or {}).get, clock or FakeClock())


def make_server(settings: Receive, spool: FakeSpool | None = None, clock: FakeClock | None = None) -> ReceiveServer:
    """A server that is not started."""
    registry = Registry(Config(receive=settings, destinations=[]))
    return ReceiveServer(settings, spool or FakeSpool(), registry, clock=clock)


async def turns(count: int = 5) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


@contextmanager
def nothing_held(port: ListenerState) -> Iterator[None]:
    """Whatever happens inside, all memory is given back."""
    yield
    assert port.ingest.memory.held == 0


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread or the network brings about; a test's verdict never hangs on how long it takes."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(0.001)


def spool_of(port: ListenerState) -> FakeSpool:
    """The one that a port was made with."""
    spool = port.ingest.spool
    assert isinstance(spool, FakeSpool)
    return spool


async def exchange(port: ListenerState, *data: bytes, piece: int = 2**20) -> list[tuple[int, Any]]:
    """Send all on one connection; the answers' statuses and documents."""
    client = Client(port)
    for one in data:
        client.send(one, piece)
        await until(lambda: not client.connection.busy)
    return [(answer.status, json.loads(answer.body)) for answer in client.answers()]
