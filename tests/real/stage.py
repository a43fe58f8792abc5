"""A sink for the page to show: recorded events of a real kube-apiserver, and destinations that are on a bad day."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from zlib import crc32

from corpus import bodies
from running import Sink

from auditsink.testing.hec import HecServer

ADMIN_TOKEN = "0123456789abcdef-the-operator"
CLUSTERS = ("prod-eu", "prod-us", "staging")
REFUSED_EACH = 500
"""Splunk refuses one of about so many events, always the same ones."""


@contextlib.asynccontextmanager
async def staged(place: Path, *, token: bool = True) -> AsyncIterator[Sink]:
    """`siem` takes nearly everything, `archive` everything, `lake` is not there, `backup` has lost its token."""

    def refuse(event: bytes) -> int | None:
        return 6 if crc32(event) % REFUSED_EACH == 0 else None

    async with HecServer(token="t", refuse=refuse) as splunk:
        wait = {"batch": {"max_wait": "200ms"}}
        destinations = [
            {"name": "siem", "type": "splunk", "url": splunk.url, "token": "t", **wait},
            {"name": "archive", "type": "file", "path": str(place / "audit.ndjson"), **wait},
            {"name": "lake", "type": "http", "url": "http://127.0.0.1:9/", "backoff": {"max": "5s"}, **wait},
            {"name": "backup", "type": "splunk", "url": splunk.url, "token": "revoked", **wait},
        ]
        admin = {"listen": "127.0.0.1:0"}
        if token:
            file = place / "admin-token"
            file.write_text(f"{ADMIN_TOKEN}\n")
            admin["token_file"] = str(file)
        async with Sink(place, destinations, admin=admin) as sink:
            yield sink


async def post_recorded(
    sink: Sink, name: str = "batch-default-mixed-http", *, every: int = 1, pause: float = 0.0
) -> None:
    """What an apiserver sent once, from each cluster; `pause` seconds after each batch."""
    for cluster in CLUSTERS:
        for number, body in enumerate(bodies(name)):
            if number % every == 0:
                code, _ = await sink.post(body.data, f"/{cluster}")
                assert code == 200
                await asyncio.sleep(pause)
