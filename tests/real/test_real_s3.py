"""Objects in the bucket of a real S3 gateway (versitygw); it and the sink are killed again and again."""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import corpus
import gobuild
import pytest
from ground import free_port, listens, running
from rows import Rows
from running import Sink
from s3server import BUCKET, unpacked

VERSION = "1.0.14"


@pytest.fixture(scope="module")
def gateway() -> Path:
    """The program."""
    return gobuild.installed("github.com/versity/versitygw/cmd/versitygw", VERSION)


def served(gateway: Path, place: Path, port: int) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    command: list[str | Path] = [
        gateway,
        "--access",
        "key",
        "--secret",
        "secret",
        "--port",
        f"127.0.0.1:{port}",
        "posix",
        place / "data",
    ]
    return running(command, place / "gateway.log", lambda: listens(port))


def lake(port: int, **more: Any) -> dict[str, Any]:
    return {
        "name": "lake", "type": "s3", "bucket": BUCKET, "endpoint": f"http://127.0.0.1:{port}", "region": "us-east-1",
        "access_key_id": "key", "secret_access_key": "secret", "timeout": "2s",
        "batch": {"max_events": 500, "max_wait": "300ms"}, "backoff": {"initial": "100ms", "max": "500ms"}, **more,
    }  # fmt: skip


def lines(place: Path) -> list[bytes]:
    """What the bucket's objects hold, in the order of their keys."""
    files = sorted((place / "data" / BUCKET).rglob("*.ndjson.*"))
    return [line for file in files for line in unpacked(file.name, file.read_bytes()).splitlines()]


@pytest.mark.quick
async def test_both_are_killed_and_every_event_is_there_once(gateway: Path, tmp_path: Path, rows: Rows) -> None:
    bodies = [*corpus.bodies("batch50-request-h2tls", "batch100-metadata-mtls-h2", "batch-default-mixed-http")]
    events = [event for body in bodies for event in body.events]
    (tmp_path / "data" / BUCKET).mkdir(parents=True)
    port = free_port()
    async with Sink(tmp_path / "sink", [lake(port)]) as sink:
        for start in range(0, len(bodies), 20):
            async with served(gateway, tmp_path, port):
                await sink.apiserver([body.data for body in bodies[start : start + 10]], at_once=1)
            await sink.apiserver([body.data for body in bodies[start + 10 : start + 20]], at_once=1)
            await sink.kill()
            await sink.start()
        async with served(gateway, tmp_path, port):
            await sink.delivered()
            await sink.stop()
    found = lines(tmp_path)
    assert list(dict.fromkeys(found)) == events
    rows(
        server=f"versitygw {VERSION} (S3)",
        thrown="the gateway and the sink killed again and again",
        into=len(events),
        out=len(set(found)),
        repeated=len(found) - len(set(found)),
    )


@pytest.mark.quick
@pytest.mark.parametrize("wrong", [{"bucket": "nobody"}, {"secret_access_key": "wrong"}, {"access_key_id": "nobody"}])
async def test_wrong_settings_pause_the_destination(
    gateway: Path, tmp_path: Path, rows: Rows, wrong: dict[str, str]
) -> None:
    body = corpus.plain_body("a")
    (tmp_path / "data" / BUCKET).mkdir(parents=True)
    port = free_port()
    async with served(gateway, tmp_path, port), Sink(tmp_path / "sink", [lake(port, **wrong)]) as sink:
        await sink.apiserver([body.data])
        status = await sink.until(lambda status: status["destinations"][0]["state"] == "misconfigured")
    assert status["destinations"][0]["pending"] == len(body.events)
    rows(
        server=f"versitygw {VERSION} (S3)",
        thrown=f"wrong {', '.join(wrong)}: paused",
        into=len(body.events),
        out=0,
        note=f"{len(body.events)} pending",
    )
