"""A kube-apiserver as an audit webhook sees it, with a ledger of what it was promised.

The same schedule and headers as `auditsink send` (`auditsink.apiserver`). A test of durability posts through it, breaks
things, and afterwards compares what arrived with `acknowledged`: every one of these must be there. What is in
`dropped` may have arrived (the answer was lost) or not.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable

from auditsink.apiserver.deliver import Post, Result, deliver
from auditsink.apiserver.retry_schedule import PostResult
from auditsink.common.clock import Clock, SystemClock


class Apiserver:
    """Posts batches through `post` (a `Webhook.post`, or anything like it)."""

    def __init__(self, post: Post, clock: Clock | None = None, jitter: Callable[[], float] = random.random) -> None:
        self.acknowledged: list[bytes] = []
        """Bodies that were answered with a success, in the order of the answers."""
        self.dropped: list[bytes] = []
        """Bodies that were given up after the last attempt, or when `stop` was called."""
        self.answers: Counter[int] = Counter()
        """Every answer by its HTTP status; 0 counts requests without one."""
        self._post = post
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self._stopped = False

    async def batch(self, body: bytes) -> Result:
        """One batch, through all its attempts, into the ledger."""
        result = await deliver(body, self._counted, self._clock, self._jitter, lambda *_: None)
        (self.acknowledged if result.last.taken else self.dropped).append(body)
        return result

    async def storm(self, bodies: Iterable[bytes], at_once: int) -> None:
        """All of them, `at_once` at a time, until they are through or `stop` was called."""
        left = iter(bodies)

        async def work() -> None:
            for body in left:
                if self._stopped:
                    return
                await self.batch(body)

        await asyncio.gather(*(work() for _ in range(at_once)))

    def stop(self) -> None:
        """Post nothing new; what is under way takes its course."""
        self._stopped = True

    async def _counted(self, body: bytes, seconds: float) -> PostResult:
        answer = await self._post(body, seconds)
        self.answers[answer.status] += 1
        return answer
