"""Elasticsearch and OpenSearch: the `_bulk` API, one `create` for each event, each answered for itself.

    {"create":{"_index":"logs-kubernetes.audit_logs-default","_id":"1795382018661308-64-9f3a12cd"}}
    {"@timestamp":"2026-11-22T21:13:38.661308Z","orchestrator.cluster.name":"prod","kubernetes.audit":{the event}}

`create` is all that a data stream takes, and with our id it makes a repeat harmless: 409 says that the document is
there. The event's bytes stand untouched under the field where Elastic's own Kubernetes integration keeps them; side by
side with our fields its keys could repeat one of them, and these servers refuse a document with repeated keys.

    {"errors":true,"items":[{"create":{"status":201}},
                            {"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":".."}}}]}

What became of each entry is read from the answer by a table. The names of errors are the servers' classes that end in
Exception, in snake case.
"""

from collections.abc import Iterator, Sequence
from enum import Enum

import msgspec
import orjson

from auditsink.audit import eventlist
from auditsink.audit.times import event_times, rfc3339
from auditsink.config import Elasticsearch, HttpConfig
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
from auditsink.destinations.formats import Request
from auditsink.http.answers import HttpAnswer, by_status, foreign, retry_after
from auditsink.http.pages import page, wants_tls


class Fate(Enum):
    """What became of one entry."""

    TAKEN = "taken, now or at an earlier attempt"
    REFUSED = "refused for good"
    AGAIN = "not now"
    MISCONFIGURED = "not until a person acts"
    NO_INDEX = "not until a person makes the index, or allows it to be made"


_THERE = "version_conflict_engine_exception"
_INDEX = frozenset({"index_not_found_exception", "invalid_index_name_exception", "index_closed_exception"})
_SETTINGS = frozenset(
    {
        "security_exception",
        "cluster_block_exception",  # read-only, often because a disk over there is full
        "validation_exception",  # no room for another shard
    }
)


class Item(msgspec.Struct):
    """One entry's result. Fields may be of any type: what answers need not be what it should."""

    status: object = 0
    error: object = None
    failure_store: object = None

    @property
    def code(self) -> int:
        """The status, 0 for nonsense."""
        return self.status if type(self.status) is int else 0

    @property
    def kind(self) -> str:
        """The error's type, "" if there is none."""
        return str(self.error.get("type", "")) if isinstance(self.error, dict) else ""

    @property
    def why(self) -> str:
        """For people: the error's type, reason and cause."""
        if not isinstance(self.error, dict):
            return foreign(str(self.error or "no reason given"))
        cause = self.error.get("caused_by")
        reasons = [self.error.get("reason"), cause.get("reason") if isinstance(cause, dict) else None]
        return ": ".join(foreign(str(one)) for one in (self.kind, *reasons) if one)


class BulkAnswer(msgspec.Struct):
    """The document. `items` are in the order of the entries."""

    errors: bool
    items: list[dict[str, Item]] = msgspec.field(default_factory=list)

    @property
    def results(self) -> Sequence[Item]:
        """Each item without the name of its action."""
        return [next(iter(item.values()), Item()) for item in self.items]


_decode = msgspec.json.Decoder(BulkAnswer).decode


def parse(body: bytes) -> BulkAnswer | None:
    """The answer's document; None when it is no answer to a bulk request."""
    try:
        return _decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


def fate(item: Item) -> Fate:
    """What an item's status and error mean."""
    if 200 <= item.code < 300 or (item.code == 409 and item.kind == _THERE):
        return Fate.TAKEN
    if item.kind in _INDEX:
        return Fate.NO_INDEX
    if item.kind in _SETTINGS or item.code in (401, 403):
        return Fate.MISCONFIGURED
    if item.code in (0, 408, 429) or item.code >= 500:
        return Fate.AGAIN
    return Fate.REFUSED


def whole(answer: HttpAnswer) -> Outcome:
    """What an answer means that is about the request and not about its entries."""
    if answer.status == 400:
        said = foreign(answer.body.decode(errors="replace"))
        return wants_tls(answer) or Poison(None, f"HTTP 400: the bulk request is refused: {said}")
    return by_status(answer.status, answer.headers)


# `filter_path` leaves out all that is not read here: 30 bytes for each item that was taken, instead of 200.
_TARGET = (
    "/_bulk?filter_path=errors,items.*.status,items.*.failure_store,"
    "items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"
)
_CONTENT_TYPE = "application/x-ndjson"
_ANSWER_LIMIT = 4 * 2**20  # bytes: a reason of 4 kB for each of a thousand events


class ElasticsearchFormat:
    """See `Format`."""

    endpoint = "/_bulk"
    answer_limit = _ANSWER_LIMIT

    def __init__(self, section: HttpConfig) -> None:
        settings = section.elasticsearch or Elasticsearch()
        self._index = settings.index
        self._fields = settings.fields

    def exchange(self, batch: Batch) -> "Bulk":
        """See `Format.exchange`."""
        return Bulk([*self._entries(batch)], templated="{cluster}" in self._index)

    def probe(self) -> Request:
        """A bulk request without an entry: whoever would take a full one refuses it as empty."""
        return Request("/_bulk", b"\n", _CONTENT_TYPE)

    def probed(self, answer: HttpAnswer) -> Outcome:
        """See `Format.probed`."""
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
    """See `Exchange`. Keeps which entries are still owed, and which were refused."""

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
        """See `Exchange.answered`."""
        if answer.status != 200:
            return whole(answer)
        said = parse(answer.body)
        if said is None or len(said.items) != len(self._owed):
            return self._incomplete(answer, said)
        results = said.results
        self._diverted += sum(1 for item in results if item.failure_store == "used")
        # Not by `errors` alone: servers that speak this API after Elasticsearch's example forget to set it.
        troubles = self._settle(results) if said.errors or any(item.code >= 300 for item in results) else {}
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
        if said is not None and not said.items:  # an event is to blame only where others are taken
            return Retry(
                f"HTTP {answer.status} without a word on any of {len(self._owed)} events, so whether they are there is "
                "not known; if that goes on, it is no Elasticsearch or OpenSearch (Quickwit needs a newer version)"
            )
        if said is not None:
            return Poison(None, f"HTTP 200 without a result for each of {len(self._owed)} events: not all were taken")
        if len(answer.body) >= _ANSWER_LIMIT and len(self._owed) > 1:
            return TooLarge("the answer is larger than what is read of one; lower batch.max_events")
        return page(answer) or Misconfigured(
            "HTTP 200, but no answer to a bulk request; check url and what stands between"
        )
