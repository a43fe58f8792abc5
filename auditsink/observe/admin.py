"""The admin port: a Starlette application on uvicorn, in the sink's own loop. Reads everything, changes nothing."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from auditsink.config import Admin
from auditsink.listen import bound, listen
from auditsink.observe import health, metrics, page, status
from auditsink.observe.expiry import Expiries
from auditsink.observe.snapshot import Snapshot

CONNECTIONS = 200
"""At once; more get 503. Enough for probes, several scrapers and a few people."""
CLOSE_SECONDS = 1
"""For answers under way when the sink stops."""
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def application(snapshot: Callable[[], Snapshot], expiries: Expiries | None = None) -> Starlette:
    """The application; `snapshot` is called in the loop's thread for each request that needs one."""

    def rendered(moment: Snapshot, accept: str) -> tuple[bytes, str]:
        return metrics.render(moment, accept, expiries.read() if expiries else ())

    async def livez(_: Request) -> Response:
        return PlainTextResponse("alive\n", headers=_HEADERS)

    async def readyz(_: Request) -> Response:
        ready, text = health.readiness(snapshot())
        return PlainTextResponse(text, 200 if ready else 503, headers=_HEADERS)

    async def show_metrics(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        content, content_type = await asyncio.to_thread(rendered, snapshot(), accept)
        return Response(content, headers={**_HEADERS, "Content-Type": content_type})

    async def show_status(_: Request) -> Response:
        content = orjson.dumps(status.document(snapshot()), option=orjson.OPT_APPEND_NEWLINE)
        return Response(content, headers=_HEADERS, media_type="application/json")

    async def show_page(_: Request) -> Response:
        content = page.render(status.document(snapshot()))
        return HTMLResponse(content, headers={**_HEADERS, "Content-Security-Policy": page.POLICY})

    paths = {"/livez": livez, "/readyz": readyz, "/metrics": show_metrics, "/status": show_status, "/": show_page}
    return Starlette(routes=[Route(path, endpoint) for path, endpoint in paths.items()])


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the sink decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class AdminServer:
    """The application on its port, from the constructor to `close`."""

    def __init__(self, config: Admin, snapshot: Callable[[], Snapshot], expiries: Expiries | None = None) -> None:
        """Bind the port. Raises ListenError."""
        self._socket = listen("admin.listen", config.listen)
        self.address = bound(self._socket)
        self._server = _Server(
            uvicorn.Config(
                application(snapshot, expiries),
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=CLOSE_SECONDS,
            )
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Task[None]":
        """Serve; the task ends with `close`, or with what went wrong."""
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="admin port")
        return self._task

    async def close(self) -> None:
        """Stop serving; takes at most `CLOSE_SECONDS` and a bit."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait([self._task])
        self._socket.close()
