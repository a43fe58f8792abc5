"""What the tests of forwarding share: rings in memory, destinations by script, and a forwarder on a fake clock."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from auditsink.audit.eventlist import Mark
from auditsink.delivery.destination import Attempt, Batch, Limits
from auditsink.delivery.filter import EventFilter
from auditsink.delivery.outcome import Delivered, Outcome
from auditsink.forward.dead_letters import DeadLetters
from auditsink.forward.forwarder import Forwarder
from auditsink.forward.prefetch import Offload
from auditsink.forward.reporting import DestinationState
from auditsink.forward.retry import Backoff
from auditsink.forward.source import Routing
from auditsink.spool.types import Account, Chunk, Drop, Record, Tally
from auditsink.testing.clock import FakeClock, settle
from auditsink.testing.disk import FakeDisk

T = TypeVar("T")

PLAIN = Mark(0)
LIMITS = Limits(max_bytes=1000, max_events=10, max_wait=0.0, in_flight=1)


async def inline(function: Callable[..., T], /, *args: object) -> T:
    """An `Offload` that runs at once: no thread, so a test knows when it has happened."""
    return function(*args)


@dataclass(eq=False)
class FakeCursor:
    """A cursor that remembers every place it has been at."""

    start: int
    position: int = 0
    tally: Tally = field(default_factory=Tally)
    fails: bool = False
    syncs: int = 0
    path: list[int] = field(default_factory=list)
    early: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.position = self.start

    def advance(self, done: Tally) -> None:
        self.position += done.total
        self.tally = self.tally.plus(done)
        self.path.append(self.position)
        if self.fails:
            raise OSError(5, "Input/output error", "/spool/rings/x/cursors/y.cursor")

    def sync(self) -> None:
        self.syncs += 1
        if self.fails:
            raise OSError(5, "Input/output error")


class FakeRing:
    """A ring in memory. `remembered`: how many of the newest records `cached` finds."""

    def __init__(self, cluster: str = "c1", *, remembered: int = 1_000_000) -> None:
        self.cluster = cluster
        self.remembered = remembered
        self.leaving = 0
        self.records: list[Record] = []
        self.floor = 0
        self.durable = 0
        self.cursors: dict[str, FakeCursor] = {}
        self.drops: list[tuple[str, Drop]] = []
        self.loads = 0
        self.load_error: OSError | None = None
        self._listeners: list[Callable[[], None]] = []

    def put(
        self, *events: bytes, source: str = "", marks: Mark = PLAIN, received_ns: int = 0, quiet: bool = False
    ) -> Record:
        """Store one request."""
        record = Record(self.durable, list(events), received_ns, source, marks)
        self.records.append(record)
        self.durable += len(events)
        if not quiet:
            self.announce()
        return record

    def fill(self, count: int, per_record: int = 1) -> None:
        """Store `count` events of about 20 bytes in records of that many."""
        names = [f"event {self.cluster} {self.durable + at:07d}".encode() for at in range(count)]
        for at in range(0, count, per_record):
            self.put(*names[at : at + per_record], quiet=True)
        self.announce()

    def lose(self, start: int, stop: int) -> None:
        """These events no longer exist."""
        self.records = [record for record in self.records if not start <= record.first_sequence < stop]
        if start <= self.floor:
            self.floor = max(self.floor, stop)
        self.announce()

    @property
    def events(self) -> dict[int, bytes]:
        """What is held, by sequence."""
        return {r.first_sequence + at: event for r in self.records for at, event in enumerate(r.events)}

    def cursor(self, destination: str) -> FakeCursor:
        return self.cursors.setdefault(destination, FakeCursor(self.floor))

    def reader(self) -> "FakeReader":
        return FakeReader(self)

    def origin(self, sequence: int) -> str | None:
        return f"{self.cluster}/{sequence}" if sequence in self.events else None

    def on_durable(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def announce(self) -> None:
        for listener in self._listeners:
            listener()

    def claim(self, cursor: FakeCursor, start: int, stop: int) -> int:
        return self.floor

    def claim_early(self, cursor: FakeCursor, sequence: int) -> bool:
        if sequence < self.floor:
            return False
        cursor.early.add(sequence)
        return True

    def forget_early(self, cursor: FakeCursor, sequences: Iterable[int]) -> None:
        cursor.early.difference_update(sequences)

    def note_drop(self, destination: str, drop: Drop) -> None:
        self.drops.append((destination, drop))

    def account(self, cursor: FakeCursor, *, claimed: int = 0, dropped: int = 0) -> Account:
        first = max(cursor.position, claimed)
        lost = dropped + sum(sequence not in cursor.early for sequence in range(first, self.floor))
        delivered, filtered, dead, dropped = cursor.tally
        pending = self.durable - cursor.position - lost
        return Account(self.durable - cursor.start, delivered, filtered, dead, dropped + lost, pending)


def ring_of(count: int, cluster: str = "c1") -> FakeRing:
    """A ring that holds so many events already."""
    ring = FakeRing(cluster)
    ring.fill(count)
    return ring


class FakeReader:
    """Reads as the spool's does: `cached` from the start of a record only, `read` from anywhere."""

    def __init__(self, ring: FakeRing) -> None:
        self.ring = ring
        self.closed = False

    def cached(self, position: int, max_bytes: int) -> Chunk | None:
        found: list[Record] = []
        size, end = 0, position
        for record in self.ring.records[-self.ring.remembered :] if self.ring.remembered else ():
            if size < max_bytes and record.first_sequence == end:
                found.append(record)
                size += sum(map(len, record.events))
                end += len(record.events)
        return Chunk(position, end, found) if found else None

    def leaving(self, position: int) -> bool:
        return position < self.ring.leaving

    def read(self, position: int, max_bytes: int) -> Chunk:
        self.ring.loads += 1
        if self.ring.load_error is not None:
            raise self.ring.load_error
        found: list[Record] = []
        size, end = 0, position
        for record in self.ring.records:
            stop = record.first_sequence + len(record.events)
            if stop <= position:
                continue
            if size >= max_bytes:
                return Chunk(position, end, found)
            skip = max(0, position - record.first_sequence)
            events = record.events[skip:]
            found.append(Record(stop - len(events), events, record.received_ns, record.source, record.marks))
            size += sum(map(len, events))
            end = stop
        return Chunk(position, max(position, self.ring.durable), found)

    def close(self) -> None:
        self.closed = True


