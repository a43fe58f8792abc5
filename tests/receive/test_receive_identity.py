"""Declared clusters at the door: whose a credential is, over real TLS, and what a rate lets in."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import corpus
import pytest
import trustme
from receivekit import BODY, Client, FakeSpool, make_port, request, spool_of, until

from auditsink.clusters.cluster_set import ClusterSet
from auditsink.clusters.registry import Registry
from auditsink.clusters.tokens import digest
from auditsink.config import Cluster, Clusters, Config, Rate, Receive, ServerTls
from auditsink.receive import ReceiveServer, server
from auditsink.receive.auth import NOBODY, Admission, Authorizer, Peer
from auditsink.receive.certificates import peer_of
from auditsink.receive.listener import ListenerState
from auditsink.receive.responses import HttpRejection, RejectionReason
from auditsink.spool.types import SpoolRejection
from auditsink.testing.clock import FakeClock

A = Peer("apiserver-of-a", ("cn:a", "dns:a.example"))
B = Peer("apiserver-of-b", ("cn:b",))
BOTH = Peer("x", ("cn:a", "cn:b"))
STRANGER = Peer("x", ("cn:stranger",))
CLUSTERS = ClusterSet(
    {name: Cluster(name=name, anonymous=name == "open") for name in ("a", "b", "open")},
    {digest(b"of-a"): "a", digest(b"of-b"): "b"},
    {"cn:a": "a", "dns:a.example": "a", "cn:b": "b"},
)


@pytest.mark.parametrize(
    ("target", "authorization", "peer", "found"),
    [
        (b"/audit", b"Bearer of-a", NOBODY, Admission("a", "token:a")),
        (b"/audit/a", b"Bearer of-a", NOBODY, Admission("a", "token:a")),
        (b"/audit/b", b"Bearer of-a", NOBODY, RejectionReason.FORBIDDEN),
        (b"/audit/open", b"Bearer of-a", NOBODY, RejectionReason.FORBIDDEN),
        (b"/audit", None, A, Admission("a", "cert:apiserver-of-a")),
        (b"/audit/a", None, A, Admission("a", "cert:apiserver-of-a")),
        (b"/audit/b", None, A, RejectionReason.FORBIDDEN),
        (b"/audit/open", None, A, RejectionReason.FORBIDDEN),
        (b"/audit", b"Bearer of-a", A, Admission("a", "cert:apiserver-of-a")),
        (b"/audit", b"Bearer of-b", A, RejectionReason.FORBIDDEN),
        (b"/audit/b", b"Bearer of-b", A, RejectionReason.FORBIDDEN),
        (b"/audit", b"Bearer wrong", A, RejectionReason.UNAUTHORIZED),
        (b"/audit", b"Basic of-a", A, RejectionReason.UNAUTHORIZED),
        (b"/audit", b"", A, RejectionReason.UNAUTHORIZED),
        (b"/audit", None, BOTH, RejectionReason.FORBIDDEN),
        (b"/audit", None, STRANGER, RejectionReason.FORBIDDEN),
        (b"/audit/a", None, STRANGER, RejectionReason.FORBIDDEN),
        (b"/audit", None, NOBODY, RejectionReason.UNAUTHORIZED),
        (b"/audit/a", None, NOBODY, RejectionReason.UNAUTHORIZED),
        (b"/audit/never-heard-of", None, NOBODY, RejectionReason.UNAUTHORIZED),
        (b"/audit/open", None, NOBODY, Admission("open", "")),
        (b"/audit/OPEN", None, NOBODY, RejectionReason.NOT_FOUND),
        (b"/audit/../a", None, NOBODY, RejectionReason.NOT_FOUND),
        (b"/audit/" + b"o" * 300, None, NOBODY, RejectionReason.NOT_FOUND),
        (b"/audit/%6fpen", None, NOBODY, RejectionReason.NOT_FOUND),
        ("/audit/\u043epen".encode(), None, NOBODY, RejectionReason.NOT_FOUND),
    ],
)
def test_the_credential_names_the_cluster(
    target: bytes, authorization: bytes | None, peer: Peer, found: Admission | RejectionReason
) -> None:
    decided = Authorizer("/audit", "default", lambda: CLUSTERS).admit(target, authorization, peer)
    assert (decided.reason if isinstance(decided, HttpRejection) else decided) == found


TOKEN = "Authorization: Bearer s3cret"


def test_another_cluster_set_counts_from_the_next_request_on() -> None:
    cluster_sets = [CLUSTERS]
    gate = Authorizer("/audit", "default", lambda: cluster_sets[-1])
    assert gate.admit(b"/audit", None, A) == Admission("a", "cert:apiserver-of-a")
    cluster_sets.append(ClusterSet({"b": CLUSTERS.clusters["b"]}, certificates={"cn:b": "b"}))
    assert isinstance(gate.admit(b"/audit", None, A), HttpRejection)


async def test_a_head_that_was_let_in_is_looked_at_again_when_anything_has_changed() -> None:
    """On a connection that stays open: another cluster set, and the end of the sink."""
    port = make_port(tokens="a s3cret")
    known = [port._authorizer.cluster_set()]
    port._authorizer.cluster_set = lambda: known[-1]
    client = Client(port)

    async def status() -> int:
        client.send(request(corpus.event_list([corpus.event(f"{len(known)}-{port.counters.requests}")]), TOKEN))
        await until(lambda: not client.connection.busy)
        return client.answers()[0].status

    assert [await status() for _ in range(3)] == [200] * 3
    assert client.connection._head is not None, "it is remembered"
    known.append(ClusterSet(tokens={digest(b"s3cret"): "b"}))
    assert await status() == 200
    assert [one.cluster for one in spool_of(port).stored] == ["a"] * 3 + ["b"]
    port.stopping = True
    assert await status() == 503


async def test_a_head_that_was_let_in_is_refused_when_its_token_is_gone() -> None:
    port = make_port(tokens="a s3cret")
    client = Client(port)
    for number in range(2):
        client.send(request(corpus.event_list([corpus.event(f"{number}")]), TOKEN))
        await until(lambda: not client.connection.busy)
    assert [answer.status for answer in client.answers()] == [200, 200]
    port._authorizer.cluster_set = ClusterSet
    client.send(request(corpus.event_list([corpus.event("late")]), TOKEN))
    await until(lambda: client.wire.sent)
    assert client.answers()[0].status == 401


@pytest.mark.parametrize("length", [100, 10_000])
async def test_a_remembered_head_says_nothing_of_its_length(length: int) -> None:
    port = make_port(max_body=1000, tokens="a s3cret")
    client = Client(port)
    for number in range(2):
        client.send(request(corpus.event_list([corpus.event(f"{number}")]), TOKEN))
        await until(lambda: not client.connection.busy)
    client.wire.sent.clear()
    client.send(request(b"x" * length, TOKEN))
    await until(lambda: client.wire.sent)
    assert client.answers()[0].status == (400 if length == 100 else 413)


def test_every_name_in_a_certificate_counts() -> None:
    found = peer_of(
        {
            "subject": ((("organizationName", "o"),), (("commonName", "one"),), (("commonName", "two"),)),
            "subjectAltName": (("DNS", "A.Example"), ("URI", "spiffe://X/y"), ("email", "a@b"), ("IP Address", "::1")),
        }
    )
    assert found == Peer("one", ("cn:one", "cn:two", "dns:a.example", "uri:spiffe://X/y", "email:a@b"))
    assert peer_of(None) == peer_of({}) == NOBODY


async def exchange(port: ListenerState, target: str = "/audit", text: str = "one") -> tuple[int, str]:
    """Post one event; the status and the Retry-After."""
    client = Client(port)
    client.send(request(corpus.event_list([corpus.event(text)]), target=target))
    await until(lambda: not client.connection.busy)
    (answer,) = client.answers()
    return answer.status, answer.headers.get(b"retry-after", b"").decode()


class TestRates:
    """Past its rate a cluster gets 429 and whole seconds; what was not stored costs nothing."""

    async def test_a_cluster_past_its_rate(self) -> None:
        clock = FakeClock()
        port = make_port(clock=clock, rates={"default": Rate(events_per_second=1, burst=2)})
        assert [await exchange(port, text="retried") for _ in range(3)] == [(200, "")] * 3, "it was stored once"
        assert [await exchange(port) for _ in range(2)] == [(200, ""), (429, "2")]
        assert await exchange(port, "/audit/other") == (200, "")
        assert port.counters.rejected["rate"] == 1
        await clock.advance(2)
        assert await exchange(port, text="two") == (200, "")

    async def test_what_the_spool_refuses_is_given_back(self) -> None:
        spool = FakeSpool()
        spool.late = SpoolRejection.FULL
        port = make_port(spool, clock=FakeClock(), rates={"default": Rate(events_per_second=1, burst=1)})
        assert [await exchange(port) for _ in range(5)] == [(503, "5")] * 5
        spool.late = None
        assert [await exchange(port) for _ in range(2)] == [(200, ""), (429, "2")]


class TestSlowGreed:
    """One cluster that announces much and sends slowly, on many connections, leaves the others their half."""

    LIMITS: dict[str, Any] = {"max_in_flight": 100_000, "max_body": 50_000}  # noqa: RUF012 - nobody changes it

    def begin(self, port: ListenerState, cluster: str, chunked: bool = False) -> Client:
        """A request whose body is about to come."""
        client = Client(port)
        body = "Transfer-Encoding: chunked" if chunked else "Content-Length: 40000"
        client.send(f"POST /audit/{cluster} HTTP/1.1\r\nHost: x\r\n{body}\r\n\r\n".encode())
        return client

    async def port(self, *clusters: str) -> ListenerState:
        port = make_port(**self.LIMITS)
        for cluster in clusters:
            assert await exchange(port, f"/audit/{cluster}", cluster) == (200, "")
        return port

    @pytest.mark.parametrize("chunked", [False, True])
    async def test_the_second_slow_body_is_refused_and_another_cluster_is_not(self, chunked: bool) -> None:
        port = await self.port("greedy", "quiet")
        held = self.begin(port, "greedy", chunked)
        refused = self.begin(port, "greedy", chunked)
        refused.send(b"0\r\n\r\n" if chunked else b"x" * 40_000)
        (answer,) = refused.answers()
        assert (answer.status, answer.headers[b"retry-after"]) == (503, b"5")
        assert b"half of receive.max_in_flight" in answer.body
        assert await exchange(port, "/audit/quiet", "two") == (200, "")
        held.connection.connection_lost(None)
        assert await exchange(port, "/audit/greedy", "two") == (200, "")
        assert not port.clusters.announced

    async def test_a_cluster_that_is_alone_may_have_it_all(self) -> None:
        port = await self.port("alone")
        several = [self.begin(port, "alone") for _ in range(2)]
        assert [client.answers() for client in several] == [[], []]

    async def test_what_was_answered_is_claimed_no_longer(self) -> None:
        port = await self.port("greedy", "quiet")
        for number in range(10):
            assert await exchange(port, "/audit/greedy", f"{number}") == (200, "")
        assert not port.clusters.announced


def certificate(ca: trustme.CA, place: Path, name: str, *, cn: str) -> Path:
    """A client's certificate with that CN, and its key, in one PEM."""
    issued = ca.issue_cert(f"{name}@client.example", common_name=cn)
    path = place / f"{name}.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(path)
    return path


