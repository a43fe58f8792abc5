"""The admin port's application: every path, and what one needs to ask for it."""

from collections.abc import Sequence
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from auditsink.admin import pages
from auditsink.admin.access import Access, Need
from auditsink.admin.content import TrailEndpoints, too_many
from auditsink.admin.dead_letters import DeadLetterEndpoints
from auditsink.admin.guard import Endpoint, Headers, guarded
from auditsink.admin.status_endpoints import StatusEndpoints
from auditsink.admin.stream import TooManyError


class AdminRoute(NamedTuple):
    """A path, and what one needs to ask for it."""

    method: str
    path: str
    need: Need
    endpoint: Endpoint


def application(
    access: Access,
    numbers: StatusEndpoints,
    content: TrailEndpoints,
    letters: DeadLetterEndpoints,
    guests: Sequence[AdminRoute] = (),
) -> Starlette:
    """The ASGI application. `guests`: routes of somebody else's, which go before ours."""
    table: list[tuple[str, str, Need, Endpoint]] = [
        *guests,
        ("GET", "/livez", Need.PROBE, numbers.livez),
        ("GET", "/readyz", Need.PROBE, numbers.readyz),
        ("GET", "/metrics", Need.PROBE, numbers.metrics),
        ("GET", "/status", Need.NUMBERS, numbers.status),
        ("GET", "/reservations", Need.NUMBERS, numbers.reservations),
        ("GET", "/stream", Need.NUMBERS, numbers.stream),
        ("GET", "/history", Need.NUMBERS, numbers.history),
        ("GET", "/access", Need.NUMBERS, numbers.access),
        ("GET", "/", Need.NUMBERS, pages.index),
        ("GET", "/page/{name}", Need.NUMBERS, pages.file),
        ("GET", "/tail", Need.CONTENT, content.tail),
        ("GET", "/event", Need.CONTENT, content.event),
        ("GET", "/letters", Need.CONTENT, letters.list),
        ("GET", "/letters/event", Need.CONTENT, letters.show),
        ("POST", "/reload", Need.CHANGE, numbers.reload),
        ("POST", "/letters/replay", Need.CHANGE, letters.replay),
        ("POST", "/letters/drop", Need.CHANGE, letters.drop),
    ]
    return Starlette(
        routes=[Route(path, guarded(access, need, ask), methods=[method]) for method, path, need, ask in table],
        middleware=[Middleware(Headers)],
        exception_handlers={TooManyError: too_many},
    )
