"""The volume is gone: a sink started elsewhere has what its copy has, delivers it, and says what is missing."""

import asyncio
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import corpus
import pytest
from click.testing import CliRunner
from running import PATIENCE, Sink, check_accounts, eventually

from auditsink.cli import commands
from auditsink.testing.collector import Collector

EVERY = "1s"


def recorded() -> list[corpus.Body]:
    """Batches of a real apiserver."""
    return list(corpus.bodies("batch50-request-h2tls"))


def local(place: Path, **more: Any) -> dict[str, Any]:
    return {"backup": {"type": "local", "path": str(place / "copy"), "every": EVERY, **more}}


def hook(url: str) -> dict[str, Any]:
    return {"name": "hook", "type": "http", "url": url, "backoff": {"initial": "50ms", "max": "200ms"}}


NOBODY = "http://127.0.0.1:9"
"""Where nobody listens: everything stays in the ring."""


def evidence(place: Path) -> dict[str, Any]:
    return {"path": str(place / "checkpoints.ndjson"), "every": "1s"}


async def copied(sink: Sink) -> dict[str, Any]:
    """The status once all that was accepted by now is in the copy."""
    began = time.monotonic()
    deadline = began + PATIENCE
    while True:
        asked = time.monotonic()
        status = await sink.status()
        age = status["backup"]["age_seconds"]
        if age is not None and age < asked - began and status["backup"]["state"] == "copying":
            return status
        assert asked < deadline, status["backup"]
        await asyncio.sleep(0.05)


def manifests(place: Path) -> list[int]:
    """The numbers of those that are there."""
    return [int(path.name) for path in (place / "copy").rglob("manifests/*") if path.name.isdigit()]


