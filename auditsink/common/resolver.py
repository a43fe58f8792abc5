"""Look-ups of names, each on a thread of its own: one that never returns takes nothing from anybody else.

asyncio looks names up on the threads that all share. A resolver that hangs (a module of the name service switch, DNS
over a connection that is black) then takes one of them at each attempt of a destination, until no one has any. Here
all who ask for a name wait for the same look-up, and for so long only. One that is long gone is given up and begun
anew, a few times: then what was lost may be a single answer, and not the resolver.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

LOOK_UP_SECONDS = 20.0
"""For one who waits: longer than glibc's own patience with two servers that are down (2 x 2 x 5 s)."""
LOST_SECONDS = 120.0
"""After which a look-up is begun anew beside the one that has not returned."""
MOST_OF_A_NAME = 3
MOST = 64
"""Threads: of one name and of all. Names come from the configuration, and from the brokers of a Kafka cluster."""

T = TypeVar("T")

Name = tuple[Any, ...]


class LookUpError(socket.gaierror):
    """A look-up does not return."""

    def __init__(self, why: str) -> None:
        super().__init__(socket.EAI_AGAIN, why)


class Resolver:
    """Belongs to the thread of one event loop."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._newest: dict[Name, tuple[float, Future[Any]]] = {}
        self._out: dict[Name, int] = {}
        self._counting = threading.Lock()

    def __repr__(self) -> str:
        return f"<Resolver {sum(self._out.values())} look-ups of {len(self._out)} names>"

    async def look_up(self, *asked: Any, seconds: float | None = None) -> Any:
        """What `socket.getaddrinfo` says to these arguments. Raises OSError; LookUpError when it says nothing."""
        seconds = LOOK_UP_SECONDS if seconds is None else seconds
        answer = asyncio.wrap_future(self._under_way(asked))
        try:
            done, _ = await asyncio.wait({answer}, timeout=seconds)
        finally:
            answer.cancel()
        if not done:
            raise LookUpError(f"the look-up of its name has not returned for {seconds:g} s")
        return answer.result()

    def _under_way(self, name: Name) -> "Future[Any]":
        with self._counting:
            began, answer = self._newest.get(name, (0.0, None))
            of_the_name, of_all = self._out.get(name, 0), sum(self._out.values())
            lost = of_the_name < MOST_OF_A_NAME and self._now() - began >= LOST_SECONDS
            if answer is not None and not lost:
                return answer
            if of_all >= MOST:
                raise LookUpError(f"{of_all} look-ups have not returned; see to this machine's resolver")
            self._out[name] = of_the_name + 1
            answer = Future()
            answer.set_running_or_notify_cancel()  # those who wait for it come and go
            self._newest[name] = (self._now(), answer)
        threading.Thread(target=self._ask, args=(name, answer), name="auditsink-resolver", daemon=True).start()
        return answer

    def _ask(self, name: Name, answer: "Future[Any]") -> None:
        found, problem = None, None
        try:
            found = socket.getaddrinfo(*name)
        except Exception as failed:  # noqa: BLE001 - whatever it is, it is the caller's
            problem = failed
        with self._counting:
            self._out[name] -= 1
            if not self._out[name]:
                del self._out[name]
            if self._newest.get(name, (0.0, None))[1] is answer:
                del self._newest[name]
        if problem is None:
            answer.set_result(found)
        else:
            answer.set_exception(problem)


class Loop(asyncio.SelectorEventLoop):
    """An event loop that looks names up this way, for every library that opens connections on it."""

    def __init__(self) -> None:
        super().__init__()
        self._resolver = Resolver()

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's name for it
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """See `asyncio.loop.getaddrinfo`."""
        return await self._resolver.look_up(host, port, family, type, proto, flags)


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on a `Loop`."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(main)
