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


def never(_: PostResult) -> bool:
    """No answer is final to kube-apiserver."""
    return False


async def deliver(
    body: bytes,
    post: Post,
    clock: Clock,
    random: Callable[[], float],
    on_retry: OnRetry,
    *,
    final: Callable[[PostResult], bool] = never,
    for_ever: bool = False,
) -> Result:
    """Post until the batch is taken or kube-apiserver would give it up.

    `final`: an answer after which it is given up at once. `for_ever`: begin the schedule again when it is through.
    """
    schedule = RetrySchedule(clock.monotonic(), random)
    requests = 0
    while True:
        requests += 1
        answer = await post(body, schedule.seconds_left(clock.monotonic()))
        if answer.taken or final(answer):
            return Result(answer, requests)
        wait = schedule.after(answer, clock.monotonic())
        if wait is None:
            if not for_ever:
                return Result(answer, requests)
            schedule = RetrySchedule(clock.monotonic(), random)
            continue
        on_retry(answer, wait, schedule.attempt)
        await clock.sleep(wait)
