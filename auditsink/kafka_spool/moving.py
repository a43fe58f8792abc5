"""What some destination has not got, from rings on a disk into the topic, and back: for who changes the kind of spool.

Nothing is taken away where it lay. Who has got more than another destination gets some of it again, and so does
everybody when a move is begun anew; what is moved into the topic twice is recognised there for ten minutes of its time.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

from aiokafka.structs import ConsumerRecord

from auditsink.audit.eventlist import Mark, Split, joined
from auditsink.config import Spool as SpoolConfig
from auditsink.kafka_spool import record
from auditsink.kafka_spool.place import GroupPlace
from auditsink.kafka_spool.scanning import scanning
from auditsink.kafka_spool.spool import KafkaSpool
from auditsink.spool import Spool, SpoolError
from auditsink.spool.content import ContentError, Unpacker
from auditsink.spool.keys import Keyring
from auditsink.spool.types import Receipt, Record, SpoolRejection

log = logging.getLogger("auditsink.spool")

AT_ONCE = 16
"""Batches under way."""
READ_BYTES = 4 * 2**20


@dataclass(slots=True)
class Moved:
    """What was moved so far. `unread`: records of a topic and stretches of a ring that could not be read."""

    events: int = 0
    batches: int = 0
    unread: int = 0

    def not_read(self, where: str, why: str) -> None:
        """Something stays behind because it cannot be read: told and counted, and no reason to stop."""
        log.error("%s cannot be read and is not moved: %s", where, why)
        self.unread += 1


Submit = Callable[[str, Record, bytes, Split, Callable[[Receipt | SpoolRejection], None]], None]


class _Moving:
    """Hands records on, so many at once, and stops at the first one that is not taken."""

    def __init__(self, submit: Submit, moved: Moved) -> None:
        self._submit = submit
        self._moved = moved
        self._room = asyncio.Semaphore(AT_ONCE)
        self._refused: SpoolRejection | None = None

    async def move(self, cluster: str, one: Record) -> None:
        await self._room.acquire()
        self._check()
        split = Split(one.events, one.marks)
        body = one.events[0] if one.marks & Mark.UNSPLIT else joined(one.events)
        self._submit(cluster, one, body, split, self._done)

    async def finish(self) -> None:
        for _ in range(AT_ONCE):
            await self._room.acquire()
        self._check()

    def _done(self, result: Receipt | SpoolRejection) -> None:
        if isinstance(result, SpoolRejection):
            self._refused = result
        else:
            self._moved.events += result.count
            self._moved.batches += 1
        self._room.release()

    def _check(self) -> None:
        if self._refused is not None:
            raise SpoolError(f"the spool that is moved to takes nothing more ({self._refused}); what lies there stays")


async def into_topic(rings: Spool, destinations: Sequence[str], topic: KafkaSpool, moved: Moved) -> None:
    """All that one of the destinations has not got. Raises SpoolError, OSError."""

    def submit(
        cluster: str, one: Record, body: bytes, split: Split, done: Callable[[Receipt | SpoolRejection], None]
    ) -> None:
        topic.submit(topic.ring(cluster), body, split, one.source, done, received_ns=one.received_ns)

    moving = _Moving(submit, moved)
    for ring in rings.rings.values():
        positions = [ring.cursor(name).position for name in destinations]
        reader, position = ring.reader(), max(min(positions, default=ring.floor), ring.floor)
        while position < ring.durable:
            chunk = await asyncio.to_thread(reader.read, position, READ_BYTES)
            for one in chunk.records:
                await moving.move(ring.cluster, one)
            if chunk.missing:
                where = f"{ring.cluster}, events {chunk.start} to {chunk.end - 1}: {chunk.missing} of them"
                moved.not_read(where, "auditsink spool verify says more")
            position = chunk.end
        reader.close()
    await moving.finish()


async def out_of_topic(config: SpoolConfig, destinations: Sequence[str], rings: Spool, moved: Moved) -> None:
    """All that one of the destinations has not got. Raises SpoolError."""

    def submit(
        cluster: str, one: Record, body: bytes, split: Split, done: Callable[[Receipt | SpoolRejection], None]
    ) -> None:
        rings.submit(rings.ring(cluster), body, split, one.source, done)

    moving = _Moving(submit, moved)
    async for cluster, one in _wanted(config, destinations, moved):
        await moving.move(cluster, one)
    await moving.finish()


async def _wanted(config: SpoolConfig, destinations: Sequence[str], moved: Moved) -> AsyncIterator[tuple[str, Record]]:
    keys = None if config.encryption is None else Keyring.load(config.encryption.key_file)
    unpacker = Unpacker(keys)
    async with scanning(config) as scan:
        for partition in await scan.partitions():
            start, end = await scan.bounds(partition)
            places = [await scan.place(name, partition, start) for name in destinations]
            at = max(start, min((one.offset for one in places), default=start))
            async for several in scan.records(partition, at, end):
                for each in several:
                    for found in _records(each, places, unpacker, moved):
                        yield found


def _records(
    each: ConsumerRecord, places: Sequence[GroupPlace], unpacker: Unpacker, moved: Moved
) -> Iterator[tuple[str, Record]]:
    """The record's events that somebody has not got."""
    try:
        stored = record.decode(each.offset, each.key, each.value, each.headers)
        done = [one.done(stored.cluster, stored.offset) for one in places]
        left = [count for count in done if count is not None]
        if left or not places:
            whole = unpacker.record(stored.segment, stored.header, stored.value, 0)
            yield stored.cluster, whole.since(min(left, default=0))
    except (record.NoRecordError, ContentError) as problem:
        moved.not_read(f"{each.topic}/{each.partition}/{each.offset}", str(problem))
