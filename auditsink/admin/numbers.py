"""Probes, metrics, status: what the sink says in numbers, for machines and for the page."""

import asyncio
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from auditsink.admin.access import Access
from auditsink.admin.history import FINE_SECONDS, History
from auditsink.admin.live import Live
from auditsink.admin.stream import Stream
from auditsink.admin.view import View
from auditsink.observe import health, metrics, reservations, status
from auditsink.observe.snapshot import Snapshot

LIVE_CLUSTERS = 100
"""Clusters in a live document, those with the most pending first; `/status` has all."""


class Numbers:
    """The endpoints, and the sampling behind the charts."""

    def __init__(self, view: View, access: Access) -> None:
        self._view = view
        self._access = access
        self._history = History(view.clock.wall_ns() / 1e9)
        self.live = Live(self._event, view.clock)

    async def sample(self) -> None:
        """Write history until cancelled."""
        while True:
            self._history.add(self._view.snapshot(), self._view.clock.wall_ns() / 1e9)
            await self._view.clock.sleep(FINE_SECONDS)

    async def livez(self, _: Request) -> Response:
        """Whether the loop turns."""
        return PlainTextResponse("alive\n")

    async def readyz(self, _: Request) -> Response:
        """Whether a batch that is posted now would be kept, and why not."""
        ready, text = health.readiness(self._view.snapshot())
        return PlainTextResponse(text, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        content, kind = await asyncio.to_thread(self._metrics, self._view.snapshot(), request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": kind})

    async def status(self, _: Request) -> Response:
        """The whole document."""
        content = await asyncio.to_thread(_rendered, self._view.snapshot(), None)
        return Response(content, media_type="application/json")

    async def reservations(self, _: Request) -> Response:
        """Whose the spool's bytes are."""
        content = await asyncio.to_thread(_reservations, self._view.snapshot())
        return Response(content, media_type="application/json")

    async def stream(self, _: Request) -> Response:
        """The document again and again, as server-sent events."""
        return Stream(self.live.slots, self.live.events(), "text/event-stream")

    async def history(self, _: Request) -> Response:
        """What the charts show."""
        content = await asyncio.to_thread(orjson.dumps, self._history.document())
        return Response(content, media_type="application/json")

    async def access(self, _: Request) -> Response:
        """What the page may offer: is there a token, and is content shown without it."""
        rules = {"token": self._access.has_token, "open": self._access.content_open}
        return Response(orjson.dumps(rules), media_type="application/json")

    def _metrics(self, snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
        expiries = self._view.expiries
        return metrics.render(snapshot, accept, expiries.read() if expiries else ())

    async def _event(self) -> bytes:
        return b"data: %b\n\n" % await asyncio.to_thread(_rendered, self._view.snapshot(), LIVE_CLUSTERS)


def _rendered(snapshot: Snapshot, most: int | None) -> bytes:
    """The document as JSON on one line, with `most` of its clusters. In a thread: there may be a thousand of them."""
    document = status.document(snapshot)
    clusters = document["clusters"]
    if most is not None and len(clusters) > most:
        document["clusters"] = sorted(clusters, key=_pending, reverse=True)[:most]
    document["cluster_count"] = len(clusters)
    document["reserved_bytes"] = sum((snapshot.declared or {}).values())
    return orjson.dumps(document)


def _reservations(snapshot: Snapshot) -> bytes:
    return orjson.dumps(reservations.document(snapshot), option=orjson.OPT_APPEND_NEWLINE)


def _pending(cluster: dict[str, Any]) -> tuple[int, int]:
    return sum(one["pending"] for one in cluster["destinations"]), cluster["spool"]["bytes"]
