"""A destination on its way into being: built on a thread of its own, and again while what it needs is not there.

A path that cannot be made, a library that is missing, a disk that hangs: none of it keeps the sink from taking events,
and the destination shows what is wrong for as long as it is.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from auditsink.common.blocking import BlockingCalls
from auditsink.common.clock import Clock
from auditsink.config import DestinationSection
from auditsink.delivery.destination import Attempt, Batch, Destination, DestinationError, UnavailableError
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry
from auditsink.delivery.settings import key
from auditsink.destinations import defaults, registry
from auditsink.destinations.bodies import SharedBodies

START_SECONDS = 5.0
"""For building one. It opens and reads a few small files."""


class StartingDestination:
    """See `Destination`. `start` comes first; until it says Delivered nothing else may be asked."""

    def __init__(
        self,
        config: DestinationSection,
        clock: Clock,
        *,
        bodies: SharedBodies | None = None,
        build: Callable[..., Destination] = registry.build,
        seconds: float = START_SECONDS,
    ) -> None:
        self.name = config.name
        self.type = config.kind
        self.limits = defaults.limits(config)
        self.mistake: DestinationError | None = None
        """What is wrong with the settings themselves; what is wrong around them, is not told here."""
        self._config = config
        self._build = partial(build, config, clock=clock, bodies=bodies)
        self._seconds = seconds
        self._building: asyncio.Task[Destination] | None = None
        self._built: Destination | None = None

    def __repr__(self) -> str:
        return f"<StartingDestination {self._built or self.name}>"

    @property
    def built(self) -> Destination:
        """The destination itself, or this one, which is still on its way."""
        return self._built or self

    async def start(self) -> Outcome:
        """Try once. One that hangs is waited for the next time, and not begun a second time."""
        if self._building is None:
            self._building = asyncio.create_task(self._in_thread())
        await asyncio.wait([self._building], timeout=self._seconds)
        if not self._building.done():
            return Retry(
                f"{key(self._config, 'type')}: has not started for {self._seconds:g} s: a call to the system does not "
                "return; check the disk that its files are on"
            )
        building, self._building = self._building, None
        try:
            self._built = building.result()
        except DestinationError as problem:
            self.mistake = None if isinstance(problem, UnavailableError) else problem
            return Misconfigured(str(problem))
        return Delivered()

    async def prepare(self, batch: Batch) -> Attempt:
        """See `Destination.prepare`."""
        return await self._there.prepare(batch)

    async def probe(self) -> Outcome:
        """See `Destination.probe`."""
        return await self._there.probe()

    async def close(self) -> None:
        """See `Destination.close`."""
        if self._building is not None:
            self._building.cancel()
        if self._built is not None:
            await self._built.close()

    @property
    def _there(self) -> Destination:
        assert self._built is not None, "is not started"
        return self._built

    async def _in_thread(self) -> Destination:
        calls = BlockingCalls(f"start-{self.name}")
        try:
            return await calls.run(None, self._build)
        finally:
            calls.close()


def raise_mistake(starting: Sequence[StartingDestination]) -> None:
    """Raises the first mistake in settings themselves, as DestinationError."""
    for destination in starting:
        if destination.mistake is not None:
            raise destination.mistake
