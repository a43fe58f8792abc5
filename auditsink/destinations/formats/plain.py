"""Events as they are: NDJSON, a JSON array, or an EventList, which another auditsink takes.

All three promise UTF-8 (RFC 8259, 8.1), so what is none becomes U+FFFD.
"""

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from auditsink.audit.eventlist import joined
from auditsink.config import HttpConfig
from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison
from auditsink.destinations.encoding import lines, utf8_documents
from auditsink.destinations.formats import SMALL_ANSWER, Request, Single
from auditsink.http.answers import HttpAnswer, by_status
from auditsink.http.pages import page, wants_tls
from auditsink.http.refusals import is_document, refusal

Encode = Callable[[Sequence[bytes]], bytes]

_KNOWN, _MULTI = 206, 207


class Plain:
    """See `Format`. The other side is unknown, so an answer with a status of success is one, if it does not say no."""

    endpoint = ""
    answer_limit = SMALL_ANSWER

    def __init__(self, content_type: str, encode: Encode) -> None:
        self._content_type = content_type
        self._encode = encode

    def exchange(self, batch: Batch) -> Single:
        """See `Format.exchange`."""
        return Single(self._request(utf8_documents(batch)), classify)

    def probe(self) -> Request:
        """An empty list of events, for no request asks less of an unknown collector."""
        return self._request(())

    def probed(self, answer: HttpAnswer) -> Outcome:
        """A collector that refuses emptiness has at least let us in; a page is no collector's."""
        outcome = page(answer) or classify(answer)
        return Delivered() if isinstance(outcome, Poison) else outcome

    def _request(self, documents: Sequence[bytes]) -> Request:
        return Request("", self._encode(documents), self._content_type)


def classify(answer: HttpAnswer) -> Outcome:
    """By the status (RFC 9110, 15), as far as it is no page that something in between wrote, and no refusal inside.

    207 says that the document tells (RFC 4918, 13). Other numbers above 206 are inventions: Loki refuses with 260.
    """
    if 200 <= answer.status <= _KNOWN or (answer.status == _MULTI and is_document(answer)):
        return page(answer) or refusal(answer) or Delivered()
    if answer.status in (400, 422):
        return wants_tls(answer) or Poison(None, f"HTTP {answer.status}: the collector refuses the content")
    return by_status(answer.status, answer.headers)


def _json_array(documents: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(documents) + b"]"


def ndjson(_section: HttpConfig) -> Plain:
    """One event a line."""
    return Plain("application/x-ndjson", lines)


def json_array(_section: HttpConfig) -> Plain:
    """A JSON array of the events."""
    return Plain("application/json", _json_array)


class EventListFormat(Plain):
    """What kube-apiserver posts. An auditsink tells how many events it accepted."""

    def exchange(self, batch: Batch) -> Single:
        """See `Format.exchange`."""
        found = utf8_documents(batch)
        return Single(self._request(found), partial(_accepted, count=len(found)))

    def probed(self, answer: HttpAnswer) -> Outcome:
        """See `Format.probed`."""
        if answer.status == 200:
            return _accepted(answer, count=0)
        return super().probed(answer)


class _Accepted(msgspec.Struct):
    accepted: int


_decode_accepted = msgspec.json.Decoder(_Accepted).decode


def _accepted(answer: HttpAnswer, *, count: int) -> Outcome:
    """`{"accepted": n}`, and nothing else, says that n events are there."""
    if not 200 <= answer.status < 300:
        return classify(answer)
    try:
        told = _decode_accepted(answer.body).accepted
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return page(answer) or Misconfigured(
            f"HTTP {answer.status}, but no answer of an auditsink ({_EXPECTED}); check url and what stands between, or "
            "take format ndjson or json_array for another collector"
        )
    if told == count:
        return Delivered()
    if 0 <= told < count:
        return Poison(None, f"only {told} of {count} events were accepted")
    return Misconfigured(f"{told} events were accepted of {count} that were sent; check what stands at url")


_EXPECTED = 'which says {"accepted": n}'


def event_list(_section: HttpConfig) -> EventListFormat:
    """An EventList, as kube-apiserver posts it."""
    return EventListFormat("application/json", joined)
