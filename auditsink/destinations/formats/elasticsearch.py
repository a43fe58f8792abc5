"""Elasticsearch and OpenSearch: the `_bulk` API, one `create` for each event, each answered for itself.

    {"create":{"_index":"logs-kubernetes.audit_logs-default","_id":"1795382018661308-64-9f3a12cd"}}
    {"@timestamp":"2026-11-22T21:13:38.661308Z","orchestrator.cluster.name":"prod","kubernetes.audit":{the event}}

`create` is all that a data stream takes, and with our id it makes a repeat harmless: 409 says that the document is
there. The event's bytes stand untouched under the field where Elastic's own Kubernetes integration keeps them; side by
side with our fields its keys could repeat one of them, and these servers refuse a document with repeated keys.
"""

from collections.abc import Iterator, Sequence

import orjson

from auditsink.audit import eventlist
from auditsink.audit.times import event_times, rfc3339
from auditsink.config import Elasticsearch
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
from auditsink.destinations.encoding import event_id, utf8_documents
from auditsink.destinations.formats.base import Request
from auditsink.destinations.formats.bulk import BulkAnswer, Fate, Item, fate, parse, whole
from auditsink.http.answers import HttpAnswer, by_status, retry_after
from auditsink.http.pages import page, wants_tls

# `filter_path` leaves out all that is not read here: 30 bytes for each item that was taken, instead of 200.
_TARGET = (
    "/_bulk?filter_path=errors,items.*.status,items.*.failure_store,"
    "items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"
)
_CONTENT_TYPE = "application/x-ndjson"
_ANSWER_LIMIT = 4 * 2**20  # bytes: a reason of 4 kB for each of a thousand events


class ElasticsearchFormat:
    """See `base.Format`."""

    endpoint = "/_bulk"
    answer_limit = _ANSWER_LIMIT

    def __init__(self, config: Elasticsearch) -> None:
        self._index = config.index
        self._fields = config.fields

    def exchange(self, batch: Batch) -> "Bulk":
        """See `base.Format.exchange`."""
        return Bulk([*self._entries(batch)], templated="{cluster}" in self._index)

    def probe(self) -> Request:
        """A bulk request without an entry: whoever would take a full one refuses it as empty."""
        return Request("/_bulk", b"\n", _CONTENT_TYPE)

    def probed(self, answer: HttpAnswer) -> Outcome:
        """See `base.Format.probed`."""
        if answer.status in (200, 400):
            return wants_tls(answer) or page(answer) or Delivered()
        return by_status(answer.status, answer.headers)

    def _entries(self, batch: Batch) -> Iterator[bytes]:
        index = self._index.replace("{cluster}", batch.cluster).encode()
        daily = b"{date}" in index
        fields = {name: value.replace("{cluster}", batch.cluster) for name, value in self._fields.items()}
        described = b"," + orjson.dumps(fields)[1:-1] if fields else b""
        times = event_times(batch.events, batch.received_ns)
        for event, time, sequence, document in zip(
            batch.events, times, batch.sequences, utf8_documents(batch), strict=True
        ):
            shown = rfc3339(time)
            yield b'{"create":{"_index":"%s","_id":"%s"}}\n{"@timestamp":"%s"%s,"kubernetes.audit":%s}\n' % (
                index.replace(b"{date}", shown[:10].replace(b"-", b".")) if daily else index,
                event_id(batch.cluster, sequence, time, event),
                shown,
                described,
                eventlist.one_line(document),
            )


class Bulk:
    """See `base.Exchange`. Keeps which entries are still owed, and which were refused."""

    def __init__(self, entries: Sequence[bytes], *, templated: bool) -> None:
        self._entries = entries
        self._templated = templated
        self._throttled = False
        self._begin()

    def _begin(self) -> None:
        self._owed = [*range(len(self._entries))]
        self._refused: list[EventRejection] = []
        self._diverted = 0
        self.request = self._next()

    def _next(self) -> Request:
        return Request(_TARGET, b"".join([self._entries[place] for place in self._owed]), _CONTENT_TYPE)

    def answered(self, answer: HttpAnswer) -> Outcome:
        """See `base.Exchange.answered`."""
        if answer.status != 200:
            return whole(answer)
        said = parse(answer.body)
        if said is None or len(said.items) != len(self._owed):
            return self._incomplete(answer, said)
        results = said.results
        self._diverted += sum(1 for item in results if item.failure_store == "used")
        troubles = self._settle(results) if said.errors else {}
        if not troubles:
            refused, diverted = tuple(sorted(self._refused, key=lambda one: one.index)), self._diverted
            self._begin()
            return Delivered(refused, diverted=diverted)
        return self._owing(troubles, retry_after(answer.headers))

    def _owing(self, troubles: dict[Fate, str], after: float | None) -> Outcome:
        if Fate.MISCONFIGURED in troubles:
            return Misconfigured(troubles[Fate.MISCONFIGURED])
        if Fate.NO_INDEX in troubles:
            # A templated index came with the events' cluster: the others' must go on.
            return Misconfigured(troubles[Fate.NO_INDEX], cluster_only=self._templated)
        return Retry(troubles[Fate.AGAIN], after, RetryCause.THROTTLED if self._throttled else RetryCause.UNKNOWN)

    def _settle(self, results: Sequence[Item]) -> dict[Fate, str]:
        """Keep what is still owed; why, by what is to be done about it."""
        troubles: dict[Fate, list[Item]] = {}
        owed = []
        self._throttled = all(item.code == 429 for item in results if fate(item) is Fate.AGAIN)
        for place, item in zip(self._owed, results, strict=True):
            found = fate(item)
            if found is Fate.REFUSED:
                self._refused.append(EventRejection(place, f"HTTP {item.code}, {item.why}"))
            elif found is not Fate.TAKEN:
                owed.append(place)
                troubles.setdefault(found, []).append(item)
        if owed and len(owed) < len(self._owed):
            self._owed = owed
            self.request = self._next()
        return {
            found: f"{len(items)} of {len(results)} events got HTTP {items[0].code}, {items[0].why}"
            for found, items in troubles.items()
        }

    def _incomplete(self, answer: HttpAnswer, said: BulkAnswer | None) -> Outcome:
        if said is not None or not answer.body:
            return Poison(None, f"HTTP 200 without a result for each of {len(self._owed)} events: not all were taken")
        if len(answer.body) >= _ANSWER_LIMIT and len(self._owed) > 1:
            return TooLarge("the answer is larger than what is read of one; lower batch.max_events")
        return page(answer) or Misconfigured(
            "HTTP 200, but no answer to a bulk request; check url and what stands between"
        )
