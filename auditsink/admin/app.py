"""The admin port's application: every path, what one needs to ask for it, and the headers that every answer carries."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auditsink.admin import pages
from auditsink.admin.access import Access, AccessDenied, Need
from auditsink.admin.content import TrailEndpoints, too_many
from auditsink.admin.dead_letters import DeadLetterEndpoints, out_of_reach
from auditsink.admin.status_endpoints import StatusEndpoints
from auditsink.admin.stream import TooManyError

Endpoint = Callable[[Request], Awaitable[Response]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Content-Security-Policy: our own files and nothing inline; a string can become neither script nor markup."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def guarded(access: Access, need: Need, endpoint: Endpoint) -> Endpoint:
    """The endpoint for those who may pass."""

    async def guard(request: Request) -> Response:
        peer = request.client.host if request.client else ""
        denied = access.denied(need, request.headers, peer)
        return await endpoint(request) if denied is None else refusal(denied)

    return guard


def refusal(denied: AccessDenied) -> Response:
    """`{"error": "why, and what to do"}`."""
    headers = {"Retry-After": str(denied.retry_after)} if denied.retry_after else {}
    if denied.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="auditsink"'
    return JSONResponse({"error": denied.why}, denied.status, headers)


class Headers:
    """Puts `HEADERS` on every answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request (ASGI), with these headers on whatever the application says."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=_mutable(message)).update(HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)


def _mutable(message: Message) -> Any:
    message.setdefault("headers", [])
    return message


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
        exception_handlers={TooManyError: too_many, OSError: out_of_reach},
    )
