"""Which partitions a topic has, or that it is missing, said soon.

aiokafka's own lookup repeats itself until a request's whole time is over, and tells a missing topic from brokers that
do not answer only by luck. While it waits no other cluster's events go; so a topic that was missing before is looked
for once at a time, and only a new name gets the moment that a broker takes to make a topic by itself.
"""

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError

_CREATION_SECONDS = 1.0
"""A broker with auto.create.topics.enable takes some 100 ms."""
_PAUSE_SECONDS = 0.1


class Topics:
    """Remembers the names that were missing; as many as there are clusters."""

    def __init__(self) -> None:
        self._missing: set[str] = set()

    def __repr__(self) -> str:
        return f"<Topics, {len(self._missing)} missing>"

    async def partitions(self, producer: AIOKafkaProducer, topic: str) -> list[int]:
        """In order. Raises KafkaError: missing, forbidden, or no broker answers."""
        looks = 1 if topic in self._missing else 1 + int(_CREATION_SECONDS / _PAUSE_SECONDS)
        for look in range(looks):
            if look:
                await asyncio.sleep(_PAUSE_SECONDS)
            found = await _look(producer, topic)
            if found:
                self._missing.discard(topic)
                return sorted(found)
            self._missing.add(topic)  # here, because an attempt's time may be over before the moment is
        raise UnknownTopicOrPartitionError(topic)


async def _look(producer: AIOKafkaProducer, topic: str) -> set[int] | None:
    """What the brokers say; at once when they have said it before."""
    client = producer.client
    found: set[int] | None = client.cluster.partitions_for_topic(topic)
    if found is None:
        # To add a topic asks for it as well; but not if an earlier look has added it.
        client.add_topic(topic)
        if not await client.force_metadata_update():
            raise KafkaConnectionError("no broker tells which topics there are")
        if topic in client.cluster.unauthorized_topics:
            raise TopicAuthorizationFailedError(topic)
        found = client.cluster.partitions_for_topic(topic)
    return found
