"""Acknowledgement where ids come again: behind a load balancer that mixes receivers, and after a restart."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest
from destinationkit import batch, event

from auditsink.common.secret import Secret
from auditsink.common.units import Duration
from auditsink.config import SplunkConfig
from auditsink.delivery.outcome import Delivered, Outcome, Retry
from auditsink.destinations.splunk import SplunkDestination
from auditsink.testing.clock import FakeClock
from auditsink.testing.hec import HecServer
from auditsink.testing.scripted import Received, Reply, ScriptedServer

TOKEN = "11111111-2222-3333-4444-555555555555"


class Balancer(ScriptedServer):
    """Each request goes to the next receiver, or with `sticky` to the one that the client's cookie names."""

    def __init__(self, receivers: list[HecServer], *, sticky: bool) -> None:
        super().__init__()
        self.receivers = receivers
        self.sticky = sticky
        self._turn = itertools.cycle(range(len(receivers)))

    async def respond(self, request: Received) -> Reply:
        cookie = request.headers.get("cookie", "")
        node = int(cookie.removeprefix("node=")) if self.sticky and cookie else next(self._turn)
        reply = await self.receivers[node].respond(request)
        headers = {**reply.headers, "Set-Cookie": f"node={node}; Path=/"} if self.sticky else reply.headers
        return Reply(reply.status, reply.body, headers)


@contextlib.asynccontextmanager
async def behind(clock: FakeClock, *, sticky: bool) -> AsyncIterator[tuple[SplunkDestination, list[HecServer]]]:
    receivers = [HecServer(token=TOKEN, acknowledge="on") for _ in range(2)]
    async with Balancer(receivers, sticky=sticky) as balancer:
        config = SplunkConfig(
            name="siem", url=balancer.url, token=Secret(TOKEN), acknowledge=True, timeout=Duration(60)
        )
        siem = SplunkDestination(config, clock)
        try:
            yield siem, receivers
        finally:
            await siem.close()


async def outcomes(clock: FakeClock, attempts: list["asyncio.Task[Outcome]"]) -> list[Outcome]:
    """Let time pass until all have ended."""
    while not all(one.done() for one in attempts):
        await asyncio.sleep(0.005)
        if clock.sleepers:
            await clock.advance(1)
    return [one.result() for one in attempts]


async def attempts(siem: SplunkDestination, count: int) -> list["asyncio.Task[Outcome]"]:
    return [asyncio.create_task(_attempt(siem, number)) for number in range(count)]


async def _attempt(siem: SplunkDestination, number: int) -> Outcome:
    return await (await siem.prepare(batch([event(number)])))()


async def test_cookies_that_stick_have_all_delivered_once() -> None:
    clock = FakeClock()
    async with behind(clock, sticky=True) as (siem, receivers):
        first = await outcomes(clock, await attempts(siem, 1))
        assert first + await outcomes(clock, await attempts(siem, 6)) == [Delivered()] * 7
    assert sorted(len(one.events) for one in receivers) == [0, 7]


async def test_without_cookies_an_id_given_twice_means_the_request_of_its_channel() -> None:
    clock = FakeClock()
    async with behind(clock, sticky=False) as (siem, receivers):
        assert await outcomes(clock, await attempts(siem, 6)) == [Delivered()] * 6
        assert not any(one._untold for one in receivers)
    assert sum(len(one.events) for one in receivers) == 6


@pytest.mark.parametrize("count", [1, 3])
async def test_without_cookies_one_at_a_time_is_delivered_only_when_its_own_receiver_says_so(count: int) -> None:
    clock = FakeClock()
    async with behind(clock, sticky=False) as (siem, receivers):
        for _ in range(count):
            assert await outcomes(clock, await attempts(siem, 1)) == [Delivered()]
            assert not any(one._untold for one in receivers)
    assert sum(len(one.events) for one in receivers) == count


async def test_a_receiver_that_was_restarted_acknowledges_nothing_of_before() -> None:
    """It gives the id that waits to the next request; what it lost is sent again and not called delivered."""
    clock = FakeClock()
    async with HecServer(token=TOKEN, acknowledge="on") as server:
        config = SplunkConfig(name="siem", url=server.url, token=Secret(TOKEN), acknowledge=True, timeout=Duration(60))
        siem = SplunkDestination(config, clock)
        (before,) = await attempts(siem, 1)
        await _waits(siem, 1)
        server.forget()
        (after,) = await attempts(siem, 1)
        await _waits(siem, 2)
        assert await outcomes(clock, [after]) == [Delivered()]
        assert not before.done()
        (outcome,) = await outcomes(clock, [before])
        assert isinstance(outcome, Retry)
        await siem.close()


async def _waits(siem: SplunkDestination, count: int) -> None:
    """Until so many requests wait for their acknowledgement."""
    assert siem._acks is not None
    for _ in range(2000):
        if len(siem._acks) == count:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{siem._acks}, and not {count}")
