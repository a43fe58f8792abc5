"""Destinations that are down, a process that is killed, a stop that must not wait, batches that come twice."""

import asyncio
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import corpus
import pytest
from running import Sink, eventually

from auditsink.apiserver.retry_schedule import PostResult
from auditsink.apiserver.webhook import Webhook
from auditsink.testing.apiserver import Apiserver
from auditsink.testing.collector import Collector
from auditsink.testing.scripted import Reply

SMALL = {"max_bytes": "4MiB", "segment_bytes": "1MiB"}


def noise(number: int, size: int = 100_000) -> corpus.Body:
    """A body of three events that zstd cannot make much smaller."""
    padding = random.Random(number).randbytes(size // 6).hex().encode()
    events = [corpus.event(f"noise-{number}-{part}", b'"' + padding + b'"') for part in range(3)]
    return corpus.Body(f"noise-{number}", corpus.event_list(events), events)


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1]


async def test_a_full_sink_says_come_again_and_loses_nothing_when_the_destination_returns(
    tmp_path: Path, keep_port: Callable[[int], None]
) -> None:
    """200 until the ring is full, then 503 with Retry-After, memory flat; later all that was accepted, in order."""
    collector = Collector()
    await collector.start()
    await collector.stop()
    keep_port(collector.port)
    destination = {
        "name": "hook",
        "type": "http",
        "url": collector.url,
        "backoff": {"initial": "100ms", "max": "200ms"},
    }
    receive = {"max_body": "1MiB", "max_in_flight": "2MiB", "retry_after": "7s"}
    async with Sink(tmp_path, [destination], spool=SMALL, receive=receive) as sink:
        accepted: list[bytes] = []
        memory = 0
        for number in range(1000):
            body = noise(number)
            code, headers = await sink.post(body.data)
            if code != 200:
                break
            accepted += body.events
            memory = memory or sink.resident
        assert (code, headers["retry-after"]) == (503, "7")
        assert len(accepted) > 60
        assert sink.resident - memory < 32 * 2**20
        assert (await sink.post(noise(number).data))[0] == 503
        status = await sink.status()
        assert status["spool"]["bytes"] <= 4 * 2**20
        assert status["destinations"][0]["pending"] == len(accepted)
        assert status["destinations"][0]["state"] == "retrying"
        assert status["rejected_requests"]["full"] >= 2
        assert "ready\n" in await sink.get("/readyz")

        await collector.start(collector.port)
        await sink.delivered()
        assert collector.events == accepted
        last = noise(number)
        assert (await sink.post(last.data))[0] == 200
        await sink.delivered()
        assert collector.events == accepted + last.events
    await collector.stop()


async def test_what_was_answered_200_survives_kill_9(tmp_path: Path) -> None:
    """Three times in the middle of a storm; what the clients were promised is in the file, in whole lines."""
    path = tmp_path / "audit.ndjson"
    destination = {"name": "disk", "type": "file", "path": str(path), "batch": {"max_wait": "50ms"}}
    sink = Sink(tmp_path / "sink", [destination])
    promised: list[bytes] = []
    for life in range(3):
        await sink.start()
        async with Webhook(sink.receive) as webhook:
            apiserver = await storm_until_killed(sink, webhook, f"life-{life}")
        assert len(apiserver.acknowledged) >= 100
        assert apiserver.dropped, "the storm was over before the kill"
        promised += [event for body in apiserver.acknowledged for event in corpus.cut(body.decode())]
    await sink.start()
    status = await sink.delivered()
    assert (await sink.stop())[0] == 0
    found = lines(path)
    assert set(promised) <= set(found)
    # Unpromised events may be there (the answer was lost), torn or invented ones may not.
    assert all(re.fullmatch(rb'\{.*"auditID":"life-\d-\d+-\d".*\}', line) for line in found)
    repeats = len(found) - len(set(found))
    assert status["destinations"][0]["delivered"] == len(set(found))
    assert repeats <= 3 * 2000, "a crash may repeat what was in flight, not the past"


async def storm_until_killed(sink: Sink, webhook: Webhook, name: str) -> Apiserver:
    """Post without end, kill the sink after the hundredth answer; the ledger of what was answered."""

    class NoWaiting:
        """Nothing is tried again after the kill: the sink is gone, and the batch's fate is open."""

        def wall_ns(self) -> int:
            return time.time_ns()

        def monotonic(self) -> float:
            return time.monotonic()

        async def sleep(self, seconds: float) -> None:
            apiserver.stop()

    apiserver = Apiserver(webhook.post, NoWaiting())
    storm = asyncio.create_task(
        apiserver.storm((corpus.plain_body(f"{name}-{number}", padding=500).data for number in range(10**6)), at_once=8)
    )
    await eventually(lambda: len(apiserver.acknowledged) >= 100)
    await sink.kill()
    await storm
    return apiserver


async def test_a_stop_does_not_wait_for_a_destination_that_hangs(tmp_path: Path) -> None:
    """Exit code 0 (a stop that is cut short has 1); meanwhile 503; what was accepted is delivered by the next start."""
    body = corpus.plain_body("stuck")
    async with Collector() as collector:
        stuck = asyncio.Event()
        collector.script = [Reply(hold=stuck)] * 100
        destination = {"name": "hook", "type": "http", "url": collector.url, "batch": {"max_wait": "10ms"}}
        async with Sink(tmp_path, [destination]) as sink:
            async with Webhook(sink.receive) as webhook:
                assert (await webhook.post(body.data, 30)).taken
                await eventually(lambda: collector.requests)
                sink.signal(signal.SIGTERM)
                await sink.until(lambda now: now["state"] == "stopping")
                assert "not ready: the sink is stopping" in await sink.get("/readyz")
                assert await webhook.post(corpus.plain_body("late").data, 30) == PostResult(503, 5)
            assert await sink.ended() == 0
            stuck.set()
            collector.script = []
            await sink.start()
            await sink.delivered()
        assert collector.events == body.events


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(tmp_path: Path, number: signal.Signals) -> None:
    async with Collector() as collector:
        collector.script = [Reply(hold=asyncio.Event())] * 100
        destination = {"name": "hook", "type": "http", "url": collector.url, "batch": {"max_wait": "10ms"}}
        async with Sink(tmp_path, [destination]) as sink:
            assert (await sink.post(corpus.plain_body("before").data))[0] == 200
            await eventually(lambda: collector.requests)
            sink.signal(signal.SIGTERM)
            await sink.until(lambda now: now["state"] == "stopping")
            assert (await sink.stop(number))[0] == 128 + number


async def test_a_batch_that_comes_twice_is_stored_once(tmp_path: Path) -> None:
    """Also when the sink was restarted in between: the apiserver does not know that it had an answer."""
    path = tmp_path / "audit.ndjson"
    first, second = corpus.plain_body("first"), corpus.plain_body("second")
    async with Sink(tmp_path / "sink", [{"name": "disk", "type": "file", "path": str(path)}]) as sink:
        for body in (first, first, second, first):
            assert (await sink.post(body.data))[0] == 200
        assert (await sink.status())["duplicate_batches"] == 2
        assert (await sink.post(first.data, "/other"))[0] == 200
        assert (await sink.stop())[0] == 0
        await sink.start()
        for body in (first, second):
            assert (await sink.post(body.data))[0] == 200
        status = await sink.delivered()
        assert (await sink.stop())[0] == 0
    assert status["duplicate_batches"] == 2
    assert status["accepted_events"] == 9
    assert corpus.digests(lines(path)) == corpus.digests([*first.events, *second.events, *first.events])
