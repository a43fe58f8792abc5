"""One destination and all that it is owed: takes leases from the subscriptions, has them delivered, settles them.

`in_flight + 1` workers each take a lease, have it prepared and see it through, so the next one is ready when an
attempt ends. Memory holds at most `in_flight + 1` batches (raw and prepared) and the few chunks that were read last
(`prefetch.KEPT`), however large the backlog and however many the clusters.

Nothing here is shared with another destination: a slow or broken one delays nobody else.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from auditsink.common.clock import Clock, SystemClock
from auditsink.common.signal import Signal, cancelled, within
from auditsink.common.watch import FileWatch
from auditsink.delivery.destination import Destination
from auditsink.delivery.filter import EventFilter
from auditsink.delivery.outcome import Outcome
from auditsink.forward.batching import BatchLimits, Boundaries
from auditsink.forward.dead_letter_count import COUNT_SECONDS, LEAST_COUNT_SECONDS, DeadLetterCount
from auditsink.forward.dead_letters import DeadLetterQueue
from auditsink.forward.deliverer import Deliverer
from auditsink.forward.prefetch import Offload
from auditsink.forward.reporting import DestinationState, ForwarderStatistics, where
from auditsink.forward.retry import Backoff, DestinationPause, Trouble
from auditsink.forward.source import Everything, Routing, Source, SourceCursor
from auditsink.forward.subscriptions import Subscriptions
from auditsink.forward.verdicts import Settled, SplitBatch

log = logging.getLogger("auditsink.forward")

FLUSH_SHARE = 0.5
"""Of the time that `stop` has: for what is pending; then no attempt begins, so that the last ones can end."""
CLOSE_SECONDS = 1.0
"""What `stop` allows after its deadline, for what was cancelled and for the destination's `close`."""
LOOK_SECONDS = 2.0
"""Between two looks at the destination's files, and only while it is misconfigured."""
BUG_PAUSE = 1.0
"""Seconds before a worker goes on after a failure that nobody foresaw: a log line a second, not a storm."""


SYNC_SECONDS = 1.0
"""Between two syncs. One after each batch would cost more than the delivery."""


class CursorSync:
    """Makes the cursors of one destination durable: those that moved, about once a second, in a thread.

    A cursor's slot is written at every move, which a killed process survives; the sync is for a power loss, and what it
    costs to come late is a second's worth of repeats.
    """

    def __init__(self, destination: str, clock: Clock, offload: Offload) -> None:
        self._destination = destination
        self._clock = clock
        self._offload = offload
        self._moved: set[SourceCursor] = set()
        self._changed = Signal(clock)

    def __repr__(self) -> str:
        return f"<CursorSync {len(self._moved)} moved>"

    def moved(self, cursor: SourceCursor) -> None:
        """Remember a cursor for the next sync."""
        if not self._moved:
            self._changed.notify()
        self._moved.add(cursor)

    async def run(self) -> None:
        """Sync for ever; cancel it to stop. An idle destination costs nothing."""
        while True:
            if not self._moved:
                await self._changed.wait()
            await self._clock.sleep(SYNC_SECONDS)
            await self.sync()

    async def sync(self) -> None:
        """Make all moves durable."""
        moved, self._moved = self._moved, set()
        if moved:
            await self._offload(self._sync, moved)

    def _sync(self, cursors: set[SourceCursor]) -> None:
        for cursor in cursors:
            try:
                cursor.sync()
            except OSError as problem:
                log.error(  # noqa: TRY400 - the error says it all
                    "a cursor cannot be synced; a power loss would have events delivered again; check the disk",
                    extra={"destination": self._destination, "error": str(problem)},
                )


