"""A real fluent-bit with what today's Gardener extension renders, and the sink in its place: there and back."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import corpus
import pytest
from fluentbitkit import Rendered
from ground import free_port, listens, running
from rows import Rows
from running import COMMAND, LIVE, Sink, eventually

from auditsink.testing.hec import HecServer

TOKEN = "11111111-2222-3333-4444-555555555555"
ENVIRONMENT = {"SPLUNK_HEC_TOKEN": TOKEN}


def program() -> str:
    """The program; skips the test where there is none, or one that cannot do what the extension renders."""
    named = os.environ.get("AUDITSINK_FLUENT_BIT", "")
    if not named:
        pytest.skip(
            "set AUDITSINK_FLUENT_BIT to a fluent-bit with http, splunk, modify and stdout: no registry has one"
        )
    helped = subprocess.run([named, "--help"], capture_output=True, text=True, check=False).stdout
    if missing := [
        one
        for one in ("http", "splunk", "modify", "stdout", "null")
        if not re.search(rf"^\s+{one} ", helped, re.MULTILINE)
    ]:
        pytest.skip(f"{named} was built without {', '.join(missing)}")
    return named


@pytest.fixture
def volume() -> Iterator[Path]:
    """A directory that everybody may walk to, as a volume in a container is."""
    place = Path(tempfile.mkdtemp(prefix="auditsink-volume-"))
    place.chmod(0o755)
    (place / "data").mkdir()
    yield place
    shutil.rmtree(place)


class Container:
    """The pod's container, with one image or the other, on one volume."""

    def __init__(self, volume: Path, hec_port: int, **data: str) -> None:
        self.volume = volume
        self.port, self.api = free_port(), free_port()
        rendered = Rendered(data=data)
        rendered.service |= {"http_listen": "127.0.0.1", "http_port": str(self.api), "storage.path": f"{volume}/data/"}
        rendered.input |= {"listen": "127.0.0.1", "port": str(self.port)}
        splunk = rendered.backends["splunk"]
        for key in [key for key in splunk if key.startswith("tls")]:
            del splunk[key]
        splunk |= {"host": "127.0.0.1", "port": str(hec_port)}
        rendered.backends = {name: rendered.backends[name] for name in ("log", "null", "splunk")}
        self.arguments = [f"--storage_path={volume}/data", f"--config={rendered.write(volume / 'config')}"]

    @asynccontextmanager
    async def fluent_bit(self) -> AsyncIterator[None]:
        """Until it is killed with SIGKILL."""
        log = self.volume / "fluent-bit.log"
        async with running([program(), *self.arguments], log, lambda: listens(self.port), ENVIRONMENT):
            yield

    @asynccontextmanager
    async def sink(self) -> AsyncIterator[Sink]:
        """Until it is stopped."""
        place = _InPlace(self)
        async with place:
            yield place
            await place.stop()

    async def post(self, body: bytes) -> int:
        """To the receive port of whoever is there."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"http://127.0.0.1:{self.port}/audit", data=body, headers={"Content-Type": "application/json"}
            ) as answer,
        ):
            return answer.status


class _InPlace(Sink):
    def __init__(self, container: Container) -> None:
        super().__init__(container.volume / "work", [])
        self._container = container

    async def launch(self) -> None:
        self._ready.clear()
        self._process = await asyncio.create_subprocess_exec(
            *COMMAND, *self._container.arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            limit=2**24, env=os.environ | ENVIRONMENT,
        )  # fmt: skip
        LIVE.add(self._process.pid)
        self._listener = asyncio.create_task(self._listen())


def records(hec: HecServer) -> list[dict[str, Any]]:
    return [json.loads(bytes(one.event)) for one in hec.events]


def files(volume: Path) -> dict[str, int]:
    return {str(one.relative_to(volume)): one.stat().st_size for one in (volume / "data").rglob("*") if one.is_file()}


async def test_what_fluent_bit_could_not_deliver_is_delivered_once_and_the_way_back_doubles_nothing(
    volume: Path, rows: Rows
) -> None:
    bodies = [*corpus.bodies("batch100-metadata-mtls-h2")][:12]
    before, after, back = bodies[:6], bodies[6:9], bodies[9:]
    hec = HecServer(token=TOKEN)
    async with hec:
        port = hec.port
    container = Container(volume, port, region="eu-1", stage="prod")
    async with container.fluent_bit():  # Splunk is away
        for body in before:
            assert await container.post(body.data) == 201
        await eventually(lambda: any(name.endswith(".flb") for name in files(volume)))
    left = {name: size for name, size in files(volume).items() if name.endswith(".flb")}
    assert left

    await hec.start(port)
    try:
        async with container.sink() as sink:
            await sink.apiserver([body.data for body in after], at_once=1)
            await eventually(lambda: len(hec.events) >= sum(len(body.events) for body in [*before, *after]))
            await sink.delivered()
        taken = records(hec)
        hec.events.clear()
        async with container.fluent_bit():
            for body in back:
                assert await container.post(body.data) == 201
            await eventually(lambda: sum(len(one["items"]) for one in records(hec)) >= sum(len(b.events) for b in back))
        returned = records(hec)
    finally:
        await hec.stop()

    expected = [event for body in [*before, *after] for event in body.events]
    ids = sorted((event["auditID"], event["stage"]) for event in taken)
    assert ids == sorted((one["auditID"], one["stage"]) for one in map(json.loads, expected))
    assert {event["region"] for event in taken} == {"eu-1"}
    assert [item["auditID"] for one in returned for item in one["items"]] == [
        json.loads(event)["auditID"] for body in back for event in body.events
    ]
    rows(
        server=container_version(),
        thrown="its chunks, and the way back",
        into=len(expected) + sum(len(body.events) for body in back),
        out=len(taken) + sum(len(one["items"]) for one in returned),
        note=f"{len(left)} chunks of {sum(left.values()):,} bytes",
    )


def container_version() -> str:
    """As fluent-bit says itself."""
    said = subprocess.run([program(), "--version"], capture_output=True, text=True, check=True).stdout
    return f"fluent-bit {said.split()[2].removeprefix('v')}"


async def test_a_list_has_the_shape_that_saved_searches_know(volume: Path) -> None:
    body = next(iter(corpus.bodies("batch100-metadata-mtls-h2")))
    shapes: dict[str, list[dict[str, Any]]] = {}
    async with HecServer(token=TOKEN) as hec:
        container = Container(volume, hec.port, region="eu-1")
        async with container.fluent_bit():
            assert await container.post(body.data) == 201
            await eventually(lambda: hec.events)
        shapes["fluent-bit"] = records(hec)
        envelope = hec.events[0]
        hec.events.clear()
        shutil.rmtree(volume / "data")
        (volume / "data").mkdir()
        container = Container(volume, hec.port, region="eu-1", **{"auditsink.record": "batch"})
        async with container.sink() as sink:
            await sink.apiserver([body.data], at_once=1)
            await sink.delivered()
        shapes["auditsink"] = records(hec)

    (theirs,), (ours,) = shapes["fluent-bit"], shapes["auditsink"]
    assert ours == theirs
    assert (envelope.host, envelope.index, envelope.sourcetype) == (
        hec.events[0].host,
        hec.events[0].index,
        hec.events[0].sourcetype,
    )


async def test_the_api_answers_what_fluent_bits_answers(volume: Path) -> None:
    answers: dict[str, dict[str, Any]] = {}
    async with HecServer(token=TOKEN) as hec:
        container = Container(volume, hec.port)
        async with container.fluent_bit():
            answers["fluent-bit"] = await asked(container.api)
        async with container.sink():
            answers["auditsink"] = await asked(container.api)

    theirs, ours = answers["fluent-bit"], answers["auditsink"]
    assert ours["/api/v1/health"] == theirs["/api/v1/health"]
    assert list(ours["/api/v1/metrics"]["output"]) == list(theirs["/api/v1/metrics"]["output"])
    for name, one in ours["/api/v1/metrics"]["output"].items():
        assert one.keys() == theirs["/api/v1/metrics"]["output"][name].keys()
    assert ours["/api/v1/metrics"]["filter"].keys() == theirs["/api/v1/metrics"]["filter"].keys()
    assert ours["/api/v1/uptime"].keys() == theirs["/api/v1/uptime"].keys()
    assert ours["/api/v1/storage"].keys() == theirs["/api/v1/storage"].keys()
    missing = names(theirs["/api/v1/metrics/prometheus"]) - names(ours["/api/v1/metrics/prometheus"])
    assert missing == set()
    assert names(theirs["/api/v2/metrics/prometheus"]) - names(ours["/api/v2/metrics/prometheus"]) == NOT_OURS


NOT_OURS = {
    "fluentbit_logger_logs_total", "fluentbit_hot_reloaded_times", "fluentbit_output_upstream_total_connections",
    "fluentbit_input_storage_chunks_busy",
}  # fmt: skip
"""What the sink has no counterpart of."""


def names(text: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


async def asked(port: int) -> dict[str, Any]:
    """Every path's answer. fluent-bit gives none before its first second is over."""
    async with asyncio.timeout(60):
        while not all((found := await _asked(port)).values()):  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.2)
    return found


async def _asked(port: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with aiohttp.ClientSession() as session:
        for path in ("/api/v1/health", "/api/v1/metrics", "/api/v1/uptime", "/api/v1/storage",
                     "/api/v1/metrics/prometheus", "/api/v2/metrics/prometheus"):  # fmt: skip
            async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                text = await answer.text()
                found[path] = json.loads(text) if text.startswith("{") else text
    return found
