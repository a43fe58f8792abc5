"""Meilisearch: documents added to an index, and the task watched that each request becomes.

    {"id":"1795382018661308-64-9f3a12cd","timestamp":1795382018.661308,"cluster":"prod","event":{the event}}

A 202 promises nothing but a place in a queue, so a batch is delivered when its task has succeeded. A task works wholly
or not at all. The id makes a repeat replace its document. The event stands in a field of its own, so that no key of it
can take the place of one of ours.
"""

from collections.abc import Iterator

import msgspec
import orjson

from auditsink.audit import eventlist
from auditsink.audit.times import event_times
from auditsink.config import HttpConfig, Meilisearch
from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison, Retry
from auditsink.destinations.encoding import event_id, utf8_documents
from auditsink.destinations.formats import SMALL_ANSWER, Request
from auditsink.http.answers import HttpAnswer, by_status, foreign
from auditsink.http.pages import page, wants_tls

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0  # seconds between two questions about a task
_PATIENCE = 60.0  # seconds of questions in one attempt; the next one goes on asking
_WORKING = frozenset({"enqueued", "processing"})
_SETTINGS = (
    "index_primary_key",  # ..._already_exists, ..._multiple_candidates_found, ..._no_candidate_found
    "index_not_found",
    "invalid_index",
)


class MeilisearchFormat:
    """See `Format`."""

    endpoint = ""
    answer_limit = SMALL_ANSWER

    def __init__(self, section: HttpConfig) -> None:
        settings = section.meilisearch or Meilisearch()
        self._index = settings.index

    def exchange(self, batch: Batch) -> "Addition":
        """See `Format.exchange`."""
        # A cluster's name may hold dots, an index's must not; underscores are what no cluster's name holds.
        index = self._index.replace("{cluster}", batch.cluster.replace(".", "_"))
        return Addition(
            Request(f"/indexes/{index}/documents?primaryKey=id", b"".join(_lines(batch)), "application/x-ndjson")
        )

    def probe(self) -> Request:
        """The newest task: asking costs nothing, and the key must allow it."""
        return Request("/tasks?limit=1", method="GET")

    def probed(self, answer: HttpAnswer) -> Outcome:
        """See `Format.probed`."""
        if (found := page(answer)) is not None:
            return found
        return Delivered() if answer.status == 200 else by_status(answer.status, answer.headers)


def _lines(batch: Batch) -> Iterator[bytes]:
    cluster = orjson.dumps(batch.cluster)
    times = event_times(batch.events, batch.received_ns)
    for event, time, sequence, document in zip(
        batch.events, times, batch.sequences, utf8_documents(batch), strict=True
    ):
        uid = event_id(batch.cluster, sequence, time, event)
        yield b'{"id":"%s","timestamp":%s,"cluster":%s,"event":%s}\n' % (
            uid,
            time,
            cluster,
            eventlist.one_line(document),
        )


class _Error(msgspec.Struct):
    code: str = ""
    type: str = ""
    message: str = ""


class _Enqueued(msgspec.Struct, rename="camel"):
    task_uid: int


class _Task(msgspec.Struct):
    status: str
    error: _Error | None = None


_decode_error = msgspec.json.Decoder(_Error).decode
_decode_enqueued = msgspec.json.Decoder(_Enqueued).decode
_decode_task = msgspec.json.Decoder(_Task).decode
_UNREADABLE = (msgspec.MsgspecError, RecursionError, ValueError)
_NO_TASK = Misconfigured("the answer is not Meilisearch's; check url and what stands between")


class Addition:
    """See `Exchange`. The request is the documents until they are a task, then the question about it."""

    def __init__(self, documents: Request) -> None:
        self._documents = documents
        self._begin()

    def _begin(self) -> None:
        self.request = self._documents
        self._waited = 0.0

    def answered(self, answer: HttpAnswer) -> Outcome | None:
        """See `Exchange.answered`."""
        return self._enqueued(answer) if self.request is self._documents else self._asked(answer)

    def _enqueued(self, answer: HttpAnswer) -> Outcome | None:
        if answer.status != 202:
            return _refused(answer)
        try:
            task = _decode_enqueued(answer.body).task_uid
        except _UNREADABLE:
            return page(answer) or _NO_TASK
        self.request = Request(f"/tasks/{task}", method="GET", pause=_FIRST_PAUSE)
        return None

    def _asked(self, answer: HttpAnswer) -> Outcome | None:
        if answer.status == 404:
            self._begin()
            return Retry("Meilisearch has forgotten the task; sending the events again")
        if answer.status != 200:
            return by_status(answer.status, answer.headers)
        try:
            task = _decode_task(answer.body)
        except _UNREADABLE:
            return _NO_TASK
        if task.status in _WORKING:
            return self._wait()
        self._begin()
        if task.status == "succeeded":
            return Delivered()
        return _failed(task.error) if task.error else Retry(f"the task was {foreign(task.status)}; sending it again")

    def _wait(self) -> Outcome | None:
        self._waited += self.request.pause
        pause = min(self.request.pause * 2, _LONGEST_PAUSE)
        self.request = Request(self.request.target, method="GET", pause=pause)
        if self._waited < _PATIENCE:
            return None
        self._waited = 0.0
        return Retry(f"Meilisearch has not worked through the task within {_PATIENCE:g} s; asking on")


def _refused(answer: HttpAnswer) -> Outcome:
    if answer.status not in (400, 422):
        found = page(answer) if answer.status == 200 else None
        return found or by_status(answer.status, answer.headers)
    try:
        return _failed(_decode_error(answer.body))
    except _UNREADABLE:
        return wants_tls(answer) or Poison(
            None, f"HTTP {answer.status}: {foreign(answer.body.decode(errors='replace'))}"
        )


def _failed(error: _Error) -> Outcome:
    """By the error's type (`invalid_request`, `internal`, `auth`, `system`) and code."""
    why = f"Meilisearch: {foreign(error.code)}: {foreign(error.message)}"
    if error.type in ("internal", "system"):
        return Retry(why)
    if error.type == "auth" or error.code.startswith(_SETTINGS):
        return Misconfigured(why)
    return Poison(None, why)
