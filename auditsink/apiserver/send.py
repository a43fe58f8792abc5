"""Many batches: several at once, no faster than a rate, each with the apiserver's patience."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from auditsink.apiserver.deliver import OnRetry, Post, Result, deliver
from auditsink.apiserver.sources import Body
from auditsink.common.clock import Clock


@dataclass(slots=True)
class Totals:
    """What was sent so far."""

    batches: int = 0
    events: int = 0
    bytes: int = 0
    retries: int = 0
    failed_batches: int = 0
    failed_events: int = 0
    last_failure: str = ""

    def add(self, body: Body, result: Result) -> None:
        """Count one batch."""
        self.retries += result.requests - 1
        if result.last.taken:
            self.batches += 1
            self.events += body.events
            self.bytes += len(body.data)
        else:
            self.failed_batches += 1
            self.failed_events += body.events
            self.last_failure = str(result.last)


class SendRate:
    """Spreads events evenly: each batch may start when its predecessors' share of time has passed."""

    def __init__(self, events_per_second: float | None, clock: Clock) -> None:
        self._rate = events_per_second
        self._clock = clock
        self._next = clock.monotonic()

    async def wait(self, events: int) -> None:
        """Until a batch of that many events may start."""
        if self._rate is None:
            return
        now = self._clock.monotonic()
        start = max(self._next, now)
        self._next = start + events / self._rate
        if start > now:
            await self._clock.sleep(start - now)


async def send(
    bodies: Iterator[Body],
    post: Post,
    *,
    totals: Totals,
    connections: int,
    rate: float | None,
    clock: Clock,
    random: Callable[[], float],
    on_retry: OnRetry,
) -> None:
    """Send every body, `connections` at a time, and count in `totals` as it goes.

    At most `connections` bodies are in memory: the next one is read when there is somebody to post it. What reading
    a body raises ends the run, once the batches under way have ended.
    """
    pace = SendRate(rate, clock)
    turn = asyncio.Lock()

    async def work() -> None:
        while True:
            async with turn:
                body = await asyncio.to_thread(next, bodies, None)
                if body is None:
                    return
                await pace.wait(body.events)
            totals.add(body, await deliver(body.data, post, clock, random, on_retry))

    results = await asyncio.gather(*(work() for _ in range(connections)), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
