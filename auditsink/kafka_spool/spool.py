"""The spool as the sink builds and asks it (see `auditsink.spool.Spool`): both sides, and figures."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka.partitioner import DefaultPartitioner

from auditsink.audit.eventlist import Split
from auditsink.common.clock import Clock
from auditsink.common.units import Size
from auditsink.config import Spool as SpoolConfig
from auditsink.kafka.brokers import Brokers
from auditsink.kafka.link import ProducerLink
from auditsink.kafka_spool import topic
from auditsink.kafka_spool.dead_letters import DeadLetterTopic, TopicDeadLetters, all_letters
from auditsink.kafka_spool.keeper import TopicKeeper
from auditsink.kafka_spool.membership import ANSWER_SECONDS, brokers_of
from auditsink.kafka_spool.packing import Posted
from auditsink.kafka_spool.producing import BATCH_BYTES, Producing
from auditsink.kafka_spool.ring import TopicRing
from auditsink.kafka_spool.source import TopicSource
from auditsink.kafka_spool.topic import TopicFacts
from auditsink.spool.errors import SpoolError, TooManyRingsError
from auditsink.spool.keys import Keyring
from auditsink.spool.shares import Shares
from auditsink.spool.statistics import REST, RingStatistics, SpoolStatistics
from auditsink.spool.types import Receipt, SpoolRejection, SubmitCallback

if TYPE_CHECKING:  # loads where something is reserved
    from auditsink.kafka_spool.observing import TopicObserver

log = logging.getLogger("auditsink.spool")

CLOSE_SECONDS = 4.0
"""For what waits for the brokers when the sink stops."""
PROBE_SECONDS = 2.0
"""Between two looks whether the brokers are back, while they do not confirm anything."""

_partition_of = DefaultPartitioner()


@dataclass(slots=True, eq=False)
class PostingRing:
    """A cluster as a receiver sees it: where its records go, and how many events were taken since the start."""

    cluster: str
    partition: int
    events: int = 0


class KafkaSpool:
    """Belongs to the loop's thread, but for `stop`, which blocks in another one."""

    def __init__(
        self,
        config: SpoolConfig,
        brokers: Brokers,
        facts: TopicFacts,
        *,
        clock: Clock,
        max_rings: int,
        keys: Keyring | None,
        receives: bool = True,
    ) -> None:
        self.rings: dict[str, PostingRing] = {}
        """By cluster: those that have posted to this sink."""
        self._config = config
        self._brokers = brokers
        self._facts = facts
        self._clock = clock
        self._max_rings = max_rings
        self._keys = keys
        self._receives = receives
        self._observer: TopicObserver | None = None
        self._stopping = False
        link = ProducerLink(brokers, compression="none", batch_bytes=BATCH_BYTES)
        self._link = link
        self._producing = Producing(link, config.topic, clock=clock, keys=keys)
        self._letters = DeadLetterTopic(brokers, config.letters)
        self._sources: dict[str, TopicSource] = {}
        self._keeper = TopicKeeper(
            brokers,
            config.topic,
            max_bytes=config.max_bytes,
            keep=config.keep,
            sources=lambda: tuple(self._sources.values()),
            clock=clock,
        )
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<KafkaSpool {self._config.topic} {self._producing}>"

    @classmethod
    async def open(
        cls, config: SpoolConfig, *, clock: Clock, max_rings: int, max_body: int | None, max_letter: int | None = None
    ) -> "KafkaSpool":
        """Look at the topics, and make them if they are missing. Raises SpoolError with a sentence for the operator.

        `max_body`: the largest body that is to fit into a record; None where nothing is received. `max_letter`: the
        largest event that may become a dead letter; None where nothing is delivered.
        """
        keys = None if config.encryption is None else Keyring.load(config.encryption.key_file)
        brokers = brokers_of(config)
        facts = await topic.checked_topic(config, brokers, max_body, clock)
        if max_letter is not None:
            await topic.checked_dead_letter_topic(config, brokers, max_letter, clock)
        receives = max_body is not None
        spool = cls(config, brokers, facts, clock=clock, max_rings=max_rings, keys=keys, receives=receives)
        if receives:
            await spool._keeper.look()  # a topic that is full takes nothing from the beginning
        return spool

    def start(self, notify: Callable[..., object], soon: Callable[..., object] | None = None) -> None:  # noqa: ARG002 - the disk's
        """Begin to look after the brokers."""
        self._tasks |= {self._loop.create_task(self._probe()), self._loop.create_task(self._keeper.run())}

    # For receivers.

    def ring(self, cluster: str) -> PostingRing:
        """The cluster's, made if it is new. Raises SpoolError past the allowed number."""
        ring = self.rings.get(cluster)
        if ring is None:
            if len(self.rings) >= self._max_rings:
                raise TooManyRingsError(
                    f"cluster {cluster!r} is one more than receive.max_clusters ({self._max_rings}) allows; raise it"
                )
            # All receivers must agree, also those that started before a topic got more partitions.
            partitions = list(range(self._config.partitions))
            partition = _partition_of(cluster.encode(), partitions, partitions)
            ring = self.rings[cluster] = PostingRing(cluster, partition)
        return ring

    def make_ring(self, cluster: str, made: Callable[[Any], None]) -> None:
        """See `Store.make_ring`; there is nothing to be made."""
        try:
            ring = self.ring(cluster)
        except SpoolError as problem:
            asyncio.get_running_loop().call_soon(made, problem)
        else:
            made(ring)

    def refusal(self, ring: PostingRing) -> SpoolRejection | None:
        """Why a request that begins now would be refused, as far as that is known; cheap."""
        if self._stopping:
            return SpoolRejection.STOPPING
        full = self._keeper.full or (self._observer is not None and self._observer.usage.room(ring.cluster) <= 0)
        return SpoolRejection.FULL if full else None

    def submit(
        self,
        ring: PostingRing,
        body: bytes,
        split: Split,
        source: str,
        done: SubmitCallback,
        *,
        received_ns: int | None = None,
    ) -> None:
        """Store a request. `done` is called later in the loop's thread, when the result holds; never from within.

        `received_ns`: when it was accepted, where that is not now.
        """
        if (refusal := self.refusal(ring)) is not None:
            self._loop.call_soon(done, refusal)
            return

        def taken(result: Receipt | SpoolRejection) -> None:
            if isinstance(result, Receipt) and not result.duplicate:
                ring.events += result.count
            done(result)

        at = self._clock.wall_ns() if received_ns is None else received_ns
        posted = Posted(ring.cluster, body, split, source, at, taken)
        self._producing.submit(ring.partition, posted)

    # For forwarders.

    def source(self, destination: str) -> TopicSource:
        """What is read for a destination; the same object each time."""
        source = self._sources.get(destination)
        if source is None:
            source = self._sources[destination] = TopicSource(
                self._brokers, self._config.topic, destination, clock=self._clock, keys=self._keys
            )
            source.start()
        return source

    def forget(self, destination: str) -> None:
        """Nobody reads for this destination here any more."""
        source = self._sources.pop(destination, None)
        if source is not None:
            self._end(source.close())

    def _end(self, closing: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(closing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def dead_letters(self, destination: str, max_bytes: int) -> TopicDeadLetters:
        """A destination's, for whoever is not in the loop's thread."""
        return TopicDeadLetters(self._letters, destination, self._off_the_loop, max_bytes)

    def all_dead_letters(self) -> Mapping[str, TopicDeadLetters]:
        """Of every destination that has some. Blocks; run it off the loop. Raises OSError."""
        return all_letters(self._letters, self._off_the_loop)

    def _off_the_loop(self, wanted: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(wanted, self._loop).result()

    def reserve(self, reserved: Mapping[str, int]) -> None:
        """See `SinkSpool.reserve`. Any thread; it holds soon after.

        A receiver reads along in the topic from when something is reserved until nothing is.
        """
        self._loop.call_soon_threadsafe(self._share, Shares(self._config.max_bytes, dict(reserved)))

    def _share(self, shares: Shares) -> None:
        if self._stopping:
            return
        self._keeper.shared = shares.shared
        observer = self._observer
        if not shares.reserved or not self._receives:
            self._observer = self._keeper.observer = self._producing.usage = None
            if observer is not None:
                self._end(observer.close())
        elif observer is not None:
            observer.usage.shares = shares
        else:
            self._observe(shares)

    def _observe(self, shares: Shares) -> None:
        from auditsink.kafka_spool.observing import TopicObserver  # noqa: PLC0415 - loads where something is reserved
        from auditsink.kafka_spool.usage import TopicUsage  # noqa: PLC0415

        usage = TopicUsage(shares, self._max_rings)
        self._observer = TopicObserver(
            self._brokers, self._config.topic, usage, partitions=lambda: self._partitions, clock=self._clock
        )
        self._observer.measured(self._keeper.sizes, {})
        self._keeper.observer, self._producing.usage = self._observer, usage
        self._observer.start()

    # For both.

    @property
    def problem(self) -> str | None:
        """Why nothing can be taken, while the brokers confirm nothing."""
        return self._producing.problem

    def stop(self) -> None:
        """Finish what waits, commit, leave the groups. Blocks; run it off the loop."""
        self._stopping = True
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()

    async def _stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        sources = [source.close() for source in self._sources.values()]
        if self._observer is not None:
            sources.append(self._observer.close())
        closing = [self._producing.close(CLOSE_SECONDS), self._letters.close(), self._keeper.close()]
        await asyncio.gather(*closing, *sources, return_exceptions=True)

    async def _probe(self) -> None:
        """While nothing is confirmed nobody posts, because the sink is not ready: so ask the brokers ourselves."""
        while True:
            await self._clock.sleep(PROBE_SECONDS)
            if self._producing.problem is None or len(self._producing):
                continue
            producer = None
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    producer = await self._link.producer()
                    await self._link.topics.partitions(producer, self._config.topic)
            except Exception:  # noqa: BLE001 - see Producing.send
                self._link.discard(producer)
            else:
                self._producing.problem = None

    def statistics(self) -> SpoolStatistics:
        """What is known here right now."""
        times, keeper = self._producing.times, self._keeper
        known = self._known_clusters()
        rings = [self._ring_statistics(cluster, known[cluster]) for cluster in sorted(known)]
        rest, room = self._rest()
        rings.append(RingStatistics(REST, rest, rest, 0, room, self._partitions, 0.0, 0, 0, 0))
        worries = [
            f"destination {name} is not delivered from here: {source.problem}"
            for name, source in self._sources.items()
            if source.problem is not None
        ]
        worries += [keeper.problem] if keeper.problem else []
        worries += _worries(self._observer)
        return SpoolStatistics(
            self._config.max_bytes,
            tuple(rings),
            tuple(times.counts),
            times.total,
            self.problem,
            worries=tuple(worries),
        )

    @property
    def _partitions(self) -> int:
        """How many the topic has by now."""
        return self._keeper.partitions or self._facts.partitions

    def _rest(self) -> tuple[int, int]:
        """Bytes of the topic that are not told by cluster, and the room for whoever has nothing reserved."""
        if self._observer is None:
            return self._keeper.bytes, max(0, self._config.max_bytes - self._keeper.bytes)
        usage = self._observer.usage
        return usage.uncounted + usage.used.get(REST, 0), usage.room(REST)

    def _known_clusters(self) -> dict[str, list[TopicRing]]:
        """With what forwarders hold of each here."""
        used = {} if self._observer is None else self._observer.usage.used
        held: dict[str, list[TopicRing]] = {cluster: [] for cluster in (*self.rings, *used)}
        for source in self._sources.values():
            for ring in source.rings.values():
                held.setdefault(ring.cluster, []).append(ring)
        held.pop(REST, None)
        return held

    def _ring_statistics(self, cluster: str, rings: Sequence[TopicRing]) -> RingStatistics:
        """What is known of a cluster here: of receivers what they took, of forwarders what waits."""
        taken = self.rings[cluster].events if cluster in self.rings else 0
        oldest = min((ring.oldest_ns for ring in rings if ring.oldest_ns is not None), default=None)
        age = 0.0 if oldest is None else max(0.0, (self._clock.wall_ns() - oldest) / 1e9)
        drops = {name: drop for ring in rings for name, drop in ring.drops.items()}
        used, reserved, room = 0, 0, int(self._config.max_bytes)
        if self._observer is not None:
            usage = self._observer.usage
            used, reserved, room = usage.used.get(cluster, 0), usage.shares.of(cluster), usage.room(cluster)
        return RingStatistics(cluster, used, used, reserved, room, 0, age, 0, taken, 0, drops)


def _worries(observer: "TopicObserver | None") -> list[str]:
    if observer is None or not (observer.problem or observer.usage.behind):
        return []
    return [
        observer.problem
        or f"whose {Size(observer.usage.uncounted)} of the topic are is not known yet: they count as shared until they "
        "are read"
    ]
