"""Reads topics back with librdkafka: a client that has nothing in common with the one that wrote."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from running import PATIENCE

_AT_ONCE = 1000
_WAIT = 0.2  # seconds: `consume` takes all of them unless so many messages are there


async def read(servers: Sequence[str], topic: str, **settings: Any) -> list[Message]:
    """All messages of a topic up to its end, those of one partition in order; by default as `read_committed`."""
    return await asyncio.to_thread(_read, servers, topic, settings)


def _read(servers: Sequence[str], topic: str, settings: dict[str, Any]) -> list[Message]:
    consumer = Consumer(
        {
            "bootstrap.servers": ",".join(servers),
            "group.id": "reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            **settings,
        }
    )
    found: list[Message] = []
    try:
        partitions = consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        ended: set[int | None] = set()
        deadline = time.monotonic() + PATIENCE
        while len(ended) < len(partitions):
            messages = consumer.consume(_AT_ONCE, timeout=_WAIT)
            deadline = time.monotonic() + PATIENCE if messages else deadline
            assert time.monotonic() < deadline, f"nothing more came of {topic}, and not its end either"
            for message in messages:
                problem = message.error()
                if problem is None:
                    found.append(message)
                else:
                    assert problem.code() == KafkaError._PARTITION_EOF, problem
                    ended.add(message.partition())
    finally:
        consumer.close()
    return found


def values(messages: Sequence[Message]) -> list[bytes]:
    """What they hold."""
    return [message.value() or b"" for message in messages]


def headers(message: Message) -> dict[str, bytes]:
    """Each of ours comes once."""
    return {key: value for key, value in dict(message.headers() or {}).items() if isinstance(value, bytes)}
