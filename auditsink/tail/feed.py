"""From the rings to one listener: what is looked at from now on, and what is skipped."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from auditsink.common.clock import Clock
from auditsink.forward.prefetch import peek
from auditsink.spool.record_cache import RecordCache
from auditsink.spool.ring import Ring
from auditsink.spool.types import Chunk, Record
from auditsink.tail.line import TailLine, lines
from auditsink.tail.lookback import newest
from auditsink.tail.patterns import TailPatterns

LOOK_SECONDS = 0.5
LOOK_EVENTS = 2000
"""Looked at by all listeners together, each `LOOK_SECONDS`."""
LOOK_BYTES = 4 * 2**20
"""The same in bytes; one record may go past it."""
SHOWN = 300
"""Lines that one listener gets at once: more than a person can read."""
SILENT_LOOKS = 20
"""After so many looks without an event an empty object says that the stream is alive."""

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Place:
    """Where a listener is in a ring. `stalled`: memory had nothing there at the last look."""

    position: int
    stalled: bool = False


@dataclass(slots=True)
class _RingLook:
    """What is left to look at, what was found, how many events were passed over."""

    events: int
    bytes: int = LOOK_BYTES
    found: list[tuple[str, Record]] = field(default_factory=list)
    skipped: int = 0

    def take(self, cluster: str, chunk: Chunk) -> None:
        self.found += [(cluster, record) for record in chunk.records]
        self.skipped += chunk.missing
        self.events -= sum(len(record.events) for record in chunk.records)
        self.bytes -= sum(record.size for record in chunk.records)


class Feed:
    """One listener's way through the rings; belongs to the loop's thread."""

    def __init__(
        self, rings: Callable[[], Mapping[str, Ring]], patterns: TailPatterns, clock: Clock, *, raw: bool
    ) -> None:
        """`raw`: lines carry their events."""
        self._rings = rings
        self._patterns = patterns
        self._clock = clock
        self._raw = raw
        self._places: dict[str, _Place] = {}
        self._followed: set[RecordCache] = set()
        self._turn = 0

    async def last(self, count: int) -> AsyncIterator[bytes]:
        """The newest `count` events that are wanted, as far as it is worth the look; `follow` begins there."""
        rings = self._chosen()
        self._places = {ring.cluster: _Place(ring.durable) for ring in rings}
        if count:
            found = await asyncio.to_thread(newest, rings, count, self._patterns, self._clock.monotonic, raw=self._raw)
            yield b"\n".join([_encode({"looked_at": found.looked_at}), *map(_encode, found.lines), b""])

    async def follow(self, listeners: Callable[[], int], closed: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Events from now on, until `closed`. `listeners`: how many share what may be looked at."""
        silent = 0
        try:
            while not closed():
                self._follow(self._chosen())
                await self._clock.sleep(LOOK_SECONDS)
                look = await self._look(max(1, LOOK_EVENTS // max(1, listeners())))
                content = await asyncio.to_thread(self._render, look) if look.found or look.skipped else b""
                silent = 0 if content else silent + 1
                if content or silent % SILENT_LOOKS == 0:
                    yield content or b"{}\n"
        finally:
            self._follow([])

    def _follow(self, rings: Iterable[Ring]) -> None:
        """Have the memory of these rings, and no others, keep for us what the destinations are done with."""
        followed = {ring.record_cache for ring in rings}
        for cache in followed - self._followed:
            cache.followers += 1
        for cache in self._followed - followed:
            cache.followers -= 1
        self._followed = followed

    def _chosen(self) -> list[Ring]:
        return [ring for ring in self._rings().values() if self._patterns.cluster(ring.cluster)]

    async def _look(self, events: int) -> _RingLook:
        """One look at all rings that have news, as far as it may go; the next one begins with another ring."""
        look = _RingLook(events)
        news = [(ring, place) for ring in self._chosen() if (place := self._place(ring)).position < ring.durable]
        start = self._turn % len(news) if news else 0
        for ring, place in news[start:] + news[:start]:
            if look.events <= 0 or look.bytes <= 0:
                break
            self._turn += 1
            look.skipped += self._jump(ring, place, max(1, events // len(news)))
            chunk = ring.reader().cached(place.position, look.bytes) or await self._missing(ring, place)
            if chunk is not None:
                look.take(ring.cluster, chunk)
                place.position, place.stalled = chunk.end, False
        return look

    def _place(self, ring: Ring) -> _Place:
        """A ring that was not there when the listener came is read from its beginning."""
        return self._places.setdefault(ring.cluster, _Place(ring.floor))

    def _jump(self, ring: Ring, place: _Place, share: int) -> int:
        """Skip what is more than a look's share, to where memory has the beginning of a record; how many that are."""
        near = ring.durable - share
        if place.position >= near:
            return 0
        start = ring.record_cache.beginning(near)
        before, place.position = place.position, max(place.position, near if start is None else start)
        return place.position - before

    async def _missing(self, ring: Ring, place: _Place) -> Chunk | None:
        """What memory does not have: not yet, for events are durable a moment earlier; or no more, or never."""
        if not place.stalled:
            place.stalled = True
            return None
        try:
            return await asyncio.to_thread(peek, ring, place.position)
        except OSError:  # the destinations tell of it
            return None

    def _render(self, look: _RingLook) -> bytes:
        """The lines, of each cluster as many as of the others where not all can be shown; in a thread."""
        wanted: dict[str, list[TailLine]] = {}
        for line in filter(self._patterns.event, self._lines(look.found)):
            wanted.setdefault(line.cluster, []).append(line)
        share = max(1, SHOWN // max(1, len(wanted)))
        shown = [line for several in wanted.values() for line in several[-share:]]
        skipped = look.skipped + sum(map(len, wanted.values())) - len(shown)
        content = [_encode({"skipped": skipped})] if skipped else []
        return b"\n".join([*content, *map(_encode, shown), b""]) if content or shown else b""

    def _lines(self, found: Iterable[tuple[str, Record]]) -> Iterator[TailLine]:
        for cluster, record in found:
            yield from lines(cluster, record, raw=self._raw)
