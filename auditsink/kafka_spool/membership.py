"""Being a member of a group: what the brokers say of partitions reaches their owner, and an end is one at any rate."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.structs import TopicPartition

LAST_SECONDS = 3.0
"""For what is under way when a partition is taken away: what does not end in it, the next owner delivers again."""


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
    if coordinator is not None:
        steps += [
            coordinator._stop_heartbeat_task,  # noqa: SLF001
            coordinator._stop_commit_offsets_refresh_task,  # noqa: SLF001
            coordinator._maybe_leave_group,  # noqa: SLF001
        ]
    steps += [*([] if fetcher is None else [fetcher.close]), consumer._client.close]  # noqa: SLF001
    for step in steps:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LAST_SECONDS):
                await step()
