"""fluent-bit's place in a running sink: its HTTP API on the admin port, its leftovers on their way into the ring."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, Metric, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from auditsink.admin import pages
from auditsink.admin.access import Need
from auditsink.admin.app import AdminRoute
from auditsink.admin.view import View
from auditsink.common.clock import Clock
from auditsink.fluentbit import numbers
from auditsink.fluentbit.leftovers import Leftovers
from auditsink.fluentbit.numbers import Families, FluentNumbers
from auditsink.observe.snapshot import Snapshot
from auditsink.spool import Spool

log = logging.getLogger("auditsink.fluentbit")

LOOK_SECONDS = 1.0
"""Between two looks at the destinations' states."""


class News(NamedTuple):
    """A line of the log."""

    message: str
    fields: dict[str, Any]
    level: int = logging.INFO


class FluentBitGuest:
    """See `service.Guest`. `news`: what is told once, at the start."""

    def __init__(
        self,
        counters: FluentNumbers,
        leftovers: Leftovers | None,
        clock: Clock,
        *,
        served: bool,
        news: Sequence[News] = (),
    ) -> None:
        self._numbers = counters
        self._leftovers = leftovers
        self._clock = clock
        self._served = served
        self._news = news
        self._began = clock.monotonic()

    def routes(self, view: View) -> list[AdminRoute]:
        """fluent-bit's paths. Everybody may ask, as with fluent-bit: there are numbers and no events in them."""
        if not self._served:
            return []

        def answer(make: Callable[[Snapshot], Any]) -> Callable[[Request], Any]:
            async def endpoint(_: Request) -> Response:
                return Response(orjson.dumps(make(view.snapshot())), media_type="application/json")

            return endpoint

        async def root(request: Request) -> Response:
            if "text/html" in request.headers.get("accept", ""):
                return await pages.index(request)
            return Response(orjson.dumps(numbers.about()), media_type="application/json")

        async def health(_: Request) -> Response:
            healthy = self._numbers.healthy(view.snapshot())
            return PlainTextResponse("ok\n" if healthy else "error\n", 200 if healthy else 500)

        async def first(_: Request) -> Response:
            return await _prometheus(numbers.families(self._numbers, view.snapshot(), self._up()))

        async def second(_: Request) -> Response:
            found = view.snapshot()
            several = [*numbers.families(self._numbers, found, self._up())]
            return await _prometheus([*several, *numbers.more_families(self._numbers, found)])

        several: dict[str, Callable[[Request], Any]] = {
            "/": root,
            "/api/v1/uptime": answer(lambda _: numbers.uptime(self._up())),
            "/api/v1/metrics": answer(self._numbers.metrics),
            "/api/v1/metrics/prometheus": first,
            "/api/v1/storage": answer(numbers.storage),
            "/api/v2/metrics": second,
            "/api/v2/metrics/prometheus": second,
        }
        if self._numbers.rules.on:
            several["/api/v1/health"] = health
        return [AdminRoute("GET", path, Need.PROBE, endpoint) for path, endpoint in several.items()]

    async def run(self, view: View, spool: Spool) -> None:
        """Tell the news, deliver what was left, and look at the destinations until cancelled."""
        for new in self._news:
            log.log(new.level, new.message, extra=new.fields)
        async with asyncio.TaskGroup() as group:
            if self._leftovers is not None:
                group.create_task(self._leftovers.deliver(spool))
            while True:
                self._numbers.look(self._clock.monotonic(), view.snapshot())
                await self._clock.sleep(LOOK_SECONDS)

    def _up(self) -> float:
        return self._clock.monotonic() - self._began


async def _prometheus(several: Any) -> Response:
    metrics: list[Metric] = list(several)
    content = await asyncio.to_thread(generate_latest, Families(metrics))
    return Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST})
