"""Reads the topic for commands, as a member of no group: by partition, by time to replay it, all of it to verify it."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, TopicPartition

from auditsink.common import timestamps
from auditsink.config import Spool
from auditsink.kafka_spool import place, record
from auditsink.kafka_spool.membership import brokers_of, ended, explained, reader
from auditsink.kafka_spool.place import GroupPlace
from auditsink.kafka_spool.record import StoredRecord
from auditsink.kafka_spool.repeats import DigestWindow
from auditsink.spool.content import ContentError, Unpacker
from auditsink.spool.errors import MissingKeyError, SpoolError
from auditsink.spool.keys import Keyring
from auditsink.spool.types import Account, Record, Tally

READ_BYTES = 2**20
"""Of a partition in one answer; unpacked it may be twelve times as much."""
QUIET_SECONDS = 10.0
"""Without an answer of the brokers."""
AROUND_MS = 60_000
"""Records of several receivers lie in a partition as they arrived, up to so far from the order of their times."""


class TopicScan:
    """The topic as it is. Belongs to one event loop. Its methods raise KafkaError, OSError, SpoolError."""

    def __init__(self, topic: str, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> None:
        self.topic = topic
        self.admin = admin
        self._consumer = consumer

    def __repr__(self) -> str:
        return f"<TopicScan {self.topic}>"

    async def partitions(self) -> list[TopicPartition]:
        """All of them."""
        (described,) = await self.admin.describe_topics([self.topic])
        return [
            TopicPartition(self.topic, number) for number in sorted(one["partition"] for one in described["partitions"])
        ]

    async def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """The first offset, and the one behind the last."""
        first = (await self._consumer.beginning_offsets([partition]))[partition]
        return first, (await self._consumer.end_offsets([partition]))[partition]

    async def since(self, partition: TopicPartition, at_ms: int) -> int | None:
        """The first offset of that time or later; None for none."""
        found = (await self._consumer.offsets_for_times({partition: max(0, at_ms)})).get(partition)
        return None if found is None else int(found.offset)

    async def place(self, destination: str, partition: TopicPartition, start: int) -> GroupPlace:
        """Where the destination's group is, `start` where it has committed nothing."""
        group = f"{self.topic}.{destination}"
        found = (await self.admin.list_consumer_group_offsets(group, partitions=[partition])).get(partition)
        return GroupPlace(start, start) if found is None else place.resumed(found.offset, found.metadata, start)

    async def records(self, partition: TopicPartition, at: int, end: int) -> AsyncIterator[list[ConsumerRecord]]:
        """What lies from one offset to another, some at a time."""
        self._consumer.assign([partition])
        self._consumer.seek(partition, at)
        while at < end:
            found = (await self._consumer.getmany(partition, timeout_ms=int(QUIET_SECONDS * 1000))).get(partition)
            if not found:
                number = partition.partition
                raise SpoolError(f"the brokers give nothing of partition {number} from offset {at} on; try again")
            at = found[-1].offset + 1
            yield [one for one in found if one.offset < end]


@asynccontextmanager
async def scanning(config: Spool) -> AsyncIterator[TopicScan]:
    """The topic, for a while. Raises SpoolError, also for what the brokers say meanwhile."""
    brokers = brokers_of(config)
    async with AsyncExitStack() as stack:
        try:
            admin = AIOKafkaAdminClient(**await brokers.client_arguments())
            stack.push_async_callback(admin.close)
            await admin.start()
            if config.topic not in await admin.list_topics():  # to ask for it by name may have the brokers make it
                raise SpoolError(f"spool.topic {config.topic}: there is no such topic; check spool.topic in the file")
            consumer = await reader(brokers, READ_BYTES)
            stack.push_async_callback(ended, consumer)
        except (KafkaError, OSError) as problem:
            raise SpoolError(f"spool.topic {config.topic}: {explained(problem)[1]}") from None
        try:
            yield TopicScan(config.topic, admin, consumer)
        except KafkaError as problem:
            raise SpoolError(f"spool.topic {config.topic}: {explained(problem)[1]}") from None


Told = Callable[[str], None]


