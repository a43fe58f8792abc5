"""Dead letters over the admin port: listed, shown, delivered again, dropped. The command's parts and steps."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from auditsink.admin.view import View
from auditsink.delivery.destination import DestinationError
from auditsink.forward import dead_letters
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.dead_letters import DeadLetters
from auditsink.forward.redelivery import Report, deliver_dead_letters

MOST_LISTED = 200
"""Of each destination, the newest."""
PREVIEW_CHARACTERS = 2000
BODY_BYTES = 64 * 2**10


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a change: which ones of which destination. `ids` null: all of them, which must be said."""

    destination: str
    ids: list[str] | None


class DeadLetterEndpoints:
    """The endpoints. Files are read and written in threads; one change at a time."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._changing = asyncio.Lock()

    async def list(self, _: Request) -> Response:
        """By destination: how many there are and the newest, each with the beginning of its event."""
        return Response(await asyncio.to_thread(self._listed), media_type="application/json")

    async def show(self, request: Request) -> Response:
        """One event, byte for byte: `destination`, `id`."""
        asked = request.query_params
        queue = self._queues().get(asked.get("destination", ""))
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
            queue = self._queues().get(choice.destination)
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
            queue = self._queues().get(choice.destination)
            dropped = 0 if queue is None else await asyncio.to_thread(_drop, queue, choice)
        return JSONResponse({"dropped": dropped})

    def _queues(self) -> dict[str, DeadLetters]:
        path = self._view.spool_path
        return {} if path is None else dead_letters.open_all(path)

    def _listed(self) -> bytes:
        configured = {one.name for one in self._view.destinations}
        listed = []
        for name, queue in sorted(self._queues().items()):
            count, newest = _newest(queue)
            listed.append({"name": name, "count": count, "configured": name in configured, "letters": newest})
        return orjson.dumps({"destinations": listed})


def _busy() -> Response:
    return JSONResponse({"error": "another change of dead letters is under way; try again when it is done"}, 409)


def _newest(queue: Iterable[DeadLetter]) -> tuple[int, list[dict[str, Any]]]:
    count, newest = 0, deque[dict[str, Any]](maxlen=MOST_LISTED)
    for dead_letter in queue:
        count += 1
        newest.append(_shown(dead_letter))
    return count, [*reversed(newest)]


def _shown(dead_letter: DeadLetter) -> dict[str, Any]:
    keys = ("id", "cluster", "sequence", "received_at", "refused_at", "reason")
    content = dead_letter.content
    beginning = content[:PREVIEW_CHARACTERS].decode(errors="replace")
    return {key: getattr(dead_letter, key) for key in keys} | {"bytes": len(content), "beginning": beginning}


def _chosen(queue: DeadLetters, choice: Choice) -> list[DeadLetter]:
    wanted = None if choice.ids is None else frozenset(choice.ids)
    return [dead_letter for dead_letter in queue if wanted is None or dead_letter.id in wanted]


def _drop(queue: DeadLetters, choice: Choice) -> int:
    return queue.clear() if choice.ids is None else queue.remove(frozenset(choice.ids))


async def _choice(request: Request) -> Choice | Response:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES:
            return JSONResponse({"error": f"the body has more than {BODY_BYTES} bytes"}, 413)
    try:
        return msgspec.json.decode(bytes(body), type=Choice)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return JSONResponse({"error": 'send {"destination": NAME, "ids": [ID, ...]}; ids null means all'}, 400)
