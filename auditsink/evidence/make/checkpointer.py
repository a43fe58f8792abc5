"""Makes the checkpoints: hashes what the rings take as it becomes durable, and states it about once a minute.

It stands beside the forwarders, with a cursor of its own in each ring, so nothing is removed from a ring before it is
covered, and nothing of this is on the way of a request. It is no destination behind a forwarder, because a batch is
the wrong measure: batches end at a megabyte and at each change of source, and each would cost a signature and a sync.
Here a digest runs along while the events are still in memory, and one append and one sync serve all rings.

While the file cannot be written nothing more is hashed (the rings keep the events), so memory is bounded.
"""

import asyncio
import logging
import random as random_module
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import orjson

from auditsink.common.clock import Clock, SystemClock
from auditsink.common.fair_queue import FairQueue
from auditsink.common.signal import Signal, cancelled, within
from auditsink.config.spool import CHECKPOINTS
from auditsink.evidence.checkpoint import Signed
from auditsink.evidence.make.checkpoint_file import CheckpointFile, Signing
from auditsink.evidence.make.ring_hasher import RingHasher
from auditsink.evidence.span import Span
from auditsink.forward.prefetch import Offload
from auditsink.forward.reporting import DeliveryCounters, DestinationState, ForwarderStatistics, where
from auditsink.forward.retry import Backoff
from auditsink.forward.source import Source

log = logging.getLogger("auditsink.evidence")

T = TypeVar("T")

CHUNK_BYTES = 2**22
"""Events hashed in one go. Under load a thread may wait for its turn; then there must be enough for it to do."""
INLINE_BYTES = 2**18
"""Hashing less takes under 0.3 ms in the loop; to hand it to a thread and back costs about as much."""
MOST_UNCOVERED = 2**20
"""Events of all rings that are hashed and not stated: 4 MiB of fingerprints, however many clusters are busy."""
HASH_SHARE = 0.5
"""Of the time for stopping: for hashing what is left. The rest is for the last checkpoints."""
PAUSE = 5.0
"""Seconds after a failure that is not the file's: a ring that cannot be read, a bug."""


