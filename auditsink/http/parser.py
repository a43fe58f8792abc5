"""One HTTP/1.1 exchange as bytes: the head that goes out, and the answer as it comes in. No I/O.

The parser is httptools' (llhttp, strict), as on the receive port. What is left to us is where an answer ends, how much
of it is kept, and whether another request may follow on the same connection.
"""

import re
from collections.abc import Mapping

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from auditsink.http.answers import HttpAnswer

_SILENT_BYTES = 65536
"""That may come without a byte of the body among them: headers, chunk extensions, trailers."""
_ENDS = frozenset({"content-length", "transfer-encoding"})
"""Headers that say where the body ends; without one it ends with the connection."""
_TLS_ALERT = b"\x15\x03"
"""How the record begins with which TLS refuses what is no handshake (RFC 8446, 5.1); no answer of HTTP begins so."""
_SETTINGS = re.compile(rb"\0..\x04[\0\1]\0{4}", re.DOTALL)
"""How a server of HTTP/2 begins (RFC 9113, 3.4): a frame of settings of the stream 0."""
_CUTS_A_LINE = frozenset("\r\n\0")


class NoHttpError(ValueError):
    """What came is no answer of HTTP/1.1; the message (llhttp's, mostly) says what is wrong and holds nothing of it."""


class SpeaksTlsError(NoHttpError):
    """What came is a record of TLS: the other side was spoken to in plain HTTP, and expected it."""


class SpeaksHttp2Error(NoHttpError):
    """What came is a frame of HTTP/2, which was not agreed on: the other side knows nothing else."""


def head(method: str, target: str, headers: Mapping[str, str], length: int) -> bytes:
    """The request up to its body of `length` bytes. Raises ValueError for what would end a line early."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if length or method != "GET":
        lines.append(f"Content-Length: {length}")
    if any(not _CUTS_A_LINE.isdisjoint(line) for line in lines):
        raise ValueError("a header would be more than one line")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


class ResponseParser:
    """The answers on one connection, one after the other: `begin`, then `feed` until `done`, or `end`."""

    def __init__(self) -> None:
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self.done = True
        """Nothing more is waited for."""
        self.reusable = True
        """The connection can take another request."""

    def begin(self, limit: int, *, tunnel: bool = False) -> None:
        """A request goes out. `limit`: bytes of the body that are kept. `tunnel`: it is a CONNECT."""
        self._limit = limit
        self._tunnel = tunnel
        self._silent = 0
        self._body = bytearray()
        self._start_head()
        self.done = self.reusable = False

    def feed(self, data: bytes) -> None:
        """Raises NoHttpError; the connection is of no use then."""
        if (self.done or (self._in_head and not self._silent)) and _SETTINGS.match(data):
            self.reusable = False
            raise SpeaksHttp2Error("a frame of HTTP/2")
        if self.done or self._parser is None:  # nobody asked
            self.reusable = False
            return
        self._silent += len(data)
        if self._in_head and data.startswith(_TLS_ALERT):
            self.reusable = False
            raise SpeaksTlsError("a TLS alert")
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            raise NoHttpError("a change of the protocol") from None
        except HttpParserError as problem:
            self.reusable = False
            if not self.done:
                raise NoHttpError(str(problem) or type(problem).__name__) from None
        if self._silent > _SILENT_BYTES and not self.done:
            raise NoHttpError("a head without end")

    def end(self, *, clean: bool) -> None:
        """The connection has ended, `clean` if the other side said so. Raises ConnectionResetError for half a success.

        A refusal is one even if its page is cut short (a server that answers early and closes).
        """
        self.reusable = False
        self._parser = None  # which holds us: nothing here is to wait for the garbage collector
        if self.done:
            return
        if self._in_head or (self._status < 300 and (self._bounded or not clean)):
            raise ConnectionResetError
        self.done = True

    def answer(self) -> HttpAnswer:
        """What was read; only when `done`."""
        return HttpAnswer(self._status, self._headers, bytes(self._body))

    @property
    def cookies(self) -> list[str]:
        """The values of Set-Cookie, of which there may be several."""
        return self._cookies

    def _start_head(self) -> None:
        self._in_head = True
        self._bounded = False
        self._status = 0
        self._headers: dict[str, str] = {}
        self._cookies: list[str] = []

    def on_message_begin(self) -> None:
        """The parser says: an answer begins; the final one after an interim one, or one too many."""
        if self.done:
            self.reusable = False
        else:
            self._start_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser says: a header, or a trailer, which nobody reads."""
        if self.done or not self._in_head:
            return
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape")
        self._headers[key] = text
        self._bounded = self._bounded or key in _ENDS
        if key == "set-cookie":
            self._cookies.append(text)

    def on_headers_complete(self) -> None:
        """The parser says: the head is complete. Interim answers (RFC 9110, 15.2) are passed over."""
        if self.done:
            return
        assert self._parser is not None
        self._status = self._parser.get_status_code()
        self._in_head = self._status < 200
        if self._tunnel and 200 <= self._status < 300:  # what follows is the tunnel's
            self.done = True

    def on_body(self, piece: bytes) -> None:
        """The parser says: so much more of the body."""
        if self.done:
            return
        self._silent = 0
        room = self._limit - len(self._body)
        self._body += piece[:room]
        self.done = len(piece) >= room

    def on_message_complete(self) -> None:
        """The parser says: that was all."""
        if not self.done and not self._in_head:
            assert self._parser is not None
            self.done = True
            self.reusable = self._parser.should_keep_alive()
