"""Follows the objects of a kind, over disconnections: every change once, with what was last seen before it."""

import logging
from collections.abc import Awaitable, Callable

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
