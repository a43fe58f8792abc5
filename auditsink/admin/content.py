"""The tail and single events: what the audit trail says, for those who may read it."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from auditsink.admin.stream import Slots, Stream, TooManyError
from auditsink.admin.view import View
from auditsink.forward.prefetch import peek
from auditsink.spool.ring import Ring
from auditsink.tail.feed import Feed
from auditsink.tail.lookback import MOST
from auditsink.tail.patterns import FIELDS, BadPatternError, TailPatterns

MOST_LISTENERS = 8
MOST_EVENTS = 4
"""Events that are fetched at once; one may have 32 MiB."""


class TrailEndpoints:
    """The endpoints. `close` ends the streams."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._slots = Slots(MOST_LISTENERS)
        self._fetching = Slots(MOST_EVENTS)
        self._closed = False

    def close(self) -> None:
        """Every stream ends at its next look."""
        self._closed = True

    async def tail(self, request: Request) -> Response:
        """NDJSON: `{"looked_at": n}`, lines (`auditsink.tail.line.Line`), `{"skipped": n}`, `{}` when it is quiet.

        Parameters: the filters, each as often as wanted; `last`: how many to begin with; `follow=1`; `raw=1`.
        """
        if self._view.unread is not None:
            return JSONResponse({"error": self._view.unread}, 409)
        asked = request.query_params
        last = asked.get("last", "0")
        if not (last.isascii() and last.isdigit() and len(last) < 6):
            return JSONResponse({"error": f"last: write a number from 0 to {MOST}"}, 400)
        try:
            patterns = TailPatterns({field: asked.getlist(field) for field in FIELDS})
        except BadPatternError as problem:
            return JSONResponse({"error": str(problem)}, 400)
        feed = Feed(self._view.rings, patterns, self._view.clock, raw=asked.get("raw") == "1")
        lines = self._lines(feed, min(int(last), MOST), follow=asked.get("follow") == "1")
        return Stream(self._slots, lines, "application/x-ndjson")

    async def _lines(self, feed: Feed, last: int, *, follow: bool) -> AsyncIterator[bytes]:
        async for content in feed.last(last):
            yield content
        if follow:
            async for content in feed.follow(lambda: self._slots.taken, lambda: self._closed):
                yield content

    async def event(self, request: Request) -> Response:
        """The bytes of one event: `cluster`, `sequence`; `most`: only so many of them. X-Auditsink-Bytes: all."""
        if self._view.unread is not None:
            return JSONResponse({"error": self._view.unread}, 409)
        asked = request.query_params
        ring, sequence = self._view.rings().get(asked.get("cluster", "")), _number(asked.get("sequence"))
        if ring is None or sequence is None:
            return JSONResponse({"error": "give the cluster and sequence of an event in a ring"}, 400)
        self._fetching.take()
        try:
            event = await asyncio.to_thread(_event, ring, sequence)
        finally:
            self._fetching.give_back()
        if event is None:
            return JSONResponse({"error": "the ring does not hold this event any more"}, 404)
        content = event[: _number(asked.get("most"))]
        return Response(content, headers={"X-Auditsink-Bytes": str(len(event))}, media_type="application/octet-stream")


def _event(ring: Ring, sequence: int) -> bytes | None:
    if not ring.floor <= sequence < ring.durable:
        return None
    for record in peek(ring, sequence).records:
        if record.first_sequence == sequence:
            return record.events[0]
    return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None


async def too_many(_: Request, problem: Exception) -> Response:
    """No slot is free."""
    assert isinstance(problem, TooManyError)
    return PlainTextResponse("too many are listening already; close another one\n", 503, {"Retry-After": "5"})
