"""Where requests begin and end in a stream of bytes. Sans-I/O: pieces in, one event at a time out.

The stream is cut at the empty line after the head and at the end of the body, to the byte, whatever follows in the
same piece: pipelined requests stay with the caller until it wants them. A chunked body is read by llhttp, which is
given no more than up to the next empty line at a time, because the body ends with one.
"""

import re
from collections.abc import Callable
from enum import IntEnum
from mmap import mmap

import httptools

from auditsink.receive.head import END_OF_HEAD, LENGTH_DIGITS, MAX_HEAD, Head, Heads, malformed
from auditsink.receive.responses import OVERLOAD, HttpRejection, RejectionReason

_BLANK = re.compile(rb"(?:\r\n)*")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_A, _Z, _TLS_HANDSHAKE = 0x41, 0x5A, 0x16

_NO_HTTP = HttpRejection(RejectionReason.BAD_REQUEST, "this is no request of HTTP/1.1")
_TLS = HttpRejection(RejectionReason.BAD_REQUEST, "this port speaks HTTP without TLS, and the client began with TLS")
_LONG_HEAD = HttpRejection(RejectionReason.HEAD_TOO_LARGE, f"request line and headers take more than {MAX_HEAD} bytes")
_PIECE = 2**16  # bytes given at once: what extensions and trailers may take before it is noticed
_REACH = len(END_OF_HEAD) - 1
_SILENT = HttpRejection(
    RejectionReason.HEAD_TOO_LARGE, f"a chunk's extensions or the trailers take more than {MAX_HEAD} bytes"
)


class Event(IntEnum):
    """What a step came upon."""

    MORE = 0
    """Nothing yet: everything was consumed."""
    HEAD = 1
    """A head; when the framer is `between` requests again, it was all of the request."""
    END = 2
    """The end of a body."""
    BROKEN = 3
    """`refused` says why nothing more of this stream can be understood."""


_MORE, _HEAD, _END, _BROKEN = Event


class ChunkedBody:
    """One body. `complete` when it has ended; `refused` when it is malformed."""

    __slots__ = ("_http", "_on_body", "_silent", "_tail", "complete", "refused")

    def __init__(self, head: bytes, on_body: Callable[[bytes], None]) -> None:
        """`head` is the one that announced it; `on_body` gets the content."""
        self.complete = False
        self.refused: HttpRejection | None = None
        self._on_body = on_body
        self._silent = 0  # bytes since the last content
        self._tail = b""  # of what was given, perhaps the beginning of an empty line
        # Of its own, and not the one that read the head: httptools shows trailers as headers of what comes next.
        self._http = httptools.HttpRequestParser(self)
        self._http.feed_data(head)

    def feed(self, raw: bytes | mmap, view: memoryview, start: int, stop: int) -> int:
        """Consume from `raw[start:stop]`, of which `view` is as well; says how far it came."""
        end = self._cut(raw, view, start, min(stop, start + _PIECE))
        self._tail = (self._tail + bytes(view[max(start, end - _REACH) : end]))[-_REACH:]
        self._silent += end - start
        try:
            self._http.feed_data(view[start:end])
        except httptools.HttpParserError as problem:
            self.refused = malformed(problem)
        else:
            if self._silent > MAX_HEAD and not self.complete:
                self.refused = _SILENT
        return end

    def _cut(self, raw: bytes | mmap, view: memoryview, start: int, stop: int) -> int:
        across = (self._tail + bytes(view[start : min(stop, start + _REACH)])).find(END_OF_HEAD)
        if across >= 0:
            return start + across + len(END_OF_HEAD) - len(self._tail)
        within = raw.find(END_OF_HEAD, start, stop)
        return stop if within < 0 else within + len(END_OF_HEAD)

    # What httptools calls.

    def on_body(self, piece: bytes) -> None:
        """Content."""
        self._silent = 0
        self._on_body(piece)

    def on_message_complete(self) -> None:
        """The body has ended."""
        self.complete = True


