"""The answers of the receive port, rendered: one success, and a table of refusals. Pure.

kube-apiserver repeats whatever is not a success, so the status matters to people and to other clients; what matters to
kube-apiserver is the integer Retry-After of a 503 or 429, which it follows within its attempt.
"""

from dataclasses import dataclass
from email.utils import formatdate
from enum import StrEnum

import orjson

from auditsink.spool.types import SpoolRejection

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class RejectionReason(StrEnum):
    """Why a request was refused: the `reason` labels of `auditsink_rejected_requests_total`."""

    FULL = SpoolRejection.FULL
    DISK = SpoolRejection.UNAVAILABLE
    STOPPING = SpoolRejection.STOPPING
    OVERLOAD = "overload"
    RATE = "rate"
    CLUSTERS = "clusters"
    CONNECTIONS = "connections"
    TOO_LARGE = "too_large"
    HEAD_TOO_LARGE = "head_too_large"
    NOT_AN_EVENT_LIST = "not_an_event_list"
    BAD_REQUEST = "bad_request"
    VERSION = "version"
    CODING = "coding"
    ENCODING = "encoding"
    EXPECTATION = "expectation"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD = "method"
    TIMEOUT = "timeout"
    TLS = "tls"
    """No request: a handshake that failed. Never answered, only counted."""


REPEATED = "Auditsink-Repeated: true\r\n"
"""The header of the answer to a batch that was stored before. The body is the same for both."""


class Repeated(int):
    """How many events a batch has that was stored before."""


_BUSY = "503 Service Unavailable"
_STATUS = {
    RejectionReason.FULL: _BUSY,
    RejectionReason.DISK: _BUSY,
    RejectionReason.STOPPING: _BUSY,
    RejectionReason.OVERLOAD: _BUSY,
    RejectionReason.RATE: "429 Too Many Requests",
    RejectionReason.CLUSTERS: _BUSY,
    RejectionReason.CONNECTIONS: _BUSY,
    RejectionReason.TOO_LARGE: "413 Content Too Large",
    RejectionReason.HEAD_TOO_LARGE: "431 Request Header Fields Too Large",
    RejectionReason.NOT_AN_EVENT_LIST: "400 Bad Request",
    RejectionReason.BAD_REQUEST: "400 Bad Request",
    RejectionReason.VERSION: "505 HTTP Version Not Supported",
    RejectionReason.CODING: "501 Not Implemented",
    RejectionReason.ENCODING: "415 Unsupported Media Type",
    RejectionReason.EXPECTATION: "417 Expectation Failed",
    RejectionReason.UNAUTHORIZED: "401 Unauthorized",
    RejectionReason.FORBIDDEN: "403 Forbidden",
    RejectionReason.NOT_FOUND: "404 Not Found",
    RejectionReason.METHOD: "405 Method Not Allowed",
    RejectionReason.TIMEOUT: "408 Request Timeout",
}
_HEADERS = {
    RejectionReason.ENCODING: "Accept-Encoding: gzip\r\n",  # RFC 9110, 12.5.3: what would have been accepted
    RejectionReason.UNAUTHORIZED: "WWW-Authenticate: Bearer\r\n",
    RejectionReason.METHOD: "Allow: POST\r\n",
}


@dataclass(frozen=True, slots=True)
class HttpRejection:
    """A request that is not taken, and the sentence for whoever reads the answer. Never shows a credential."""

    reason: RejectionReason
    sentence: str
    after: int | None = None
    """Seconds to ask for, where they are not those of `receive.retry_after`."""

    @property
    def later(self) -> bool:
        """The same request may succeed when it is repeated."""
        return _STATUS[self.reason] is _BUSY or self.after is not None


SPOOL_REFUSED = {
    SpoolRejection.FULL: HttpRejection(
        RejectionReason.FULL, "the ring of this cluster is full; repeat the request later"
    ),
    SpoolRejection.UNAVAILABLE: HttpRejection(
        RejectionReason.DISK, "the disk of the sink failed; repeat the request later"
    ),
    SpoolRejection.STOPPING: HttpRejection(RejectionReason.STOPPING, "the sink is stopping; repeat the request later"),
}
STOPPING = SPOOL_REFUSED[SpoolRejection.STOPPING]
CLUSTER_OVERLOAD = HttpRejection(
    RejectionReason.OVERLOAD, "this cluster has half of receive.max_in_flight under way; repeat the request later"
)
OVERLOAD = HttpRejection(RejectionReason.OVERLOAD, "receive.max_in_flight is reached; repeat the request later")


class Responses:
    """Renders answers with the current `Date` (RFC 9110, 6.6.1), which `tick` moves on."""

    def __init__(self, retry_after: float, now: float) -> None:
        """`retry_after` in seconds, for every 503; `now` in seconds since the epoch."""
        # kube-apiserver ignores fractions, and 0 makes it storm.
        self._retry_after = max(1, round(retry_after))
        self.ready: dict[int, bytes] = {}
        """Answers of this second to clients that stay, by the number of events accepted."""
        self.tick(now)

    def tick(self, now: float) -> None:
        """Another second has begun."""
        self._date = f"Date: {formatdate(now, usegmt=True)}\r\n"
        self.ready.clear()

    def accepted(self, count: int, *, close: bool) -> bytes:
        """200: `count` events are as durable as was promised."""
        answer = self._render("200 OK", b'{"accepted":%d}' % count, "", close=close)
        if not close:
            self.ready[count] = answer
        return answer

    def repeated(self, count: Repeated, *, close: bool) -> bytes:
        """The same for a batch that was accepted before; the header tells `auditsink send`."""
        return self._render("200 OK", b'{"accepted":%d}' % count, REPEATED, close=close)

    def refused(self, refused: HttpRejection, *, close: bool, bare: bool = False) -> bytes:
        """The refusal; `bare` is for HEAD, whose answer has no body."""
        headers = _HEADERS.get(refused.reason, "")
        if refused.later:
            headers = f"Retry-After: {refused.after or self._retry_after}\r\n"
        body = orjson.dumps({"error": refused.sentence})
        answer = self._render(_STATUS[refused.reason], body, headers, close=close)
        return answer[: -len(body)] if bare else answer

    def _render(self, status: str, body: bytes, headers: str, *, close: bool) -> bytes:
        last = "Connection: close\r\n" if close else ""
        head = f"HTTP/1.1 {status}\r\n{self._date}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"{head}{headers}{last}\r\n".encode() + body
