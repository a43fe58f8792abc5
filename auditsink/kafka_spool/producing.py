"""The receivers' way into the topic: a queue for each partition, and one batch of records under way in each.

While one batch is on its way the next ones gather, so that many small requests cost one round trip, and nobody waits
for company. A batch that fails is sent again until its requests have waited `ANSWER_SECONDS`; then they get 503.
What may be in the topic all the same is recognised by its digest when it is posted again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from auditsink.common.clock import Clock
from auditsink.kafka.errors import ErrorMeaning
from auditsink.kafka.link import ProducerLink
from auditsink.kafka_spool.membership import ANSWER_SECONDS, explained
from auditsink.kafka_spool.packing import Packer, Posted
from auditsink.kafka_spool.record import Encoded, stored_size
from auditsink.spool.dedup import Dedup
from auditsink.spool.keys import Keyring
from auditsink.spool.statistics import SyncTimes
from auditsink.spool.types import Receipt, SpoolRejection

if TYPE_CHECKING:  # loads where something is reserved
    from auditsink.kafka_spool.usage import TopicUsage

log = logging.getLogger("auditsink.spool")

PATIENT_SECONDS = 5.0
"""As long as a batch may be tried again without a word: a partition gets another leader now and then."""
AGAIN_SECONDS = 0.2
"""Between two tries of a batch."""
TAKEN_BYTES = 4 * 2**20
"""Bytes of bodies that are taken out of a queue at once."""
LOOP_BYTES = 2**16
"""Bytes of bodies that are compressed in the loop; more than that in a thread."""
BATCH_BYTES = 2**20
"""Bytes of the records in one batch for the brokers; a larger record is a batch alone."""

Packed = list[tuple[Encoded, list[Posted]]]


class Producing:
    """All partitions. Belongs to the loop's thread."""

    def __init__(self, link: ProducerLink, topic: str, *, clock: Clock, keys: Keyring | None) -> None:
        self.problem: str | None = None
        """Why nothing was kept at the last try."""
        self.usage: TopicUsage | None = None
        """Where something is reserved: who says what there is room for, and is told what is sent."""
        self.times = SyncTimes()
        """How long the brokers took."""
        self._link = link
        self._topic = topic
        self._clock = clock
        self._keys = keys
        self._dedup = Dedup()
        self._under_way: dict[bytes, list[Posted]] = {}
        """By digest: who is to be told besides the one that is sent."""
        self._queues: dict[int, _PartitionQueue] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<Producing to {self._topic}, {len(self)} waiting>"

    def __len__(self) -> int:
        """Requests that wait."""
        return sum(map(len, self._queues.values()))

    def submit(self, partition: int, posted: Posted) -> None:
        """Have it in the topic."""
        queue = self._queues.get(partition)
        if queue is None:
            queue = self._queues[partition] = _PartitionQueue(
                self, partition, Packer(self._keys, now_ns=self._clock.wall_ns)
            )
        queue.add(posted)

    async def close(self, seconds: float) -> None:
        """Finish what waits, as far as that goes in the time."""
        tasks = [queue.task for queue in self._queues.values() if queue.task is not None and not queue.task.done()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._link.close()

    def unknown(self, several: Iterable[Posted]) -> list[Posted]:
        """Those that are to be sent; the others are told, or will be."""
        found: list[Posted] = []
        now = self._clock.monotonic()
        for one in several:
            if self._dedup.find(one.digest, now) is not None:
                one.done(Receipt(0, len(one.split.events), duplicate=True))
            elif (others := self._under_way.get(one.digest)) is not None:
                others.append(one)
            else:
                self._under_way[one.digest] = []
                found.append(one)
        return found

    def settle(self, several: Iterable[Posted], refusal: SpoolRejection | None) -> None:
        """Tell them."""
        now = self._clock.monotonic()
        for one in several:
            others = self._under_way.pop(one.digest, [])
            if refusal is not None:
                for each in (one, *others):
                    each.done(refusal)
                continue
            self._dedup.add(one.digest, 0, now)
            one.done(Receipt(0, len(one.split.events)))
            for each in others:
                each.done(Receipt(0, len(each.split.events), duplicate=True))

    async def send(self, partition: int, packed: Packed) -> None:
        """Have these records in the partition, in order, and tell their requests; at most `ANSWER_SECONDS`."""
        usage = self.usage
        if usage is None:
            await self._send(partition, packed, None)
            return
        packed = self._admitted(packed, usage)
        try:
            await self._send(partition, packed, usage)
        finally:
            for encoded, group in packed:
                usage.failed(group[0].cluster, stored_size(*encoded))

    def _admitted(self, packed: Packed, usage: "TopicUsage") -> Packed:
        """Those that there is room for, which count from now on; the requests of the others are told."""
        found: Packed = []
        for encoded, group in packed:
            cluster, size = group[0].cluster, stored_size(*encoded)
            if size > usage.room(cluster):
                self.settle(group, SpoolRejection.FULL)
            else:
                usage.sending(cluster, size)
                found.append((encoded, group))
        return found

    async def _send(self, partition: int, packed: Packed, usage: "TopicUsage | None") -> None:
        """What is confirmed is taken out of `packed`."""
        began = self._clock.monotonic()
        while packed:
            sent, problem, offset = 0, None, -1
            left = began + ANSWER_SECONDS - self._clock.monotonic()
            producer: Any = None
            try:
                async with asyncio.timeout(left):
                    producer = await self._link.producer()
                    batch, sent = _batch(producer, packed, self._clock.wall_ns())
                    tried = self._clock.monotonic()
                    stored = await producer.send_batch(batch, self._topic, partition=partition)
                    offset = (await stored).offset
            except asyncio.CancelledError:
                self.settle((one for _, group in packed for one in group), SpoolRejection.STOPPING)
                raise
            except Exception as failure:  # noqa: BLE001 - aiokafka lets assertions and ValueErrors of its parsers out
                problem = failure
                self._link.discard(producer)
            if problem is None:
                self.problem = None
                self.times.observe(self._clock.monotonic() - tried)
                self.settle((one for _, group in packed[:sent] for one in group), None)
                if usage is not None:
                    _note(usage, partition, offset, packed[:sent])
                del packed[:sent]
                continue
            meaning, why = explained(problem)
            waited = self._clock.monotonic() - began
            last = meaning is not ErrorMeaning.RETRY or waited >= ANSWER_SECONDS - AGAIN_SECONDS
            if last or waited > PATIENT_SECONDS:
                self._complain(f"Kafka, topic {self._topic}: {why}")
            if last:
                self.settle((one for _, group in packed for one in group), SpoolRejection.UNAVAILABLE)
                return
            await self._clock.sleep(AGAIN_SECONDS)

    def _complain(self, why: str) -> None:
        if self.problem is None:
            log.warning("the brokers have not confirmed a batch; it is sent again: %s", why)
        self.problem = why


class _PartitionQueue:
    """What waits for one partition. Its task lives while there is something."""

    def __init__(self, producing: Producing, partition: int, packer: Packer) -> None:
        self.task: asyncio.Task[None] | None = None
        self._producing = producing
        self._partition = partition
        self._packer = packer
        self._waiting: deque[Posted] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, posted: Posted) -> None:
        self._waiting.append(posted)
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            taken = self._take()
            if sum(len(one.body) for one in taken) > LOOP_BYTES:
                await asyncio.to_thread(self._digest, taken)
            else:
                self._digest(taken)
            by_cluster: dict[str, list[Posted]] = {}
            for one in self._producing.unknown(taken):
                by_cluster.setdefault(one.cluster, []).append(one)
            packed = [each for several in by_cluster.values() for each in self._packer.pack(several)]
            await self._producing.send(self._partition, packed)

    def _take(self) -> list[Posted]:
        taken = [self._waiting.popleft()]
        size = len(taken[0].body)
        while self._waiting and size + len(self._waiting[0].body) <= TAKEN_BYTES:
            taken.append(self._waiting.popleft())
            size += len(taken[-1].body)
        return taken

    def _digest(self, taken: list[Posted]) -> None:
        for one in taken:
            self._packer.digest(one)


def _note(usage: "TopicUsage", partition: int, first: int, sent: Packed) -> None:
    """They are there from offset `first` on. Of a batch that they had already brokers do not say it: it is read."""
    for offset, (encoded, group) in enumerate(sent, first):
        cluster, size = group[0].cluster, stored_size(*encoded)
        if first < 0:
            usage.failed(cluster, size)
        else:
            usage.confirmed(partition, offset, cluster, size)


def _batch(producer: Any, packed: Packed, now_ns: int) -> tuple[Any, int]:
    """A batch of the first records, and how many they are. The first one always fits."""
    batch = producer.create_batch()
    for number, (encoded, group) in enumerate(packed):
        at = group[0].received_ns if group else now_ns
        added = batch.append(timestamp=at // 10**6, key=encoded.key, value=encoded.value, headers=encoded.headers)
        if added is None:
            return batch, number
    return batch, len(packed)
