"""One destination and everything it is owed: takes batches from the roster, has the courier bring them, settles them.

`in_flight + 1` workers each take a batch, have it prepared and see it through, so the next one is ready when an
attempt ends. Memory holds at most `in_flight + 1` batches (raw and prepared) and the few chunks that were read last
(`supply.KEPT`), however large the backlog and however many the clusters.

Nothing here is shared with another destination: a slow or broken one delays nobody else.
"""

import asyncio
import logging
import random as random_module
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from auditsink.common.clock import Clock, SystemClock
from auditsink.common.signal import cancelled, within
from auditsink.config import BackoffSettings
from auditsink.delivery.destination import Destination
from auditsink.delivery.filter import EventFilter
from auditsink.delivery.outcome import Outcome
from auditsink.forward.backoff import Backoff
from auditsink.forward.batch_limits import BatchLimits
from auditsink.forward.cursor_sync import CursorSync
from auditsink.forward.dead_letters import DeadLetters
from auditsink.forward.deliverer import Deliverer
from auditsink.forward.prefetch import Offload
from auditsink.forward.repairs import Repairs
from auditsink.forward.reporting import where
from auditsink.forward.retry import DestinationPause
from auditsink.forward.source import Everything, Routing, Source
from auditsink.forward.statistics import DestinationState, ForwarderStatistics
from auditsink.forward.subscriptions import Subscriptions
from auditsink.forward.verdicts import Settled, SplitBatch

log = logging.getLogger("auditsink.forward")

FLUSH_SHARE = 0.5
"""Of the time that `stop` has: for what is pending; then no attempt begins, so that the last ones can end."""
CLOSE_SECONDS = 1.0
"""What `stop` allows after its deadline, for what was cancelled and for the destination's `close`."""
BUG_PAUSE = 1.0
"""Seconds before a worker goes on after a failure that nobody foresaw: a log line a second, not a storm."""


class Forwarder:
    """Delivers what the spool holds to one destination until it is stopped. Belongs to the loop's thread."""

    def __init__(
        self,
        destination: Destination,
        *,
        spool: Source,
        dead_letters: DeadLetters,
        start: Callable[[], Awaitable[Outcome]] | None = None,
        files: Sequence[Path] = (),
        sift: EventFilter | None = None,
        routing: Routing | None = None,
        backoff: BackoffSettings | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = random_module.random,
        offload: Offload = asyncio.to_thread,
    ) -> None:
        """`start`: asked until it says Delivered, before anything else is asked of the destination.

        `sift`: the destination's filter. `random` gives floats from [0, 1); `offload` runs what blocks.

        `files`: what the destination reads again when it changes (token, CA): a repair that is seen is tried at once.
        """
        backoff = backoff or BackoffSettings()
        clock = clock or SystemClock()
        self._destination = destination
        self._start = start
        self._spool = spool
        self._clock = clock
        self._cursors = CursorSync(destination.name, clock, offload)
        ceiling = BatchLimits(destination.limits)
        self._roster = Subscriptions(
            destination.name,
            ceiling,
            routing=routing or Everything(),
            clock=clock,
            offload=offload,
            moved=self._cursors.moved,
        )
        self._pace = DestinationPause(Backoff(backoff.initial, backoff.max, random))
        self._courier = Deliverer(
            destination, dead_letters, sift=sift, ceiling=ceiling, pace=self._pace, clock=clock, offload=offload
        )
        self._repairs = Repairs(files, pace=self._pace, bell=self._courier.bell, clock=clock)
        self._workers: list[asyncio.Task[None]] = []
        self._abandoned = False
        self._stopped = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Forwarder {self._destination.name} {self.state.value} {self._roster} {self._courier}>"

    async def run(self) -> None:
        """Deliver until `stop`. Raises OSError when a cursor cannot be opened at the start."""
        await self._roster.open(self._spool.rings)
        self._spool.on_new_ring(self._roster.add)
        helpers = [asyncio.create_task(one) for one in (self._cursors.run(), self._repairs.run())]
        helpers.append(asyncio.create_task(self._begin()))
        try:
            await self._stopped.wait()
        finally:
            for task in (*helpers, *self._workers):
                task.cancel()

    async def _begin(self) -> None:
        if self._start is not None and not await self._courier.begin(self._start):
            return
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._destination.limits.in_flight + 1)]

    async def _work(self) -> None:
        while not self._roster.closing:
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
        taken = await self._roster.take()
        if taken is None:
            return
        lane, claim = taken
        job = self._courier.accept(lane, claim)
        verdict: Settled | SplitBatch | None = None
        try:
            verdict = await self._courier.deliver(job)
        finally:
            try:
                # An attempt that outlived its cancellation must not move a cursor whose spool is closed by now.
                if not self._abandoned:
                    self._roster.settle(lane, job.claim, verdict)
            finally:
                self._courier.release(job)

    async def stop(self, deadline_seconds: float) -> None:
        """Deliver what can still be delivered, and end: at most `CLOSE_SECONDS` after the deadline, whatever happens.

        While the destination takes events, what is pending still goes for half the time, partial batches at once.
        Then no attempt begins; those that run have until the deadline and are cancelled. The cursors stand where all
        before them is settled; the rest is delivered after the next start. A second call does nothing.
        """
        if self._stopped.is_set():
            return
        began = self._clock.monotonic()
        await self._drain(began + deadline_seconds * FLUSH_SHARE)
        self._roster.close()
        self._courier.close()
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
        self._roster.flush()
        while not (self._roster.settled or self._pace.trouble) and (left := until - self._clock.monotonic()) > 0:
            await self._courier.bell.wait(left)

    async def _let_go(self) -> None:
        self._roster.close_readers()
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
        if self._pace.trouble is not None:
            return DestinationState(self._pace.trouble.value)
        if self._roster.held:
            return DestinationState.MISCONFIGURED
        return DestinationState.IDLE if self._roster.settled else DestinationState.DELIVERING

    def statistics(self) -> ForwarderStatistics:
        """What stands right now, and what happened since the start."""
        counters = self._courier.journal.counters
        oldest_ns = self._roster.oldest_ns
        return ForwarderStatistics(
            name=self._destination.name,
            type=self._destination.type,
            state=self.state,
            last_error=counters.last_error,
            lag_seconds=0.0 if oldest_ns is None else max(0.0, (self._clock.wall_ns() - oldest_ns) / 1e9),
            requests=dict(counters.requests),
            retries=dict(counters.retries),
            batches=counters.batches,
            bytes=counters.bytes,
            in_flight=self._courier.gate.running,
            next_attempt_seconds=self._pace.remaining(self._clock.monotonic()),
            accounts=self._roster.accounts(),
            held=self._roster.held,
        )
