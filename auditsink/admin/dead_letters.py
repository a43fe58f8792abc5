"""Dead letters over the admin port: listed, shown, delivered again, dropped. The command's parts and steps."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from auditsink.admin.view import View
from auditsink.common.redact import redact
from auditsink.delivery.destination import DestinationError
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.dead_letter_count import REASON_CHARACTERS
from auditsink.forward.dead_letters import DeadLetterQueue
from auditsink.forward.redelivery import Report, deliver_dead_letters

MOST_LISTED = 200
"""Of each destination, the newest."""
MOST_GROUPS = 100
"""Reasons that are told apart for each destination; a server may put something new into each."""
PREVIEW_CHARACTERS = 2000
BODY_BYTES = 64 * 2**10


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a change: which ones of which destination. `ids` null: all of them, which must be said.

    The others narrow it: to one cluster, to a group's `reason` as it is listed, to those refused up to a moment (what
    came after somebody looked is not meant).
    """

    destination: str
    ids: list[str] | None
    cluster: str | None = None
    reason: str | None = None
    refused_until: datetime | None = None

    def means(self, one: DeadLetter) -> bool:
        """Whether it is among them."""
        return (
            (self.ids is None or one.id in self.ids)
            and (self.cluster is None or one.cluster == self.cluster)
            and (self.reason is None or _group(one) == self.reason)
            and (self.refused_until is None or one.refused_at <= self.refused_until)
        )


class DeadLetterEndpoints:
    """The endpoints. Files and topics are read and written in threads; one change at a time."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._changing = asyncio.Lock()

    async def list(self, _: Request) -> Response:
        """By destination: how many there are, the groups of equal reasons, and the newest with their beginnings."""
        return Response(await asyncio.to_thread(self._listed), media_type="application/json")

    async def show(self, request: Request) -> Response:
        """One event, byte for byte: `destination`, `id`."""
        asked = request.query_params
        queue = await self._queue(asked.get("destination", ""))
        dead_letter = None if queue is None else await asyncio.to_thread(queue.get, asked.get("id", ""))
        if dead_letter is None:
            return JSONResponse({"error": "there is no such dead letter any more"}, 404)
        return Response(dead_letter.content, media_type="application/octet-stream")

    async def replay(self, request: Request) -> Response:
        """Deliver again; what arrives is taken away."""
        choice = await _choice(request)
        if isinstance(choice, Response):
            return choice
        configured = {one.name: one for one in self._view.destinations}
        if choice.destination not in configured:
            return JSONResponse({"error": "no destination of that name is configured; configure it, or drop them"}, 409)
        if self._changing.locked():
            return _busy()
        async with self._changing:
            queue = await self._queue(choice.destination)
            chosen = [] if queue is None else await asyncio.to_thread(_chosen, queue, choice)
            report = Report()
            if queue is not None and chosen:
                try:
                    destination, event_filter = self._view.build(configured[choice.destination])
                    await deliver_dead_letters(
                        queue, chosen, destination, event_filter=event_filter, clock=self._view.clock, report=report
                    )
                except DestinationError as problem:
                    report.stopped = str(problem)
        refused = [{"id": dead_letter.id, "reason": why} for dead_letter, why in report.refused]
        told = {"delivered": len(report.delivered), "of": len(chosen), "refused": refused, "stopped": report.stopped}
        return JSONResponse(told)

    async def drop(self, request: Request) -> Response:
        """Throw away for good."""
        choice = await _choice(request)
        if isinstance(choice, Response):
            return choice
        if self._changing.locked():
            return _busy()
        async with self._changing:
            queue = await self._queue(choice.destination)
            dropped = 0 if queue is None else await asyncio.to_thread(_drop, queue, choice)
        return JSONResponse({"dropped": dropped})

    async def _queue(self, destination: str) -> DeadLetterQueue | None:
        return (await asyncio.to_thread(self._view.dead_letters)).get(destination)

    def _listed(self) -> bytes:
        configured = {destination.name for destination in self._view.destinations}
        listed = []
        for name, queue in sorted(self._view.dead_letters().items()):
            listed.append({"name": name, "configured": name in configured} | _read(queue))
        return orjson.dumps({"destinations": listed})


async def out_of_reach(_: Request, problem: Exception) -> Response:
    """Files or a topic cannot be read or written right now."""
    return JSONResponse({"error": redact(f"it cannot be had now: {problem}")}, 503, {"Retry-After": "5"})


def _busy() -> Response:
    return JSONResponse({"error": "another change of dead letters is under way; try again when it is done"}, 409)


@dataclass(slots=True)
class _Group:
    """Dead letters with the same reason."""

    first: datetime
    last: datetime
    clusters: Counter[str] = field(default_factory=Counter)

    def add(self, one: DeadLetter) -> None:
        self.first, self.last = min(self.first, one.refused_at), max(self.last, one.refused_at)
        self.clusters[one.cluster] += 1

    def document(self, reason: str) -> dict[str, Any]:
        count = self.clusters.total()
        times = {"since": self.first, "last": self.last}
        return {"reason": reason, "count": count, **times, "clusters": dict(self.clusters.most_common())}


def _group(one: DeadLetter) -> str:
    """What it is grouped by: its reason, as far as `/status` tells it."""
    return one.reason[:REASON_CHARACTERS]


def _read(queue: Iterable[DeadLetter]) -> dict[str, Any]:
    """How many, by group (the most frequent first, `ungrouped` beyond `MOST_GROUPS`), and the newest."""
    count = ungrouped = 0
    groups: dict[str, _Group] = {}
    newest = deque[dict[str, Any]](maxlen=MOST_LISTED)
    for one in queue:
        count += 1
        newest.append(_shown(one))
        if (reason := _group(one)) in groups or len(groups) < MOST_GROUPS:
            groups.setdefault(reason, _Group(one.refused_at, one.refused_at)).add(one)
        else:
            ungrouped += 1
    rows = sorted((group.document(reason) for reason, group in groups.items()), key=lambda row: -int(row["count"]))
    return {"count": count, "groups": rows, "ungrouped": ungrouped, "letters": [*reversed(newest)]}


def _shown(dead_letter: DeadLetter) -> dict[str, Any]:
    keys = ("id", "cluster", "sequence", "received_at", "refused_at", "reason")
    content = dead_letter.content
    beginning = content[:PREVIEW_CHARACTERS].decode(errors="replace")
    return {key: getattr(dead_letter, key) for key in keys} | {"bytes": len(content), "beginning": beginning}


def _chosen(queue: DeadLetterQueue, choice: Choice) -> list[DeadLetter]:
    return [one for one in queue if choice.means(one)]


def _drop(queue: DeadLetterQueue, choice: Choice) -> int:
    if choice == Choice(choice.destination, None):
        return queue.clear()  # what cannot be read too
    return queue.remove(frozenset(one.id for one in queue if choice.means(one)))


async def _choice(request: Request) -> Choice | Response:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES:
            return JSONResponse({"error": f"the body has more than {BODY_BYTES} bytes"}, 413)
    try:
        choice = msgspec.json.decode(bytes(body), type=Choice)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        text = 'send {"destination": NAME, "ids": [ID, ...]}; ids null means all, of a "cluster" or a "reason" if given'
        return JSONResponse({"error": text}, 400)
    if choice.refused_until is not None and choice.refused_until.tzinfo is None:
        return JSONResponse({"error": "refused_until needs a time zone: end it with Z"}, 400)
    return choice
