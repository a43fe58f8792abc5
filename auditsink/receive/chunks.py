"""A chunked body, cut so that its last byte is known. Sans-I/O.

llhttp reads it, and is given no more than up to the next empty line at a time, because the body ends with one; what
follows in the same piece belongs to the next request.
"""

from collections.abc import Callable

import httptools

from auditsink.receive.head import END_OF_HEAD, MAX_HEAD, malformed
from auditsink.receive.responses import HttpRejection, RejectionReason

_PIECE = 2**16  # bytes given at once: what extensions and trailers may take before it is noticed
_REACH = len(END_OF_HEAD) - 1
_SILENT = HttpRejection(
    RejectionReason.HEAD_TOO_LARGE, f"a chunk's extensions or the trailers take more than {MAX_HEAD} bytes"
)


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

    def feed(self, raw: bytes | bytearray, view: memoryview, start: int, stop: int) -> int:
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

    def _cut(self, raw: bytes | bytearray, view: memoryview, start: int, stop: int) -> int:
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
