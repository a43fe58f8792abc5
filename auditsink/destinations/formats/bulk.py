"""The answer to a `_bulk` request of Elasticsearch or OpenSearch: what became of each entry, as a table. Pure.

    {"errors":true,"items":[{"create":{"status":201}},
                            {"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":".."}}}]}

The names of errors are the servers' classes that end in Exception, in snake case.
"""

from collections.abc import Sequence
from enum import Enum

import msgspec

from auditsink.delivery.outcome import Outcome, Poison
from auditsink.http.answers import HttpAnswer, by_status, foreign
from auditsink.http.pages import wants_tls


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