class Checkpointer:
    """Belongs to the loop's thread."""

    def __init__(
        self,
        spool: Source,
        file: CheckpointFile,
        signer: Callable[[], Signing | None],
        *,
        every: float,
        publish: Callable[[Sequence[bytes]], None] | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = random_module.random,
        offload: Offload = asyncio.to_thread,
    ) -> None:
        """`every`: seconds from an event that is not covered to its checkpoint. `signer` gives the key of this moment.

        `publish` is given each group of checkpoints, as JSON documents, once they are on the disk.
        """
        self._spool = spool
        self._file = file
        self._signer = signer
        self._every = every
        self._publish = publish
        self._clock = clock or SystemClock()
        self._offload = offload
        self._changed = Signal(self._clock)
        self._backoff = Backoff(1.0, 60.0, random)
        self._counters = DeliveryCounters()
        self._hashers: dict[str, RingHasher] = {}
        self._queue: FairQueue[RingHasher] = FairQueue(1)  # a turn is one read
        self._full: set[RingHasher] = set()
        self._timers: set[asyncio.Task[None]] = set()
        self._due: float | None = None
        self._uncovered = 0
        self._retry_at: float | None = None
        self._closing_at: float | None = None
        self._task: asyncio.Task[Any] | None = None
        self._in_use = False
        self._stopped = False

    def __repr__(self) -> str:
        return f"<Checkpointer {self.state.value} {len(self._hashers)} rings, {self._file}>"

    async def run(self) -> None:
        """Make checkpoints until `stop`. Raises OSError when a cursor cannot be opened at the start."""
        if self._stopped:  # the start of another part failed before this one ran
            return
        self._task = asyncio.current_task()
        for ring in self._spool.rings.values():
            self._follow(ring)
        self._spool.on_new_ring(self._add)
        while not self._stopped:
            try:
                await self._step()
            except (Exception, asyncio.CancelledError) as problem:
                if cancelled(problem):
                    raise
                self._failed(f"making checkpoints failed in an unexpected way ({where(problem)}): report this bug")
                await self._clock.sleep(PAUSE)

    def _add(self, ring: Any) -> None:
        try:
            self._follow(ring)
        except OSError as problem:
            self._failed(f"cluster {ring.cluster} has no checkpoints before the next start: {problem}; check the disk")

    def _follow(self, ring: Any) -> None:
        hasher = self._hashers[ring.cluster] = RingHasher(ring)
        ring.on_durable(partial(self._announced, hasher))
        self._announced(hasher)

    def _announced(self, hasher: RingHasher) -> None:
        hasher.announced = True
        self._wake(hasher)

    def _wake(self, hasher: RingHasher) -> None:
        now = self._clock.monotonic()
        if hasher.behind and self._queue.put(hasher, now, now):
            self._changed.notify()

    async def _step(self) -> None:
        """The one thing that is to be done now; or a wait."""
        now = self._clock.monotonic()
        if self._retry_at is not None:
            if now < self._retry_at:
                await self._changed.wait(self._retry_at - now)
            else:
                await self._checkpoint_all()
        elif self._full:
            # A range that ended with its segment is stated at once: the ring may need the room.
            await self._checkpoint([(one, list(one.closed)) for one in self._full])
        elif (self._due is not None and now >= self._due) or self._uncovered >= MOST_UNCOVERED:
            await self._checkpoint_all()
        elif (self._closing_at is None or now < self._closing_at) and (hasher := self._queue.next(now)) is not None:
            self._queue.charge(hasher, 1)
            await self._hash(hasher)
        elif self._closing_at is not None:
            await self._checkpoint_all()
            self._stopped = self._retry_at is None
        else:
            await self._changed.wait()

    def _wake_after(self, seconds: float) -> None:
        """Wake up by then. Not by a wait with a timeout: a timer for each batch would cost as much as its hash."""

        async def later() -> None:
            await self._clock.sleep(seconds)
            self._changed.notify()

        timer = asyncio.create_task(later())
        self._timers.add(timer)
        timer.add_done_callback(self._timers.discard)

    async def _hash(self, hasher: RingHasher) -> None:
        began = hasher.position
        try:
            self._counters.bytes += await self._absorb(hasher)
        except Exception as problem:
            hasher.rewind()
            self._full.discard(hasher)
            now = self._clock.monotonic()
            self._queue.put(hasher, now + PAUSE, now)
            self._wake_after(PAUSE)
            if not isinstance(problem, OSError):
                raise
            self._failed(f"the ring of cluster {hasher.ring.cluster} cannot be read: {problem}; check the disk")
            return
        self._uncovered += hasher.position - began
        if hasher.closed:
            self._full.add(hasher)
        if self._due is None and hasher.uncovered:
            self._due = self._clock.monotonic() + self._every
            self._wake_after(self._every)
        if not hasher.caught_up:
            self._wake(hasher)

    async def _absorb(self, hasher: RingHasher) -> int:
        """Hash what comes next in a ring; the bytes hashed."""
        chunk = hasher.cached(CHUNK_BYTES)
        if chunk is None:
            chunk = await self._in_thread(hasher.reader.read, hasher.position, CHUNK_BYTES)
        if sum(record.size for record in chunk.records) < INLINE_BYTES:
            return hasher.absorb(chunk)
        return await self._in_thread(hasher.absorb, chunk)

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        self._in_use = True  # and stays so when this is cancelled: the thread goes on
        try:
            result = await self._offload(function, *args)
        except Exception:
            self._in_use = False
            raise
        self._in_use = False
        return result

    async def _checkpoint_all(self) -> None:
        """Everything that is hashed, the ranges under way too."""
        self._due, self._uncovered = None, 0
        await self._checkpoint([(one, one.cut()) for one in self._hashers.values() if one.uncovered])

    async def _checkpoint(self, groups: Sequence[tuple[RingHasher, list[Span]]]) -> None:
        """Put closed ranges on the disk, then move the cursors over them."""
        spans = [span for _one, group in groups for span in group]
        try:
            entries = await self._in_thread(self._file.append, spans, self._signer(), self._clock.wall_ns())
        except OSError as problem:
            self._retry_at = self._clock.monotonic() + self._backoff.next()
            self._failed(f"{self._file.path}: {problem.strerror or problem}; check the disk", retried=True)
            return
        self._backoff.reset()
        self._retry_at = None
        for one, group in groups:
            self._move(one, len(group))
        self._full = {one for one in self._full if one.closed}
        await self._in_thread(_sync, [one for one, _group in groups])
        self._tell(entries)

    def _move(self, hasher: RingHasher, stated: int) -> None:
        try:
            hasher.stated(stated)
        except OSError as problem:
            self._failed(f"the cursor of cluster {hasher.ring.cluster} cannot be stored: {problem}; check the disk")

    def _tell(self, entries: Sequence[Signed]) -> None:
        self._counters.batches += len(entries)
        self._counters.requests["delivered"] += bool(entries)
        documents = [entry.document() for entry in entries]
        for document in documents:
            log.info("checkpoint", extra=orjson.loads(document))
        if self._publish is not None and documents:
            self._publish(documents)

    def _failed(self, why: str, *, retried: bool = False) -> None:
        log.error("checkpoints are not made as they should be: events wait in the spool", extra={"error": why})
        self._counters.went_wrong(why, self._clock.wall_ns())
        if retried:
            self._counters.requests["retry"] += 1
            self._counters.retries["failed"] += 1

    async def stop(self, deadline_seconds: float) -> None:
        """State what can still be stated, and end within the time."""
        began = self._clock.monotonic()
        self._closing_at = began + deadline_seconds * HASH_SHARE
        self._retry_at = None if self._retry_at is None else began
        self._changed.notify()
        if self._task is not None:
            await within(self._clock, deadline_seconds, [self._task])
            self._task.cancel()
        self._stopped = True
        for timer in self._timers:
            timer.cancel()
        if not self._in_use:
            for hasher in self._hashers.values():
                hasher.reader.close()
            self._file.close()

    @property
    def state(self) -> DestinationState:
        """What `/status` shows for the checkpoints, in the terms of a destination."""
        if self._stopped:
            return DestinationState.STOPPED
        if self._retry_at is not None:
            return DestinationState.RETRYING
        pending = any(one.behind or one.uncovered for one in self._hashers.values())
        return DestinationState.DELIVERING if pending else DestinationState.IDLE

    def statistics(self) -> ForwarderStatistics:
        """What stands right now, in the terms of a destination: delivered is what a checkpoint covers."""
        oldest = min((ns for one in self._hashers.values() if (ns := one.oldest_ns) is not None), default=None)
        now = self._clock.monotonic()
        return ForwarderStatistics(
            name=CHECKPOINTS,
            type="checkpoint",
            state=self.state,
            last_errors=self._counters.last_errors,
            lag_seconds=0.0 if oldest is None else max(0.0, (self._clock.wall_ns() - oldest) / 1e9),
            requests=dict(self._counters.requests),
            retries=dict(self._counters.retries),
            batches=self._counters.batches,
            bytes=self._counters.bytes,
            in_flight=0,
            next_attempt_seconds=0.0 if self._retry_at is None else max(0.0, self._retry_at - now),
            accounts={cluster: one.account() for cluster, one in self._hashers.items()},
        )


def _sync(hashers: Sequence[RingHasher]) -> None:
    for hasher in hashers:
        try:
            hasher.cursor.sync()
        except OSError as problem:
            log.error(  # noqa: TRY400 - the error says it all
                "a cursor cannot be synced; a power loss would have a range stated again; check the disk",
                extra={"destination": CHECKPOINTS, "cluster": hasher.ring.cluster, "error": str(problem)},
            )
