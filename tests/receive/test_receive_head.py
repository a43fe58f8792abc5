"""Heads are read strictly, and remembering them changes nothing."""

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from auditsink.receive.head import MAX_HEADERS, Head, Heads, parse
from auditsink.receive.responses import HttpRejection, RejectionReason

LINE = b"POST /audit HTTP/1.1\r\n"
HOST = b"Host: x\r\n"


def reason(head: bytes) -> RejectionReason | None:
    """Why the head is refused."""
    read = parse(head)
    return read.reason if isinstance(read, HttpRejection) else None


def fields(*lines: bytes, line: bytes = LINE + HOST) -> tuple[Head, int]:
    """What an accepted head says."""
    read = parse(line + b"".join(one + b"\r\n" for one in lines) + b"\r\n")
    assert not isinstance(read, HttpRejection), read
    return read


def test_reads_what_kube_apiserver_sends() -> None:
    head, length = fields(
        b"User-Agent: Go-http-client/1.1",
        b"Content-Length: 363258",
        b"Accept: application/json, */*",
        b"Authorization: Bearer t0ken",
        b"Content-Type: application/json",
        b"Accept-Encoding: gzip",
    )
    assert length == 363258
    assert head == Head(
        target=b"/audit", post=True, bare_answer=False, keep_alive=True, chunked=False,
        authorization=b"Bearer t0ken", encoding=None, expectation=None,
    )  # fmt: skip


def test_header_names_have_no_case_and_values_no_edges() -> None:
    head, length = fields(b"cOnTeNt-LeNgTh: 7  ", b"CONTENT-ENCODING: \t GZip ", b"expect:100-Continue")
    assert (length, head.encoding, head.expectation) == (7, b"gzip", b"100-continue")


def test_chunked_has_no_length() -> None:
    head, length = fields(b"Transfer-Encoding: Chunked")
    assert (head.chunked, length) == (True, 0)


@pytest.mark.parametrize("value", [b"close", b"Close", b"keep-alive, close", b"TE, close"])
def test_a_client_may_ask_for_the_end(value: bytes) -> None:
    assert not fields(b"Connection: " + value)[0].keep_alive


def test_http_1_0_ends_after_one_request_and_expects_nothing() -> None:
    head, length = fields(
        b"Content-Length: 1", b"Connection: keep-alive", b"Expect: 100-continue", line=b"POST / HTTP/1.0\r\n"
    )
    assert (head.keep_alive, head.expectation, length) == (False, None, 1)


def test_two_authorizations_are_none() -> None:
    assert fields(b"Authorization: Bearer a", b"Authorization: Bearer b")[0].authorization == b""


def test_a_head_shows_no_credential() -> None:
    assert b"Bearer" not in repr(fields(b"Authorization: Bearer t0ken")[0]).encode()


def test_codings_of_the_content_are_listed() -> None:
    assert fields(b"Content-Encoding: identity")[0].encoding is None
    assert fields(b"Content-Encoding: ")[0].encoding is None
    assert fields(b"Content-Encoding: identity, , GZIP")[0].encoding == b"gzip"
    assert fields(b"Content-Encoding: gzip", b"Content-Encoding: BR")[0].encoding == b"gzip,br"


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"])
def test_other_methods_are_told_apart(method: bytes) -> None:
    head, _ = fields(line=method + b" /audit HTTP/1.1\r\n" + HOST)
    assert not head.post
    assert head.bare_answer == (method == b"HEAD")


def test_an_upgrade_is_ignored_with_its_body_in_place() -> None:
    """`curl --http2` sends one with every request."""
    head, length = fields(
        b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x", b"Content-Length: 3"
    )
    assert (head.post, head.keep_alive, length) == (True, True, 3)
    assert fields(b"Connection: Upgrade", b"Upgrade: h2c", b"Transfer-Encoding: chunked")[0].chunked


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 3\r\nContent-Length: 3",
        b"Content-Length: 3\r\nContent-Length: 4",
        b"Content-Length: 3, 3",
        b"Content-Length: +3",
        b"Content-Length: -3",
        b"Content-Length: 0x3",
        b"Content-Length: 3.0",
        b"Content-Length: 3 3",
        b"Content-Length: \xb2",
        b"Content-Length:",
        b"Content-Length: 99999999999999999999999",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: chunked, gzip",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding:\r\n chunked",
        b"X: a\r\n folded",
        b" X: a",
        b"X: a\nY: b",
        b"X: a\rY: b",
        b"X: a\x00",
        b"X: a\x01",
        b"X\x80: a",
        b"X Y: a",
        b": a",
        b"X",
        b"Host: y",
    ],
)
def test_what_smugglers_send_is_refused(line: bytes) -> None:
    assert reason(LINE + HOST + line + b"\r\n\r\n") == RejectionReason.BAD_REQUEST


