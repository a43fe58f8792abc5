"""Probes, metrics, status, charts: what the sink says in numbers, for machines and for the page.

There is one rendering for all who wait for it: a flood of questions costs as much as a few of them. A rendering begins
after the last of those it serves has asked, so nobody gets what is older than the question. After each there is a pause
that grows with what it cost, so that at most a fifth of the time goes into renderings.
"""

import asyncio
from array import array
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from auditsink.admin.access import Access
from auditsink.admin.stream import Live, Stream
from auditsink.admin.view import View
from auditsink.common.clock import Clock
from auditsink.observe import health, metrics, reservations, status
from auditsink.observe.snapshot import Snapshot

PAUSE_SHARE = 4.0
"""The pause after a rendering, in times of what it took."""

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Belongs to the loop's thread."""

    def __init__(self, render: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._render = render
        self._clock = clock
        self._one = asyncio.Lock()
        self._next: asyncio.Task[T] | None = None
        self._free_at = 0.0

    async def get(self) -> T:
        """What a rendering that begins from now on gives, or its exception."""
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        return await asyncio.shield(self._next)

    async def _run(self) -> T:
        async with self._one:
            if (wait := self._free_at - self._clock.monotonic()) > 0:
                await self._clock.sleep(wait)
            self._next = None
            began = self._clock.monotonic()
            try:
                return await self._render()
            finally:
                ended = self._clock.monotonic()
                self._free_at = ended + PAUSE_SHARE * (ended - began)


LIVE_CLUSTERS = 100
"""Clusters in a live document, those with the most pending first; `/status` has all."""

_JSON = "application/json"


class StatusEndpoints:
    """The endpoints, and the sampling behind the charts."""

    def __init__(self, view: View, access: Access) -> None:
        self._view = view
        self._access = access
        self._history = Samples(view.clock.wall_ns() / 1e9)
        self._status = SingleFlight(lambda: self._rendered(_rendered, None), view.clock)
        self._reservations = SingleFlight(lambda: self._rendered(_reservations), view.clock)
        self._metrics = {
            kind: SingleFlight(partial(self._rendered, self._for_prometheus, kind), view.clock)
            for kind in (metrics.PLAIN, metrics.OPEN)
        }
        self.live = Live(self._event, view.clock)

    async def sample(self) -> None:
        """Write history until cancelled."""
        while True:
            if self._view.expiries:
                await asyncio.to_thread(self._view.expiries.read)
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
        """The metrics, in the form that Prometheus asked for."""
        kind = metrics.wanted(request.headers.get("accept", ""))
        return Response(await self._metrics[kind].get(), headers={"Content-Type": kind})

    async def status(self, _: Request) -> Response:
        """The `/status` document, with all clusters."""
        return Response(await self._status.get(), media_type=_JSON)

    async def reservations(self, _: Request) -> Response:
        """Whose the spool's bytes are."""
        return Response(await self._reservations.get(), media_type=_JSON)

    async def reload(self, request: Request) -> Response:
        """Take up the changed file: `{"said": [...]}`, or 409 and `{"refused": [...]}`; `?force=1` drops what waits."""
        if self._view.reload is None:
            return Response(orjson.dumps({"refused": ["there is no file to be read again"]}), 409, media_type=_JSON)
        try:
            changes = await self._view.reload(force=request.query_params.get("force") == "1")
        except Exception as problem:  # noqa: BLE001 - whatever it is, the person who asked must read it
            return Response(orjson.dumps({"refused": str(problem).splitlines()}), 409, media_type=_JSON)
        return Response(orjson.dumps({"said": changes.sentences(), "restart": list(changes.restart)}), media_type=_JSON)

    async def stream(self, _: Request) -> Response:
        """The document again and again, as server-sent events."""
        return Stream(self.live.slots, self.live.events(), "text/event-stream")

    async def history(self, _: Request) -> Response:
        """What the charts show."""
        content = await asyncio.to_thread(orjson.dumps, self._history.document())
        return Response(content, media_type=_JSON)

    async def access(self, _: Request) -> Response:
        """What the page may offer: is there a token, and is content shown without it."""
        rules = {"token": self._access.has_token, "open": self._access.content_open}
        return Response(orjson.dumps(rules), media_type=_JSON)

    async def _rendered(self, render: Callable[..., bytes], *arguments: object) -> bytes:
        return await asyncio.to_thread(render, self._view.snapshot(), *arguments)

    def _for_prometheus(self, snapshot: Snapshot, kind: str) -> bytes:
        expiries = self._view.expiries
        return metrics.render(snapshot, kind, expiries.read() if expiries else ())

    async def _event(self) -> bytes:
        return b"data: %b\n\n" % await self._rendered(_rendered, LIVE_CLUSTERS)


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


FINE_SECONDS, FINE_POINTS = 10, 360
COARSE_SECONDS, COARSE_POINTS = 300, 288

_COUNTERS = ("accepted", "refused")
_GAUGES = ("bytes", "wanted_bytes")
_DESTINATION_COUNTERS = ("delivered", "lost")
_DESTINATION_GAUGES = ("pending", "lag_seconds")


class Samples:
    """What the sink was like in the last hours, for the page's charts: in memory, bounded, gone with the process.

    Two series of points: fine ones for an hour, coarse ones for a day. A point has the counters as they stood and, of
    what goes up and down, the highest value since the point before, so that a short peak is not lost between two
    points. Numbers are summed over the clusters; there are as many lines as destinations, however many clusters there
    are. Belongs to the loop's thread. Add a snapshot every `FINE_SECONDS`.
    """

    def __init__(self, began: float) -> None:
        """`began`: when the process did, seconds since the epoch."""
        self._began = began
        self._names: tuple[str, ...] = ()
        self._fine = _Series(FINE_SECONDS, FINE_POINTS)
        self._coarse = _Series(COARSE_SECONDS, COARSE_POINTS)

    def add(self, snapshot: Snapshot, now: float) -> None:
        """`now`: seconds since the epoch."""
        self._names = tuple(destination.name for destination in snapshot.destinations)
        counters, gauges = _numbers(snapshot)
        for series in (self._fine, self._coarse):
            series.add(now, counters, gauges)

    def document(self) -> dict[str, Any]:
        """Plain values: for `fine` and `coarse` a list of times and, by name, as many values as times."""
        return {"since": self._began, "fine": self._render(self._fine), "coarse": self._render(self._coarse)}

    def _render(self, series: "_Series") -> dict[str, Any]:
        columns = iter(series.columns(2 + (len(_COUNTERS) + len(_GAUGES)) + 4 * len(self._names)))
        at, _ = next(columns), next(columns)
        counters = {key: next(columns) for key in _COUNTERS}
        per_counter = {name: {key: next(columns) for key in _DESTINATION_COUNTERS} for name in self._names}
        gauges = {key: next(columns) for key in _GAUGES}
        per_gauge = {name: {key: next(columns) for key in _DESTINATION_GAUGES} for name in self._names}
        destinations = [{"name": name, **per_counter[name], **per_gauge[name]} for name in self._names]
        return {"step_seconds": series.step, "at": at, **counters, **gauges, "destinations": destinations}


class _Series:
    """A row of floats for each point: its time, how many counters follow, the counters, the gauges."""

    def __init__(self, step: int, points: int) -> None:
        self.step = step
        self._rows: deque[array[float]] = deque(maxlen=points)
        self._peak: list[float] = []

    def add(self, now: float, counters: list[float], gauges: list[float]) -> None:
        same = len(self._peak) == len(gauges)
        self._peak = list(map(max, self._peak, gauges)) if same else gauges
        # A clock that was set back begins a new point too: `abs`.
        if not self._rows or abs(now - self._rows[-1][0]) >= self.step:
            self._rows.append(array("d", [now, len(counters), *counters, *self._peak]))
            self._peak = gauges

    def columns(self, width: int) -> list[list[float]]:
        rows = [row for row in self._rows if len(row) == width]
        return [[row[place] for row in rows] for place in range(width)]


def _numbers(snapshot: Snapshot) -> tuple[list[float], list[float]]:
    spool = snapshot.spool
    counters = [float(sum(ring.next_sequence for ring in spool.rings)), float(sum(snapshot.receive.rejected.values()))]
    gauges = [float(spool.bytes), float(sum(ring.wanted_bytes for ring in spool.rings))]
    for destination in snapshot.destinations:
        accounts = destination.accounts.values()
        counters += [
            float(sum(account.delivered + account.filtered for account in accounts)),
            float(sum(account.dropped + account.dead_lettered for account in accounts)),
        ]
        gauges += [float(destination.pending), destination.lag_seconds]
    return counters, gauges