class Framer:
    """Cuts the stream of one connection."""

    __slots__ = ("_chunked", "_heads", "_hold", "_left", "_on_body", "_partial", "between", "head", "length", "refused")

    def __init__(self, heads: Heads, on_body: Callable[[bytes], None], hold: Callable[[int], bool]) -> None:
        """`on_body` gets the pieces of bodies. `hold` asks for memory, in bytes, and may refuse."""
        self.head: Head
        """Of the present request, or the last one."""
        self.length = 0
        """Bytes of its body as declared; 0 when it is chunked."""
        self.refused: HttpRejection | None = None
        self.between = True
        """No byte of a request has been seen since the last one ended."""
        self._heads = heads
        self._on_body = on_body
        self._hold = hold
        self._partial = b""  # the beginning of a head
        self._left = 0  # bytes of the body to come
        self._chunked: ChunkedBody | None = None

    def step(self, raw: bytes | mmap, view: memoryview, start: int, stop: int) -> tuple[Event, int]:
        """Consume from `raw[start:stop]`, of which `view` is as well, up to the next event; says how far it came."""
        left = self._left
        if left:
            end = min(stop, start + left)
            self._left = left = left - (end - start)
            self._on_body(bytes(view[start:end]))
            if left:
                return _MORE, end
            self.between = True
            return _END, end
        if self._chunked is not None:
            return self._chunks(self._chunked, raw, view, start, stop)
        if self.between and _A <= raw[start] <= _Z:  # methods are upper case
            end = raw.find(END_OF_HEAD, start, min(stop, start + MAX_HEAD)) + len(END_OF_HEAD)
            if end > start + len(END_OF_HEAD):
                return self._begin(bytes(view[start:end])), end
        return self._gather(raw, start, stop)

    def whole(self, raw: bytes | mmap, view: memoryview, stop: int) -> bytes | None:
        """The body of a request that is all of `raw[:stop]`, with the same head as the last one but for its length.

        None for anything else, of which nothing is consumed then.
        """
        around = self.head.around
        if around is None or not self.between:
            return None
        before, after = around
        start = len(before)
        end = raw.find(b"\r\n", start, start + LENGTH_DIGITS + 2)
        digits = raw[start:end]
        if not digits.isdigit() or raw[:start] != before or raw[end : end + len(after)] != after:
            return None
        start = end + len(after)
        return bytes(view[start:stop]) if start + int(digits) == stop else None

    def _begin(self, head: bytes) -> Event:
        read = self._heads.read(head)
        if isinstance(read, HttpRejection):
            return self._broken(read)
        self.head, self.length = read
        self._left = self.length
        if self.head.chunked:
            self._chunked = ChunkedBody(head, self._on_body)
        self.between = not self._left and self._chunked is None
        return _HEAD

    def _chunks(
        self, chunked: ChunkedBody, raw: bytes | mmap, view: memoryview, start: int, stop: int
    ) -> tuple[Event, int]:
        end = chunked.feed(raw, view, start, stop)
        if chunked.refused is not None:
            return self._broken(chunked.refused), end
        if not chunked.complete:
            return _MORE, end
        self._chunked = None
        self.between = True
        return _END, end

    def _gather(self, raw: bytes | mmap, start: int, stop: int) -> tuple[Event, int]:
        """A head that comes in pieces, or something else."""
        known = len(self._partial)
        piece = bytes(raw[start : min(stop, start + MAX_HEAD - known)])
        head = self._partial + piece
        if known <= 1:
            blank = _BLANK.match(head)  # RFC 9112, 2.2: empty lines before a request are ignored
            assert blank is not None  # it matches the empty string
            if blank.end():
                self._partial = b""
                self.between = True
                return _MORE, start + blank.end() - known
        end = head.find(END_OF_HEAD, max(0, known - len(END_OF_HEAD) + 1)) + len(END_OF_HEAD)
        refused = self._suspicious(head, known, complete=end >= len(END_OF_HEAD))
        if refused is not None:
            return self._broken(refused), stop
        if end >= len(END_OF_HEAD):
            self._partial = b""
            return self._begin(head[:end]), start + end - known
        if not self._hold(len(piece)):
            return self._broken(OVERLOAD), stop
        self._partial = head
        self.between = False
        return _MORE, stop

    def _suspicious(self, head: bytes, known: int, *, complete: bool) -> HttpRejection | None:
        """What need not be waited for to the end. A single CR may be the beginning of an empty line."""
        if not _A <= head[0] <= _Z and head != b"\r":
            return _TLS if head[0] == _TLS_HANDSHAKE else _NO_HTTP
        if complete:
            return None
        return _NO_HTTP if _BARE_LF.search(head, max(0, known - 1)) else _LONG_HEAD if len(head) >= MAX_HEAD else None

    def _broken(self, refused: HttpRejection) -> Event:
        self._partial = b""
        self.refused = refused
        return _BROKEN