@pytest.mark.parametrize(
    "line",
    [
        b"POST  /audit HTTP/1.1",
        b"POST /audit  HTTP/1.1",
        b"POST /au dit HTTP/1.1",
        b"POST /audit HTTP/1.1 ",
        b"POST\t/audit HTTP/1.1",
        b"POST audit HTTP/1.1",
        b"post /audit HTTP/1.1",
        b"BREW /audit HTTP/1.1",
        b"POST /audit\x01 HTTP/1.1",
        b"POST /audit\xff HTTP/1.1",
        b"POST /audit RTSP/1.0",
        b"POST /audit http/1.1",
        b"POST /audit HTTP/1.1\n",
        b"POST HTTP/1.1",
    ],
)
def test_odd_request_lines_are_refused(line: bytes) -> None:
    assert reason(line + b"\r\n" + HOST + b"\r\n") == RejectionReason.BAD_REQUEST


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (LINE + b"\r\n", RejectionReason.BAD_REQUEST),  # no Host
        (b"POST /audit\r\n\r\n", RejectionReason.VERSION),
        (b"POST /audit HTTP/0.9\r\n\r\n", RejectionReason.VERSION),
        (b"POST /audit HTTP/2.0\r\n" + HOST + b"\r\n", RejectionReason.VERSION),
        (b"PRI * HTTP/2.0\r\n\r\n", RejectionReason.VERSION),
        (b"CONNECT sink:9880 HTTP/1.1\r\n" + HOST + b"\r\n", RejectionReason.METHOD),
        (LINE + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", RejectionReason.CODING),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", RejectionReason.BAD_REQUEST),
        (LINE + HOST + b"X: a\r\n" * MAX_HEADERS + b"\r\n", RejectionReason.HEAD_TOO_LARGE),
    ],
)
def test_other_refusals(head: bytes, why: RejectionReason) -> None:
    assert reason(head) == why


def test_a_hundred_headers_are_read() -> None:
    assert reason(LINE + HOST + b"X: a\r\n" * (MAX_HEADERS - 1) + b"\r\n") is None


def test_a_known_head_is_read_again_with_its_own_length() -> None:
    heads = Heads()
    first, second = (heads.read(LINE + HOST + b"Content-Length: %d\r\nX: y\r\n\r\n" % length) for length in (7, 4096))
    assert not isinstance(first, HttpRejection)
    assert not isinstance(second, HttpRejection)
    assert (first[1], second[1]) == (7, 4096)
    assert first[0] is second[0]


values = st.text(alphabet=" 0123456789+-,x\t\xb2", max_size=20).map(lambda text: text.encode("latin-1"))


@given(
    st.lists(values, min_size=1, max_size=5),
    st.sampled_from([b"", b"Content-Length: 3\r\n", b"X:\r\n", b"Expect: 1\r\n"]),
)
@example([b"7", b"007", b"", b"9" * 16, b"9" * 40], b"")
def test_remembering_heads_changes_nothing(several: list[bytes], other: bytes) -> None:
    heads = Heads()
    for value in several:
        head = LINE + HOST + b"Content-Length: " + value + b"\r\n" + other + b"\r\n"
        assert heads.read(head) == parse(head)


def test_only_so_many_heads_are_remembered() -> None:
    heads = Heads()
    for number in range(2000):
        heads.read(LINE + b"Host: %d\r\nContent-Length: 1\r\n\r\n" % number)
        heads.read(LINE + HOST + b"X: %b\r\nContent-Length: 1\r\n\r\n" % (b"x" * (5000 + number)))
    assert len(heads._known) <= 256
    assert max(map(len, heads._known)) < 4200


WORDS = (
    "POST GET /audit HTTP/1.1 HTTP/1.0 : Host x Content-Length Transfer-Encoding chunked gzip 3 +3 , - \x00 \x0b \xff"
)
SPACES = [b" ", b"  ", b"\t", b"\r\n", b"\n", b"\r", b": "]
NAMES = [
    b"Content-Length: ",
    b"Transfer-Encoding: ",
    b"Host: ",
    b"X: ",
    b"X:",
    b"X : ",
    b"",
    b" ",
    b"Content-Length:\t",
]
pieces = st.sampled_from([word.encode("latin-1") for word in WORDS.split(" ")] + SPACES)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Something like a header."""
    return draw(st.sampled_from(NAMES)) + b"".join(draw(st.lists(pieces, max_size=3))) + b"\r\n"


@given(st.lists(pieces, max_size=6).map(b"".join) | st.just(LINE[:-2]), st.lists(lines(), max_size=5).map(b"".join))
@example(LINE[:-2], HOST + b"Content-Length: 3\r\n")
def test_what_h11_calls_malformed_is_never_accepted(line: bytes, rest: bytes) -> None:
    head = line + b"\r\n" + rest + b"\r\n"
    head = head[: head.index(b"\r\n\r\n") + 4]
    judge = h11.Connection(h11.SERVER)
    judge.receive_data(head)
    try:
        event = judge.next_event()
    except h11.RemoteProtocolError:
        assert isinstance(parse(head), HttpRejection)
        return
    read = parse(head)
    if isinstance(event, h11.Request) and not isinstance(read, HttpRejection):
        assert (read[0].target, read[0].post) == (event.target, event.method == b"POST")
        headers = dict(event.headers)
        assert read[0].chunked == (b"transfer-encoding" in headers)
        assert read[1] == int(headers.get(b"content-length", b"0"))
