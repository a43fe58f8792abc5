"""HEC's indexer acknowledgement: what was accepted is delivered only when an indexer says that it is on disk.

The collector gives each request an id, and asked about ids it tells each `true` exactly once. Its ids count within a
channel, in its memory: one that was restarted counts from the beginning again and knows nothing of what waits, and the
receivers behind a load balancer each count for themselves. So a channel carries one request at a time: an id in it can
mean no other one. A channel goes on to the next request when its own was acknowledged; else it is never used again.

What is not acknowledged within five minutes is sent again (Splunk's own advice; the pause of up to 10 s between two
questions too), and may then be there twice. After a connection broke, one that rested included, which is all that we
see of a restart, what waited gets three questions more and no five minutes: else a restart would hold up delivery for
as long.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from auditsink.common.clock import Clock
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry, RetryCause

_FIRST_PAUSE = 1.0  # seconds
_LONGEST_PAUSE = 10.0
_PATIENCE = 300.0
_PATIENCE_AFTER_BREAK = 3 * _LONGEST_PAUSE

Ask = Callable[[str, int], Awaitable[bool | Outcome]]
"""Asks about the id in a channel: whether it is acknowledged now, or why there is no answer."""


@dataclass(slots=True, eq=False)
class _Waiting:
    ack_id: int
    until: float
    outcome: asyncio.Future[Outcome]
    why: str = f"no acknowledgement within {_PATIENCE:g} s; sending it again"


class Acknowledgements:
    """The requests that wait for their acknowledgement, each in a channel of its own."""

    def __init__(self, ask: Ask, clock: Clock, new_channel: Callable[[], str]) -> None:
        self._ask = ask
        self._clock = clock
        self._new_channel = new_channel
        self._resting: list[str] = []
        self._waiting: dict[str, _Waiting] = {}
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Acknowledgements {len(self._waiting)} waiting, {len(self._resting)} channels resting>"

    def __len__(self) -> int:
        return len(self._waiting)

    def channel(self) -> str:
        """For one request, or one question about nothing. Give it back, have it wait, or let it go."""
        return self._resting.pop() if self._resting else self._new_channel()

    def give_back(self, channel: str) -> None:
        """No id was given out in it that is not told: it may carry another request."""
        self._resting.append(channel)

    async def of(self, channel: str, ack_id: int) -> Outcome:
        """Wait until the channel's request is acknowledged (Delivered), or for five minutes (Retry)."""
        mine = _Waiting(ack_id, self._clock.monotonic() + _PATIENCE, asyncio.get_running_loop().create_future())
        self._waiting[channel] = mine
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            outcome = await mine.outcome
        finally:
            if self._waiting.get(channel) is mine:
                del self._waiting[channel]
        if isinstance(outcome, Delivered):
            self.give_back(channel)
        return outcome

    def broke(self) -> None:
        """A connection broke: who was at its other end may have forgotten what waits."""
        until = self._clock.monotonic() + _PATIENCE_AFTER_BREAK
        for waiting in self._waiting.values():
            if until < waiting.until:
                waiting.until = until
                waiting.why = "no acknowledgement since a connection broke; sending it again"

    async def close(self) -> None:
        """Stop asking; whoever waits gets Retry."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _poll(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while self._waiting:
                await self._clock.sleep(pause)
                pause = _FIRST_PAUSE if await self._round() else min(pause * 2, _LONGEST_PAUSE)
        finally:
            why = "the acknowledgement was no longer waited for"
            self._settle(self._waiting, Retry(why, cause=RetryCause.ELSEWHERE))

    async def _round(self) -> bool:
        """Ask about all once. True when something was learned, so that the next questions come soon."""
        now = self._clock.monotonic()
        for channel, waiting in list(self._waiting.items()):
            if waiting.until <= now:
                self._settle([channel], Retry(waiting.why, cause=RetryCause.ELSEWHERE))
        asked = [(channel, waiting.ack_id) for channel, waiting in self._waiting.items()]
        answers = await asyncio.gather(*(self._ask(channel, ack_id) for channel, ack_id in asked))
        for (channel, _), answer in zip(asked, answers, strict=True):
            if answer is True:
                self._settle([channel], Delivered())
            elif isinstance(answer, Misconfigured):
                self._settle([channel], answer)
        return True in answers

    def _settle(self, channels: Iterable[str], outcome: Outcome) -> None:
        for channel in list(channels):
            waiting = self._waiting.pop(channel, None)
            if waiting is not None and not waiting.outcome.done():
                waiting.outcome.set_result(outcome)
