"""What the head of a request says. Pure: a head in, a `Head` or a refusal out.

llhttp parses, with its strict defaults: it refuses two Content-Lengths, Content-Length beside Transfer-Encoding, bad
lengths, folded lines, white space before a colon and bare line feeds. What it accepts and we do not: other versions
and protocols (HTTP/0.9, HTTP/2.0, RTSP), several spaces in the request line, codings other than chunked, chunked in
HTTP/1.0, and a missing or second Host (RFC 9112, 3.2).

An apiserver sends the same head for ever, but for the digits of its Content-Length; `Heads` remembers what a head
without them means, which takes a tenth of the time.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import httptools

from auditsink.receive.responses import HttpRejection, RejectionReason

END_OF_HEAD = b"\r\n\r\n"
MAX_HEAD = 16 * 1024
"""Bytes of request line and headers; kube-apiserver sends some 200, tokens may add 4 KiB."""
MAX_HEADERS = 100

_KEPT = 256  # heads that are remembered
_LONGEST_KEPT = 4096  # bytes of one of them
_LENGTH = b"\r\nContent-Length: "
LENGTH_DIGITS = 15

_UPGRADE = re.compile(rb"(?i)\r\nupgrade:[^\r\n]*")
_REQUEST_LINE = re.compile(rb"[A-Z]+ [!-~]+ HTTP/1\.[01]\r\n")
_TOO_MANY = HttpRejection(RejectionReason.HEAD_TOO_LARGE, f"more than {MAX_HEADERS} headers")
_NO_HOST = HttpRejection(RejectionReason.BAD_REQUEST, "HTTP/1.1 asks for exactly one Host header")
_ODD_LINE = HttpRejection(RejectionReason.BAD_REQUEST, "this is no request line of HTTP/1.1")
_CODING = HttpRejection(RejectionReason.CODING, "the only transfer coding that is understood is chunked")
_OLD_CHUNKS = HttpRejection(RejectionReason.BAD_REQUEST, "HTTP/1.0 knows no Transfer-Encoding")
_HTTP_2 = HttpRejection(RejectionReason.VERSION, "HTTP/2 is not spoken here; use HTTP/1.1")
_VERSION = HttpRejection(RejectionReason.VERSION, "only HTTP/1.1 and HTTP/1.0 are spoken here")
_CONNECT = HttpRejection(RejectionReason.METHOD, "only POST is taken here")


@dataclass(frozen=True, slots=True)
class Head:
    """A well-formed head, whose body follows as `length` or `chunked` says."""

    target: bytes
    post: bool
    """The method is POST."""
    bare_answer: bool
    """The method is HEAD, whose answer has no body."""
    keep_alive: bool
    chunked: bool
    authorization: bytes | None = field(repr=False)
    """b"" for several: which one counts must not depend on who reads them."""
    encoding: bytes | None
    """Content-Encoding in lower case; None for identity."""
    expectation: bytes | None
    """Expect in lower case."""
    around: tuple[bytes, bytes] | None = field(default=None, repr=False, compare=False)
    """What stands before and behind the digits of its Content-Length, where the same head may come again and again."""


Read = tuple[Head, int] | HttpRejection
"""A head and the length of its body in bytes (0 when it is chunked). A refusal ends the connection: nothing after a
head that is not understood can be."""


class Heads:
    """Reads heads, and remembers those that it has read."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def read(self, head: bytes) -> Read:
        """`head` ends with its empty line."""
        start = head.find(_LENGTH) + len(_LENGTH)
        stop = head.find(b"\r\n", start)
        digits = head[start:stop]
        if start < len(_LENGTH) or not digits.isdigit() or len(digits) > LENGTH_DIGITS:
            return parse(head)
        without = head[:start] + head[stop:]
        known = self._known.get(without)
        if known is not None:
            return known, int(digits)
        read = parse(head)
        if isinstance(read, HttpRejection) or len(head) > _LONGEST_KEPT:
            return read
        if len(self._known) >= _KEPT:
            self._known.clear()
        found, length = read
        if found.keep_alive and found.expectation is None:
            found = replace(found, around=(head[:start], head[stop:]))
        self._known[without] = found
        return found, length


def parse(head: bytes) -> Read:
    """Read a head by llhttp."""
    if head.count(b"\r\n") > MAX_HEADERS + 2:
        return _TOO_MANY
    found = _HeadFields()
    http = httptools.HttpRequestParser(found)
    try:
        http.feed_data(head)
    except httptools.HttpParserUpgrade:
        # RFC 9110, 7.8: a server may ignore Upgrade. llhttp cannot, and would take the body for the new protocol.
        return _CONNECT if http.get_method() == b"CONNECT" else parse(_UPGRADE.sub(b"", head))
    except httptools.HttpParserError as problem:
        return _HTTP_2 if head.startswith(b"PRI * HTTP/2") else malformed(problem)
    version = http.get_http_version()
    if version not in ("1.0", "1.1"):
        return _VERSION
    return _ODD_LINE if not _REQUEST_LINE.match(head) else found.head(http.get_method(), old=version == "1.0")


def malformed(problem: Exception) -> HttpRejection:
    """What llhttp does not take for HTTP, in its words."""
    return HttpRejection(RejectionReason.BAD_REQUEST, f"this is no request of HTTP/1.1: {problem}")


class _HeadFields:
    """What llhttp comes upon."""

    def __init__(self) -> None:
        self._target = b""
        self._headers: dict[bytes, list[bytes]] = {}

    def on_url(self, url: bytes) -> None:
        self._target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.setdefault(name.lower(), []).append(value.strip())

    def head(self, method: bytes, *, old: bool) -> Read:
        headers = self._headers
        coding = headers.get(b"transfer-encoding")
        if len(headers.get(b"host", ())) != 1 and not (old and b"host" not in headers):
            return _NO_HOST
        if coding is not None and old:
            return _OLD_CHUNKS
        if coding is not None and [value.lower() for value in coding] != [b"chunked"]:
            return _CODING
        authorization = headers.get(b"authorization", [None])
        read = Head(
            target=self._target,
            post=method == b"POST",
            bare_answer=method == b"HEAD",
            keep_alive=not old and not any(b"close" in value.lower() for value in headers.get(b"connection", ())),
            chunked=coding is not None,
            authorization=authorization[0] if len(authorization) == 1 else b"",
            encoding=_only(_codings(headers.get(b"content-encoding", ()))),
            expectation=None if old else _only(headers.get(b"expect", [])),  # RFC 9110, 10.1.1
        )
        return read, int(headers.get(b"content-length", [b"0"])[0])


def _codings(values: Iterable[bytes]) -> list[bytes]:
    """Those of a list that are any: it may have empty elements (RFC 9110, 5.6.1), and identity is none."""
    several = (coding.strip() for value in values for coding in value.split(b","))
    return [coding for coding in several if coding.lower() not in (b"", b"identity")]


def _only(values: list[bytes]) -> bytes | None:
    return b",".join(values).lower() if values else None
