"""The topic for one destination (see `forward.source.Source`): a member of its group, and the partitions that it owns.

The brokers say which partitions are ours and take them away again. What is taken away is no longer begun; what is under
way may end for a moment, then the place is committed and the rings are gone. Whoever owns a partition next goes on
there.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord, TopicPartition

from auditsink.common.clock import Clock
from auditsink.forward.source import Unfetched
from auditsink.kafka.brokers import Brokers
from auditsink.kafka.errors import ErrorMeaning
from auditsink.kafka_spool import place, record
from auditsink.kafka_spool.membership import (
    FETCH_SECONDS,
    LAST_SECONDS,
    Rebalance,
    Refetching,
    ended,
    explained,
    told_to_end,
)
from auditsink.kafka_spool.place import GroupPlace
from auditsink.kafka_spool.repeats import WINDOW_NS
from auditsink.kafka_spool.ring import SplitRecords, TopicRing
from auditsink.kafka_spool.window import ClusterWindow, HeldRecord, PartitionWindow, unfetched
from auditsink.spool.keys import Keyring

log = logging.getLogger("auditsink.spool")

HELD_BYTES = 16 * 2**20
"""Bytes of records, compressed as they lie in the topic, that one destination holds."""
HELD_RECORDS = 50_000
"""Records that one destination knows of, in memory or not, at some 600 bytes each."""
STILL_SECONDS = 10.0
"""A destination that took nothing for so long takes nothing of other clusters either: no more is fetched for them."""
FETCH_BYTES = 2 * 2**20
"""Of one partition in one answer of a broker; a larger record comes alone."""
ANSWER_BYTES = 8 * 2**20
"""Of all partitions in one answer of a broker."""
POLL_SECONDS = 0.5
"""Between two looks at whether there is room again."""
SESSION_SECONDS = 6.0
"""Without a heartbeat for so long a forwarder has lost its partitions: as long as a kill goes unnoticed."""
HEARTBEAT_SECONDS = 1.5
REBALANCE_SECONDS = 30.0
METADATA_SECONDS = 30.0
"""Until partitions that the topic was given are read."""
AGAIN_SECONDS = 2.0
"""Before the next try to join, where one failed."""
COMMIT_SECONDS = 10.0
MOST_HISTORY = 20_000
"""Records before the place that are read for their digests, at most: a busy partition must not keep a start waiting."""


class TopicSource:
    """All methods belong to the loop's thread, but `sync`, which blocks in another one."""

    def __init__(self, brokers: Brokers, topic: str, destination: str, *, clock: Clock, keys: Keyring | None) -> None:
        self.rings: dict[str, TopicRing] = {}
        """By partition and cluster."""
        self.problem: str | None = "Kafka has given no partitions yet"
        """Why nothing is fetched, while that is so."""
        self.topic = topic
        self.destination = destination
        self.group = f"{topic}.{destination}"
        self._brokers = brokers
        self._clock = clock
        self._keys = keys
        self._windows: dict[int, PartitionWindow] = {}
        self._ends: dict[int, int] = {}
        self._refetching = Refetching(brokers, topic)
        self._split = SplitRecords(keys, self._damaged, self._fetch_again)
        self._moves = 0
        self._moved_at = clock.monotonic()  # when events ended last
        self._new: list[Callable[[TopicRing], None]] = []
        self._lost: list[Callable[[TopicRing], None]] = []
        self._consumer: AIOKafkaConsumer | None = None
        self._broken: Exception | None = None
        self._committing = asyncio.Lock()
        self._committed_at = clock.monotonic()  # or at which there was nothing to commit
        self._loop = asyncio.get_running_loop()
        self._run: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<TopicSource {self.group} {list(self._windows.values())}>"

    # What `forward` asks.

    def on_new_ring(self, callback: Callable[[TopicRing], None]) -> Callable[[], None]:
        """See `Source.on_new_ring`."""
        self._new.append(callback)
        return partial(self._new.remove, callback)

    def on_lost_ring(self, callback: Callable[[TopicRing], None]) -> Callable[[], None]:
        """See `Source.on_lost_ring`."""
        self._lost.append(callback)
        return partial(self._lost.remove, callback)

    # From start to end.

    def start(self) -> None:
        """Join the group, and stay in it."""
        self._run = asyncio.create_task(self._stay())

    async def close(self) -> None:
        """Commit, and leave the group, so that others take over at once."""
        if self._run is not None:
            self._run.cancel()
            await asyncio.wait([self._run])
        with contextlib.suppress(OSError):
            await self.commit(leaving=True)
        self._lose(list(self._windows))
        await self._leave()
        await self._refetching.close()

    @property
    def partitions(self) -> list[int]:
        """Those that are ours now."""
        return sorted(self._windows)

    @property
    def windows(self) -> Iterator[PartitionWindow]:
        """Of the partitions that are ours now."""
        return iter(self._windows.values())

    async def look(self) -> None:
        """See how far the partitions reach by now. What fails is seen with the next look."""
        consumer, ours = self._consumer, [TopicPartition(self.topic, number) for number in self._windows]
        if consumer is not None and ours:
            with contextlib.suppress(KafkaError, TimeoutError):
                ends = await consumer.end_offsets(ours)
                self._ends = {one.partition: end for one, end in ends.items()}

    @property
    def unfetched(self) -> Unfetched:
        """See `Source.unfetched`: of the partitions that are ours, as of the last `look`."""
        return unfetched(self._windows.values(), self._ends)

    async def offsets_since(self, partitions: Iterable[TopicPartition], at_ms: int) -> dict[TopicPartition, int]:
        """Where the records of this time and later begin; nothing for a partition without any. Raises KafkaError."""
        consumer = self._consumer
        times = {} if consumer is None else await consumer.offsets_for_times(dict.fromkeys(partitions, at_ms))
        return {one: found.offset for one, found in times.items() if found is not None}

    def sync(self) -> None:
        """Commit what has moved. Blocks. Raises OSError."""
        asyncio.run_coroutine_threadsafe(self.commit(), self._loop).result(2 * COMMIT_SECONDS)

    async def commit(self, *, leaving: bool = False) -> None:
        """Commit the places that have moved. Raises OSError; they are committed with the next ones.

        `leaving`: the partitions are about to be given back.
        """
        async with self._committing:
            moved = {number: window.place() for number, window in self._windows.items() if window.dirty}
            consumer = self._consumer
            if not moved or consumer is None:
                self._committed_at = self._clock.monotonic()
                return
            offsets = {
                TopicPartition(self.topic, number): (one.offset, place.encode(one)) for number, one in moved.items()
            }
            try:
                async with asyncio.timeout(COMMIT_SECONDS):
                    await consumer.commit(offsets)
                self._committed_at = self._clock.monotonic()
            except (CommitFailedError, IllegalStateError) as problem:
                self._broken = None if leaving else problem
                log.info(
                    "a partition was given to another forwarder before its place was committed: it begins there again",
                    extra={"destination": self.destination, "partitions": sorted(moved)},
                )
            except (KafkaError, TimeoutError, OSError) as problem:
                for number in self._windows.keys() & moved:
                    self._windows[number].dirty = True
                if self._clock.monotonic() - self._committed_at > SESSION_SECONDS:
                    self._broken = problem  # others may have our partitions by now
                raise OSError(f"Kafka, group {self.group}: {explained(problem)[1]}") from None

    # The group.

    async def _stay(self) -> None:
        while True:
            try:
                await self._join()
                while self._broken is None:
                    await self._fetch()
            except (Exception, asyncio.CancelledError) as problem:  # aiokafka lets much out; all is tried again
                if told_to_end():
                    raise
                self._complain(problem)
            else:
                self._complain(self._broken)
            self._lose(list(self._windows))
            await self._leave()
            await self._clock.sleep(AGAIN_SECONDS)

    def _complain(self, problem: BaseException | None) -> None:
        assert problem is not None
        meaning, why = explained(problem)
        again = "" if meaning is ErrorMeaning.RETRY else "; nothing is delivered before that is mended"
        self.problem = f"Kafka, topic {self.topic}, group {self.group}: {why}{again}"
        log.warning("a destination's group cannot be joined; it is tried again: %s", self.problem)

    async def _join(self) -> None:
        self._broken = None
        consumer = AIOKafkaConsumer(
            **await self._brokers.client_arguments(),
            group_id=self.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_bytes=ANSWER_BYTES,
            session_timeout_ms=int(SESSION_SECONDS * 1000),
            heartbeat_interval_ms=int(HEARTBEAT_SECONDS * 1000),
            rebalance_timeout_ms=int(REBALANCE_SECONDS * 1000),
            metadata_max_age_ms=int(METADATA_SECONDS * 1000),
        )
        self._consumer = consumer
        consumer.subscribe([self.topic], listener=Rebalance(self, consumer))
        await consumer.start()

    async def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await ended(consumer)

    async def taken_away(self, consumer: AIOKafkaConsumer) -> None:
        """All partitions are to be given back: some of them may be ours again in a moment."""
        if consumer is not self._consumer:
            return
        self.problem = "Kafka hands the partitions out anew"
        windows = list(self._windows.values())
        rings, self.rings = list(self.rings.values()), {}
        for ring in rings:
            for tell in self._lost:
                tell(ring)
        ends = self._clock.monotonic() + LAST_SECONDS
        while any(window.in_hand for window in windows) and self._clock.monotonic() < ends:
            await self._clock.sleep(0.02)
        with contextlib.suppress(OSError):
            await self.commit(leaving=True)
        self._windows = {}

    async def given(self, consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
        """These partitions are ours now."""
        if consumer is not self._consumer:
            return
        try:
            await self._begin(consumer, list(partitions))
        except Exception as problem:  # noqa: BLE001 - aiokafka would only log it, and fetch from the wrong place
            self._broken = problem

    async def _begin(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        # The public `committed` leaves out what stands beside the offset.
        committed = await consumer._coordinator.fetch_committed_offsets(partitions)  # noqa: SLF001
        starts = await consumer.beginning_offsets(partitions) if partitions else {}
        places: dict[TopicPartition, GroupPlace] = {}
        for one in partitions:
            found = committed.get(one)
            start = starts[one]
            places[one] = (
                GroupPlace(start, start) if found is None else place.resumed(found.offset, found.metadata, start)
            )
        wanted = {one: max(0, at.at_ms - WINDOW_NS // 10**6) for one, at in places.items() if at.at_ms > 0}
        times = await consumer.offsets_for_times(wanted) if wanted else {}
        for one, at in places.items():
            if at.offset < starts[one]:
                self._deleted(one.partition, at.offset, starts[one])
            early = times.get(one)
            history = at.offset if early is None else max(early.offset, at.offset - MOST_HISTORY)
            consumer.seek(one, max(min(history, at.offset), starts[one]))
            window = PartitionWindow(one.partition, at)
            self._windows[one.partition] = window
        self.problem = None
        for window in self._windows.values():
            for cluster in list(window.clusters.values()):
                self._ring(window, cluster)

    def _deleted(self, partition: int, first: int, start: int) -> None:
        log.error(
            "records were deleted before this destination had them: it was not configured for a while, somebody else "
            "deletes from the topic, or that has a retention; their events are lost for it",
            extra={
                "destination": self.destination,
                "partition": partition,
                "first_offset": first,
                "records": start - first,
            },
        )

    def _lose(self, numbers: Iterable[int]) -> None:
        gone = set(numbers)
        for key, ring in list(self.rings.items()):
            if int(key.partition("/")[0]) in gone:
                del self.rings[key]
                for tell in self._lost:
                    tell(ring)
        for number in gone:
            self._windows.pop(number, None)

    # Records.

    async def _fetch(self) -> None:
        consumer = self._consumer
        assert consumer is not None
        ours = consumer.assignment()
        full = self._make_room()
        paused = consumer.paused()
        if full and paused != ours:
            consumer.pause(*ours)
        elif not full and paused:
            consumer.resume(*paused)
        began = self._clock.monotonic()
        found = await consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000))
        if self._clock.monotonic() - began > SESSION_SECONDS:
            # This process stood still: others have our partitions by now, and what we hold is theirs to deliver.
            self._broken = TimeoutError()
            return
        for partition, records in found.items():
            window = self._windows.get(partition.partition)
            if window is not None:
                self._take(window, records)

    def _make_room(self) -> bool:
        """Whether nothing more is fetched for now.

        While the destination takes events, a cluster that holds much lets go of it, and what lies behind is fetched for
        the others; it is fetched again when its turn has come.
        """
        windows = self._windows.values()
        now = self._clock.monotonic()
        moved = sum(window.moves for window in windows)
        if moved != self._moves:
            self._moves, self._moved_at = moved, now
        excess = sum(window.held_bytes for window in windows) - HELD_BYTES
        if excess < 0:
            return sum(window.held for window in windows) >= HELD_RECORDS
        if now - self._moved_at > STILL_SECONDS or sum(window.held for window in windows) >= HELD_RECORDS:
            return True
        window, cluster = max(
            ((window, cluster) for window in windows for cluster in window.clusters.values()),
            key=lambda one: one[1].bytes,
        )
        window.let_go(cluster, min(excess + FETCH_BYTES, cluster.bytes - cluster.bytes // 4))
        return False

    def _fetch_again(self, partition: int, wanted: Collection[int]) -> dict[int, bytes]:
        fetching = asyncio.run_coroutine_threadsafe(self._refetching.values(partition, wanted), self._loop)
        return fetching.result(2 * FETCH_SECONDS)

    def _take(self, window: PartitionWindow, records: list[ConsumerRecord]) -> None:
        more: dict[ClusterWindow, None] = {}
        for one in records:
            try:
                stored = record.decode(one.offset, one.key, one.value, one.headers)
            except record.NoRecordError as problem:
                window.pass_over(one.offset)
                log.error(  # noqa: TRY400 - there is nothing to trace
                    "a record in the topic is none, and is passed over; find out who else writes there: %s",
                    problem,
                    extra={"partition": window.partition, "offset": one.offset},
                )
                continue
            if (cluster := window.take(stored)) is not None:
                more[cluster] = None
        for cluster in more:
            self._ring(window, cluster).announce()

    def _ring(self, window: PartitionWindow, cluster: ClusterWindow) -> TopicRing:
        key = f"{window.partition}/{cluster.cluster}"
        ring = self.rings.get(key)
        if ring is None:
            name = f"{self.topic}/{window.partition}"
            ring = self.rings[key] = TopicRing(
                window, cluster, name=name, split=self._split, keys=self._keys, sync=self.sync
            )
            for tell in self._new:
                tell(ring)
        return ring

    def _damaged(self, held: HeldRecord, why: str) -> None:
        log.error(
            "a record cannot be read, its events are lost: %s",
            why,
            extra={"destination": self.destination, "cluster": held.stored.cluster, "offset": held.stored.offset},
        )
