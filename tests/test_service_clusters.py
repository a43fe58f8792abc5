"""Clusters that come and go under a running sink, and what they mean for its parts together."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import corpus
import pytest

from auditsink import load
from auditsink.config import Config
from auditsink.receive import server
from auditsink.service import Sink, StartError

CONFIG = """
receive: {{listen: "127.0.0.1:0"}}
admin: {{listen: "127.0.0.1:0"}}
spool: {{path: {place}/spool, max_bytes: 64MiB, segment_bytes: 4MiB}}
clusters: {{directory: {place}/clusters.d}}
destinations:
  - {{name: one, type: {one}, batch: {{max_wait: 10ms}}}}
  - {{name: two, type: file, path: {place}/two.ndjson, batch: {{max_wait: 10ms}}}}
"""


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(server, "POLL_SECONDS", 0)
    (tmp_path / "clusters.d").mkdir()


def drop(place: Path, name: str, text: str) -> Path:
    target = place / "clusters.d" / f"{name}.yaml"
    (place / "draft").write_text(text)
    (place / "draft").rename(target)
    return target


def configured(place: Path, one: str = "") -> Config:
    """`one`: what the first destination is; a file if nothing is said."""
    text = CONFIG.format(place=place, one=one or f"file, path: {place}/one.ndjson")
    return load.parse(text.encode(), "f", {})


@asynccontextmanager
async def running(place: Path, one: str = "") -> AsyncIterator[Sink]:
    sink = Sink(configured(place, one))
    await sink.start()
    try:
        yield sink
    finally:
        await sink.stop(2.0)


async def post(sink: Sink, cluster: str, text: str, token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{sink.addresses()['receive']}/{cluster}"
    body = corpus.event_list([corpus.event(text)])
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        return answer.status


async def admin(sink: Sink, path: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(sink.addresses()["admin"] + path) as answer:
        return await answer.text()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in threads
            await asyncio.sleep(0.01)


def lines(path: Path) -> int:
    return len(path.read_bytes().splitlines()) if path.exists() else 0


async def test_a_cluster_comes_and_goes_with_its_file(tmp_path: Path) -> None:
    async with running(tmp_path) as sink:
        assert await post(sink, "a", "early", "t") == 401
        path = drop(tmp_path, "a", "{name: a, tokens: [t], destinations: [one], reservation: 8MiB}")
        await until(lambda: "a" in sink._registry.cluster_set.clusters)
        assert await post(sink, "a", "first", "t") == 200
        assert await post(sink, "b", "first", "t") == 403
        assert json.loads(await admin(sink, "/reservations"))["reserved_bytes"] == 8 * 2**20
        await until(lambda: lines(tmp_path / "one.ndjson") == 1)
        path.unlink()
        await until(lambda: "a" not in sink._registry.cluster_set.clusters)
        assert await post(sink, "a", "late", "t") == 401
        (one,) = json.loads(await admin(sink, "/reservations"))["clusters"]
        assert (one["state"], one["reserved_bytes"]) == ("removed", 0)
    assert lines(tmp_path / "two.ndjson") == 0


async def test_what_a_removed_cluster_left_goes_where_it_was_to_go_after_a_restart(tmp_path: Path) -> None:
    path = drop(tmp_path, "a", "{name: a, anonymous: true, destinations: [one]}")
    async with running(
        tmp_path, one="http, url: 'http://127.0.0.1:1/'"
    ) as sink:  # nobody is there: it stays in the ring
        assert await post(sink, "a", "first") == 200
    path.unlink()
    async with running(tmp_path) as sink:
        await until(lambda: lines(tmp_path / "one.ndjson") == 1)
        accounts = {one.name: one.accounts["a"] for one in sink.snapshot().destinations}
        await until(lambda: sink.snapshot().destinations[1].accounts["a"].filtered == 1)
    assert accounts["two"].delivered == 0
    assert lines(tmp_path / "two.ndjson") == 0


async def test_labels_go_into_events_where_a_destination_wants_them_and_change_with_the_file(tmp_path: Path) -> None:
    one, two = tmp_path / "one.ndjson", tmp_path / "two.ndjson"
    drop(tmp_path, "a", "{name: a, tokens: [t], labels: {team: x}}")
    async with running(tmp_path, f"file, path: {one}, labels_as: annotations") as sink:
        assert await post(sink, "a", "first", "t") == 200
        await until(lambda: lines(two) == lines(one) == 1)
        drop(tmp_path, "a", "{name: a, tokens: [t], labels: {team: y}}")
        while b'"team":"y"' not in one.read_bytes():
            await post(sink, "a", f"more-{lines(one)}", "t")
            await asyncio.sleep(0.02)
        await until(lambda: lines(two) == lines(one))
    plain, labelled = two.read_bytes().splitlines(), one.read_bytes().splitlines()
    assert plain[0] == corpus.event("first")
    teams = [json.loads(line)["annotations"]["team"] for line in labelled]
    assert (teams[0], teams[-1]) == ("x", "y")
    bare = [json.loads(line) for line in plain]
    assert [{**event, "annotations": {"team": team}} for event, team in zip(bare, teams, strict=True)] == [
        json.loads(line) for line in labelled
    ]


async def test_a_file_that_would_overbook_is_refused_in_words_and_harms_nobody(tmp_path: Path) -> None:
    drop(tmp_path, "a", "{name: a, anonymous: true, reservation: 40MiB}")
    async with running(tmp_path) as sink:
        path = drop(tmp_path, "b", "{name: b, anonymous: true, reservation: 21MiB}")
        await until(lambda: sink.snapshot().receive.problems)
        told = await admin(sink, "/readyz")
        assert f"{path}: reservation: 63,963,136 bytes would be reserved, of 62,914,560 that can be" in told
        assert told.startswith("ready\n")
        assert await post(sink, "b", "first") == 401
        assert await post(sink, "a", "first") == 200
        drop(tmp_path, "a", "{name: a, anonymous: true, reservation: 30MiB}")
        await until(lambda: not sink.snapshot().receive.problems)
        assert await post(sink, "b", "first") == 200


async def test_a_sink_starts_beside_a_bad_file_and_not_without_its_directory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drop(tmp_path, "a", "{name: a, anonymous: true}")
    bad = drop(tmp_path, "b", "{name: ../../etc, anonymous: true}")
    async with running(tmp_path) as sink:
        assert str(bad) in await admin(sink, "/readyz")
        assert str(bad) in caplog.text
        assert await post(sink, "a", "first") == 200
    for path in (tmp_path / "clusters.d").iterdir():
        path.unlink()
    (tmp_path / "clusters.d").rmdir()
    with pytest.raises(StartError, match=r"clusters.directory .*clusters.d: is no directory"):
        await Sink(configured(tmp_path)).start()
