"""The clock that only a test moves."""

import asyncio

from auditsink.testing.clock import FakeClock


async def test_time_stands_still_until_it_is_advanced() -> None:
    clock = FakeClock(wall_ns=5_000_000_000, monotonic=10)
    await clock.advance(1.5)
    assert (clock.monotonic(), clock.wall_ns()) == (11.5, 6_500_000_000)


async def test_sleepers_wake_in_the_order_of_their_times_and_each_sees_its_own() -> None:
    clock = FakeClock(monotonic=0)
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        seen.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(name, seconds)) for name, seconds in [("b", 2), ("a", 1), ("c", 9)]]
    await clock.advance(0)
    assert (seen, clock.sleepers) == ([], 3)
    await clock.advance(5)
    assert (seen, clock.monotonic()) == ([("a", 1), ("b", 2)], 5)
    await clock.advance(4)
    await asyncio.gather(*tasks)
    assert (seen[-1], clock.sleepers) == (("c", 9), 0)


async def test_who_sleeps_again_on_waking_is_woken_again_in_the_same_advance() -> None:
    clock = FakeClock(monotonic=0)
    ticks: list[float] = []

    async def ticker() -> None:
        while True:
            await clock.sleep(1)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(ticker())
    await clock.advance(3)
    task.cancel()
    assert ticks == [1, 2, 3]


async def test_a_cancelled_sleep_is_forgotten() -> None:
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(1))
    await clock.advance(0)
    task.cancel()
    await clock.advance(2)
    assert task.cancelled()
    assert clock.sleepers == 0


async def test_no_time_to_sleep_lets_others_run() -> None:
    clock = FakeClock()
    seen: list[str] = []
    asyncio.get_running_loop().call_soon(seen.append, "ran")
    await clock.sleep(0)
    assert seen == ["ran"]


async def test_the_wall_can_jump_alone() -> None:
    clock = FakeClock(wall_ns=10_000_000_000, monotonic=1)
    clock.jump(-3)
    assert (clock.wall_ns(), clock.monotonic()) == (7_000_000_000, 1)
