"""The topic itself: made where it is missing, looked at before anything is promised on it, and measured."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Int64, Schema, String

from auditsink.common.clock import Clock
from auditsink.config import Spool
from auditsink.config.kafka_spool import HEADROOM, topic_segment_bytes
from auditsink.kafka.brokers import Brokers
from auditsink.kafka.errors import ErrorMeaning
from auditsink.kafka_spool.membership import ANSWER_SECONDS, brokers_of, explained
from auditsink.spool.errors import SpoolError

log = logging.getLogger("auditsink.spool")

LETTER_SEGMENT = 2**24
LETTER_SECONDS = 3600
"""After so long a segment of dead letters is closed, and what was taken away leaves the disk."""
MOST_BYTES = 2**31 - 1
"""Kafka counts both in 32 bits."""
IN_SYNC = 2
_LOOK_SECONDS = 0.2
START_SECONDS = 60.0
"""For brokers that are away when the sink starts."""
AGAIN_SECONDS = 1.0


class TopicFacts(NamedTuple):
    """`replicas`: of the partition that has the fewest. `settings`: by Kafka's names."""

    partitions: int
    replicas: int
    settings: Mapping[str, str]


class TopicPlan(NamedTuple):
    """A topic as it is made where it is missing. `key`: of the section `spool`, which names it."""

    key: str
    name: str
    partitions: int
    replication_factor: int
    settings: Mapping[str, str]

    @property
    def named(self) -> str:
        """Key and name."""
        return f"spool.{self.key} {self.name}"


def spool_topic(spool: Spool, max_body: int) -> TopicPlan:
    """That of the records."""
    return TopicPlan("topic", spool.topic, spool.partitions, spool.replication_factor, settings_of(spool, max_body))


def dead_letter_topic(spool: Spool, max_body: int) -> TopicPlan:
    """That of the dead letters: compacted, because what is taken away is overwritten under its key."""
    settings = settings_of(spool, 2 * max_body) | {  # an event's quotes and backslashes are escaped
        "cleanup.policy": "compact",
        "segment.bytes": str(min(max(LETTER_SEGMENT, 2 * max_body + HEADROOM), MOST_BYTES)),
        "segment.ms": str(LETTER_SECONDS * 1000),
    }
    return TopicPlan("dead_letter_topic", spool.letters, 1, spool.replication_factor, settings)


