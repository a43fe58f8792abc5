"""Look-ups that hang: what they take from others, and when their callers are told."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from auditsink.common import resolver
from auditsink.common.resolver import LOST_SECONDS, MOST, MOST_OF_A_NAME, LookUpError, Resolver


class Names:
    """A resolver in which names that begin with `hang` return when the test says so. `asked`: all look-ups.

    A look-up is `asked` a moment after it was begun, on its own thread: `heard` waits for it.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let_go = threading.Event()
        self._heard = threading.Condition()

    def heard(self, count: int) -> list[str]:
        """All look-ups, when they are that many."""
        with self._heard:
            assert self._heard.wait_for(lambda: len(self.asked) >= count, 60), self.asked
        return self.asked

    def __call__(self, host: str, *_: Any) -> list[str]:
        with self._heard:
            self.asked.append(host)
            self._heard.notify()
        if host.startswith("hang"):
            self.let_go.wait(60)
        if host.startswith("gone"):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [f"address of {host}"]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    found = Names()
    monkeypatch.setattr(socket, "getaddrinfo", found)
    yield found
    found.let_go.set()


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "auditsink-resolver"]


async def refused(asked: Any) -> str:
    with pytest.raises(LookUpError) as caught:
        await asked
    return str(caught.value)


async def test_a_look_up_says_what_the_system_says(names: Names) -> None:
    asking = Resolver()
    assert await asking.look_up("good", 1) == ["address of good"]
    with pytest.raises(socket.gaierror, match="no such name"):
        await asking.look_up("gone", 1)
    assert "0 look-ups" in repr(asking)


async def test_all_who_ask_for_a_name_wait_for_one_look_up_and_not_for_ever(names: Names) -> None:
    asking = Resolver()
    several = [refused(asking.look_up("hang", 1, seconds=0.01)) for _ in range(20)]
    assert set(await asyncio.gather(*several)) == {"[Errno -3] the look-up of its name has not returned for 0.01 s"}
    assert names.heard(1) == ["hang"]
    assert await asking.look_up("good", 1) == ["address of good"]


async def test_who_gives_up_leaves_the_look_up_to_the_others(names: Names) -> None:
    asking = Resolver()
    first = asyncio.create_task(asking.look_up("hang", 1))
    second = asyncio.create_task(asking.look_up("hang", 1))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    names.let_go.set()
    assert await second == ["address of hang"]
    assert first.cancelled()
    assert names.asked == ["hang"]


async def test_one_that_is_lost_is_begun_anew_a_few_times(names: Names) -> None:
    now = 0.0
    asking = Resolver(lambda: now)
    for _ in range(10):
        await refused(asking.look_up("hang", 1, seconds=0.001))
        now += LOST_SECONDS
    assert names.heard(MOST_OF_A_NAME) == ["hang"] * MOST_OF_A_NAME


async def test_many_names_that_hang_are_told_of_and_take_no_more_threads(names: Names) -> None:
    asking = Resolver()
    for number in range(MOST):
        await refused(asking.look_up(f"hang{number}", 1, seconds=0.001))
    assert "see to this machine's resolver" in await refused(asking.look_up("good", 1))
    assert len(names.heard(MOST)) == MOST
    names.let_go.set()
    for thread in threads():
        await asyncio.to_thread(thread.join)
    assert await asking.look_up("good", 1) == ["address of good"]


def test_every_library_on_the_loop_looks_up_this_way_and_a_process_with_a_hanging_name_ends(names: Names) -> None:
    """`asyncio.run` would wait for its threads at its end, for ever."""

    async def connect() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.open_connection("hang.test", 9)

    with pytest.raises(TimeoutError):
        resolver.run(connect())
    assert names.heard(1) == ["hang.test"]


def test_an_address_needs_no_look_up(names: Names) -> None:
    async def connect(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        resolver.run(connect(listening.getsockname()[1]))
    assert names.asked == []
