"""HTTPS: who may come in, what an open connection sees of new certificates (nothing), and the same manners as plain."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import corpus
import pytest
import trustme
from receivekit import BODY, FakeSpool, chunked, make_port, make_server, read_answers, request, until

from auditsink.config import Receive, ServerTls
from auditsink.receive import ReceiveError, ReceiveServer, server
from auditsink.receive.certificates import Certificates, name_in
from auditsink.receive.tls import HANDSHAKE_SECONDS, TlsTransport
from auditsink.testing.clock import FakeClock


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    """Signs the server."""
    return trustme.CA()


@pytest.fixture(scope="module")
def client_ca() -> trustme.CA:
    """Signs the clients."""
    return trustme.CA()


class Files:
    """The three files, and how they are replaced."""

    def __init__(self, place: Path) -> None:
        self.tls = ServerTls(cert_file=place / "tls.crt", key_file=place / "tls.key", client_ca_file=place / "ca.crt")

    def write(self, issued: trustme.LeafCert, client_ca: trustme.CA) -> None:
        self.tls.key_file.write_bytes(issued.private_key_pem.bytes())
        self.tls.cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        assert self.tls.client_ca_file is not None
        self.tls.client_ca_file.write_bytes(client_ca.cert_pem.bytes())


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA, client_ca: trustme.CA) -> Files:
    """Good ones."""
    found = Files(tmp_path)
    found.write(ca.issue_cert("localhost"), client_ca)
    return found


def client_context(ca: trustme.CA, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """What a client brings along."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    return context


@asynccontextmanager
async def running(tls: ServerTls, spool: FakeSpool | None = None, **settings: Any) -> AsyncIterator[ReceiveServer]:
    """A server with TLS on a port of its own."""
    one = make_server(Receive(listen="127.0.0.1:0", tls=tls, **settings), spool)
    await one.start()
    try:
        yield one
    finally:
        await one.close()


