"""Calls that never return: each destination's own trouble, told in words, and over when they do return."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import corpus
import pytest
from running import STOP_PATIENCE, Sink, eventually

from auditsink.testing.collector import Collector

SCRIPT = Path(__file__).with_name("hanging_sink.py")
QUICK = {
    "timeout": "300ms",
    "backoff": {"initial": "50ms", "max": "100ms"},
    "batch": {"max_wait": "50ms"},
}
ATTEMPTS = 40
"""More than a hang may take threads from all."""


class Place:
    """A sink's directory, what hangs beside it, and who delivers where."""

    def __init__(self, root: Path) -> None:
        self.control = root / "control"
        self.nfs = root / "nfs"
        self.nfs.mkdir()
        (self.nfs / "token").write_text("first")
        self.command = (sys.executable, str(SCRIPT), str(self.control))

    def hang(self, *words: object) -> None:
        self.control.write_text(" ".join(map(str, words)))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def body(number: int) -> corpus.Body:
    event = corpus.event(f"e-{number}", b"{}")
    return corpus.Body(str(number), corpus.event_list([event]), [event])


def by_name(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in status["destinations"]}


async def test_names_and_disks_that_hang_are_the_trouble_of_their_destinations_alone(
    place: Place, tmp_path: Path
) -> None:
    async with Collector(authorization="Bearer first") as collector:
        url = "http://hang-hook.test:9/"
        keys = {"region": "r", "access_key_id": "k", "secret_access_key": "a-secret-for-nobody"}
        troubled: list[dict[str, Any]] = [
            {"name": "nfs", "type": "file", "path": f"{place.nfs}/audit.ndjson"},
            {"name": "dir", "type": "local", "path": f"{place.nfs}/objects"},
            {"name": "hook", "type": "http", "url": url},
            {"name": "kafka", "type": "kafka", "bootstrap_servers": ["hang-kafka.test:9092"]},
            {"name": "lake", "type": "s3", "bucket": "trail", "endpoint": "http://hang-lake.test:9", **keys},
        ]
        well: list[dict[str, Any]] = [
            {"name": "token", "type": "http", "url": collector.url, "auth": {"bearer_file": f"{place.nfs}/token"}},
            {"name": "disk", "type": "file", "path": str(tmp_path / "audit.ndjson")},
        ]
        names = [one["name"] for one in troubled]
        place.hang("hang-hook.test", "hang-kafka.test", "hang-lake.test")
        destinations = [QUICK | one for one in (*troubled, *well)]
        async with Sink(tmp_path / "sink", destinations, command=place.command) as sink:
            assert (await sink.post(body(0).data))[0] == 200
            await sink.until(lambda status: all(by_name(status)[name]["delivered"] for name in ("nfs", "dir", "disk")))
            place.hang("hang-hook.test", "hang-kafka.test", "hang-lake.test", place.nfs)
            for number in range(1, ATTEMPTS):
                assert (await sink.post(body(number).data))[0] == 200
                await asyncio.sleep(0.2)
            await sink.until(lambda status: all(by_name(status)[one["name"]]["pending"] == 0 for one in well))
            await sink.until(lambda status: {by_name(status)[name]["state"] for name in names} == {"retrying"})
            await sink.until(
                lambda status: "its disk has not answered for 0.3 s" in str(by_name(status)["nfs"]["last_error"])
            )
            assert len(os.listdir(f"/proc/{sink.pid}/task")) < 40  # noqa: PTH208 - the kernel's own list
            assert await sink.get("/livez") == "alive\n"

            (place.nfs / "token").write_text("second")
            collector.authorization = "Bearer second"
            place.hang()
            await sink.until(lambda status: by_name(status)["nfs"]["pending"] == by_name(status)["dir"]["pending"] == 0)
            assert (await sink.post(body(ATTEMPTS).data))[0] == 200
            await sink.until(lambda status: by_name(status)["token"]["delivered"] == ATTEMPTS + 1)

            place.hang("hang-hook.test", "hang-kafka.test", "hang-lake.test", place.nfs)
            assert (await sink.post(body(ATTEMPTS + 1).data))[0] == 200
            code, seconds = await sink.stop()
            assert (code, seconds < STOP_PATIENCE) == (0, True)
        written = (place.nfs / "audit.ndjson").read_bytes().splitlines()
        assert set(written) >= {event for number in range(ATTEMPTS + 1) for event in body(number).events}


async def test_a_disk_that_hangs_at_the_start_keeps_nobody_from_starting(place: Place, tmp_path: Path) -> None:
    nfs = QUICK | {"name": "nfs", "type": "file", "path": f"{place.nfs}/audit.ndjson"}
    disk = QUICK | {"name": "disk", "type": "file", "path": str(tmp_path / "audit.ndjson")}
    place.hang(place.nfs)
    async with Sink(tmp_path / "sink", [nfs, disk], command=place.command) as sink:
        assert (await sink.post(body(0).data))[0] == 200
        status = await sink.until(lambda status: by_name(status)["nfs"]["state"] == "retrying")
        assert "does not return; check the disk" in by_name(status)["nfs"]["last_error"]
        await sink.until(lambda status: by_name(status)["disk"]["delivered"] == 1)
        assert by_name(status)["nfs"]["pending"] == 1
        place.hang()
        await eventually((place.nfs / "audit.ndjson").exists)
        await sink.delivered()
