"""From a change in the API to a worker: objects are followed over disconnections, and their keys wait in a queue.

A change comes once, with what was last seen before it. A key is in the queue at most once, with one worker at a time,
and comes again later each time that it fails.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from auditsink.gardener.kube import GoneError, Kind, Kube, KubeError
from auditsink.gardener.objects import Object, meta

logger = logging.getLogger(__name__)

Seen = Callable[[Object, Object | None], None]
"""Told of an object as it is, and as it was when it was seen last."""
RETRY_SECONDS = 2.0


class Watching:
    """`shrink` keeps of each object what the next comparison needs, so that memory stays small."""

    def __init__(self, kube: Kube, kind: Kind, seen: Seen, shrink: Callable[[Object], Object]) -> None:
        self._kube = kube
        self._kind = kind
        self._seen = seen
        self._shrink = shrink
        self._known: dict[tuple[str, str], Object] = {}

    @property
    def known(self) -> list[Object]:
        """What there is, shrunk."""
        return [self._known[key] for key in sorted(self._known)]

    async def run(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Until it is cancelled."""
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                async for what, thing in self._kube.watch(self._kind, version):
                    version = str(meta(thing).get("resourceVersion") or version)
                    self._take(what, thing)
            except GoneError:
                version = ""
            except KubeError as problem:
                logger.warning("watching %s: %s; trying again", self._kind.plural, problem)
                version = ""
            # After the end of a watch, too: an API that ends or forgets each one at once is not asked in a hot loop.
            await sleep(RETRY_SECONDS)

    async def _list(self) -> str:
        things, version = await self._kube.list(self._kind)
        there = {_key(thing) for thing in things}
        for key in set(self._known) - there:
            del self._known[key]
        for thing in things:
            self._take("ADDED", thing)
        return version

    def _take(self, what: str, thing: Object) -> None:
        key = _key(thing)
        if what == "DELETED":
            self._known.pop(key, None)
        elif what in ("ADDED", "MODIFIED"):
            before = self._known.get(key)
            self._known[key] = self._shrink(thing)
            self._seen(thing, before)


def _key(thing: Object) -> tuple[str, str]:
    return (str(meta(thing).get("namespace", "")), str(meta(thing).get("name", "")))


FIRST_DELAY = 1.0
"""Seconds before the second attempt; doubled for each further one ..."""
LAST_DELAY = 60.0
"""... up to this. gardenlet waits three minutes."""

Work = Callable[[str], Awaitable[bool]]
"""Does what is due for a key; False: try again later."""


class Later(Protocol):
    """Calls something after a while: `asyncio.get_running_loop().call_later`, or a test's own."""

    def __call__(self, delay: float, call: Callable[[str], None], key: str, /) -> object:
        """In `delay` seconds, with that key."""


class WorkQueue:
    """Keys that wait for a worker; `statistics()` says how many."""

    def __init__(self, work: Work, later: Later) -> None:
        self._work = work
        self._later = later
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._active: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}

    def add(self, key: str) -> None:
        """To be worked on; at once, or after whoever works on it now."""
        if key in self._active:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._waiting.put_nowait(key)

    async def run(self, workers: int) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker())

    def statistics(self) -> dict[str, int]:
        """Keys that wait, that are worked on, and that failed and will be tried again."""
        return {"waiting": len(self._queued), "active": len(self._active), "failing": len(self._failures)}

    async def _worker(self) -> None:
        while True:
            key = await self._waiting.get()
            self._queued.discard(key)
            self._active.add(key)
            try:
                done = await self._work(key)
            finally:
                self._active.discard(key)
            self._finish(key, done=done)

    def _finish(self, key: str, *, done: bool) -> None:
        if done:
            self._failures.pop(key, None)
        else:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            self._later(min(FIRST_DELAY * 2**failures, LAST_DELAY), self.add, key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
