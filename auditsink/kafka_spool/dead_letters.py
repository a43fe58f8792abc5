"""Dead letters of all destinations in a topic of their own, so that they outlive whoever delivered.

One record a dead letter, in partition 0: the key is `DESTINATION/ID`, the value the line of JSON that a disk would keep
(see `forward.dead_letter`). The topic is compacted: what is replayed or dropped gets a record without a value under its
key, and Kafka removes both. Memory holds the ids that are there, about 150 bytes each; `dead_letter_bytes` bounds them.

A dead letter is with all brokers in sync before `append` returns, so the place may pass its event.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Container, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from auditsink.common import resolver
from auditsink.common.units import Size
from auditsink.config import Spool
from auditsink.forward.dead_letter import DeadLetter, decode
from auditsink.forward.dead_letters import DeadLettersFullError
from auditsink.kafka.brokers import Brokers
from auditsink.kafka.link import ProducerLink
from auditsink.kafka_spool.membership import brokers_of, ended, explained, reader, told_to_end

log = logging.getLogger("auditsink.forward")

FETCH_BYTES = 2 * 2**20
SEND_SECONDS = 10.0
"""For the brokers to confirm dead letters."""
READ_SECONDS = 20.0
"""Without a record that should be there."""
BATCH_BYTES = 2**19
"""Bytes of dead letters in one batch for the brokers, before compression; a larger one is a batch alone."""
_SIZE_BITS = 32

Letters = Sequence[tuple[bytes, bytes | None]]
"""Keys and values; no value takes the dead letter away."""


@dataclass(slots=True)
class KnownLetters:
    """Of one destination. `size`: bytes of the values; `last`: the offset behind its last record.

    `removals` is another number after each removal.
    """

    size: int = 0
    last: int = 0
    removals: int = 0
    places: dict[bytes, int] = field(default_factory=dict)
    """By id: the offset, and the size of the value in the lower bits."""

    def note(self, letter_id: bytes, offset: int, size: int | None) -> None:
        """A record was read; no size: it takes one away."""
        before = self.places.pop(letter_id, None)
        if before is not None:
            self.size -= before & (1 << _SIZE_BITS) - 1
            self.removals += 1
        if size is not None:
            self.places[letter_id] = offset << _SIZE_BITS | size
            self.size += size
        self.last = offset + 1

    def holds(self, letter_id: bytes, offset: int) -> bool:
        """Whether the record at this offset is the dead letter, and not an older one or one that was taken away."""
        return self.places.get(letter_id, -1) >> _SIZE_BITS == offset


class DeadLetterTopic:
    """The topic. Belongs to the loop's thread."""

    def __init__(self, brokers: Brokers, topic: str) -> None:
        self.topic = topic
        self.known: dict[str, KnownLetters] = {}
        """By destination, as of the last `follow`."""
        self._brokers = brokers
        self._partition = TopicPartition(topic, 0)
        self._link = ProducerLink(brokers, compression="zstd", batch_bytes=BATCH_BYTES)
        self._sending = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None
        self._next = 0

    def __repr__(self) -> str:
        return f"<DeadLetterTopic {self.topic} up to {self._next}>"

    async def exists(self) -> bool:
        """Whether it was made; to ask for it by name may have the brokers make it. Raises OSError."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                consumer = await self._started()
                return self.topic in await consumer.topics()
        except (Exception, asyncio.CancelledError) as problem:
            if told_to_end():
                raise
            raise self._failed(problem) from None

    async def send(self, letters: Letters) -> None:
        """Have them in the topic, confirmed by all brokers in sync. Raises OSError; some may be there all the same."""
        left = list(letters)
        async with self._sending:
            producer: Any = None
            try:
                while left:
                    async with asyncio.timeout(SEND_SECONDS):
                        producer = await self._link.producer()
                        batch, sent = producer.create_batch(), 0
                        for key, value in left:
                            if batch.append(timestamp=None, key=key, value=value) is None:
                                break
                            sent += 1
                        await (await producer.send_batch(batch, self.topic, partition=0))
                    del left[:sent]
            except (Exception, asyncio.CancelledError) as problem:
                if told_to_end():
                    raise
                self._link.discard(producer)
                raise self._failed(problem) from None

    async def follow(self) -> None:
        """Know all that is in the topic now. Raises OSError."""
        async with self._reading:
            try:
                async with asyncio.timeout(READ_SECONDS):
                    consumer = await self._started()
                    end = (await consumer.end_offsets([self._partition]))[self._partition]
                if end < self._next:
                    log.warning("the topic of the dead letters was made anew", extra={"topic": self.topic})
                    self.known, self._next = {}, 0
                while self._next < end:
                    records, after = await self._records(consumer, self._next)
                    for one in records:
                        self._note(one)
                    self._next = after
            except (Exception, asyncio.CancelledError) as problem:
                if told_to_end():
                    raise
                await self._let_go()
                raise self._failed(problem) from None

    async def read(self, start: int) -> tuple[list[ConsumerRecord], int]:
        """Some records from that offset on, and the offset behind them, which is the same where `follow` knows no more.

        Raises OSError.
        """
        async with self._reading:
            if start >= self._next:
                return [], start
            try:
                found, after = await self._records(await self._started(), start)
            except (Exception, asyncio.CancelledError) as problem:
                if told_to_end():
                    raise
                await self._let_go()
                raise self._failed(problem) from None
            return [one for one in found if one.offset < self._next], after

    async def close(self) -> None:
        """Let go of all connections."""
        await self._link.close()
        await self._let_go()

    def _note(self, one: ConsumerRecord) -> None:
        destination, letter_id = _named(one.key)
        if letter_id:
            known = self.known.setdefault(destination, KnownLetters())
            known.note(letter_id, one.offset, None if one.value is None else len(one.value))

    async def _records(self, consumer: AIOKafkaConsumer, start: int) -> tuple[list[ConsumerRecord], int]:
        """Some, and the offset behind them. There may be none: the topic is compacted."""
        async with asyncio.timeout(READ_SECONDS):
            first = (await consumer.beginning_offsets([self._partition]))[self._partition]
            after = max(start, first)
            if not consumer.assignment():
                consumer.assign([self._partition])
            consumer.seek(self._partition, after)
            found: list[ConsumerRecord] = []
            while not found and after <= start:
                found = (await consumer.getmany(self._partition, timeout_ms=1000)).get(self._partition, [])
                after = await consumer.position(self._partition)
            return found, after

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            async with asyncio.timeout(READ_SECONDS):
                self._consumer = await reader(self._brokers, FETCH_BYTES)
        return self._consumer

    async def _let_go(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await ended(consumer)

    def _failed(self, problem: BaseException) -> OSError:
        return OSError(f"Kafka, topic {self.topic}: {explained(problem)[1]}")


Run = Callable[[Coroutine[Any, Any, Any]], Any]
"""Has a coroutine run in the loop of the topic, and waits for what comes of it: not to be called in that loop."""


class TopicDeadLetters:
    """The dead letters of one destination (see `forward.dead_letters.DeadLetterQueue`). All methods block."""

    def __init__(self, topic: DeadLetterTopic, destination: str, run: Run, max_bytes: int | None = None) -> None:
        """No `max_bytes`: commands only take away."""
        self._topic = topic
        self._destination = destination
        self._run = run
        self._max_bytes = max_bytes

    def __repr__(self) -> str:
        return f"<TopicDeadLetters {self._destination} in {self._topic}>"

    @property
    def where(self) -> str:
        """See `DeadLetterQueue.where`."""
        return f"topic {self._topic.topic}"

    def append(self, dead_letters: Sequence[DeadLetter]) -> int:
        """Have them in the topic, but for those that are there; nothing is ever thrown away for it.

        Raises DeadLettersFullError, OSError: some of them may be there all the same.
        """
        known = self._known()
        new = [(self._key(one.id), one.encode()) for one in dead_letters if _packed(one.id) not in known.places]
        if self._max_bytes is not None and known.size + sum(len(value) for _, value in new) > self._max_bytes:
            raise DeadLettersFullError(self._full(self._max_bytes))
        self._run(self._topic.send(new))
        return 0

    def dropped(self) -> int:
        """See `DeadLetterQueue.dropped`."""
        return 0

    def __iter__(self) -> Iterator[DeadLetter]:
        """They, oldest first, each once. What is none is passed over. Raises OSError."""
        self._known()
        return (one for one, _ in self.since(0) if one is not None)

    def get(self, dead_letter_id: str) -> DeadLetter | None:
        """The one with that id. Raises OSError."""
        place = self._known().places.get(_packed(dead_letter_id))
        if place is None:
            return None
        return next((one for one, _ in self.since(place >> _SIZE_BITS) if one and one.id == dead_letter_id), None)

    def remove(self, ids: Container[str]) -> int:
        """Take those with these ids away, at once and for good; returns how many there were. Raises OSError."""
        return self._remove([one for one in map(bytes.hex, list(self._known().places)) if one in ids])

    def clear(self) -> int:
        """Take everything away; returns how many there were. Raises OSError."""
        return self._remove([one.hex() for one in list(self._known().places)])

    def identity(self) -> tuple[object, int]:
        """What is another one after a removal, and how far the topic reaches for this destination. Raises OSError."""
        known = self._known()
        return (known.removals, known.last)

    def since(self, start: int) -> Iterator[tuple[DeadLetter | None, int]]:
        """Those from that offset on, each with the one behind it; None for what is none any more. Raises OSError."""
        at, after = -1, start
        while after > at:
            at = after
            records, after = self._run(self._topic.read(at))
            for one in records:
                destination, letter_id = _named(one.key)
                if destination == self._destination:
                    kept = self._topic.known.get(destination, KnownLetters()).holds(letter_id, one.offset)
                    yield (decode(one.value) if kept and one.value is not None else None), one.offset + 1

    def _known(self) -> KnownLetters:
        self._run(self._topic.follow())
        return self._topic.known.get(self._destination, KnownLetters())

    def _remove(self, ids: Collection[str]) -> int:
        self._run(self._topic.send([(self._key(one), None) for one in ids]))
        return len(ids)

    def _key(self, letter_id: str) -> bytes:
        return f"{self._destination}/{letter_id}".encode()

    def _full(self, max_bytes: int) -> str:
        name = self._destination
        return (
            f"dead letters of destination {name!r} are full ({Size(max_bytes)} in topic {self._topic.topic}): run "
            f"`auditsink deadletter replay --destination {name}` or `auditsink deadletter drop --destination {name}`, "
            "or raise dead_letter_bytes"
        )


def all_letters(topic: DeadLetterTopic, run: Run) -> Mapping[str, TopicDeadLetters]:
    """Of every destination that has some. Blocks. Raises OSError."""
    run(topic.follow())
    return {name: TopicDeadLetters(topic, name, run) for name, known in sorted(topic.known.items()) if known.places}


@contextlib.contextmanager
def beside(config: Spool) -> Iterator[Mapping[str, TopicDeadLetters]]:
    """The same for a command, beside a sink that may run: a loop in a thread. Raises OSError, SpoolError."""
    loop = resolver.Loop()
    thread = threading.Thread(target=loop.run_forever, name="dead letters", daemon=True)
    thread.start()

    def run(wanted: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(wanted, loop).result()

    topic = DeadLetterTopic(brokers_of(config), config.letters)
    try:
        yield all_letters(topic, run) if run(topic.exists()) else {}
    finally:
        run(topic.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _named(key: bytes | None) -> tuple[str, bytes]:
    """Destination and id of a record; no id for one that is none of ours."""
    destination, _, letter_id = (key or b"").decode(errors="replace").rpartition("/")
    return destination, _packed(letter_id)


def _packed(letter_id: str) -> bytes:
    """Half as long in memory; nothing for what is no id."""
    try:
        return bytes.fromhex(letter_id)
    except ValueError:
        return b""