async def connect(one: ReceiveServer, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client behind its handshake."""
    return await asyncio.open_connection(*one.address, ssl=context, server_hostname="localhost")


async def answer_to(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], data: bytes) -> int:
    """One request on an open connection; its status."""
    reader, writer = stream
    writer.write(data)
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readuntil(b"}")
    return int(head.split()[1])


def without_client_ca(files: Files) -> ServerTls:
    return ServerTls(cert_file=files.tls.cert_file, key_file=files.tls.key_file)


async def test_https(files: Files, ca: trustme.CA) -> None:
    spool = FakeSpool()
    bodies = list(corpus.bodies("batch50-request-h2tls"))
    async with running(without_client_ca(files), spool) as one:
        stream = await connect(one, client_context(ca))
        for body in bodies:
            assert await answer_to(stream, request(body.data)) == 200
        stream[1].close()
    assert spool.events == [event for body in bodies for event in body.events]
    assert {stored.source for stored in spool.stored} == {""}


async def test_large_pipelined_and_chunked_bodies(files: Files, ca: trustme.CA) -> None:
    spool = FakeSpool()
    big = corpus.plain_body("big", count=10, padding=300_000)
    stream = request(big.data) + request(b"", "Transfer-Encoding: chunked") + chunked(BODY, [7, 30])
    async with running(without_client_ca(files), spool) as one:
        reader, writer = await connect(one, client_context(ca))
        writer.write(stream + request(BODY, "Connection: close"))
        answers = list(read_answers(await reader.read()))
        writer.close()
    assert [(answer.status, json.loads(answer.body)["accepted"]) for answer in answers] == [
        (200, 10),
        (200, 1),
        (200, 1),
    ]
    assert spool.events == [*big.events, corpus.event("one")]


async def test_the_client_s_certificate_is_the_source(files: Files, ca: trustme.CA, client_ca: trustme.CA) -> None:
    spool = FakeSpool()
    certificate = client_ca.issue_cert("apiserver.prod", common_name="kube-apiserver-prod")
    async with running(files.tls, spool) as one:
        stream = await connect(one, client_context(ca, certificate))
        assert await answer_to(stream, request(target="/audit/prod")) == 200
        stream[1].close()
    assert [(stored.cluster, stored.source) for stored in spool.stored] == [("prod", "cert:kube-apiserver-prod")]


@pytest.mark.parametrize("kind", ["none", "wrong CA", "expired"])
async def test_who_cannot_prove_itself_does_not_come_in(
    files: Files, ca: trustme.CA, client_ca: trustme.CA, kind: str
) -> None:
    certificate = {
        "none": None,
        "wrong CA": trustme.CA().issue_cert("apiserver"),
        "expired": client_ca.issue_cert("apiserver", not_after=datetime(2020, 1, 1, tzinfo=UTC)),
    }[kind]
    spool = FakeSpool()
    async with running(files.tls, spool) as one:
        with pytest.raises((ssl.SSLError, ConnectionError)):  # noqa: PT012 - TLS 1.3 tells the client when it reads
            reader, writer = await connect(one, client_context(ca, certificate))
            writer.write(request())
            if not await reader.read():
                raise ConnectionError
        await until(lambda: one.statistics().rejected["tls"] == 1)
        await until(lambda: one.statistics().connections == 0)
    assert spool.stored == []


async def test_a_client_without_tls_is_told(files: Files) -> None:
    async with running(without_client_ca(files)) as one:
        reader, writer = await asyncio.open_connection(*one.address)
        writer.write(request())
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"this port speaks HTTPS" in answer
        assert one.statistics().rejected["tls"] == 1


async def test_old_tls_is_refused(files: Files, ca: trustme.CA) -> None:
    context = client_context(ca)
    with pytest.warns(DeprecationWarning, match=r"TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with running(without_client_ca(files)) as one:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(one, context)


async def test_http_1_1_is_chosen_where_h2_is_offered(files: Files, ca: trustme.CA) -> None:
    context = client_context(ca)
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with running(without_client_ca(files)) as one:
        stream = await connect(one, context)
        assert stream[1].get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert stream[1].get_extra_info("ssl_object").version() == "TLSv1.3"
        stream[1].close()


async def test_tls_1_2_works(files: Files, ca: trustme.CA) -> None:
    context = client_context(ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with running(without_client_ca(files)) as one:
        stream = await connect(one, context)
        assert await answer_to(stream, request()) == 200
        stream[1].close()


async def test_new_certificates_hold_for_new_connections_and_drop_no_old_one(
    files: Files, ca: trustme.CA, client_ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.001)
    monkeypatch.setattr(server, "POLL_SECONDS", 0)
    new_ca, new_client_ca = trustme.CA(), trustme.CA()
    old = client_context(ca, client_ca.issue_cert("old"))
    new = client_context(new_ca, new_client_ca.issue_cert("new"))
    async with running(files.tls) as one:
        kept = await connect(one, old)
        assert await answer_to(kept, request()) == 200

        files.tls.cert_file.write_bytes(b"half a certi")
        await until(lambda: one.statistics().problems)
        (problem,) = one.statistics().problems
        assert problem.startswith(f"receive.tls.cert_file {files.tls.cert_file}: holds no certificate")
        assert problem.endswith("the last good files stay in use")
        meanwhile = await connect(one, old)
        assert await answer_to(meanwhile, request()) == 200
        meanwhile[1].close()

        files.write(new_ca.issue_cert("localhost"), new_client_ca)
        await until(lambda: not one.statistics().problems)
        fresh = await connect(one, new)
        assert await answer_to(fresh, request()) == 200
        assert await answer_to(kept, request()) == 200
        with pytest.raises(ssl.SSLError):
            await connect(one, old)
        for stream in (kept, fresh):
            stream[1].close()


async def test_a_large_refused_body_gets_its_answer(files: Files, ca: trustme.CA) -> None:
    async with running(without_client_ca(files), max_body=1000) as one:
        reader, writer = await connect(one, client_context(ca))
        writer.write(request(b"x" * 10_000_000))
        (answer,) = read_answers(await reader.read())
        assert (answer.status, answer.headers[b"connection"]) == (413, b"close")
        writer.close()
        await until(lambda: one.statistics().connections == 0)


async def test_a_client_that_says_goodbye_still_gets_its_answer(files: Files, ca: trustme.CA) -> None:
    """close_notify in one direction leaves the other open (RFC 8446, 6.1)."""
    spool = FakeSpool(slow=True)
    async with running(without_client_ca(files), spool) as one:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context(ca).wrap_bio(incoming, outgoing, server_hostname="localhost")
        reader, writer = await asyncio.open_connection(*one.address)

        async def exchange() -> None:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))

        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await exchange()
        tls.write(request())
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        writer.write(outgoing.read())
        await until(lambda: spool.waiting)
        spool.settle()
        while True:
            try:
                answer = tls.read(65536)
                break
            except ssl.SSLWantReadError:
                await exchange()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        writer.close()


def _blocking(address: tuple[str, int], context: ssl.SSLContext | None) -> None:
    """A client that fails: it refuses the handshake, or is refused in it."""
    with socket.create_connection(address) as wire, contextlib.suppress(OSError):
        if context is None:
            wire.sendall(b"POST /audit HTTP/1.1\r\n\r\n")
            wire.recv(1)
        else:
            with context.wrap_socket(wire, server_hostname="localhost") as shaken:
                shaken.recv(1)


@pytest.mark.parametrize(
    ("who", "said"),
    [
        ("distrusts", "the client does not trust the certificate in receive.tls.cert_file"),
        ("shows none", "the client showed no certificate"),
        ("shows another's", "the client's certificate is not one of receive.tls.client_ca_file"),
        ("speaks http", "the client speaks http, and this port https"),
    ],
)
async def test_a_handshake_that_fails_says_whose_certificate_is_at_fault(
    who: str, said: str, files: Files, ca: trustme.CA, client_ca: trustme.CA
) -> None:
    contexts = {
        "distrusts": client_context(client_ca),
        "shows none": client_context(ca),
        "shows another's": client_context(ca, ca.issue_cert("apiserver.prod")),
        "speaks http": None,
    }
    async with running(files.tls, FakeSpool()) as one:
        await asyncio.to_thread(_blocking, one.address, contexts[who])
        await until(lambda: "tls" in one.statistics().refusals)
        assert f"the handshake failed: {said}" in one.statistics().refusals["tls"].sentence


async def test_garbage_after_the_handshake_ends_the_connection(files: Files, ca: trustme.CA) -> None:
    async with running(without_client_ca(files)) as one:
        stream = await connect(one, client_context(ca))
        transport: Any = stream[1].transport
        transport._ssl_protocol._transport.write(b"\x00" * 100)
        with pytest.raises((ssl.SSLError, ConnectionError)):  # noqa: PT012 - which one depends on the system
            if not await stream[0].read():
                raise ConnectionError
        await until(lambda: one.statistics().connections == 0)


async def test_a_handshake_has_an_end(files: Files) -> None:
    clock = FakeClock()
    port = make_port(clock=clock)

    class Wire(asyncio.Transport):
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    wire = Wire()
    shaking = TlsTransport(port, Certificates(without_client_ca(files)).context)
    shaking.connection_made(wire)
    await clock.advance(HANDSHAKE_SECONDS)
    port.sweep()
    before = wire.aborted
    await clock.advance(1)
    port.sweep()
    assert (before, wire.aborted) == (False, True)
    shaking.connection_lost(None)
    assert port.connections.open == set()
    assert port.counters.rejected["tls"] == 1


ENCRYPTED = (
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIFHDBOBgkqhkiG9w0BBQ0wQTApBgkq\n-----END ENCRYPTED PRIVATE KEY-----\n"
)


def spoil(files: Files, key: str, content: str | None) -> Path:
    """Take the file away, or write something else into it."""
    path: Path = getattr(files.tls, key)
    path.unlink()
    if content is not None:
        path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("key", "content", "why"),
    [
        ("cert_file", None, "No such file or directory; check the path and its permissions"),
        ("key_file", None, "No such file or directory"),
        ("client_ca_file", None, "No such file or directory"),
        ("cert_file", "nonsense", "holds no certificate; write a PEM certificate chain into it"),
        ("key_file", "nonsense", "holds no private key"),
        ("key_file", ENCRYPTED, "is encrypted; write the key without a passphrase"),
        ("client_ca_file", "nonsense", "holds no certificate that can be used"),
        ("cert_file", "-----BEGIN CERTIFICATE-----\nnonsense\n", "cannot be used with its key"),
    ],
)
async def test_bad_files_are_named_at_the_start(files: Files, key: str, content: str | None, why: str) -> None:
    path = spoil(files, key, content)
    one = make_server(Receive(listen="127.0.0.1:0", tls=files.tls))
    with pytest.raises(ReceiveError, match=f"^receive.tls.{key} {path}: .*{why}"):
        await one.start()


def test_a_key_of_another_certificate_is_named(files: Files, ca: trustme.CA) -> None:
    files.tls.key_file.write_bytes(ca.issue_cert("other").private_key_pem.bytes())
    with pytest.raises(ReceiveError, match=r"receive.tls.key_file .*: does not belong to the certificate in "):
        Certificates(files.tls)


def test_a_renewal_in_two_steps_is_taken_when_it_is_whole(files: Files, ca: trustme.CA, client_ca: trustme.CA) -> None:
    certificates = Certificates(files.tls)
    first = certificates.context
    issued = ca.issue_cert("localhost")
    files.tls.cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    assert certificates.changed() is False
    assert "does not belong to the certificate" in (certificates.problem or "")
    assert certificates.context is first
    files.tls.key_file.write_bytes(issued.private_key_pem.bytes())
    assert certificates.changed() is True
    assert certificates.problem is None
    assert certificates.context is not first
    assert certificates.changed() is False


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (None, ""),
        ({}, ""),
        (
            {"subject": ((("organizationName", "o"),), (("commonName", "cn"),)), "subjectAltName": (("DNS", "san"),)},
            "cn",
        ),
        ({"subject": ((("organizationName", "o"),),), "subjectAltName": (("DNS", "san"), ("DNS", "other"))}, "san"),
        ({"subject": ((("commonName", "a\r\nb\x00"),),)}, "a??b?"),
        ({"subject": ((("commonName", "n" * 300),),)}, "n" * 200),
    ],
)
def test_the_name_in_a_certificate(certificate: dict[str, Any] | None, name: str) -> None:
    assert name_in(certificate) == name