def settings_of(spool: Spool, max_body: int) -> dict[str, str]:
    """What the topic of the records is made with."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "min.insync.replicas": str(min(IN_SYNC, spool.replication_factor)),
        "unclean.leader.election.enable": "false",
        "compression.type": "producer",
        "segment.bytes": str(topic_segment_bytes(spool.max_bytes, spool.partitions, max_body)),
        "max.message.bytes": str(min(max_body + HEADROOM, MOST_BYTES)),
    }


def broken_promises(facts: TopicFacts, policy: str = "delete") -> Iterator[str]:
    """What would make a 200 a lie, a sentence each, with what to do. `policy`: what is to be cleaned up, and how."""
    say = facts.settings.get
    if facts.replicas < IN_SYNC:
        yield "has a partition with one replica, which is lost with its broker; give it 3 replicas"
    in_sync = say("min.insync.replicas", "1")
    if not in_sync.isdigit() or int(in_sync) < IN_SYNC:
        yield f"has min.insync.replicas={in_sync}, so one broker alone may confirm a batch; set it to {IN_SYNC}"
    if say("unclean.leader.election.enable", "false") != "false":
        yield "has unclean.leader.election.enable, so a replica without the last batches may lead; set it to false"
    if (found := say("cleanup.policy", policy)) != policy:
        what = "removes batches that nobody has got" if policy == "delete" else "keeps or removes the wrong ones"
        yield f"has cleanup.policy={found}, which {what}; set cleanup.policy={policy}"
    for name in ("retention.ms", "retention.bytes"):
        if say(name, "-1") != "-1":
            yield f"has {name}={say(name)}, which deletes batches that nobody has got; set it to -1"


def mistakes(facts: TopicFacts, plan: TopicPlan, max_body: int) -> Iterator[str]:
    """What cannot work, a sentence each."""
    if facts.partitions < plan.partitions:
        yield (
            f"has {facts.partitions} partitions, and spool.partitions says {plan.partitions}: write "
            f"{facts.partitions} in all files, or give the topic more"
        )
    most = int(facts.settings.get("max.message.bytes") or 0)
    if most and most < max_body + HEADROOM:
        yield (
            f"has max.message.bytes={most}, too little for a body of receive.max_body ({max_body}): set it to "
            f"{max_body + HEADROOM} or more, or lower receive.max_body"
        )


async def checked_topic(config: Spool, brokers: Brokers, max_body: int | None, clock: Clock) -> TopicFacts:
    """The facts of a topic on which a 200 can be promised; it is made if it is missing. Raises SpoolError."""
    return await _checked(config, spool_topic(config, max_body or 0), brokers, max_body, clock)


async def checked_dead_letter_topic(config: Spool, brokers: Brokers, max_body: int, clock: Clock) -> TopicFacts:
    """The same of the topic of the dead letters."""
    return await _checked(config, dead_letter_topic(config, max_body), brokers, max_body, clock)


async def tried(config: Spool, max_body: int | None, max_letter: int | None) -> tuple[list[str], list[str]]:
    """What a start would find, a sentence each, and what would keep it from starting. Nothing is made.

    See `KafkaSpool.open` for the limits. Raises SpoolError for credentials that cannot be read.
    """
    brokers, found, wrong = brokers_of(config), list[str](), list[str]()
    plans = [(spool_topic(config, max_body or 0), max_body)]
    if max_letter is not None:
        plans.append((dead_letter_topic(config, max_letter), max_letter))
    for plan, most in plans:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                facts = await look(await brokers.client_arguments(), plan, make=False)
        except (KafkaError, OSError, RuntimeError, ValueError) as problem:
            wrong.append(f"{plan.named}: {explained(problem)[1]}")
            continue
        if facts is None:
            found.append(f"{plan.named}: is not there yet; the first start makes it")
            continue
        lies, said = _complaints(config, plan, facts, most)
        wrong += [f"{plan.named} {sentence}" for sentence in said]
        found += [f"{plan.named}: risky: {lie}" for lie in lies]
        if not said:
            found.append(f"{plan.named}: {facts.partitions} partitions, {facts.replicas} replicas; can be used")
    return found, wrong


def _complaints(config: Spool, plan: TopicPlan, facts: TopicFacts, max_body: int | None) -> tuple[list[str], list[str]]:
    """What is risky and was accepted, and what is refused."""
    said = [*(mistakes(facts, plan, max_body) if max_body is not None else ())]
    lies = list(broken_promises(facts, plan.settings["cleanup.policy"]))
    if config.accept_loss:
        return lies, said
    return [], [*said, *(f"{lie}; or write spool.accept_loss: true" for lie in lies)]


async def _checked(config: Spool, plan: TopicPlan, brokers: Brokers, max_body: int | None, clock: Clock) -> TopicFacts:
    facts = await _found(plan, brokers, clock)
    lies, said = _complaints(config, plan, facts, max_body)
    for lie in lies:
        log.warning("risky: %s %s", plan.named, lie)
    if said:
        raise SpoolError("\n".join(f"{plan.named} {sentence}" for sentence in said))
    return facts


async def _found(plan: TopicPlan, brokers: Brokers, clock: Clock) -> TopicFacts:
    """Waits for brokers that are away, and says so at once. Raises SpoolError."""
    began, told = clock.monotonic(), False
    while True:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                facts = await look(await brokers.client_arguments(), plan)
                assert facts is not None, "it was made"
                return facts
        except (KafkaError, OSError, RuntimeError, ValueError) as problem:
            meaning, why = explained(problem)
            left = began + START_SECONDS - clock.monotonic()
            if meaning is not ErrorMeaning.RETRY or left <= 0:
                raise SpoolError(f"{plan.named}: {why}") from None
        if not told:
            told = True
            log.warning("waiting for the brokers, for up to %.0f s: %s: %s", left, plan.named, why)
        await clock.sleep(AGAIN_SECONDS)


async def look(arguments: Mapping[str, Any], plan: TopicPlan, *, make: bool = True) -> TopicFacts | None:
    """What the brokers say of the topic. Where it is missing it is made, or None without `make`.

    Raises KafkaError, OSError, TimeoutError.
    """
    admin = AIOKafkaAdminClient(**arguments)
    try:
        await admin.start()
        if plan.name not in await admin.list_topics():  # to ask for it by name may have the brokers make it
            if not make:
                return None
            await _make(admin, plan)
        partitions = await _partitions(admin, plan.name)
        settings = await _settings(admin, plan.name)
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


async def _settings(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    """Waits for the broker that is asked: it may not have heard of a new topic that others tell of."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    while True:
        (answer,) = await admin.describe_configs([resource])
        ((code, _why, _kind, _name, entries),) = answer.resources
        if not code:
            return {entry[0]: entry[1] for entry in entries}
        if code != UnknownTopicOrPartitionError.errno:
            raise for_code(code)
        await asyncio.sleep(_LOOK_SECONDS)


