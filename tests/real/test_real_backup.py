"""The copy of a spool in the bucket of a real S3 gateway (versitygw); it, the sink and the volume go away in turn."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import corpus
import gobuild
import pytest
from ground import free_port
from rows import Rows
from running import PATIENCE, Sink
from s3server import BUCKET
from test_real_s3 import served

from auditsink.testing.collector import Collector

VERSION = "1.8.0"
"""Has conditional writes. That of `test_real_s3` takes them for nothing: it is what a sink must find out."""
WITHOUT = "1.0.14"
PACKAGE = "github.com/versity/versitygw/cmd/versitygw"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def gateway() -> Path:
    """The program."""
    return gobuild.installed(PACKAGE, VERSION)


def spool(port: int, **more: Any) -> dict[str, Any]:
    return {
        "backup": {
            "type": "s3", "bucket": BUCKET, "endpoint": f"http://127.0.0.1:{port}", "region": "us-east-1",
            "access_key_id": "key", "secret_access_key": "secret", "timeout": "2s", "every": "1s", **more,
        }
    }  # fmt: skip


def hook(url: str) -> dict[str, Any]:
    return {"name": "hook", "type": "http", "url": url, "backoff": {"initial": "50ms", "max": "200ms"}}


async def copied(sink: Sink) -> None:
    """Wait until all that was accepted by now is in the copy."""
    began = time.monotonic()
    while True:
        asked = time.monotonic()
        backup = (await sink.status())["backup"]
        if backup["age_seconds"] is not None and backup["age_seconds"] < asked - began:
            return
        assert asked < began + PATIENCE, backup
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def store(gateway: Path, place: Path) -> AsyncIterator[int]:
    (place / "data" / BUCKET).mkdir(parents=True)
    port = free_port()
    async with served(gateway, place, port):
        yield port


@pytest.mark.quick
async def test_the_volume_is_gone_and_every_event_arrives(gateway: Path, tmp_path: Path, rows: Rows) -> None:
    bodies = list(corpus.bodies("batch50-request-h2tls", "batch100-metadata-mtls-h2", "batch-default-mixed-http"))
    events = [event for body in bodies for event in body.events]
    (tmp_path / "data" / BUCKET).mkdir(parents=True)
    port = free_port()
    part = len(bodies) // 3
    async with Sink(tmp_path / "one", [hook(NOBODY)], spool=spool(port, at_start="start_empty")) as sink:
        async with served(gateway, tmp_path, port):
            await sink.apiserver([body.data for body in bodies[:part]], at_once=1)
            await copied(sink)
        await sink.apiserver([body.data for body in bodies[part : 2 * part]], at_once=1)  # the store is away
        await sink.until(lambda now: now["backup"]["state"] == "failing")
        async with served(gateway, tmp_path, port):
            await sink.apiserver([body.data for body in bodies[2 * part :]], at_once=1)
            await copied(sink)
            await sink.kill()
            shutil.rmtree(sink.spool)
            async with (
                Collector() as collector,
                Sink(tmp_path / "two", [hook(collector.url)], spool=spool(port)) as two,
            ):
                status = await two.delivered()
                await two.stop()
    assert status["backup"]["restored"]["problems"] == []
    assert collector.events == events
    rows(
        server=f"versitygw {VERSION} (S3)", thrown="the store away, then the volume deleted", into=len(events),
        out=len(set(collector.events)), repeated=len(collector.events) - len(set(collector.events)),
    )  # fmt: skip


@pytest.mark.quick
async def test_two_sinks_of_one_name_and_one_bucket(gateway: Path, tmp_path: Path, rows: Rows) -> None:
    async with store(gateway, tmp_path) as port, Sink(tmp_path / "one", [hook(NOBODY)], spool=spool(port)) as sink:
        await sink.apiserver([corpus.plain_body("a").data])
        await copied(sink)
        other = Sink(tmp_path / "two", [hook(NOBODY)], spool=spool(port))
        await other.launch()
        assert await other.ended() == 1
        assert any("is writing to" in str(line) for line in other.lines), other.lines
        assert (await sink.status())["backup"]["state"] == "copying"
    rows(server=f"versitygw {VERSION} (S3)", thrown="a second sink on the same copy", into=3, out=3, note="refused")


@pytest.mark.quick
async def test_a_store_without_conditional_writes_is_refused_and_intake_goes_on(tmp_path: Path, rows: Rows) -> None:
    program = gobuild.installed(PACKAGE, WITHOUT)
    body = corpus.plain_body("a")
    async with store(program, tmp_path) as port, Sink(tmp_path / "sink", [hook(NOBODY)], spool=spool(port)) as sink:
        await sink.apiserver([body.data])
        status = await sink.until(lambda now: now["backup"]["problem"] is not None)
        assert "does not keep to conditional writes" in status["backup"]["problem"]
        assert status["accepted_events"] == len(body.events)
        await sink.kill()
    assert list((tmp_path / "data" / BUCKET).rglob("data/*")) == []
    rows(server=f"versitygw {WITHOUT} (S3)", thrown="it ignores If-None-Match", into=3, out=0, note="refused as a copy")
