"""Calls that hang: who waits for them, and who does not."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from auditsink.common.blocking import BlockingCalls, StuckError


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """A disk: what waits for it hangs until it is set."""
    event = threading.Event()
    yield event
    event.set()


def fail() -> None:
    raise TimeoutError("the system's own")


async def test_a_call_returns_what_it_returns_and_raises_what_it_raises() -> None:
    calls = BlockingCalls("test")
    assert await calls.run(60, int, "7") == 7
    with pytest.raises(TimeoutError, match="the system's own"):
        await calls.run(None, fail)
    assert repr(calls) == "<BlockingCalls test 0 calls, 1 of 1 threads>"
    calls.close()


async def test_a_call_that_hangs_is_told_of_and_keeps_the_next_one_from_being_made(hanging: threading.Event) -> None:
    calls = BlockingCalls("test")
    made: list[str] = []
    with pytest.raises(StuckError):
        await calls.run(0.01, hanging.wait, 60)
    for name in ("first", "second"):
        with pytest.raises(StuckError):
            await calls.run(0.01, made.append, name)
    hanging.set()
    await calls.run(60, made.append, "third")
    assert made == ["third"]
    calls.close()


async def test_neighbours_have_threads_of_their_own(hanging: threading.Event) -> None:
    stuck, well = BlockingCalls("stuck", 2), BlockingCalls("well", 2)
    waiting = [asyncio.create_task(stuck.run(None, hanging.wait, 60)) for _ in range(5)]
    assert await well.run(60, int, "1") == 1
    assert not any(one.done() for one in waiting)
    hanging.set()
    assert await asyncio.gather(*waiting) == [True] * 5
    stuck.close()
    well.close()


async def test_threads_are_begun_as_they_are_needed_and_end_with_it(hanging: threading.Event) -> None:
    def running() -> int:
        return sum(one.name == "auditsink-counted" for one in threading.enumerate())

    calls = BlockingCalls("counted", 3)
    for _ in range(10):
        await calls.run(60, int, "1")
    assert running() == 1
    waiting = [asyncio.create_task(calls.run(None, hanging.wait, 60)) for _ in range(3)]
    await asyncio.sleep(0)
    assert running() == 3
    hanging.set()
    await asyncio.gather(*waiting)
    calls.close()
    for one in threading.enumerate():
        if one.name == "auditsink-counted":
            await asyncio.to_thread(one.join)
    assert running() == 0


async def test_a_caller_that_is_cancelled_waits_no_more(hanging: threading.Event) -> None:
    calls = BlockingCalls("test")
    made: list[int] = []
    first = asyncio.create_task(calls.run(None, hanging.wait, 60))
    second = asyncio.create_task(calls.run(None, made.append, 2))
    await asyncio.sleep(0)
    for one in (first, second):
        one.cancel()
    await asyncio.wait([first, second])
    hanging.set()
    await calls.run(60, made.append, 3)
    assert made == [3]
    calls.close()
