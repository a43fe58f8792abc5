"""From access rules to answers: the wrapping of an endpoint, and the headers that every answer carries."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auditsink.admin.access import Access, AccessDenied, Need

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
        """ASGI."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=_mutable(message)).update(HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)


def _mutable(message: Message) -> Any:
    message.setdefault("headers", [])
    return message
