"""Requests are cut out of the stream at the same bytes, however it arrives."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from receivekit import BODY, chunked, request

from auditsink.receive.framing import Event, Framer
from auditsink.receive.head import MAX_HEAD, Heads
from auditsink.receive.responses import RejectionReason


class Cut:
    """Runs a framer over pieces and writes down what it finds."""

    def __init__(self, *, hold: bool = True) -> None:
        self.bodies: list[bytes] = []
        self.targets: list[bytes] = []
        self.held = 0
        self._body = bytearray()
        self._grant = hold
        self.framer = Framer(Heads(), self._body.extend, self._hold)
        self.refused: RejectionReason | None = None

    def _hold(self, count: int) -> bool:
        self.held += count
        return self._grant

    def feed(self, pieces: Sequence[bytes]) -> "Cut":
        for piece in pieces:
            start = 0
            while start < len(piece) and self.refused is None:
                event, end = self.framer.step(piece, memoryview(piece), start, len(piece))
                assert start < end <= len(piece) or event == Event.BROKEN
                assert event != Event.MORE or end == len(piece) or self._between_parts(piece[start:end])
                start = end
                self._note(event)
        return self

    @staticmethod
    def _between_parts(consumed: bytes) -> bool:
        return consumed.strip(b"\r\n") == b"" or consumed.endswith(b"\r\n\r\n") or len(consumed) == 2**16

    def _note(self, event: Event) -> None:
        framer = self.framer
        if event == Event.BROKEN:
            assert framer.refused is not None
            self.refused = framer.refused.reason
        elif event == Event.HEAD:
            self.targets.append(framer.head.target)
        if event == Event.END or (event == Event.HEAD and framer.between):
            self.bodies.append(bytes(self._body))
            self._body.clear()


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """The data in pieces that end at these places."""
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:stop] for start, stop in pairwise(places) if start < stop]


contents = st.binary(max_size=40) | st.sampled_from(
    [b"", b"\r\n\r\n", b"0\r\n\r\n", b"\r\n\r\n\r\n\r", BODY, b"x" * 300]
)
trailers = st.sampled_from([b"", b"X: y\r\n", b"Content-Encoding: br\r\nHost: z\r\n", b"Expect: y\r\n"])


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A request of any framing, and its body."""
    body = draw(contents)
    if draw(st.booleans()):
        return request(body), body
    head = request(b"", "Transfer-Encoding: chunked")
    return head + chunked(body, draw(st.lists(st.integers(1, 20), max_size=5)), draw(trailers)), body


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 5000), max_size=12))
def test_any_delivery_finds_the_same_requests(several: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"\r\n".join(data for data, _ in several)  # an empty line between requests is ignored
    cut = Cut().feed(split(stream, cuts))
    assert cut.refused is None
    assert cut.bodies == [body for _, body in several]
    assert cut.framer.between


@given(requests(), requests())
def test_byte_by_byte(first: tuple[bytes, bytes], second: tuple[bytes, bytes]) -> None:
    stream = first[0] + second[0]
    cut = Cut().feed([stream[place : place + 1] for place in range(len(stream))])
    assert (cut.bodies, cut.refused) == ([first[1], second[1]], None)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_any_delivery_of_any_bytes_breaks_alike(data: bytes, cuts: list[int]) -> None:
    stream = request() + data
    whole, parts = Cut().feed([stream]), Cut().feed(split(stream, cuts))
    assert whole.bodies == parts.bodies
    assert whole.bodies[0] == BODY
    if whole.refused is not None and parts.refused is not None:
        assert whole.refused == parts.refused


@given(
    st.sampled_from([b"", b"x", BODY, b"a\r\n\r\nb"]),
    st.sampled_from(["", "X: y", "Connection: close", "Expect: 100-continue", "content-length: 3"]),
    st.sampled_from([b"", b" ", b"\r\n", b"+", b"0", b"00", b"9" * 20, b"GET / HTTP/1.1\r\n"]),
    st.integers(0, 400),
)
def test_a_request_that_is_there_whole_is_what_the_steps_find(body: bytes, header: str, odd: bytes, place: int) -> None:
    first = request(b"first", *([header] if header not in ("", "content-length: 3") else []))
    cut = Cut().feed([first])
    again = request(body, *([header] if header else []))
    for sent in (again, again[: place % (len(again) + 1)] + odd + again[place % (len(again) + 1) :], again[:-place]):
        raw = sent + again  # what the buffer held before
        found = cut.framer.whole(raw, memoryview(raw), len(sent))
        stepwise = Cut().feed([first, sent])
        if found is not None:
            assert stepwise.refused is None
            assert (stepwise.bodies, stepwise.framer.between) == ([b"first", found], True)
        elif sent == again and header in ("", "X: y"):
            pytest.fail("the usual case is not seen")


def test_trailers_do_not_become_headers_of_the_next_request() -> None:
    """httptools hands on the last trailer with the headers that follow."""
    first = request(b"", "Transfer-Encoding: chunked") + chunked(b"abc", [], b"Content-Encoding: gzip\r\n")
    cut = Cut().feed([first + request(b"de")])
    assert cut.bodies == [b"abc", b"de"]
    assert cut.framer.head.encoding is None


MALFORMED = rb"""
3 \r\nabc\r\n0\r\n\r\n
 3\r\nabc\r\n0\r\n\r\n
0x3\r\nabc\r\n0\r\n\r\n
-3\r\nabc
+3\r\nabc
g\r\n
\r\n
3\nabc\r\n0\r\n\r\n
3\r\nabcd\r\n0\r\n\r\n
3\r\nabc0\r\n\r\n
3\r\nabc\n0\r\n\r\n
3\r\nabc\r\n0\n\n
fffffffffffffffff\r\n
3;a\rb\r\nabc\r\n0\r\n\r\n
3;\n\r\nabc\r\n0\r\n\r\n
0\r\nX Y: z\r\n\r\n
0\r\n X: z\r\n\r\n
0\r\nContent-Length: 3\r\n\r\n
""".strip(b"\n").split(b"\n")


@pytest.mark.parametrize("written", MALFORMED)
@pytest.mark.parametrize("piece", [1, 2, 1000])
def test_malformed_chunks_are_refused(written: bytes, piece: int) -> None:
    body = written.replace(rb"\r", b"\r").replace(rb"\n", b"\n")
    stream = request(b"", "Transfer-Encoding: chunked") + body
    cut = Cut().feed([stream[place : place + piece] for place in range(0, len(stream), piece)])
    assert (cut.refused, cut.bodies) == (RejectionReason.BAD_REQUEST, [])


@pytest.mark.parametrize("silence", [b"3;" + b"x" * 2**18, b"0\r\n" + b"X: y\r\n" * 2**15, b"0\r\nX: " + b"y" * 2**18])
def test_extensions_and_trailers_are_bounded(silence: bytes) -> None:
    cut = Cut().feed([request(b"", "Transfer-Encoding: chunked"), silence])
    assert cut.refused == RejectionReason.HEAD_TOO_LARGE


def test_a_long_body_in_small_chunks_is_no_silence() -> None:
    body = b"z" * 100_000
    cut = Cut().feed([request(b"", "Transfer-Encoding: chunked") + chunked(body, [10] * 10_000)])
    assert cut.bodies == [body]


@pytest.mark.parametrize("piece", [1000, 2**20])
def test_a_head_is_bounded(piece: int) -> None:
    stream = b"POST /audit HTTP/1.1\r\nX: " + b"x" * 2 * MAX_HEAD
    cut = Cut().feed([stream[place : place + piece] for place in range(0, len(stream), piece)])
    assert cut.refused == RejectionReason.HEAD_TOO_LARGE
    assert cut.held < MAX_HEAD


def test_a_head_just_within_its_bound_is_read() -> None:
    filler = MAX_HEAD - len(request(b"", "X: "))
    for piece in (1000, 2**20):
        stream = request(b"", "X: " + "x" * filler)
        assert len(stream) == MAX_HEAD
        cut = Cut().feed([stream[place : place + piece] for place in range(0, len(stream), piece)])
        assert (cut.bodies, cut.refused) == ([b""], None)


def test_a_head_in_pieces_asks_for_memory() -> None:
    cut = Cut(hold=False).feed([b"POST /audit", b" HTTP/1.1"])
    assert cut.refused == RejectionReason.OVERLOAD


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02", b"{", b" POST", b"\n", b"\x00", b"\r\n\r", b"POST / HTTP/1.1\nHost: x\n\n"]
)
def test_what_cannot_become_a_request_is_refused_without_waiting_for_more(data: bytes) -> None:
    refused = Cut().feed([data]).refused
    assert refused == (None if data == b"\r\n\r" else RejectionReason.BAD_REQUEST)


def test_the_http2_preface_is_named() -> None:
    assert Cut().feed([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]).refused == RejectionReason.VERSION
