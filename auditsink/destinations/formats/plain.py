"""Events as they are: NDJSON, a JSON array, or an EventList, which another auditsink takes.

All three promise UTF-8 (RFC 8259, 8.1), so what is none becomes U+FFFD.
"""

from collections.abc import Callable, Sequence

from auditsink.audit.eventlist import joined
from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Delivered, Outcome, Poison
from auditsink.destinations.encoding import lines, utf8_documents
from auditsink.destinations.formats.base import SMALL_ANSWER, Request, Single
from auditsink.http.answers import HttpAnswer, by_status

Encode = Callable[[Sequence[bytes]], bytes]


class Plain:
    """See `base.Format`. The other side is unknown, so only the status of an answer counts."""

    endpoint = ""
    answer_limit = SMALL_ANSWER

    def __init__(self, content_type: str, encode: Encode) -> None:
        self._content_type = content_type
        self._encode = encode

    def exchange(self, batch: Batch) -> Single:
        """See `base.Format.exchange`."""
        return Single(self._request(utf8_documents(batch)), classify)

    def probe(self) -> Request:
        """An empty list of events, for no request asks less of an unknown collector."""
        return self._request(())

    def probed(self, answer: HttpAnswer) -> Outcome:
        """A collector that refuses emptiness has at least let us in."""
        outcome = classify(answer)
        return Delivered() if isinstance(outcome, Poison) else outcome

    def _request(self, documents: Sequence[bytes]) -> Request:
        return Request("", self._encode(documents), self._content_type)


def classify(answer: HttpAnswer) -> Outcome:
    """By the status alone (RFC 9110, 15)."""
    if 200 <= answer.status < 300:
        return Delivered()
    if answer.status in (400, 422):
        return Poison(None, f"HTTP {answer.status}: the collector refuses the content")
    return by_status(answer.status, answer.headers)


def _json_array(documents: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(documents) + b"]"


def ndjson() -> Plain:
    """One event a line."""
    return Plain("application/x-ndjson", lines)


def json_array() -> Plain:
    """`[event,event]`."""
    return Plain("application/json", _json_array)


def event_list() -> Plain:
    """What kube-apiserver posts."""
    return Plain("application/json", joined)
