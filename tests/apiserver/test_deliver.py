"""One batch, and many, against a scripted other side."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from leaping import Leaping

from auditsink.apiserver.deliver import Post, deliver
from auditsink.apiserver.hopeless import HopelessError, remedy
from auditsink.apiserver.retry_schedule import PostResult
from auditsink.apiserver.send import Sender, Totals, halves, send
from auditsink.auditlogs.batches import Body, body_of
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


async def test_a_batch_is_posted_until_it_is_taken(clock: Leaping) -> None:
    post, seen = scripted(PostResult(500), PostResult(503, 3), PostResult(200))
    told: list[tuple[str, float, int]] = []
    result = await deliver(b"x", post, clock, lambda: 0.0, lambda *what: told.append((str(what[0]), *what[1:])))
    assert (result.last.taken, result.requests) == (True, 3)
    assert seen == [b"x"] * 3
    assert clock.slept == [10.0, 3.0]
    assert told == [("HTTP 500", 10.0, 2), ("HTTP 503", 3.0, 2)]


async def test_a_batch_is_given_up_after_five_attempts(clock: Leaping) -> None:
    post, seen = scripted(PostResult(403))
    result = await deliver(b"x", post, clock, lambda: 0.0, ignore)
    assert (result.last.status, len(seen), len(clock.slept)) == (403, 5, 4)


async def run(
    bodies: Iterator[Body], post: Post, clock: Leaping, rate: float | None = None, connections: int = 2, **how: Any
) -> Totals:
    totals = Totals()
    sender = Sender(post, totals, clock=clock, random=half, on_retry=ignore, for_ever=how.pop("for_ever", False))
    await send(bodies, sender, connections=connections, rate=rate, clock=clock, **how)
    return totals


async def test_what_was_sent_is_counted(clock: Leaping) -> None:
    post, seen = scripted(PostResult(500), PostResult(200))
    totals = await run(iter([Body(b"aa", 2), Body(b"bbb", 1), Body(b"c", 0)]), post, clock)
    assert totals == Totals(batches=3, events=3, bytes=6, retries=1, uncounted_events=3)
    assert sorted(set(seen)) == [b"aa", b"bbb", b"c"]


async def test_what_was_given_up_is_counted(clock: Leaping) -> None:
    post, _ = scripted(PostResult(500))
    totals = await run(iter([Body(b"aa", 2)]), post, clock)
    assert totals == Totals(retries=4, failed_batches=1, failed_events=2, last_failure="HTTP 500")


async def test_what_the_sink_accepted_counts_and_not_what_was_read(clock: Leaping) -> None:
    post, _ = scripted(PostResult(200, accepted=1))
    totals = await run(iter([Body(b"aa", 2)]), post, clock)
    assert totals == Totals(batches=1, events=1, bytes=2)


async def test_repeats_are_counted_apart(clock: Leaping) -> None:
    post, _ = scripted(PostResult(200, accepted=2, repeated=True))
    totals = await run(iter([Body(b"aa", 2)]), post, clock)
    assert totals == Totals(repeated_batches=1, repeated_events=2)


async def test_what_this_run_repeated_after_a_lost_answer_is_no_repeat(clock: Leaping) -> None:
    post, _ = scripted(PostResult(0, problem="lost"), PostResult(200, accepted=2, repeated=True))
    totals = await run(iter([Body(b"aa", 2)]), post, clock)
    assert totals == Totals(batches=1, events=2, bytes=2, retries=1)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 407, 415, 501])
async def test_a_hopeless_answer_ends_the_run_at_once(clock: Leaping, status: int) -> None:
    post, seen = scripted(PostResult(status, said="why"))
    with pytest.raises(HopelessError, match=rf"HTTP {status} \(why\): .{{20,}}"):
        await run(iter([Body(b"a", 1)] * 9), post, clock, connections=1, for_ever=True)
    assert (len(seen), clock.slept) == (1, [])


async def test_a_hopeless_answer_ends_the_waiting_of_the_others(clock: Leaping) -> None:
    """One is told 503 and would wait for long, the other 401."""
    asleep = asyncio.Event()

    class Patient(Leaping):
        async def sleep(self, seconds: float) -> None:
            asleep.set()
            await asyncio.Event().wait()

    async def post(body: bytes, seconds: float) -> PostResult:
        if body == b"a":
            return PostResult(503)
        await asleep.wait()
        return PostResult(401)

    with pytest.raises(HopelessError, match="token"):
        await run(iter([Body(b"a", 1), Body(b"b", 1)]), post, Patient())


@pytest.mark.parametrize("status", [0, 408, 413, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_not_hopeless(status: int) -> None:
    assert remedy(PostResult(status)) is None


def test_tls_that_fails_is_hopeless() -> None:
    assert remedy(PostResult(0, problem="no", tls=True)) is not None


EVENTS = [b'{"auditID":"%d"}' % number for number in range(5)]


async def test_a_batch_that_is_too_large_is_posted_in_parts(clock: Leaping) -> None:
    taken: list[bytes] = []

    async def post(body: bytes, seconds: float) -> PostResult:
        if body.count(b"auditID") > 2:
            return PostResult(413)
        taken.append(body)
        return PostResult(200, accepted=body.count(b"auditID"))

    totals = await run(iter([body_of(EVENTS)]), post, clock)
    assert (totals.events, totals.failed_events, clock.slept) == (5, 0, [])
    assert [event for body in taken for event in EVENTS if event in body] == EVENTS


async def test_an_event_that_is_too_large_costs_itself(clock: Leaping) -> None:
    async def post(body: bytes, seconds: float) -> PostResult:
        return PostResult(413) if EVENTS[3] in body else PostResult(200, accepted=body.count(b"auditID"))

    totals = await run(iter([body_of(EVENTS)]), post, clock, for_ever=True)
    assert (totals.events, totals.failed_events, totals.last_failure) == (4, 1, "HTTP 413")


def test_halves_keep_every_event() -> None:
    first, second = halves(body_of(EVENTS))
    assert (first, second) == (body_of(EVENTS[:2]), body_of(EVENTS[2:]))
    assert halves(body_of(EVENTS[:1])) == []


async def test_for_ever_is_for_ever(clock: Leaping) -> None:
    post, seen = scripted(*[PostResult(503)] * 23, PostResult(200, accepted=1))
    taken: list[Body] = []
    totals = await run(iter([Body(b"a", 1)]), post, clock, for_ever=True, taken=taken.append)
    assert (totals.events, len(seen), taken) == (1, 24, [Body(b"a", 1)])


async def test_a_rate_spreads_the_events(clock: Leaping) -> None:
    """Four batches of 100 events at 50 a second start 2 s apart."""
    post, _ = scripted(PostResult(200))
    await run(iter([Body(b"x", 100)] * 4), post, clock, rate=50.0, connections=1)
    assert clock.slept == [2.0, 2.0, 2.0]


async def test_only_as_many_bodies_are_read_as_can_be_posted(clock: Leaping) -> None:
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


async def test_an_unreadable_body_ends_the_run_after_what_is_under_way(clock: Leaping) -> None:
    def bodies() -> Iterator[Body]:
        yield Body(b"x", 1)
        raise OSError("gone")

    post, seen = scripted(PostResult(200))
    with pytest.raises(OSError, match="gone"):
        await run(bodies(), post, clock)
    assert seen == [b"x"]


def failing_on(bad: bytes) -> Post:
    async def post(body: bytes, seconds: float) -> PostResult:
        return PostResult(500 if body == bad else 200)

    return post


async def test_the_scripted_apiserver_keeps_a_ledger(clock: Leaping) -> None:
    apiserver = Apiserver(failing_on(b"b"), clock, half)
    await apiserver.storm([b"a", b"b", b"c"], at_once=2)
    assert sorted(apiserver.acknowledged) == [b"a", b"c"]
    assert apiserver.dropped == [b"b"]
    assert apiserver.answers == {200: 2, 500: 5}


async def test_a_stopped_apiserver_posts_nothing_new(clock: Leaping) -> None:
    apiserver = Apiserver(failing_on(b""), clock, half)

    def bodies() -> Iterator[bytes]:
        yield b"a"
        apiserver.stop()
        yield b"b"

    await apiserver.storm(bodies(), at_once=1)
    assert apiserver.acknowledged == [b"a"]