class Forwarder:
    """Delivers what the spool holds to one destination until it is stopped. Belongs to the loop's thread."""

    def __init__(
        self,
        destination: Destination,
        *,
        spool: Source,
        dead_letters: DeadLetterQueue,
        start: Callable[[], Awaitable[Outcome]] | None = None,
        files: Sequence[Path] = (),
        event_filter: EventFilter | None = None,
        routing: Routing | None = None,
        boundaries: Boundaries | None = None,
        backoff: Backoff | None = None,
        clock: Clock | None = None,
        offload: Offload = asyncio.to_thread,
    ) -> None:
        """`start`: asked until it says Delivered, before anything else is asked of the destination.

        `offload` runs what blocks.

        `boundaries`: shared with destinations of the same type and limits, so that their batches are the same.

        `files`: what the destination reads again when it changes (token, CA): a repair that is seen is tried at once.
        """
        clock = clock or SystemClock()
        self._destination = destination
        self._start = start
        self._spool = spool
        self._clock = clock
        self._cursors = CursorSync(destination.name, clock, offload)
        batch_limits = BatchLimits(destination.limits)
        self._pause = DestinationPause(backoff or Backoff(1.0, 60.0, random.random))
        self._deliverer = Deliverer(
            destination,
            dead_letters,
            event_filter=event_filter,
            batch_limits=batch_limits,
            pause=self._pause,
            clock=clock,
            offload=offload,
        )
        self._subscriptions = Subscriptions(
            destination.name,
            batch_limits,
            boundaries=boundaries or Boundaries(),
            routing=routing or Everything(),
            clock=clock,
            offload=offload,
            moved=self._cursors.moved,
            news=self._deliverer.news,
        )
        self._count = DeadLetterCount(dead_letters)
        self._offload = offload
        # Since the start, not since a failure: a change that the failed attempt missed must count as well.
        self._files = FileWatch(files)
        self._workers: list[asyncio.Task[None]] = []
        self._abandoned = False
        self._stopped = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Forwarder {self._destination.name} {self.state.value} {self._subscriptions} {self._deliverer}>"

    async def run(self) -> None:
        """Deliver until `stop`. Raises OSError when a cursor cannot be opened at the start."""
        await self._subscriptions.open(self._spool.rings)
        self._subscriptions.ends_with(self._spool.on_new_ring(self._subscriptions.add))
        self._subscriptions.ends_with(self._spool.on_lost_ring(self._subscriptions.remove))
        always = (self._cursors.run(), self._watch_files(), self._count_dead_letters())
        helpers = [asyncio.create_task(one) for one in always]
        helpers.append(asyncio.create_task(self._begin()))
        try:
            await self._stopped.wait()
        finally:
            for task in (*helpers, *self._workers):
                task.cancel()

    async def _begin(self) -> None:
        if self._start is not None and not await self._deliverer.begin(self._start):
            return
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._destination.limits.in_flight + 1)]

    async def _work(self) -> None:
        while not self._subscriptions.closing:
            try:
                await self._deliver_next()
            except (Exception, asyncio.CancelledError) as problem:
                if cancelled(problem):
                    raise
                log.error(  # noqa: TRY400 - its text may quote an event
                    "forwarding failed in an unexpected way and goes on: this is a bug in auditsink, report it",
                    extra={"destination": self._destination.name, "error": where(problem)},
                )
                await self._clock.sleep(BUG_PAUSE)

    async def _deliver_next(self) -> None:
        lease = await self._subscriptions.take()
        if lease is None:
            return
        self._deliverer.accept(lease)
        verdict: Settled | SplitBatch | None = None
        try:
            verdict = await self._deliverer.deliver(lease)
        finally:
            try:
                # An attempt that outlived its cancellation must not move a cursor whose spool is closed by now.
                if not self._abandoned:
                    self._subscriptions.settle(lease, verdict)
            finally:
                self._deliverer.release(lease)

    async def _watch_files(self) -> None:
        """End the pause of a misconfigured destination early when a file that it was given is another one.

        A probe every few minutes is right for an account that might be locked, and wrong for the person who has just
        put in the new token and looks whether it works.
        """
        while self._files:
            if self._pause.trouble is not Trouble.MISCONFIGURED:
                await self._deliverer.changed.wait()
                continue
            await self._clock.sleep(LOOK_SECONDS)
            if self._files.changed():
                self._pause.repaired(self._clock.monotonic())
                self._deliverer.changed.notify()

    async def _count_dead_letters(self) -> None:
        """Keep the number of those that wait; a disk that cannot be read keeps the last one."""
        while True:
            seen = self._deliverer.times_dead_lettered
            with contextlib.suppress(OSError):
                await self._offload(self._count.look)
            await self._clock.sleep(LEAST_COUNT_SECONDS)
            if seen == self._deliverer.times_dead_lettered:
                await self._deliverer.dead_lettered.wait(COUNT_SECONDS)

    async def stop(self, deadline_seconds: float, *, drain: bool = True) -> None:
        """Deliver what can still be delivered, and end: at most `CLOSE_SECONDS` after the deadline, whatever happens.

        While the destination takes events, what is pending still goes for half the time, partial batches at once.
        Then no attempt begins; those that run have until the deadline and are cancelled. The cursors stand where all
        before them is settled; the rest is delivered after the next start. Without `drain` no attempt begins from the
        first moment. A second call does nothing.
        """
        if self._stopped.is_set():
            return
        began = self._clock.monotonic()
        if drain:
            await self._drain(began + deadline_seconds * FLUSH_SHARE)
        self._subscriptions.close()
        self._deliverer.close()
        await within(self._clock, began + deadline_seconds - self._clock.monotonic(), self._workers)
        self._stopped.set()
        for worker in self._workers:
            worker.cancel()
        await within(self._clock, CLOSE_SECONDS / 2, self._workers)
        self._abandoned = True
        closing = asyncio.create_task(self._let_go())
        await within(self._clock, CLOSE_SECONDS / 2, [closing])
        closing.cancel()

    async def _drain(self, until: float) -> None:
        self._subscriptions.flush()
        while not (self._subscriptions.settled or self._pause.trouble):
            left = until - self._clock.monotonic()
            if left <= 0:
                return
            await self._deliverer.changed.wait(left)

    async def _let_go(self) -> None:
        self._subscriptions.close_readers()
        await self._cursors.sync()
        try:
            await self._destination.close()
        except Exception as problem:  # noqa: BLE001 - whatever it is, the others must be closed too
            log.error(  # noqa: TRY400
                "a destination could not be closed cleanly",
                extra={"destination": self._destination.name, "error": where(problem)},
            )

    @property
    def state(self) -> DestinationState:
        """For `/status`."""
        if self._stopped.is_set():
            return DestinationState.STOPPED
        if self._pause.trouble is not None:
            return DestinationState(self._pause.trouble.value)
        if self._subscriptions.held:
            return DestinationState.MISCONFIGURED
        return DestinationState.IDLE if self._subscriptions.settled else DestinationState.DELIVERING

    def statistics(self) -> ForwarderStatistics:
        """What stands right now, and what happened since the start."""
        counters = self._deliverer.reporting.counters
        oldest_ns = self._subscriptions.oldest_ns
        return ForwarderStatistics(
            name=self._destination.name,
            type=self._destination.type,
            state=self.state,
            last_errors=counters.last_errors,
            lag_seconds=0.0 if oldest_ns is None else max(0.0, (self._clock.wall_ns() - oldest_ns) / 1e9),
            requests=dict(counters.requests),
            retries=dict(counters.retries),
            batches=counters.batches,
            bytes=counters.bytes,
            in_flight=self._deliverer.in_flight.running,
            next_attempt_seconds=self._pause.remaining(self._clock.monotonic()),
            accounts=self._subscriptions.accounts(),
            unfetched=self._spool.unfetched,
            held=self._subscriptions.held,
            trouble_since_ns=counters.trouble_since_ns,
            last_delivered_ns=counters.last_delivered_ns,
            dead_letters=self._count.waiting,
            repeated=counters.repeated,
            diverted=counters.diverted,
            dropped_dead_letters=self._count.dropped,
        )