class Ground:
    """A TLS server with clusters `a` and `b` by CN, and clients."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(place / "ca.pem")
        issued = self.ca.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(place / "key.pem")
        issued.cert_chain_pems[0].write_to_path(place / "cert.pem")

    @asynccontextmanager
    async def running(self, *, optional: bool = False) -> AsyncIterator[ReceiveServer]:
        place = self.place
        tls = ServerTls(
            cert_file=place / "cert.pem",
            key_file=place / "key.pem",
            client_ca_file=place / "ca.pem",
            client_certificates="optional" if optional else "required",
        )
        receive = Receive(listen="127.0.0.1:0", tls=tls)
        members = [Cluster(name=name, certificates=[f"cn:{name}"]) for name in "ab"]
        members.append(Cluster(name="open", anonymous=True))
        registry = Registry(Config(receive=receive, clusters=Clusters(members=members), destinations=[]))
        self.spool = FakeSpool()
        one = ReceiveServer(receive, self.spool, registry)
        await one.start()
        self.address = one.address
        try:
            yield one
        finally:
            await one.close()

    def context(self, pem: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.place / "ca.pem"))
        if pem is not None:
            context.load_cert_chain(pem)
        return context

    async def post(self, pem: Path | None, path: str = "/audit") -> int:
        reader, writer = await asyncio.open_connection(*self.address, ssl=self.context(pem))
        writer.write(request(BODY, target=path))
        status = int((await reader.readuntil(b"\r\n\r\n")).split()[1])
        writer.close()
        return status


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


async def test_a_certificate_gets_its_own_cluster_and_no_other(ground: Ground) -> None:
    a, b, stranger = (certificate(ground.ca, ground.place, name, cn=name) for name in ("a", "b", "stranger"))
    async with ground.running():
        assert await ground.post(a) == 200
        assert await ground.post(b, "/audit/b") == 200
        assert await ground.post(a, "/audit/b") == 403
        assert await ground.post(stranger) == 403
        assert await ground.post(stranger, "/audit/a") == 403
    assert [(one.cluster, one.source) for one in ground.spool.stored] == [("a", "cert:a"), ("b", "cert:b")]


async def test_the_right_name_from_another_ca_does_not_get_through_the_handshake(ground: Ground) -> None:
    other = certificate(trustme.CA(), ground.place, "forged", cn="a")
    async with ground.running() as one:
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await ground.post(other)
        await until(lambda: one.statistics().rejected["tls"] == 1)
    assert ground.spool.stored == []


async def test_where_certificates_are_optional_a_bad_one_is_still_refused(ground: Ground) -> None:
    a = certificate(ground.ca, ground.place, "a", cn="a")
    forged = certificate(trustme.CA(), ground.place, "forged", cn="a")
    async with ground.running(optional=True):
        assert await ground.post(a) == 200
        assert await ground.post(None) == 401
        assert await ground.post(None, "/audit/a") == 401
        assert await ground.post(None, "/audit/open") == 200
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await ground.post(forged)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_resumed_session_is_still_the_one_that_showed_its_certificate(
    ground: Ground, version: ssl.TLSVersion
) -> None:
    context = ground.context(certificate(ground.ca, ground.place, "a", cn="a"))
    context.maximum_version = version
    async with ground.running() as one:
        first = await asyncio.to_thread(ask, context, one.address, None, "/audit")
        again = await asyncio.to_thread(ask, context, one.address, first[1], "/audit")
        other = await asyncio.to_thread(ask, context, one.address, first[1], "/audit/b")
    assert (first[0], again[0], other[0]) == (200, 200, 403)
    assert again[2] is (version is ssl.TLSVersion.TLSv1_2), "1.2 resumes its session; 1.3 gets no ticket"
    assert {one.source for one in ground.spool.stored} == {"cert:a"}


def ask(context: ssl.SSLContext, address: Any, session: Any, path: str) -> tuple[int, ssl.SSLSession | None, bool]:
    """Post once, with a session to resume; the status, the session, and whether it was resumed."""
    with (
        socket.create_connection(address) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as wire,
    ):
        wire.sendall(request(BODY, target=path))
        status = int(wire.recv(65536).split()[1])
        return status, wire.session, bool(wire.session_reused)


async def test_a_renewed_client_certificate_is_the_same_cluster_and_a_new_ca_ends_the_old_ones(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.001)
    monkeypatch.setattr(server, "POLL_SECONDS", 0)
    old = certificate(ground.ca, ground.place, "old", cn="a")
    context = ground.context(old)
    async with ground.running() as one:
        status, session, _ = await asyncio.to_thread(ask, context, one.address, None, "/audit")
        assert status == 200
        assert await ground.post(certificate(ground.ca, ground.place, "renewed", cn="a")) == 200
        certificates = one._credentials.certificates
        assert certificates is not None
        before = certificates.context
        new = trustme.CA()
        new.cert_pem.write_to_path(ground.place / "ca.pem.new")
        (ground.place / "ca.pem.new").rename(ground.place / "ca.pem")
        await until(lambda: certificates.context is not before)
        with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
            await asyncio.to_thread(ask, context, one.address, session, "/audit")
