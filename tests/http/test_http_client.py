"""The HTTP client: every way in which a request can end is a value that tells no secret."""

import asyncio
import contextlib
import gzip
import os
import socket
import threading
import tracemalloc
import warnings
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal

import pytest
import zstandard
from httpkit import SECRET, client, tcp_server

from auditsink.delivery.outcome import Misconfigured, Retry, RetryCause
from auditsink.http.answers import HttpAnswer
from auditsink.http.client import TransportProblem, decoded
from auditsink.testing.collector import Collector
from auditsink.testing.scripted import Reply


@contextlib.asynccontextmanager
async def raw_server(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A TCP server that hands each connection's reader and writer to `answer` once a request head was read."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)

    async with tcp_server(serve) as url:
        yield f"{url}/s3cr3t-path"


async def test_an_answer_has_status_lower_case_headers_and_body() -> None:
    async with Collector(script=[Reply(418, b"teapot", {"X-Kind": "Pot"})]) as server, client(server.url) as http:
        answer = await http.post(server.url + "/a?b=c", b"hello", {"Content-Type": "text/plain"})

    assert isinstance(answer, HttpAnswer)
    assert (answer.status, answer.body, answer.headers["x-kind"]) == (418, b"teapot", "Pot")
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/a?b=c", b"hello")
    assert request.headers["content-length"] == "5"
    assert request.headers["user-agent"].startswith("auditsink/")
    assert "transfer-encoding" not in request.headers


async def test_a_url_is_sent_as_it_was_written() -> None:
    async with Collector() as server, client(server.url) as http:
        await http.get(server.url + "/a%2Fb/c%20d?x=%26", {})

    assert server.requests[0].path == "/a%2Fb/c%20d?x=%26"


async def test_connections_are_kept_alive_and_no_more_than_allowed() -> None:
    async with Collector() as server, client(server.url, connections=2) as http:
        await asyncio.gather(*(http.post(server.url, b"", {}) for _ in range(10)))
        await http.post(server.url, b"", {})

    assert len({request.peer for request in server.requests}) <= 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    async with (
        Collector() as other,
        Collector(script=[Reply(status, headers={"Location": other.url})]) as server,
        client(server.url) as http,
    ):
        answer = await http.post(server.url, b"x", SECRET)

    assert isinstance(answer, HttpAnswer)
    assert answer.status == status
    assert other.requests == []
    assert len(server.requests) == 1


async def test_cookies_are_kept_only_when_asked_for() -> None:
    script = [Reply(200, headers={"Set-Cookie": "node=a; Path=/"})]
    for keep, sent in ((True, "node=a"), (False, None)):
        async with Collector(script=script) as server, client(server.url, cookies=keep) as http:
            await http.post(server.url, b"", {})
            await http.post(server.url, b"", {})
        assert server.requests[1].headers.get("cookie") == sent


async def test_a_large_body_goes_out_whole_and_without_a_warning() -> None:
    body = os.urandom(3 * 2**20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with Collector() as server, client(server.url) as http:
            await http.post(server.url, body, {})

    assert server.requests[0].body == body
    assert server.requests[0].headers["content-length"] == str(len(body))


async def test_an_endless_answer_is_cut_and_its_connection_closed() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 100_000)
            await writer.drain()

    async with raw_server(endless) as url, client(url) as http:
        answer = await http.post(url, b"", {})

    assert isinstance(answer, HttpAnswer)
    assert answer.status == 200
    assert answer.body == b"x" * 65536


async def test_a_compressed_answer_that_nobody_asked_for_is_understood_within_a_bound() -> None:
    bomb = gzip.compress(b"x" * 1_000_000)
    async with Collector(script=[Reply(200, bomb, {"Content-Encoding": "gzip"})]) as server, client(server.url) as http:
        answer = await http.post(server.url, b"", {})

    assert isinstance(answer, HttpAnswer)
    assert answer.body == b"x" * 65536
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_compressed_answer_takes_no_more_memory_than_is_kept_of_it(pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(2**26))
    coding = "gzip" if pack is gzip.compress else "zstd"
    tracemalloc.start()
    kept = decoded(bomb, coding, 65536)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kept == bytes(65536)
    assert peak < 2**20


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"yes", mtime=0)),
        ("X-GZip", gzip.compress(b"yes", mtime=0)),
        ("deflate", zlib.compress(b"yes")),
        ("deflate", zlib.compress(b"yes")[2:-4]),
        ("zstd", zstandard.compress(b"yes")),
        ("identity", b"yes"),
    ],
)
async def test_every_usual_compression_is_understood(coding: str, body: bytes) -> None:
    async with Collector(script=[Reply(200, body, {"Content-Encoding": coding})]) as server, client(server.url) as http:
        answer = await http.post(server.url, b"", {})
        assert isinstance(answer, HttpAnswer)
        assert answer.body == b"yes"


@pytest.mark.parametrize(("coding", "body"), [("br", b"\x0b\x01\x80yes\x03"), ("gzip", b"no gzip"), ("gzip, br", b"x")])
async def test_a_compression_that_is_not_understood_is_named_where_the_answer_counts(coding: str, body: bytes) -> None:
    headers = {"Content-Encoding": coding}
    script = [Reply(200, body, headers), Reply(503, body, headers)]
    async with Collector(script=script) as server, client(server.url) as http:
        problem = await http.post(server.url, b"", {})
        refused = await http.post(server.url, b"", {})

    assert isinstance(problem, TransportProblem)
    assert coding in problem.why
    assert problem.lasting
    assert isinstance(refused, HttpAnswer)
    assert (refused.status, refused.body) == (503, b""), "a status that is no success says enough"


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_a_success_before_the_whole_request_was_there_is_a_broken_connection(status: int) -> None:
    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d OK\r\nContent-Length: 0\r\n\r\n" % status)
        await writer.drain()
        await reader.read(2**16)

    async with raw_server(hasty) as url, client(url) as http:
        problem = await http.post(url, bytes(2**24), {})
    assert isinstance(problem, TransportProblem)
    assert "before it had the whole request" in problem.why
    assert not problem.lasting