class FakeSpool:
    """Rings by cluster."""

    def __init__(self, *rings: FakeRing) -> None:
        self.rings = {ring.cluster: ring for ring in rings}
        self.unfetched = None
        self._listeners: list[Callable[[FakeRing], None]] = []
        self._losers: list[Callable[[FakeRing], None]] = []

    def on_new_ring(self, callback: Callable[[FakeRing], None]) -> Callable[[], None]:
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def on_lost_ring(self, callback: Callable[[FakeRing], None]) -> Callable[[], None]:
        self._losers.append(callback)
        return lambda: self._losers.remove(callback)

    def lose(self, ring: FakeRing) -> None:
        del self.rings[ring.cluster]
        for loser in self._losers:
            loser(ring)

    def add(self, ring: FakeRing) -> None:
        self.rings[ring.cluster] = ring
        for listener in self._listeners:
            listener(ring)


Answer = Callable[[Batch], Outcome | Awaitable[Outcome]]


def always(outcome: Outcome) -> Answer:
    """The same answer to everything."""
    return lambda batch: outcome


def in_turn(*outcomes: Outcome, then: Outcome = Delivered()) -> Answer:  # noqa: B008 - immutable
    """One after the other, then the last for ever."""
    left = list(outcomes)
    return lambda batch: left.pop(0) if left else then


