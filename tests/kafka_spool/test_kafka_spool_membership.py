"""Consumers of the brokers: at the end of one no heartbeat goes on, the group knows, and no connection is left."""

import asyncio
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError, for_code

from auditsink.common.clock import SystemClock
from auditsink.config import Spool
from auditsink.kafka.brokers import Brokers, BrokerSettings
from auditsink.kafka.errors import ErrorMeaning, classify
from auditsink.kafka_spool import membership
from auditsink.kafka_spool.keeper import TopicKeeper
from auditsink.kafka_spool.membership import Refetching, ended, explained
from auditsink.kafka_spool.source import TopicSource


class Client:
    """Stands for aiokafka's consumer and all that is in it, and notes what was asked of it."""

    def __init__(self, stop: Any) -> None:
        self.done: list[str] = []
        self._stop = stop
        self._coordination_task = asyncio.create_task(stubborn(self.done))
        self._coordinator = self._fetcher = self._client = self

    async def stop(self) -> None:
        self.done.append("stop")
        await self._stop()

    async def _stop_heartbeat_task(self) -> None:
        self.done.append("heartbeat")

    async def _stop_commit_offsets_refresh_task(self) -> None:
        self.done.append("refresh")

    async def _maybe_leave_group(self) -> None:
        self.done.append("leave")

    async def close(self) -> None:
        self.done.append("close")


async def stubborn(done: list[str]) -> None:
    """As aiokafka's does while it waits for the end of its heartbeat, it swallows what is to end it."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        done.append("swallowed")
    try:
        await asyncio.Event().wait()
    finally:
        done.append("ended")


async def fails() -> None:
    raise RuntimeError("coordination failed")


async def hangs() -> None:
    await asyncio.Event().wait()


async def meets_a_cancelled_task() -> None:
    """As aiokafka's does that waits for its coordination, which was cancelled."""
    task = asyncio.create_task(hangs())
    task.cancel()
    await task


@pytest.mark.parametrize("stop", [fails, hangs, meets_a_cancelled_task])
async def test_a_stop_that_fails_or_hangs_leaves_no_member_behind(stop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "LAST_SECONDS", 0.5)
    monkeypatch.setattr(membership, "AGAIN_SECONDS", 0.001)
    client = Client(stop)
    await asyncio.sleep(0)
    await membership.ended(client)
    assert client.done == ["stop", "swallowed", "ended", "heartbeat", "refresh", "leave", "close", "close"]


class Hasty(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.001))


class Cancelling:
    """Stands for brokers: what is asked of them ends as an await of a task that aiokafka has cancelled."""

    def __init__(self) -> None:
        self.asked = 0
        self.again = asyncio.Event()

    async def client_arguments(self) -> dict[str, Any]:
        self.asked += 1
        if self.asked > 2:
            self.again.set()
        await meets_a_cancelled_task()
        return {}


async def test_a_cancellation_that_comes_out_of_aiokafka_ends_no_forwarder() -> None:
    brokers = Cancelling()
    source = TopicSource(cast("Brokers", brokers), "spool", "siem", clock=Hasty(), keys=None)
    source.start()
    await asyncio.wait_for(brokers.again.wait(), 60)
    assert "group spool.siem" in (source.problem or "")
    await source.close()


async def test_a_cancellation_that_comes_out_of_aiokafka_does_not_end_what_deletes() -> None:
    brokers = Cancelling()
    keeper = TopicKeeper(cast("Brokers", brokers), "spool", max_bytes=1, keep=1.0, sources=tuple, clock=Hasty())
    looking = asyncio.create_task(keeper.run())
    await asyncio.wait_for(brokers.again.wait(), 60)
    looking.cancel()
    await asyncio.wait([looking])
    assert looking.cancelled()


async def test_a_reader_that_cannot_start_leaves_no_connection_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[Any] = []

    async def noted(consumer: Any) -> None:
        ends.append(consumer)
        await ended(consumer)

    monkeypatch.setattr(membership, "ended", noted)
    consumers: list[Any] = []

    class Failing(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka is not typed
        async def start(self) -> None:
            consumers.append(self)
            raise KafkaConnectionError

    monkeypatch.setattr(membership, "AIOKafkaConsumer", Failing)

    class Answering(Brokers):
        async def client_arguments(self) -> dict[str, Any]:
            return {"bootstrap_servers": "127.0.0.1:1"}

    config = Spool(type="kafka", bootstrap_servers=["127.0.0.1:1"])
    refetching = Refetching(Answering(BrokerSettings("spool", ["127.0.0.1:1"], config.security, 1.0)), "t")
    for _ in range(2):
        with pytest.raises(OSError, match="Kafka, topic t: a record that waits cannot be fetched"):
            await refetching.values(0, {3})
    assert ends == consumers
    assert [one._closed for one in consumers] == [True, True]


def test_a_right_that_is_missing_is_told_as_a_spool_needs_it() -> None:
    meaning, why = explained(for_code(30)())
    assert (meaning, why.partition("; ")[2]) == (
        ErrorMeaning.MISCONFIGURED,
        "give the user the rights that docs/scale.md lists",
    )
    assert explained(for_code(58)()) == classify(for_code(58)())
