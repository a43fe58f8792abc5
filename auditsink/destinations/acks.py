"""HEC's indexer acknowledgement: what was accepted is delivered only when an indexer says that it is on disk.

The collector gives each request an id; asked about ids, it tells each `true` exactly once. So one task asks for all
that wait, and nobody else may. What is not acknowledged within five minutes is sent again (Splunk's own advice; the
pause of up to 10 s between two questions too), and may then be there twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from auditsink.clock import Clock
from auditsink.forward.outcome import Delivered, Misconfigured, Outcome, Retry

_FIRST_PAUSE = 1.0  # seconds
_LONGEST_PAUSE = 10.0
_PATIENCE = 300.0

_TWICE = (
    "Splunk gave the same acknowledgement id twice: a load balancer mixes several receivers; "
    "turn on sticky sessions (cookies) there, or set acknowledge: false"
)

Ask = Callable[[list[int]], Awaitable[frozenset[int] | Outcome]]
"""Asks about ids: those that are acknowledged now, or why there is no answer."""


class _Waiting(NamedTuple):
    since: float
    outcome: asyncio.Future[Outcome]


class Acknowledgements:
    """The ids of one channel that wait for their acknowledgement."""

    def __init__(self, ask: Ask, clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._waiting: dict[int, _Waiting] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def of(self, ack_id: int) -> Outcome:
        """Wait until the id is acknowledged (Delivered), or for five minutes (Retry).

        An id that already waits is given up for both: which of the two requests an acknowledgement means is unknown.
        """
        if ack_id in self._waiting:
            self._settle([ack_id], Retry(_TWICE))
            return Misconfigured(_TWICE)
        mine = _Waiting(self._clock.monotonic(), asyncio.get_running_loop().create_future())
        self._waiting[ack_id] = mine
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            return await mine.outcome
        finally:
            if self._waiting.get(ack_id) is mine:
                del self._waiting[ack_id]

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
            self._settle(self._waiting, Retry("the acknowledgement was no longer waited for"))

    async def _round(self) -> bool:
        """Ask once. True when something was learned, so that the next question comes soon."""
        overdue = self._clock.monotonic() - _PATIENCE
        late = [ack_id for ack_id, waiting in self._waiting.items() if waiting.since <= overdue]
        self._settle(late, Retry(f"no acknowledgement within {_PATIENCE:g} s; sending it again"))
        told = await self._ask(sorted(self._waiting)) if self._waiting else frozenset[int]()
        if isinstance(told, frozenset):
            self._settle(told, Delivered())
            return bool(told)
        if isinstance(told, Misconfigured):
            self._settle(self._waiting, told)
        return False

    def _settle(self, ack_ids: Iterable[int], outcome: Outcome) -> None:
        for ack_id in list(ack_ids):
            waiting = self._waiting.pop(ack_id, None)
            if waiting is not None and not waiting.outcome.done():
                waiting.outcome.set_result(outcome)
