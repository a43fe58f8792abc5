"""Grafana Loki: the push API with a JSON body. A batch is one stream, an event one line, byte for byte.

    {"streams":[{"stream":{"cluster":"prod","job":".."},"values":[["1795382018661308000","{the event}"],..]}]}

Loki takes what it can of a request and answers 400 if it could not take all (a line too long, a time too old, too far
behind the stream); its text names at most ten entries, and those by their time. So such an answer is bisected, but for
one: where it says how old an entry may be, and all of the batch are older, all are refused by that. What is sent again
costs nothing: Loki keeps one of two lines that have equal labels, time and text.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial

import orjson

from auditsink.audit.times import event_times
from auditsink.config import HttpConfig, Loki
from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import (
    Delivered,
    EventRejection,
    Misconfigured,
    Outcome,
    Poison,
    Retry,
    RetryCause,
    TooLarge,
)
from auditsink.destinations.encoding import documents, json_text
from auditsink.destinations.formats import SMALL_ANSWER, Request, Single
from auditsink.http.answers import HttpAnswer, by_status, foreign, retry_after
from auditsink.http.pages import page, wants_tls

_CONTENT_TYPE = "application/json"
_OLDEST = re.compile(rb"oldest acceptable timestamp is: (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d))")
_BLOCKED = 260
"""Loki's `block_ingestion_status_code`, which no client is to try again."""
_INSIDE_LIMIT = b"larger than max"  # gRPC's words when a request is too large between Loki's own parts (a 500 outside)


class LokiFormat:
    """See `Format`."""

    endpoint = "/loki/api/v1/push"
    answer_limit = SMALL_ANSWER

    def __init__(self, section: HttpConfig) -> None:
        settings = section.loki or Loki()
        self._labels = settings.labels

    def exchange(self, batch: Batch) -> Single:
        """See `Format.exchange`."""
        labels = {name: value.replace("{cluster}", batch.cluster) for name, value in self._labels.items()}
        times = event_times(batch.events, batch.received_ns)
        values = b",".join(
            [
                b'["%s%s000",%s]' % (time[:-7], time[-6:], json_text(line))
                for time, line in zip(times, documents(batch), strict=True)
            ]
        )
        body = b'{"streams":[{"stream":%s,"values":[%s]}]}' % (orjson.dumps(labels), values)
        return Single(Request(self.endpoint, body, _CONTENT_TYPE), partial(_answered, times=times))

    def probe(self) -> Request:
        """A push without a stream."""
        return Request(self.endpoint, b'{"streams":[]}', _CONTENT_TYPE)

    def probed(self, answer: HttpAnswer) -> Outcome:
        """Whether emptiness is an error (400, 422) depends on Loki's version; who gets that far is let in."""
        outcome = page(answer) or classify(answer)
        return Delivered() if isinstance(outcome, Poison) else outcome


def _answered(answer: HttpAnswer, *, times: Sequence[bytes]) -> Outcome:
    """What the answer means for entries of these times (seconds since the epoch)."""
    outcome = classify(answer)
    if isinstance(outcome, Poison) and (found := _OLDEST.search(answer.body)):
        oldest = _seconds(found[1].decode())
        if oldest is not None and all(float(time) < oldest for time in times):
            return Delivered(tuple(EventRejection(place, outcome.why) for place in range(len(times))))
    return outcome


def _seconds(shown: str) -> float | None:
    try:
        return datetime.fromisoformat(shown).timestamp()
    except ValueError:
        return None


def classify(answer: HttpAnswer) -> Outcome:
    """What an answer of the push API means."""
    if answer.status in (200, 204):
        return _accepted(answer)
    said = foreign(answer.body.decode(errors="replace"))
    if answer.status in (400, 422):
        return wants_tls(answer) or Poison(None, f"HTTP {answer.status}: {said}")
    if answer.status >= 500 and _INSIDE_LIMIT in answer.body:
        return TooLarge(f"HTTP {answer.status}: {said}; lower batch.max_bytes")
    if answer.status == _BLOCKED:
        return Misconfigured(f"HTTP {_BLOCKED}: Loki takes nothing ({said}); ask whoever runs it")
    if answer.status == 429:
        return Retry(f"HTTP 429: {said}", after=retry_after(answer.headers), cause=RetryCause.THROTTLED)
    return by_status(answer.status, answer.headers)


def _accepted(answer: HttpAnswer) -> Outcome:
    """Loki says yes without a word."""
    if not answer.body.strip():
        return Delivered()
    return page(answer) or Misconfigured(
        f"HTTP {answer.status} with a text, which is no answer of Loki's; check url and what stands between"
    )