async def _make(admin: AIOKafkaAdminClient, plan: TopicPlan) -> None:
    new = NewTopic(plan.name, plan.partitions, plan.replication_factor, topic_configs=dict(plan.settings))
    try:
        answer = await admin.create_topics([new])
    except TopicAlreadyExistsError:  # another sink was faster
        return
    for _topic, code, *_ in answer.topic_errors:
        if code and code != TopicAlreadyExistsError.errno:
            raise for_code(code)


class _Sizes(Response):  # type: ignore[misc]  # aiokafka is not typed
    API_KEY = 35
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            Array(
                ("error_code", Int16),
                ("log_dir", String("utf-8")),
                (
                    "topics",
                    Array(
                        ("name", String("utf-8")),
                        (
                            "partitions",
                            Array(("partition", Int32), ("size", Int64), ("offset_lag", Int64), ("is_future", Boolean)),
                        ),
                    ),
                ),
            ),
        ),
    )


class _AskedSizes(RequestStruct):  # type: ignore[misc]  # aiokafka is not typed
    API_KEY = 35
    API_VERSION = 1
    RESPONSE_TYPE = _Sizes
    SCHEMA = Schema(
        ("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
    )


class AskSizes(Request[_AskedSizes]):  # type: ignore[misc]  # aiokafka is not typed
    """What a broker's replicas of these partitions take: the one request of the protocol that aiokafka does not know.

    DescribeLogDirs (key 35), version 1, which every broker since 2.0 answers; layout: Kafka protocol,
    "DescribeLogDirs".
    """

    API_KEY: ClassVar[int] = 35

    def __init__(self, topic: str, partitions: Iterable[int]) -> None:
        self._topics = [(topic, list(partitions))]

    def build(self, request_struct_class: Any) -> Any:
        """See `aiokafka.protocol.api.Request`."""
        return request_struct_class(self._topics)


def sizes(answers: Iterable[Any]) -> Mapping[int, int]:
    """Bytes by partition, of the replica that takes most. Raises KafkaError."""
    found: dict[int, int] = {}
    for answer in answers:
        for code, _directory, topics in answer.results:
            if code:
                raise for_code(code)
            for _topic, partitions in topics:
                for partition, size, _lag, future in partitions:
                    if not future:
                        found[partition] = max(found.get(partition, 0), size)
    return found
