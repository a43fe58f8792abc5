"""The HTTPS server of the webhooks and the plain one of health and metrics: Starlette on uvicorn, in our own loop."""

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from auditsink.gardener.certificates.issue import Pair
from auditsink.gardener.kube import KubeError
from auditsink.gardener.objects import Object

MAX_BODY = 8 * 2**20
"""Bytes. An API server sends two objects of at most 1.5 MiB each."""
BACKLOG_CONNECTIONS = 256

Review = Callable[[Object], Awaitable[Object]]
"""An AdmissionReview in, one with a response out."""


class ServerCertificate:
    """What the HTTPS server shows; a new one is taken up by the next handshake."""

    def __init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._shown: bytes = b""

    @property
    def ready(self) -> bool:
        """Whether there is one."""
        return bool(self._shown)

    def show(self, pair: Pair) -> None:
        """From now on. Raises ssl.SSLError for what is no certificate with its key."""
        if pair.certificate == self._shown:
            return
        with tempfile.TemporaryDirectory() as place:  # the ssl module takes files only
            file = Path(place) / "pair.pem"
            file.touch(0o600)
            file.write_bytes(pair.certificate + pair.key)
            self.context.load_cert_chain(file)
        self._shown = pair.certificate


def webhooks(reviews: Mapping[str, Review]) -> Starlette:
    """An application with a path for each."""
    return Starlette(routes=[Route(path, _endpoint(review), methods=["POST"]) for path, review in reviews.items()])


def probes(registry: CollectorRegistry, ready: Callable[[], bool]) -> Starlette:
    """`/healthz`, `/readyz`, `/metrics`."""

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        return PlainTextResponse("ok\n") if ready() else PlainTextResponse("no certificate yet\n", 503)

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


@contextlib.asynccontextmanager
async def serving(app: Starlette, host: str, port: int, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port that it listens on, while it does."""
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, access_log=False, lifespan="off", backlog=BACKLOG_CONNECTIONS
    )
    config.load()
    config.ssl = context
    server = _Quiet(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                await task
                raise OSError(f"cannot listen on {host}:{port}")
            await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


class _Quiet(uvicorn.Server):
    """Leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals alone: they are the controller's."""
        yield


def _endpoint(review: Review) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY:
                return PlainTextResponse("an AdmissionReview is smaller\n", 413)
        try:
            asked = msgspec.json.decode(bytes(body))
        except (msgspec.DecodeError, RecursionError):
            asked = None
        if not isinstance(asked, dict) or not isinstance(asked.get("request"), dict):
            return PlainTextResponse("no AdmissionReview\n", 400)
        try:
            answer = await review(asked)
        except KubeError as problem:
            return PlainTextResponse(f"{problem}\n", 503)
        return Response(msgspec.json.encode(answer), media_type="application/json")

    return endpoint
