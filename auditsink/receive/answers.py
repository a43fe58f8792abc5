"""The answers of the receive port, rendered: one success, and a table of refusals. Pure.

kube-apiserver repeats whatever is not a success, so the status matters to people and to other clients; what matters to
kube-apiserver is the integer Retry-After of a 503 or 429, which it follows within its attempt.
"""

from dataclasses import dataclass
from email.utils import formatdate
from enum import StrEnum

import orjson

from auditsink.spool.types import Refusal

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Reason(StrEnum):
    """Why a request was refused: the `reason` labels of `auditsink_rejected_requests_total`."""

    FULL = Refusal.FULL
    DISK = Refusal.UNAVAILABLE
    STOPPING = Refusal.STOPPING
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


_BUSY = "503 Service Unavailable"
_STATUS = {
    Reason.FULL: _BUSY,
    Reason.DISK: _BUSY,
    Reason.STOPPING: _BUSY,
    Reason.OVERLOAD: _BUSY,
    Reason.RATE: "429 Too Many Requests",
    Reason.CLUSTERS: _BUSY,
    Reason.CONNECTIONS: _BUSY,
    Reason.TOO_LARGE: "413 Content Too Large",
    Reason.HEAD_TOO_LARGE: "431 Request Header Fields Too Large",
    Reason.NOT_AN_EVENT_LIST: "400 Bad Request",
    Reason.BAD_REQUEST: "400 Bad Request",
    Reason.VERSION: "505 HTTP Version Not Supported",
    Reason.CODING: "501 Not Implemented",
    Reason.ENCODING: "415 Unsupported Media Type",
    Reason.EXPECTATION: "417 Expectation Failed",
    Reason.UNAUTHORIZED: "401 Unauthorized",
    Reason.FORBIDDEN: "403 Forbidden",
    Reason.NOT_FOUND: "404 Not Found",
    Reason.METHOD: "405 Method Not Allowed",
    Reason.TIMEOUT: "408 Request Timeout",
}
_HEADERS = {
    Reason.ENCODING: "Accept-Encoding: gzip\r\n",  # RFC 9110, 12.5.3: what would have been accepted
    Reason.UNAUTHORIZED: "WWW-Authenticate: Bearer\r\n",
    Reason.METHOD: "Allow: POST\r\n",
}


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that is not taken, and the sentence for whoever reads the answer. Never shows a credential."""

    reason: Reason
    sentence: str
    after: int | None = None
    """Seconds to ask for, where they are not those of `receive.retry_after`."""

    @property
    def later(self) -> bool:
        """The same request may succeed when it is repeated."""
        return _STATUS[self.reason] is _BUSY or self.after is not None


SPOOL_REFUSED = {
    Refusal.FULL: Refused(Reason.FULL, "the ring of this cluster is full; repeat the request later"),
    Refusal.UNAVAILABLE: Refused(Reason.DISK, "the disk of the sink failed; repeat the request later"),
    Refusal.STOPPING: Refused(Reason.STOPPING, "the sink is stopping; repeat the request later"),
}
STOPPING = SPOOL_REFUSED[Refusal.STOPPING]
GREEDY = Refused(Reason.OVERLOAD, "this cluster has half of receive.max_in_flight under way; repeat the request later")
OVERLOAD = Refused(Reason.OVERLOAD, "receive.max_in_flight is reached; repeat the request later")


class Answers:
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

    def refused(self, refused: Refused, *, close: bool, bare: bool = False) -> bytes:
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
