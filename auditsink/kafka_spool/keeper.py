"""Keeps the topic within bounds: how many bytes it takes, and the deletion of what every destination has got.

Every sink looks at the size, because receivers refuse by it. Records are deleted by whoever owns the partition for the
first destination, up to what all groups have committed, and not before `spool.keep` is over, ten minutes at least, in
which a retry is recognised by them; unless the topic is nearly full. Brokers free the disk by whole segments, some
minutes later.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from auditsink.common.clock import Clock
from auditsink.kafka.brokers import Brokers
from auditsink.kafka_spool.membership import explained, told_to_end
from auditsink.kafka_spool.source import TopicSource
from auditsink.kafka_spool.topic import AskSizes, sizes

if TYPE_CHECKING:  # loads where something is reserved
    from auditsink.kafka_spool.observing import TopicObserver

log = logging.getLogger("auditsink.spool")

LOOK_SECONDS = 5.0
"""Between two looks: the topic may pass its bound by what is posted in so long."""
LOOK_TIMEOUT = 10.0
NEARLY_FULL = 0.8
"""Of what is reserved for nobody: from there on records go as soon as all destinations have them."""


class TopicKeeper:
    """Belongs to the loop's thread."""

    def __init__(
        self,
        brokers: Brokers,
        topic: str,
        *,
        max_bytes: int,
        keep: float,
        sources: Callable[[], Sequence[TopicSource]],
        clock: Clock,
    ) -> None:
        """`keep`: seconds for which records stay that all have, if there is room.

        `sources`: of all destinations, in their order; none where nothing is delivered.
        """
        self.bytes = 0
        """What the topic takes of the brokers' disks, one replica of each partition counted."""
        self.sizes: Mapping[int, int] = {}
        """That by partition."""
        self.problem: str | None = None
        """Why that is not known, while it is not."""
        self.observer: TopicObserver | None = None
        """Who is told what each partition takes."""
        self.shared = max_bytes
        """What of the bound is reserved for nobody."""
        self.partitions = 0
        """How many the topic has; somebody may give it more while this runs."""
        self.deleted = 0
        """Records, by this process."""
        self._brokers = brokers
        self._topic = topic
        self._max_bytes = max_bytes
        self._keep_ms = int(keep * 1000)
        self._sources = sources
        self._clock = clock
        self._admin: AIOKafkaAdminClient | None = None
        self._starts: dict[TopicPartition, int] = {}

    def __repr__(self) -> str:
        return f"<TopicKeeper {self._topic} {self.bytes} of {self._max_bytes} bytes, {self.deleted} deleted>"

    @property
    def full(self) -> bool:
        """Whether nothing more is taken."""
        return self.bytes > self._max_bytes

    async def run(self) -> None:
        """Look for ever; cancel it to stop."""
        try:
            while True:
                await self.look()
                await self._clock.sleep(LOOK_SECONDS)
        finally:
            await self.close()

    async def look(self) -> None:
        """One look. What fails is tried again with the next one."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT):
                admin = await self._client()
                observer = self.observer
                bounds = {} if observer is None else await observer.bounds()  # first: what lies there takes room
                await self._measure(admin)
                if observer is not None:
                    observer.measured(self.sizes, bounds)
                await asyncio.gather(*(source.look() for source in self._sources()))
                await self._delete(admin)
            self.problem = None
        except (Exception, asyncio.CancelledError) as problem:  # aiokafka lets much out; all is tried again
            if told_to_end():
                raise
            said = explained(problem)[1]
            why = f"Kafka, topic {self._topic}: its size cannot be told, or nothing deleted from it: {said}"
            if self.problem != why:
                log.warning(why)
            self.problem = why
            await self.close()

    async def _client(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            self._admin = AIOKafkaAdminClient(**await self._brokers.client_arguments())
            await self._admin.start()  # one that fails is closed with the look
        return self._admin

    async def close(self) -> None:
        """Let go of the connections; the next look makes new ones."""
        admin, self._admin = self._admin, None
        if admin is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1.0):
                    await admin.close()

    async def _measure(self, admin: AIOKafkaAdminClient) -> None:
        cluster = await admin.describe_cluster()
        (described,) = await admin.describe_topics([self._topic])
        self.partitions = len(described["partitions"])
        asked = AskSizes(self._topic, range(self.partitions))
        # A node that is away is not waited for: its partitions have replicas elsewhere.
        answers = await asyncio.gather(
            *(admin._send_request(asked, one["node_id"]) for one in cluster["brokers"]),  # noqa: SLF001 - see `sizes`
            return_exceptions=True,
        )
        known = [one for one in answers if not isinstance(one, BaseException)]
        if not known:
            raise next(one for one in answers if isinstance(one, BaseException))
        self.sizes = sizes(known)
        before, self.bytes = self.full, sum(self.sizes.values())
        if self.full != before:
            log.log(
                logging.WARNING if self.full else logging.INFO,
                "the topic is full, batches get 503" if self.full else "the topic has room again",
                extra={"topic": self._topic, "bytes": self.bytes, "max_bytes": self._max_bytes},
            )

    async def _delete(self, admin: AIOKafkaAdminClient) -> None:
        sources = self._sources()
        if not sources or not sources[0].partitions:
            return
        ours = [TopicPartition(self._topic, number) for number in sources[0].partitions]
        done = await self._done_everywhere(admin, sources, ours)
        if self.bytes < NEARLY_FULL * self.shared:
            since = self._clock.wall_ns() // 10**6 - self._keep_ms
            young = await sources[0].offsets_since(ours, since)
            done = {one: min(offset, young.get(one, offset)) for one, offset in done.items()}
        wanted = {one: RecordsToDelete(offset) for one, offset in done.items() if offset > self._starts.get(one, 0)}
        for one, start in (await admin.delete_records(wanted) if wanted else {}).items():
            self.deleted += max(0, start - self._starts.get(one, start))
            self._starts[one] = start

    async def _done_everywhere(
        self, admin: AIOKafkaAdminClient, sources: Sequence[TopicSource], ours: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """Up to where every group has committed; nothing for a partition that one has not begun."""
        done: dict[TopicPartition, int] = dict.fromkeys(ours, 2**62)
        for source in sources:
            committed = await admin.list_consumer_group_offsets(source.group, partitions=list(ours))
            for one in ours:
                found = committed.get(one)
                done[one] = min(done[one], -1 if found is None else found.offset)
        return {one: offset for one, offset in done.items() if offset > 0}