class PeriodScan:
    """What the topic still holds of a period, for each cluster in order; what was posted twice comes once."""

    def __init__(self, config: Spool, period: range, cluster: str | None, told: Told) -> None:
        """`period`: nanoseconds since the epoch. `told`: of what cannot be had, a sentence each."""
        keys = None if config.encryption is None else Keyring.load(config.encryption.key_file)
        self._unpacker = Unpacker(keys)
        self._period = period
        self._cluster = cluster
        self._told = told
        self._sequences: dict[str, int] = {}
        self._stretches: list[tuple[TopicPartition, int, int]] = []

    async def look(self, scan: TopicScan) -> int:
        """Where the period lies, and how many records that are; tells of partitions that do not reach back so far."""
        since, until = self._period.start // 10**6, self._period.stop // 10**6
        reached: list[int] = []
        for partition in await scan.partitions():
            first, end = await scan.bounds(partition)
            start = await scan.since(partition, since - AROUND_MS)
            behind = await scan.since(partition, until + AROUND_MS)
            if start is not None:
                self._stretches.append((partition, max(first, start), end if behind is None else behind))
            if first and (start is None or start <= first):
                at_ms = [several[0].timestamp async for several in scan.records(partition, first, min(end, first + 1))]
                reached += [at for at in at_ms if at > since]
        if reached:
            to = timestamps.text(timestamps.at(max(reached) * 10**6))
            self._told(
                f"{len(reached)} partitions do not reach back so far, one of them only to {to}: what all destinations "
                "have got is deleted after spool.keep, and when the topic is nearly full"
            )
        return sum(end - start for _, start, end in self._stretches)

    async def read(self, scan: TopicScan, progress: Callable[[int], None]) -> AsyncIterator[tuple[str, list[Record]]]:
        """After `look`: some records of one cluster at a time, numbered from 0 for each cluster.

        `progress` is told how many were looked at.
        """
        for partition, start, end in self._stretches:
            digests = DigestWindow()
            async for several in scan.records(partition, start, end):
                by_cluster: dict[str, list[Record]] = {}
                for one in several:
                    for cluster, found in self._wanted(one, digests):
                        by_cluster.setdefault(cluster, []).append(found)
                for each in by_cluster.items():
                    yield each
                progress(len(several))

    def _wanted(self, one: ConsumerRecord, digests: DigestWindow) -> Iterator[tuple[str, Record]]:
        try:
            stored = record.decode(one.offset, one.key, one.value, one.headers)
            fresh = digests.fresh(stored)
            if stored.header.received_ns not in self._period or self._cluster not in (None, stored.cluster):
                return
            whole = self._unpacker.record(stored.segment, stored.header, stored.value, 0)
        except (record.NoRecordError, ContentError) as problem:
            self._told(f"{one.topic}/{one.partition}/{one.offset} cannot be read: {problem}")
            return
        events = [event for start, stop in fresh for event in whole.events[start:stop]]
        if events:
            first = self._sequences.get(stored.cluster, 0)
            self._sequences[stored.cluster] = first + len(events)
            yield stored.cluster, Record(first, events, whole.received_ns, whole.source, whole.marks)


@dataclass(slots=True)
class ClusterHeld:
    """What the topic holds of a cluster."""

    events: int = 0
    requests: int = 0


@dataclass(slots=True)
class TopicReport:
    """What the topic holds, what is wrong with it (a sentence each), and how far each destination is."""

    partitions: int = 0
    clusters: dict[str, ClusterHeld] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)

    def account(self, destination: str) -> Account:
        """Of all clusters and partitions: its group's own accounts, and what was counted behind them."""
        tally, pending = self.tallies[destination], self.pending[destination]
        return Account(tally.total + pending, *tally, pending)


async def verified(
    scan: TopicScan, destinations: Sequence[str], keys: Keyring | None, progress: Callable[[int], None]
) -> TopicReport:
    """Read all that the topic holds: every checksum, every body, every offset. Raises KafkaError, OSError, SpoolError.

    Without keys what is encrypted is not opened. Of a sink that runs it says how a partition is when it is read.
    """
    report = TopicReport(tallies=dict.fromkeys(destinations, Tally()), pending=dict.fromkeys(destinations, 0))
    unpacker = Unpacker(keys)
    for partition in await scan.partitions():
        report.partitions += 1
        start, end = await scan.bounds(partition)
        places = {name: await scan.place(name, partition, start) for name in destinations}
        _add_places(report, partition, start, places)
        digests, expected = DigestWindow(), start
        async for several in scan.records(partition, start, end):
            for one in several:
                if one.offset > expected:
                    report.problems.append(f"{_named(partition)}: offsets {expected} to {one.offset - 1} are missing")
                expected = one.offset + 1
                try:
                    stored = record.decode(one.offset, one.key, one.value, one.headers)
                    if keys is not None or not stored.header.encrypted:
                        unpacker.record(stored.segment, stored.header, stored.value, 0)
                except (record.NoRecordError, ContentError, MissingKeyError) as problem:
                    report.problems.append(f"{_named(partition)}/{one.offset} cannot be read: {problem}")
                    continue
                held = report.clusters.setdefault(stored.cluster, ClusterHeld())
                held.events += stored.header.events
                held.requests += len(stored.requests)
                _add_pending(report, stored, digests.fresh(stored), places)
            progress(len(several))
    return report


def _add_places(report: TopicReport, partition: TopicPartition, start: int, places: Mapping[str, GroupPlace]) -> None:
    for name, one in places.items():
        if one.offset < start:
            report.problems.append(
                f"{_named(partition)}: offsets {one.offset} to {start - 1} were deleted before {name} had them"
            )
        for tally in (one.rest, *one.tallies.values()):
            report.tallies[name] = report.tallies[name].plus(tally)


def _add_pending(
    report: TopicReport, stored: StoredRecord, fresh: Sequence[tuple[int, int]], places: Mapping[str, GroupPlace]
) -> None:
    for name, one in places.items():
        done = one.done(stored.cluster, stored.offset)
        if done is not None:
            report.pending[name] += sum(stop - max(start, done) for start, stop in fresh if stop > done)


def _named(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"
