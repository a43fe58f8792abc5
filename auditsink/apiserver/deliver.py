"""One batch through all its attempts."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from auditsink.apiserver.retry_schedule import PostResult, RetrySchedule
from auditsink.common.clock import Clock

Post = Callable[[bytes, float], Awaitable[PostResult]]
"""Posts the body once, within so many seconds: `Webhook.post`."""
OnRetry = Callable[[PostResult, float, int], None]
"""Told before each wait: the failure, the seconds to wait, the attempt that follows."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a batch ended: `last.taken`, or given up (kube-apiserver drops it then)."""

    last: PostResult
    requests: int


async def deliver(body: bytes, post: Post, clock: Clock, random: Callable[[], float], on_retry: OnRetry) -> Result:
    """Post until the batch is taken or kube-apiserver would give it up."""
    patience = RetrySchedule(clock.monotonic(), random)
    requests = 0
    while True:
        requests += 1
        answer = await post(body, patience.seconds_left(clock.monotonic()))
        if answer.taken:
            return Result(answer, requests)
        wait = patience.after(answer, clock.monotonic())
        if wait is None:
            return Result(answer, requests)
        on_retry(answer, wait, patience.attempt)
        await clock.sleep(wait)
