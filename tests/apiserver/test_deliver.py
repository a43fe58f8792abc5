"""One batch, and many, against a scripted other side."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from auditsink.apiserver.sources import Body
from leaping import Leaping

from auditsink.apiserver.deliver import Post, deliver
from auditsink.apiserver.retry_schedule import PostResult
from auditsink.apiserver.send import Totals, send
from auditsink.testing.apiserver import Apiserver


def scripted(*answers: PostResult) -> tuple[Post, list[bytes]]:
    """A `post` that gives these answers in turn, the last one for ever, and the bodies it saw."""
    seen: list[bytes] = []

    async def post(body: bytes, seconds: float) -> PostResult:
        seen.append(body)
        return answers[min(len(seen), len(answers)) - 1]

    return post, seen


def ignore(*_: object) -> None:
    return None


def half() -> float:
    return 0.5


async def test_a_batch_is_posted_until_it_is_taken(clock: Leaping):
    post, seen = scripted(PostResult(500), PostResult(503, 3), PostResult(200))
    told: list[tuple[str, float, int]] = []
    result = await deliver(b"x", post, clock, lambda: 0.0, lambda *what: told.append((str(what[0]), *what[1:])))
    assert (result.last.taken, result.requests) == (True, 3)
    assert seen == [b"x"] * 3
    assert clock.slept == [10.0, 3.0]
    assert told == [("HTTP 500", 10.0, 2), ("HTTP 503", 3.0, 2)]


async def test_a_batch_is_given_up_after_five_attempts(clock: Leaping):
    post, seen = scripted(PostResult(403))
    result = await deliver(b"x", post, clock, lambda: 0.0, ignore)
    assert (result.last.status, len(seen), len(clock.slept)) == (403, 5, 4)


async def run(
    bodies: Iterator[Body], post: Post, clock: Leaping, rate: float | None = None, connections: int = 2
) -> Totals:
    totals = Totals()
    await send(
        bodies, post, totals=totals, connections=connections, rate=rate, clock=clock, random=half, on_retry=ignore
    )
    return totals


async def test_what_was_sent_is_counted(clock: Leaping):
    post, seen = scripted(PostResult(500), PostResult(200))
    totals = await run(iter([Body(b"aa", 2), Body(b"bbb", 1), Body(b"c", 0)]), post, clock)
    assert totals == Totals(batches=3, events=3, bytes=6, retries=1)
    assert sorted(set(seen)) == [b"aa", b"bbb", b"c"]


async def test_what_was_given_up_is_counted(clock: Leaping):
    post, _ = scripted(PostResult(404))
    totals = await run(iter([Body(b"aa", 2)]), post, clock)
    assert totals == Totals(retries=4, failed_batches=1, failed_events=2, last_failure="HTTP 404")


async def test_a_rate_spreads_the_events(clock: Leaping):
    """Four batches of 100 events at 50 a second start 2 s apart."""
    post, _ = scripted(PostResult(200))
    await run(iter([Body(b"x", 100)] * 4), post, clock, rate=50.0, connections=1)
    assert clock.slept == [2.0, 2.0, 2.0]


async def test_only_as_many_bodies_are_read_as_can_be_posted(clock: Leaping):
    """A slow sink must not fill our memory."""
    read = 0
    gate = asyncio.Event()
    waiting = 0
    both_wait = asyncio.Event()

    def bodies() -> Iterator[Body]:
        nonlocal read
        for _ in range(10):
            read += 1
            yield Body(b"x", 1)

    async def post(body: bytes, seconds: float) -> PostResult:
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            both_wait.set()
        await gate.wait()
        return PostResult(200)

    task = asyncio.create_task(run(bodies(), post, clock))
    await both_wait.wait()
    assert read == 2
    gate.set()
    assert (await task).batches == 10


async def test_an_unreadable_body_ends_the_run_after_what_is_under_way(clock: Leaping):
    def bodies() -> Iterator[Body]:
        yield Body(b"x", 1)
        raise OSError("gone")

    post, seen = scripted(PostResult(200))
    with pytest.raises(OSError, match="gone"):
        await run(bodies(), post, clock)
    assert seen == [b"x"]


def failing_on(bad: bytes) -> Callable[..., object]:
    async def post(body: bytes, seconds: float) -> PostResult:
        return PostResult(500 if body == bad else 200)

    return post


async def test_the_scripted_apiserver_keeps_a_ledger(clock: Leaping):
    apiserver = Apiserver(failing_on(b"b"), clock, half)
    await apiserver.storm([b"a", b"b", b"c"], at_once=2)
    assert sorted(apiserver.acknowledged) == [b"a", b"c"]
    assert apiserver.dropped == [b"b"]
    assert apiserver.answers == {200: 2, 500: 5}


async def test_a_stopped_apiserver_posts_nothing_new(clock: Leaping):
    apiserver = Apiserver(failing_on(b""), clock, half)

    def bodies() -> Iterator[bytes]:
        yield b"a"
        apiserver.stop()
        yield b"b"

    await apiserver.storm(bodies(), at_once=1)
    assert apiserver.acknowledged == [b"a"]
