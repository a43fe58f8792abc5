"""Where an answer ends, what is kept of it, and whether the connection can be used again; byte by byte too."""

from collections.abc import Iterator

import pytest

from auditsink.http.answers import HttpAnswer
from auditsink.http.parser import NoHttpError, ResponseParser, SpeaksHttp2Error, head


def read(data: bytes, *, limit: int = 1000, step: int = 10**6, tunnel: bool = False) -> ResponseParser:
    reader = ResponseParser()
    reader.begin(limit, tunnel=tunnel)
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
    return reader


def answers() -> Iterator[tuple[bytes, HttpAnswer, bool]]:
    """What comes, what it means, and whether the connection can be used again."""
    yield (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Y: z\r\n\r\nok",
        HttpAnswer(200, {"content-length": "2", "x-y": "z"}, b"ok"),
        True,
    )
    yield b"HTTP/1.1 204 No Content\r\n\r\n", HttpAnswer(204, {}, b""), True
    yield (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
        HttpAnswer(200, {"content-length": "1", "connection": "close"}, b"x"),
        False,
    )
    yield b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", HttpAnswer(200, {"content-length": "1"}, b"x"), False
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield (
        chunked + b"2;a=b\r\nok\r\n1\r\n!\r\n0\r\nX-Trailer: t\r\n\r\n",
        HttpAnswer(200, {"transfer-encoding": "chunked"}, b"ok!"),
        True,
    )
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    yield (
        interim + b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n",
        HttpAnswer(400, {"content-length": "0"}, b""),
        True,
    )
    yield (
        b"HTTP/1.1 200 OK\r\nX: \xc3\xa9\xff\r\nContent-Length: 0\r\n\r\n",
        HttpAnswer(200, {"x": "\u00e9\udcff", "content-length": "0"}, b""),
        True,
    )


@pytest.mark.parametrize("step", [1, 7, 10**6])
@pytest.mark.parametrize(("data", "answer", "reusable"), list(answers()))
def test_an_answer_ends_where_it_says(data: bytes, answer: HttpAnswer, reusable: bool, step: int) -> None:
    reader = read(data, step=step)
    assert reader.done
    assert reader.reusable is reusable
    assert reader.answer() == answer


@pytest.mark.parametrize("step", [1, 10**6])
def test_an_answer_without_a_length_ends_with_its_connection(step: int) -> None:
    reader = read(b"HTTP/1.1 200 OK\r\n\r\nall of it", step=step)
    before = reader.done
    reader.end(clean=True)
    assert (before, reader.done) == (False, True)
    assert not reader.reusable
    assert reader.answer() == HttpAnswer(200, {}, b"all of it")


@pytest.mark.parametrize(
    ("cut", "clean"),
    [
        (b"", True),
        (b"HTTP/1.1 200 OK\r\nContent-Le", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfour", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive.", True),
        (b"HTTP/1.1 200 OK\r\n\r\nreset", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", True),
    ],
)
def test_half_a_success_is_none(cut: bytes, clean: bool) -> None:
    reader = read(cut)
    with pytest.raises(ConnectionResetError):
        reader.end(clean=clean)


def test_half_a_refusal_is_one() -> None:
    reader = read(b"HTTP/1.1 413 Too Large\r\nContent-Length: 500\r\n\r\n<html>")
    reader.end(clean=False)
    assert reader.answer() == HttpAnswer(413, {"content-length": "500"}, b"<html>")


@pytest.mark.parametrize("step", [3, 10**6])
def test_no_more_than_the_limit_is_kept_and_the_connection_goes(step: int) -> None:
    reader = read(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100, limit=10, step=step)
    assert reader.done
    assert not reader.reusable
    assert reader.answer().body == b"x" * 10


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 4000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"y" * 70_000,
    ],
)
@pytest.mark.parametrize("step", [100, 10**6])
def test_what_is_no_answer_or_never_ends_is_refused(data: bytes, step: int) -> None:
    with pytest.raises(NoHttpError) as refused:
        read(data, step=step)
    assert "y" * 5 not in str(refused.value)


def test_a_server_of_http_2_is_known_by_its_first_frame() -> None:
    """Before the request, as gRPC's servers send it, or after; a body that looks like one is none."""
    settings = bytes.fromhex("000006040000000000000500004000") + b"\0\0\4\x08\0\0\0\0\0"
    for reader in (ResponseParser(), begun()):
        with pytest.raises(SpeaksHttp2Error):
            reader.feed(settings)
        assert not reader.reusable
    body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(settings)
    found = begun()
    found.feed(body)
    found.feed(settings)
    assert found.answer().body == settings


def begun() -> ResponseParser:
    reader = ResponseParser()
    reader.begin(1000)
    return reader


def test_what_comes_unasked_makes_the_connection_useless() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    for data in (answer + answer, answer + b"x"):
        assert not read(data).reusable
    reader = read(answer)
    reader.feed(answer)
    assert reader.done
    assert not reader.reusable


def test_a_second_answer_owes_nothing_to_the_first() -> None:
    reader = read(b"HTTP/1.1 503 Busy\r\nA: 1\r\nSet-Cookie: n=1\r\nContent-Length: 1\r\n\r\nx")
    assert reader.cookies == ["n=1"]
    reader.begin(1000)
    assert not reader.done
    reader.feed(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n")
    assert reader.answer() == HttpAnswer(200, {"content-length": "0", "set-cookie": "b=2"}, b"")
    assert reader.cookies == ["a=1", "b=2"]


def test_a_tunnel_begins_after_the_head_and_a_refusal_is_an_answer() -> None:
    assert read(b"HTTP/1.1 200 Connected\r\n\r\n", tunnel=True).done
    refused = read(b"HTTP/1.1 407 No\r\nContent-Length: 4\r\n\r\n", tunnel=True)
    assert not refused.done
    refused.feed(b"page")
    assert refused.answer().status == 407


def test_a_head_has_the_length_but_for_a_get_without_a_body() -> None:
    assert head("POST", "/x", {"Host": "h"}, 0) == b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
    assert head("GET", "/x", {"Host": "h"}, 0) == b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize("bad", ["a\r\nB: c", "a\n", "a\0"])
def test_no_header_can_begin_another_one(bad: str) -> None:
    for target, headers in ((bad, {}), ("/", {"X": bad}), ("/", {bad: "x"})):
        with pytest.raises(ValueError, match="more than one line"):
            head("GET", target, headers, 0)