class ScriptedDestination:
    """Answers as `answer` says and remembers every attempt, and every event it said it has taken."""

    type = "scripted"

    def __init__(self, answer: Answer = always(Delivered()), limits: Limits = LIMITS, name: str = "siem") -> None:  # noqa: B008
        self.name = name
        self.limits = limits
        self.answer = answer
        self.attempts: list[Batch] = []
        self.taken: list[tuple[str, int, bytes]] = []
        self.prepared = 0
        self.most_prepared = 0
        self.running = 0
        self.most_running = 0
        self.closed = False

    async def prepare(self, batch: Batch) -> Attempt:
        self.prepared += 1
        return lambda: self._attempt(batch)

    async def _attempt(self, batch: Batch) -> Outcome:
        self.attempts.append(batch)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            outcome = self.answer(batch)
            if isinstance(outcome, Awaitable):
                outcome = await outcome
        finally:
            self.running -= 1
        if isinstance(outcome, Delivered):
            refused = {refusal.index for refusal in outcome.refused}
            self.taken += [
                (batch.cluster, sequence, event)
                for index, (sequence, event) in enumerate(zip(batch.sequences, batch.events, strict=True))
                if index not in refused
            ]
        return outcome

    def sequences(self, cluster: str = "c1") -> list[int]:
        """What was taken of a cluster, in the order of taking."""
        return [sequence for name, sequence, _ in self.taken if name == cluster]

    async def probe(self) -> Outcome:
        return Delivered()

    async def close(self) -> None:
        self.closed = True


class Held:
    """An `answer` that keeps every attempt waiting until the test says how it ends."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Batch, asyncio.Future[Outcome]]] = []

    def __call__(self, batch: Batch) -> Awaitable[Outcome]:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.waiting.append((batch, future))
        return future

    async def end(self, outcome: Outcome = Delivered(), index: int = 0) -> Batch:  # noqa: B008
        """End the attempt with that place in the queue."""
        batch, future = self.waiting.pop(index)
        future.set_result(outcome)
        await settle()
        return batch


class Rig:
    """A forwarder with all that it needs, started by `async with`."""

    def __init__(
        self,
        destination: ScriptedDestination,
        *rings: FakeRing,
        clock: FakeClock | None = None,
        disk: FakeDisk | None = None,
        dead_letter_bytes: int = 1_000_000,
        drop_oldest: bool = False,
        files: Sequence[Path] = (),
        random: Callable[[], float] = lambda: 0.5,
        offload: Offload = inline,
        event_filter: EventFilter | None = None,
        routing: Routing | None = None,
        start: Callable[[], Awaitable[Outcome]] | None = None,
    ) -> None:
        self.destination = destination
        self.clock = clock or FakeClock()
        self.disk = disk or FakeDisk()
        self.spool = FakeSpool(*rings)
        self.dead_letters = DeadLetters(
            Path("/spool/deadletters") / destination.name,
            dead_letter_bytes,
            drop_oldest=drop_oldest,
            disk=self.disk,
            sleep=lambda _: None,
        )
        self.forwarder = Forwarder(
            destination,
            spool=self.spool,
            dead_letters=self.dead_letters,
            files=files,
            event_filter=event_filter,
            routing=routing,
            start=start,
            backoff=Backoff(1.0, 60.0, random),
            clock=self.clock,
            offload=offload,
        )
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.forwarder.run())
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.task is not None and not self.task.done():
            await self.kill()

    def state(self) -> DestinationState:
        """Asked anew each time: what a test saw in an attribute, the type checker holds for lasting."""
        return self.forwarder.state

    async def kill(self) -> None:
        """The process dies: nothing is finished, only the cursors and the dead letters stay."""
        assert self.task is not None
        self.forwarder._abandoned = True
        self.task.cancel()
        await asyncio.gather(self.task, *self.forwarder._workers, return_exceptions=True)
        await settle()

    async def stop(self, deadline: float = 8.0) -> None:
        """`Forwarder.stop`, with time passing as it needs."""
        stopping = asyncio.create_task(self.forwarder.stop(deadline))
        for _ in range(1000):
            await settle(20)
            if stopping.done():
                break
            await self.clock.advance(deadline / 100)
        await stopping
        assert self.task is not None
        await self.task

    def dead_lettered(self) -> list[int]:
        """Sequences of the dead letters."""
        return [dead_letter.sequence for dead_letter in self.dead_letters]


def adds_up(ring: FakeRing, destination: str = "siem") -> bool:
    """The promise of the accounting."""
    account = ring.account(ring.cursor(destination))
    ends: Sequence[int] = (account.delivered, account.filtered, account.dead_lettered, account.dropped)
    return account.accepted == sum(ends) + account.pending and account.pending >= 0


def ranges(batches: Iterable[Batch]) -> list[tuple[int, int]]:
    """First and one past the last sequence of each batch."""
    return [(batch.sequences[0], batch.sequences[-1] + 1) for batch in batches]
