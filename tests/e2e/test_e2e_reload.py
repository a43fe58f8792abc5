"""A changed configuration is taken up while batches are posted: no post fails, no event is lost or doubled."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from running import Sink, eventually

from auditsink.audit.eventlist import joined, split
from auditsink.testing.collector import Collector

TOKEN = "sword-of-the-fish-42"
RELOADS = 100


def numbered(number: int) -> bytes:
    return joined(b'{"auditID":"%d-%d"}' % (number, at) for at in range(5))


def said(sink: Sink, text: str) -> int:
    """How many lines of the log say that."""
    return sum(text in line["message"] for line in sink.lines)


def change(sink: Sink, **sections: Any) -> None:
    """Another file in the place of the sink's."""
    config = yaml.safe_load(sink.config.read_text()) | sections
    fresh = sink.config.with_suffix(".new")
    fresh.write_text(yaml.safe_dump(config))
    fresh.rename(sink.config)


async def asked(sink: Sink, path: str) -> tuple[int, dict[str, Any]]:
    """A change through the admin port."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession() as session, session.post(sink.admin + path, headers=headers, json={}) as answer:
        return answer.status, await answer.json()


@pytest.fixture
def token(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return str(file)


async def test_a_hundred_reloads_under_load_cost_no_post_and_no_event(tmp_path: Path, token: str) -> None:
    async with Collector() as collector:
        hook = {"name": "hook", "type": "http", "url": collector.url, "batch": {"max_wait": "20ms"}}
        disk = {"name": "disk", "type": "file", "path": str(tmp_path / "audit.ndjson"), "batch": {"max_wait": "20ms"}}
        async with Sink(tmp_path / "sink", [hook, disk], admin={"token_file": token}) as sink:
            posted: list[bytes] = []
            ended = asyncio.Event()

            async def load() -> None:
                async with aiohttp.ClientSession() as session:
                    while not ended.is_set():
                        body = numbered(len(posted))
                        async with session.post(sink.receive, data=body) as answer:
                            assert answer.status == 200
                        posted.append(body)

            posting = asyncio.create_task(load())
            for number in range(RELOADS):
                change(sink, destinations=[{**hook, "timeout": f"{20 + number % 2}s"}, disk])
                assert (await asked(sink, "/reload"))[1]["said"] == ["destination hook is changed"]
            ended.set()
            await posting
            status = await sink.delivered()
            assert f'auditsink_reloads_total{{result="applied"}} {RELOADS}' in await sink.get("/metrics")
            descriptors = len(os.listdir(f"/proc/{sink.pid}/fd"))  # noqa: PTH208 - numbers are wanted
            await sink.stop()
        wanted = [event for body in posted for event in split(body).events]
        lines = (tmp_path / "audit.ndjson").read_bytes().splitlines()
        assert lines == wanted, "what was not changed is not even touched"
        assert list(dict.fromkeys(collector.events)) == wanted
        assert max(Counter(collector.events).values()) == 1, "a batch under way is waited for"
        assert [one["accepted"] for one in status["destinations"]] == [len(wanted)] * 2
        assert descriptors < 64


async def test_destinations_come_and_go_and_a_backlog_is_not_lost_by_mistake(tmp_path: Path, token: str) -> None:
    out = {"name": "out", "type": "file", "path": str(tmp_path / "a"), "batch": {"max_wait": "20ms"}}
    dead = {"name": "dead", "type": "http", "url": "http://127.0.0.1:1"}
    async with Sink(tmp_path / "sink", [out], admin={"token_file": token}) as sink:
        assert (await sink.post(numbered(0)))[0] == 200
        change(sink, destinations=[out, dead])
        assert await asked(sink, "/reload") == (200, {"said": ["destination dead is added"], "restart": []})
        assert (await sink.post(numbered(1)))[0] == 200
        await sink.until(lambda status: {one["name"]: one["pending"] for one in status["destinations"]}["dead"] > 0)
        change(sink, destinations=[out])
        code, answer = await asked(sink, "/reload")
        assert code == 409
        assert "destination dead has not got" in answer["refused"][0]
        assert len((await sink.status())["destinations"]) == 2
        assert (await asked(sink, "/reload?force=1"))[0] == 200
        assert [one["name"] for one in (await sink.status())["destinations"]] == ["out"]
        assert (await asked(sink, "/reload")) == (200, {"said": [], "restart": []})
        await sink.delivered()


async def test_a_broken_file_is_refused_and_the_one_before_goes_on(tmp_path: Path, token: str) -> None:
    out = {"name": "out", "type": "file", "path": str(tmp_path / "a"), "batch": {"max_wait": "20ms"}}
    async with Sink(tmp_path / "sink", [out], admin={"token_file": token}) as sink:
        change(sink, destinations=[{**out, "rotate": 3}])
        sink.signal(signal.SIGHUP)
        await eventually(lambda: said(sink, "the changed configuration is refused"))
        code, answer = await asked(sink, "/reload")
        assert code == 409
        assert "destinations[0].rotate: unknown key" in answer["refused"][0]
        verdict = (await sink.status())["verdict"]
        assert verdict["level"] == "look"
        assert "destinations[0].rotate: unknown key" in verdict["text"]
        assert "auditsink check -c FILE" in verdict["commands"]
        change(sink, destinations=[{**out, "path": "/proc/none/such"}, {**out, "name": "b"}])
        assert (await asked(sink, "/reload"))[0] in (200, 409)
        change(sink, destinations=[out], spool={"path": "/elsewhere"})
        assert (await asked(sink, "/reload"))[1]["restart"] == ["spool.path", "spool.max_bytes"]
        assert (await sink.post(numbered(0)))[0] == 200
        await sink.delivered()
        assert 'auditsink_reloads_total{result="refused"} 2' in await sink.get("/metrics")
        assert (await sink.status())["verdict"]["level"] == "good"


async def test_limits_and_clusters_change_at_once_and_the_file_is_watched(tmp_path: Path) -> None:
    out = {"name": "out", "type": "file", "path": str(tmp_path / "a"), "batch": {"max_wait": "20ms"}}
    member = {"name": "a", "anonymous": True}
    async with Sink(tmp_path / "sink", [out], watch=True, clusters=[member]) as sink:
        assert (await sink.post(numbered(0), "/b"))[0] == 401
        both = [member, {"name": "b", "anonymous": True}]
        change(sink, clusters=both, receive={"listen": "127.0.0.1:0", "max_body": "1KiB"})
        await eventually(lambda: said(sink, "clusters are changed"))
        assert (await sink.post(numbered(0), "/b"))[0] == 200
        assert (await sink.post(joined([b'"%b"' % (b"x" * 2000)]), "/b"))[0] == 413