def test_what_the_other_side_has_not_confirmed_is_seen_in_the_socket() -> None:
    """All of the request fits into our socket's buffer, and not into theirs."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]

        def hasty() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                answered.wait(10)

        answered = threading.Event()
        thread = threading.Thread(target=hasty)
        thread.start()

        async def post() -> HttpAnswer | TransportProblem:
            async with client(f"http://127.0.0.1:{port}") as http:
                return await http.post(f"http://127.0.0.1:{port}", bytes(100_000), {})

        problem = asyncio.run(post())
        answered.set()
        thread.join(10)
    assert isinstance(problem, TransportProblem)
    assert "before it had the whole request" in problem.why


async def test_a_refusal_before_the_whole_request_was_there_is_an_answer() -> None:
    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        await reader.read(2**16)

    async with raw_server(hasty) as url, client(url) as http:
        answer = await http.post(url, bytes(2**24), {})
    assert isinstance(answer, HttpAnswer)
    assert answer.status == 413


@pytest.mark.parametrize("cut", ["before", "middle"])
async def test_a_connection_cut_before_a_success_is_complete_is_tried_again(cut: Literal["before", "middle"]) -> None:
    async with Collector(script=[Reply(200, b"accepted", cut=cut)]) as server, client(server.url) as http:
        problem = await http.post(server.url, b"", SECRET)

    assert isinstance(problem, TransportProblem)
    assert isinstance(problem.outcome(), Retry)
    assert "connection broke" in problem.why


async def test_a_refusal_stands_even_if_its_page_is_cut() -> None:
    async with Collector(script=[Reply(413, b"too large", cut="middle")]) as server, client(server.url) as http:
        answer = await http.post(server.url, b"", {})

    assert isinstance(answer, HttpAnswer)
    assert (answer.status, answer.body) == (413, b"too larg")


async def test_a_server_that_answers_before_it_read_the_body_is_heard() -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with raw_server(early) as url, client(url) as http:
        answer = await http.post(url, os.urandom(900_000), {})

    assert isinstance(answer, HttpAnswer)
    assert answer.status == 413


async def test_no_answer_in_time_is_tried_again() -> None:
    hold = asyncio.Event()
    async with Collector(script=[Reply(200), Reply(200, hold=hold)]) as server, client(server.url) as http:
        await http.post(server.url, b"", SECRET)  # connected
        http._timeout = 0.01
        problem = await http.post(server.url, b"", SECRET)
        hold.set()

    assert problem == TransportProblem(f"{server.url}: no answer within 0.01 s", cause=RetryCause.TIMED_OUT)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 xx OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA b\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_tried_again(said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with raw_server(answer) as url, client(url) as http:
        problem = await http.post(url, b"", SECRET)

    assert isinstance(problem, TransportProblem)
    assert isinstance(problem.outcome(), Retry)


@pytest.mark.parametrize("first", [True, False])
async def test_a_port_of_grpc_is_for_a_person(first: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not first:
            await reader.readuntil(b"\r\n\r\n")
        writer.write(bytes.fromhex("000006040000000000000500004000"))
        await writer.drain()
        await reader.read()

    async with tcp_server(answer) as url, client(url) as http:
        problem = await http.post(url, b"", SECRET)

    assert isinstance(problem, TransportProblem)
    assert isinstance(problem.outcome(), Misconfigured)
    assert "speaks HTTP/2 only" in problem.why


async def test_a_closed_port_is_tried_again() -> None:
    async with Collector() as server:
        pass
    async with client(server.url) as http:
        problem = await http.post(server.url, b"", SECRET)

    assert problem == TransportProblem(f"{server.url}: cannot connect (Connection refused)", cause=RetryCause.ELSEWHERE)


async def test_a_password_in_the_url_is_in_no_problem_and_no_header() -> None:
    async with Collector() as server:
        spoken = server.url.replace("http://", "http://user:pass-word@")
        async with client(spoken) as http:
            answer = await http.post(spoken, b"", SECRET)
            (request,) = server.requests
    async with client(spoken) as http:
        problem = await http.post(spoken, b"", SECRET)

    assert isinstance(answer, HttpAnswer)
    assert "pass-word" not in str(request.headers)
    assert problem == TransportProblem(f"{server.url}: cannot connect (Connection refused)", cause=RetryCause.ELSEWHERE)


async def test_a_name_that_does_not_resolve_is_tried_again() -> None:
    async with client("http://no-such-host.invalid:1") as http:
        problem = await http.post("http://no-such-host.invalid:1/x", b"", SECRET)

    assert isinstance(problem, TransportProblem)
    assert problem.why.startswith("http://no-such-host.invalid:1: cannot connect (")
    assert not problem.lasting


async def test_no_problem_tells_the_path_or_a_header() -> None:
    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        return

    async with raw_server(nothing) as url, client(url, timeout=1.0) as http:
        problem = await http.post(url, b"s3cr3t-body", SECRET)

    assert isinstance(problem, TransportProblem)
    assert "s3cr3t" not in problem.why
