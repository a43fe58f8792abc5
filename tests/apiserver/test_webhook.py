"""What stands on the wire, and what is made of answers; the other side is a bare socket."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
import trustme

from auditsink.apiserver.retry_schedule import PostResult
from auditsink.apiserver.webhook import Webhook, tls_context
from auditsink.common.secret import Secret

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def answering(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that gives one answer to everything; its port and the requests it saw."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        seen.append(head + await reader.readexactly(length))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


async def posted(answer: bytes) -> PostResult:
    async with answering(answer) as (port, _), Webhook(f"http://127.0.0.1:{port}/audit") as webhook:
        return await webhook.post(b"{}", 30)


async def test_the_request_is_kube_apiservers() -> None:
    async with answering(OK) as (port, seen), Webhook(f"http://127.0.0.1:{port}/audit/?x=1") as webhook:
        assert (await webhook.post(b'{"kind"}\n', 30)).taken
    head, body = seen[0].split(b"\r\n\r\n")
    request_line, *headers = head.split(b"\r\n")
    assert request_line == b"POST /audit?timeout=30s HTTP/1.1"
    assert set(headers) == {
        b"Host: 127.0.0.1:%d" % port,
        b"User-Agent: Go-http-client/1.1",
        b"Content-Length: 9",
        b"Accept: application/json, */*",
        b"Content-Type: application/json",
        b"Accept-Encoding: gzip",
    }
    assert body == b'{"kind"}\n'


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"204 No Content\r\n", PostResult(204)),
        (b"503 Busy\r\nRetry-After: 7\r\n", PostResult(503, 7)),
        (b"503 Busy\r\nRetry-After: 1.5\r\n", PostResult(503)),
        (b"503 Busy\r\nRetry-After: Sun, 22 Nov 2026 10:00:00 GMT\r\n", PostResult(503)),
        (b"302 Found\r\nLocation: /other\r\n", PostResult(302)),
        (b"200 OK\r\nContent-Type: application/json; charset=utf-8\r\n", PostResult(200)),
        (b"200 OK\r\nContent-Type: nonsense\r\n", PostResult(200, None, "HTTP 200 with a malformed Content-Type")),
    ],
)
async def test_an_answer_is_read_like_client_go_reads_it(head: bytes, expected: PostResult) -> None:
    assert await posted(b"HTTP/1.1 " + head + b"Content-Length: 0\r\n\r\n") == expected


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        (b"200 OK\r\n", b'{"accepted":3}', PostResult(200, accepted=3)),
        (b"200 OK\r\nAuditsink-Repeated: true\r\n", b'{"accepted":3}', PostResult(200, accepted=3, repeated=True)),
        (b"200 OK\r\n", b"<html>hello</html>", PostResult(200)),
        (b"200 OK\r\n", b'{"accepted":true}', PostResult(200)),
        (b"200 OK\r\n", b"[1]", PostResult(200)),
        (b"403 No\r\n", b'{"error":"you are\\ncluster a"}', PostResult(403, said="you are cluster a")),
    ],
)
async def test_what_the_sink_says_is_read(head: bytes, body: bytes, expected: PostResult) -> None:
    answer = await posted(b"HTTP/1.1 " + head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert asdict(answer) == asdict(expected)


async def test_a_broken_answer_is_no_answer() -> None:
    answer = await posted(b"what?\r\n\r\n")
    assert (answer.status, answer.taken) == (0, False)
    assert answer.problem


async def test_a_port_that_nobody_listens_on_is_no_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with Webhook(f"http://127.0.0.1:{unused.getsockname()[1]}/audit") as webhook:
            answer = await webhook.post(b"{}", 30)
    assert answer.status == 0
    assert "cannot connect" in str(answer)


async def test_silence_is_no_answer_after_the_time_is_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with Webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/audit") as webhook:
            answer = await webhook.post(b"{}", 0.05)
    assert answer.problem == "no answer within 0 s"


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    client = ca.issue_cert("apiserver@example.com")
    client.private_key_pem.write_to_path(tmp_path / "client.key")
    with (tmp_path / "client.pem").open("wb") as stream:
        for blob in client.cert_chain_pems:
            stream.write(blob.bytes())
    return ca


async def test_over_tls_the_token_and_the_certificate_are_shown(authority: trustme.CA, tmp_path: Path) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    tls = tls_context(tmp_path / "ca.pem", tmp_path / "client.pem", tmp_path / "client.key")
    async with (
        answering(OK, server) as (port, seen),
        Webhook(f"https://127.0.0.1:{port}/audit", tls=tls, token=lambda: Secret("t-1")) as webhook,
    ):
        assert (await webhook.post(b"{}", 30)).taken
    assert b"Authorization: Bearer t-1\r\n" in seen[0]


async def test_over_plain_http_a_token_is_never_sent() -> None:
    async with (
        answering(OK) as (port, seen),
        Webhook(f"http://127.0.0.1:{port}/audit", token=lambda: Secret("t-1")) as webhook,
    ):
        assert (await webhook.post(b"{}", 30)).taken
    assert b"t-1" not in seen[0]


async def test_a_certificate_of_another_authority_is_refused(authority: trustme.CA) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    tls = tls_context(None, None, None)
    async with answering(OK, server) as (port, seen), Webhook(f"https://127.0.0.1:{port}/audit", tls=tls) as webhook:
        answer = await webhook.post(b"{}", 30)
    assert (answer.status, answer.tls, seen) == (0, True, [])
    assert "certificate" in answer.problem


async def test_tls_where_there_is_none_is_told_as_such() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Webhook(f"https://127.0.0.1:{port}/audit") as webhook:
            answer = await webhook.post(b"{}", 30)
    assert (answer.status, answer.tls) == (0, True)
