"""One rendering for all who wait."""

import asyncio

import pytest
from leaping import Leaping

from auditsink.admin.status_endpoints import PAUSE_SHARE, SingleFlight


class Rendering:
    """Each takes a second of its clock, and ends when it is let go."""

    def __init__(self) -> None:
        self.clock = Leaping()
        self.begun = 0
        self.go = asyncio.Event()

    async def render(self) -> int:
        self.begun += 1
        mine = self.begun
        await self.go.wait()
        self.clock.now += 1.0
        if mine == 3:
            raise ValueError(mine)
        return mine


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_who_wait_share_one_and_who_comes_later_gets_a_later_one() -> None:
    rendering = Rendering()
    shared = SingleFlight(rendering.render, rendering.clock)
    first = [asyncio.create_task(shared.get()) for _ in range(50)]
    await turns()
    later = [asyncio.create_task(shared.get()) for _ in range(50)]
    await turns()
    assert rendering.begun == 1
    rendering.go.set()
    assert await asyncio.gather(*first) == [1] * 50
    assert await asyncio.gather(*later) == [2] * 50
    assert rendering.clock.slept == [PAUSE_SHARE]


async def test_a_failure_is_told_to_those_who_waited_for_it_and_to_nobody_else() -> None:
    rendering = Rendering()
    rendering.go.set()
    shared = SingleFlight(rendering.render, rendering.clock)
    assert [await shared.get(), await shared.get()] == [1, 2]
    with pytest.raises(ValueError, match="3"):
        await shared.get()
    assert await shared.get() == 4


async def test_one_who_gives_up_takes_nothing_from_the_others() -> None:
    rendering = Rendering()
    shared = SingleFlight(rendering.render, rendering.clock)
    patient, other = asyncio.create_task(shared.get()), asyncio.create_task(shared.get())
    await turns()
    other.cancel()
    await turns()
    rendering.go.set()
    assert await patient == 1