def command(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(commands, [str(word) for word in words])
    return result.exit_code, result.output


async def test_what_a_lost_volume_held_is_delivered_by_a_sink_elsewhere(tmp_path: Path) -> None:
    bodies = recorded()
    events = [event for body in bodies for event in body.events]
    sections: dict[str, Any] = {"spool": local(tmp_path), "evidence": evidence(tmp_path)}
    async with Sink(tmp_path / "one", [hook(NOBODY)], **sections) as sink:
        await sink.apiserver([body.data for body in bodies], at_once=1)
        await copied(sink)
        await sink.kill()
    shutil.rmtree(sink.spool)
    async with Collector() as collector:
        async with Sink(tmp_path / "two", [hook(collector.url)], **sections) as other:
            status = await other.delivered()
            assert status["backup"]["restored"]["gaps"] == []
            assert "was restored at" in status["verdict"]["text"]
            assert status["accepted_events"] == len(events)
            await other.stop()
        assert collector.events == events
    code, said = command("spool", "verify", "--path", other.spool)
    assert code == 0, said
    code, said = command("verify", "--spool", other.spool, "--checkpoints", tmp_path / "checkpoints.ndjson")
    assert code == 0, said


async def test_what_was_taken_after_the_copy_is_missing_and_verify_names_exactly_that(tmp_path: Path) -> None:
    bodies = recorded()
    copy, more = bodies[:5], bodies[5:9]
    kept = sum(len(body.events) for body in copy)
    lost = sum(len(body.events) for body in more)
    sections: dict[str, Any] = {"spool": local(tmp_path), "evidence": evidence(tmp_path)}
    async with Sink(tmp_path / "one", [hook(NOBODY)], **sections) as sink:
        await sink.apiserver([body.data for body in copy], at_once=1)
        await copied(sink)
        shutil.copytree(tmp_path / "copy", tmp_path / "then")
        await sink.apiserver([body.data for body in more], at_once=1)
        await sink.until(
            lambda now: all(one["pending"] == 0 for one in now["destinations"] if one["name"] == "checkpoints")
        )
        await sink.kill()
    shutil.rmtree(sink.spool)
    shutil.rmtree(tmp_path / "copy")
    shutil.move(tmp_path / "then", tmp_path / "copy")  # as if the store had been away since
    async with Collector() as collector:
        async with Sink(tmp_path / "two", [hook(collector.url)], **sections) as other:
            await other.apiserver([bodies[10].data], at_once=1)
            status = await other.delivered()
            await other.stop()
        assert collector.events == [event for body in [*copy, bodies[10]] for event in body.events]
    gap = {"cluster": "default", "first_sequence": kept, "last_sequence": kept + lost - 1}
    assert status["backup"]["restored"]["gaps"] == [gap]
    assert status["accepted_events"] == kept + lost + len(bodies[10].events)
    dropped = next(one["dropped"] for one in status["destinations"] if one["name"] == "hook")
    assert dropped == lost
    code, said = command("spool", "verify", "--path", other.spool)
    assert code == 0, said
    assert f"events {kept} to {kept + lost - 1} are missing: the copy that was restored did not have them" in said
    code, said = command("verify", "--spool", other.spool, "--checkpoints", tmp_path / "checkpoints.ndjson")
    assert code == 1
    assert f"missing: events {kept} to {kept + lost - 1}" in said, said


async def test_a_spool_that_is_there_is_never_restored_into_and_goes_on(tmp_path: Path) -> None:
    bodies = recorded()[:6]
    async with Sink(tmp_path / "one", [hook(NOBODY)], spool=local(tmp_path)) as sink:
        await sink.apiserver([body.data for body in bodies[:3]], at_once=1)
        await copied(sink)
        await sink.kill()
        await sink.start()
        assert (await sink.status())["backup"]["restored"] is None
        await sink.apiserver([body.data for body in bodies[3:]], at_once=1)
        status = await copied(sink)
        assert status["backup"]["left"] == []
        check_accounts(status)
        await sink.stop()
    shutil.rmtree(sink.spool)
    async with Sink(tmp_path / "two", [hook(NOBODY)], spool=local(tmp_path)) as other:
        assert (await other.status())["accepted_events"] == sum(len(body.events) for body in bodies)
    released = [line for line in other.lines if "restored" in line["message"]]
    assert released, other.lines


async def test_two_sinks_of_one_name_never_share_a_copy(tmp_path: Path) -> None:
    body = recorded()[0]
    async with Sink(tmp_path / "one", [hook(NOBODY)], spool=local(tmp_path)) as sink:
        await sink.apiserver([body.data])
        await copied(sink)
        other = Sink(tmp_path / "two", [hook(NOBODY)], spool=local(tmp_path))
        await other.launch()
        assert await other.ended() == 1
        assert any("is writing to" in str(line) and "spool.backup.name" in str(line) for line in other.lines), (
            other.lines
        )
        assert (await sink.status())["backup"]["state"] == "copying"


async def test_a_sink_that_was_overtaken_stops_copying_and_says_so(tmp_path: Path) -> None:
    body = recorded()[0]
    async with Sink(tmp_path / "one", [hook(NOBODY)], spool=local(tmp_path)) as sink:
        await sink.apiserver([body.data])
        await copied(sink)
        sink.signal(signal.SIGSTOP)
        last = max(manifests(tmp_path))
        async with Sink(tmp_path / "two", [hook(NOBODY)], spool=local(tmp_path)) as other:
            # For so long that the number after its last one is free again: the follower has deleted that manifest.
            await eventually(lambda: min(manifests(tmp_path)) > last + 1)
            sink.signal(signal.SIGCONT)
            status = await sink.until(lambda now: now["backup"]["state"] == "lost")
            assert "has become the writer" in status["verdict"]["text"]
            assert status["verdict"]["level"] == "bad"
            await copied(other)
            data = {path.name for path in (tmp_path / "copy").rglob("data/*")}
            await sink.apiserver([recorded()[1].data])  # taken all the same
            await copied(other)
            assert {path.name for path in (tmp_path / "copy").rglob("data/*")} == data


async def test_a_store_that_is_away_is_told_and_caught_up(tmp_path: Path) -> None:
    bodies = recorded()[:6]
    copy = tmp_path / "copy"
    async with Sink(tmp_path / "one", [hook(NOBODY)], spool=local(tmp_path)) as sink:
        await sink.apiserver([body.data for body in bodies[:3]], at_once=1)
        await copied(sink)
        shutil.move(copy, tmp_path / "away")
        copy.write_text("no directory")
        await sink.apiserver([body.data for body in bodies[3:]], at_once=1)
        status = await sink.until(lambda now: now["backup"]["problem"] is not None)
        assert status["backup"]["state"] == "failing"
        assert status["verdict"]["level"] == "look"
        copy.unlink()
        shutil.move(tmp_path / "away", copy)
        await sink.until(lambda now: now["backup"]["state"] == "copying")
        await copied(sink)
        await sink.kill()
    shutil.rmtree(sink.spool)
    async with Sink(tmp_path / "two", [hook(NOBODY)], spool=local(tmp_path)) as other:
        assert (await other.status())["accepted_events"] == sum(len(body.events) for body in bodies)


@pytest.mark.parametrize("at_start", ["refuse", "start_empty"])
async def test_an_empty_directory_and_a_store_that_is_away(tmp_path: Path, at_start: str) -> None:
    (tmp_path / "copy").write_text("no directory")
    sink = Sink(tmp_path / "one", [hook(NOBODY)], spool=local(tmp_path, at_start=at_start, timeout="1s"))
    await sink.launch()
    try:
        if at_start == "refuse":
            assert await sink.ended() == 1
            assert any("start_empty" in str(line) for line in sink.lines), sink.lines
        else:
            await eventually(lambda: sink.admin)
            assert (await sink.status())["backup"]["state"] == "starting"
    finally:
        if sink.running:
            await sink.kill()
