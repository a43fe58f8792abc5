"""The topic itself: made where it is missing, and looked at before anything is promised on it."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from auditsink.config import Spool

HEADROOM = 2**17
"""Bytes of a record beside the body, at most: what does not compress, and who sent it."""
SEGMENTS = 8
"""Of a full partition, at least."""
LEAST_SEGMENT = 2**20
MOST_SEGMENT = 2**29
IN_SYNC = 2
_LOOK_SECONDS = 0.2


class TopicFacts(NamedTuple):
    """`replicas`: of the partition that has the fewest. `settings`: by Kafka's names."""

    partitions: int
    replicas: int
    settings: Mapping[str, str]


def settings_of(spool: Spool, max_body: int) -> dict[str, str]:
    """What a topic is made with."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "min.insync.replicas": str(min(IN_SYNC, spool.replication_factor)),
        "unclean.leader.election.enable": "false",
        "compression.type": "producer",
        "segment.bytes": str(_segment_bytes(spool, max_body)),
        "max.message.bytes": str(max_body + HEADROOM),
    }


def _segment_bytes(spool: Spool, max_body: int) -> int:
    """Disk is freed by whole segments, so there are to be several in a partition; each holds a record at least."""
    share = spool.max_bytes // (spool.partitions * SEGMENTS)
    return max(min(share, MOST_SEGMENT), LEAST_SEGMENT, max_body + HEADROOM)


def broken_promises(facts: TopicFacts) -> Iterator[str]:
    """What would make a 200 a lie, a sentence each, with what to do."""
    say = facts.settings.get
    if facts.replicas < IN_SYNC:
        yield "has a partition with one replica, which is lost with its broker; give it 3 replicas"
    in_sync = say("min.insync.replicas", "1")
    if not in_sync.isdigit() or int(in_sync) < IN_SYNC:
        yield f"has min.insync.replicas={in_sync}, so one broker alone may confirm a batch; set it to {IN_SYNC}"
    if say("unclean.leader.election.enable", "false") != "false":
        yield "has unclean.leader.election.enable, so a replica without the last batches may lead; set it to false"
    if say("cleanup.policy", "delete") != "delete":
        yield "is compacted, which removes batches that nobody has got; set cleanup.policy=delete"
    for name in ("retention.ms", "retention.bytes"):
        if say(name, "-1") != "-1":
            yield f"has {name}={say(name)}, which deletes batches that nobody has got; set it to -1"


def mistakes(facts: TopicFacts, max_body: int) -> Iterator[str]:
    """What cannot work, a sentence each."""
    most = int(facts.settings.get("max.message.bytes") or 0)
    if most and most < max_body + HEADROOM:
        yield (
            f"has max.message.bytes={most}, too little for a body of receive.max_body ({max_body}): set it to "
            f"{max_body + HEADROOM} or more, or lower receive.max_body"
        )


async def look(arguments: Mapping[str, Any], spool: Spool, max_body: int) -> TopicFacts:
    """What the brokers say of the topic, which is made if it is missing. Raises KafkaError, OSError, TimeoutError."""
    admin = AIOKafkaAdminClient(**arguments)
    try:
        await admin.start()
        if spool.topic not in await admin.list_topics():  # to ask for it by name may have the brokers make it
            await _make(admin, spool, max_body)
        partitions = await _partitions(admin, spool.topic)
        resource = ConfigResource(ConfigResourceType.TOPIC, spool.topic)
        settings: dict[str, str] = {}
        for answer in await admin.describe_configs([resource]):
            for code, _why, _kind, _name, entries in answer.resources:
                if code:
                    raise for_code(code)
                settings |= {entry[0]: entry[1] for entry in entries}
        return TopicFacts(len(partitions), min((len(one["replicas"]) for one in partitions), default=0), settings)
    finally:
        await admin.close()


async def _partitions(admin: AIOKafkaAdminClient, topic: str) -> list[dict[str, Any]]:
    """Waits until each has a leader: a new topic takes a moment."""
    while True:
        (found,) = await admin.describe_topics([topic])
        partitions = [dict(one) for one in found["partitions"]]
        if partitions and not found["error_code"] and all(one["leader"] >= 0 for one in partitions):
            return partitions
        await asyncio.sleep(_LOOK_SECONDS)


async def _make(admin: AIOKafkaAdminClient, spool: Spool, max_body: int) -> None:
    new = NewTopic(spool.topic, spool.partitions, spool.replication_factor, topic_configs=settings_of(spool, max_body))
    try:
        answer = await admin.create_topics([new])
    except TopicAlreadyExistsError:  # another sink was faster
        return
    for _topic, code, *_ in answer.topic_errors:
        if code and code != TopicAlreadyExistsError.errno:
            raise for_code(code)
