"""Consumers of the brokers: a member of a group, whose owner hears of partitions, and a reader of none.

An end is one at any rate, whatever the brokers do.
"""

import asyncio
from collections.abc import Collection, Iterable
from functools import partial
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.consumer.group_coordinator import NoGroupCoordinator
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import TopicPartition

from auditsink.config import Spool
from auditsink.delivery.destination import DestinationError
from auditsink.kafka.brokers import Brokers, BrokerSettings
from auditsink.kafka.errors import ErrorMeaning, classify
from auditsink.spool.errors import SpoolError

ANSWER_SECONDS = 20.0
"""From a batch's first try: longer than brokers take to choose a new leader, shorter than an apiserver's 30 s."""
_RIGHTS = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError)
AGAIN_SECONDS = 0.1
"""Between two tries to end a task."""
LAST_SECONDS = 3.0
"""For what is under way when a partition is taken away: what does not end in it, the next owner delivers again."""


def brokers_of(config: Spool) -> Brokers:
    """The cluster that the topic lies in. Raises SpoolError for credentials that cannot be read."""
    try:
        return Brokers(BrokerSettings("spool", config.bootstrap_servers, config.security, ANSWER_SECONDS))
    except DestinationError as problem:
        raise SpoolError(str(problem)) from None


def explained(problem: BaseException) -> tuple[ErrorMeaning, str]:
    """As `classify`, for who uses a topic as a spool: other rights are needed than to write to one."""
    meaning, why = classify(problem)
    if isinstance(problem, _RIGHTS):
        return ErrorMeaning.MISCONFIGURED, f"{why.partition(';')[0]}; give the user the rights that docs/scale.md lists"
    return meaning, why


class Owner(Protocol):
    """Whose partitions they are. The consumer says which membership it is about: an earlier one may still speak."""

    async def taken_away(self, consumer: AIOKafkaConsumer) -> None:
        """All partitions are to be given back: some of them may be ours again in a moment."""
        ...

    async def given(self, consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
        """These partitions are ours now."""
        ...


class Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """What the group says."""

    def __init__(self, owner: Owner, consumer: AIOKafkaConsumer) -> None:
        self._owner = owner
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - it is all of them
        """See `ConsumerRebalanceListener`."""
        await self._owner.taken_away(self._consumer)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """See `ConsumerRebalanceListener`."""
        await self._owner.given(self._consumer, assigned)


async def ended(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and let go of all connections, within a few seconds.

    aiokafka's `stop` does neither when what coordinates has failed, or takes too long: the member would go on to send
    heartbeats, and keep its partitions from everybody for ever.
    """
    coordinator, fetcher = consumer._coordinator, consumer._fetcher  # noqa: SLF001 - see above
    steps = [consumer.stop]
    if coordinator is not None and not isinstance(coordinator, NoGroupCoordinator):
        steps += [
            partial(_gone, coordinator._coordination_task),  # noqa: SLF001
            coordinator._stop_heartbeat_task,  # noqa: SLF001
            coordinator._stop_commit_offsets_refresh_task,  # noqa: SLF001
            coordinator._maybe_leave_group,  # noqa: SLF001
        ]
    steps += [*([] if fetcher is None else [fetcher.close]), consumer._client.close]  # noqa: SLF001
    for step in steps:
        # A task of its own: what aiokafka cancelled for itself comes out of it as a cancellation, and is none of ours.
        task = asyncio.ensure_future(step())
        await asyncio.wait([task], timeout=LAST_SECONDS)
        await _gone(task)


def told_to_end() -> bool:
    """Whether the task that asks was cancelled; a cancellation also comes out of aiokafka, where it ended a task."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _gone(task: asyncio.Task[object]) -> None:
    """Cancel a task until it has ended.

    Once is not enough: what coordinates swallows it while it waits for its heartbeat's end, and goes on to join again.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=AGAIN_SECONDS)
    if not task.cancelled():
        task.exception()  # looked at, or asyncio complains that nobody did


async def reader(brokers: Brokers, fetch_bytes: int, **settings: int) -> AIOKafkaConsumer:
    """A consumer of no group, which moves nobody's place; at most so many bytes of a partition in an answer.

    `settings`: others of aiokafka's.

    Raises what kept it from starting, and nothing is left behind then.
    """
    consumer = AIOKafkaConsumer(
        **await brokers.client_arguments(),
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=fetch_bytes,
        **settings,
    )
    try:
        await consumer.start()
    except BaseException:
        await ended(consumer)
        raise
    return consumer


FETCH_BYTES = 4 * 2**20
FETCH_SECONDS = 20.0


class Refetching:
    """Fetches records once more that memory let go of: a cluster that waits must not keep others from what comes next.

    A consumer of no group, so that it moves nobody's place. One fetch at a time. Belongs to the loop's thread.
    """

    def __init__(self, brokers: Brokers, topic: str) -> None:
        self._brokers = brokers
        self._topic = topic
        self._fetching = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None

    async def values(self, partition: int, wanted: Collection[int]) -> dict[int, bytes]:
        """The values of the first of these offsets, and of others as far as they came along. Raises OSError."""
        first, last = min(wanted), max(wanted)
        async with self._fetching:
            try:
                async with asyncio.timeout(FETCH_SECONDS):
                    consumer = await self._started()
                    one = TopicPartition(self._topic, partition)
                    consumer.assign([one])
                    consumer.seek(one, first)
                    found: dict[int, bytes] = {}
                    while first not in found:
                        records = (await consumer.getmany(one, timeout_ms=1000)).get(one, [])
                        found |= {each.offset: each.value for each in records if each.offset in wanted}
                        if (records and records[-1].offset >= last) or any(each.offset > first for each in records):
                            break
                    return found
            except Exception as problem:  # noqa: BLE001 - aiokafka lets errors of its parsers out; all are tried again
                await self.close()
                why = f"Kafka, topic {self._topic}: a record that waits cannot be fetched: {explained(problem)[1]}"
                raise OSError(why) from None

    async def close(self) -> None:
        """Let go of the connections."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await ended(consumer)

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = await reader(self._brokers, FETCH_BYTES)
        return self._consumer
