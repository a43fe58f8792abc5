"""Many batches: several at once, no faster than a rate, each with the apiserver's patience."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from auditsink.apiserver.deliver import OnRetry, Post, Result, deliver
from auditsink.apiserver.hopeless import HopelessError, remedy
from auditsink.apiserver.retry_schedule import PostResult
from auditsink.audit.eventlist import split
from auditsink.auditlogs.batches import Body, body_of
from auditsink.common.clock import Clock


@dataclass(slots=True)
class Totals:
    """What was sent so far: `batches`, `events` and `bytes` are those that the sink has accepted.

    `repeated`: those that it had already. `uncounted_events`: answered with a success that says of no event that it
    was accepted, as another webhook's does; they are in `events`.
    """

    batches: int = 0
    events: int = 0
    bytes: int = 0
    retries: int = 0
    repeated_batches: int = 0
    repeated_events: int = 0
    uncounted_events: int = 0
    failed_batches: int = 0
    failed_events: int = 0
    last_failure: str = ""

    def add(self, body: Body, result: Result) -> None:
        """Count what came of one batch."""
        self.retries += result.requests - 1
        last = result.last
        if not last.taken:
            self.failed_batches += 1
            self.failed_events += body.events
            self.last_failure = str(last)
        elif last.repeated and result.requests == 1:  # after a retry it is this run's own
            self.repeated_batches += 1
            self.repeated_events += body.events
        else:
            self.batches += 1
            self.events += body.events if last.accepted is None else last.accepted
            self.uncounted_events += body.events if last.accepted is None else 0
            self.bytes += len(body.data)


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


def halves(body: Body) -> list[Body]:
    """A list that is too large for the other side, as two; none for a single event. Each event stays as it is."""
    events = split(body.data).events
    middle = len(events) // 2
    return [body_of(events[:middle]), body_of(events[middle:])] if middle else []


class Sender:
    """Posts bodies, and counts in `totals` what became of them."""

    def __init__(
        self,
        post: Post,
        totals: Totals,
        *,
        clock: Clock,
        random: Callable[[], float],
        on_retry: OnRetry,
        for_ever: bool = False,
    ) -> None:
        """`for_ever`: what is not taken stays with us; no batch is given up but one event that is too large."""
        self._post = post
        self._totals = totals
        self._clock = clock
        self._random = random
        self._on_retry = on_retry
        self._for_ever = for_ever

    async def send(self, body: Body) -> None:
        """One body, in parts if it is too large. Raises HopelessError."""
        result = await deliver(
            body.data, self._post, self._clock, self._random, self._on_retry, final=_is_final, for_ever=self._for_ever
        )
        smaller = halves(body) if result.last.status == 413 else []
        for half in smaller:
            await self.send(half)
        if smaller:
            return
        self._totals.add(body, result)
        what = None if result.last.taken else remedy(result.last)
        if what is not None:
            raise HopelessError(result.last, what)


def _is_final(answer: PostResult) -> bool:
    return answer.status == 413 or remedy(answer) is not None


async def send(
    bodies: Iterator[Body],
    sender: Sender,
    *,
    connections: int,
    rate: float | None,
    clock: Clock,
    taken: Callable[[Body], None] = lambda _: None,
) -> None:
    """Send every body, `connections` at a time; `taken` is told of each that the sender is done with.

    At most `connections` bodies are in memory: the next one is read when there is somebody to post it. What reading
    a body raises ends the run, once the batches under way have ended; a hopeless answer ends it at once.
    """
    pace = SendRate(rate, clock)
    turn = asyncio.Lock()
    unreadable: list[Exception] = []

    async def next_body() -> Body | None:
        async with turn:
            try:
                body = None if unreadable else await asyncio.to_thread(next, bodies, None)
            except Exception as problem:  # noqa: BLE001 - it is raised when the others have ended
                unreadable.append(problem)
                return None
            if body is not None:
                await pace.wait(body.events)
            return body

    async def work() -> None:
        while (body := await next_body()) is not None:
            await sender.send(body)
            taken(body)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(work())
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    if unreadable:
        raise unreadable[0]
