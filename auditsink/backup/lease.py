"""The chain of manifests: finding the newest, becoming its writer, adding the next one. See the package's text."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field

import msgspec

from auditsink import __version__
from auditsink.backup import BackupError, manifest
from auditsink.backup.manifest import CopyManifest, NoManifestError, decode, encode, manifest_name, number_of
from auditsink.backup.store import CopyStore, MissingError, NoConditionsError, StoreError, TakenError
from auditsink.common.clock import Clock
from auditsink.config.backup import BackupSection

log = logging.getLogger("auditsink.backup")

MANIFESTS, DATA, KEPT = "manifests", "data", "kept"
LEFT_MANIFESTS = 5
"""Manifests that stay beside the newest: for who is reading one, and where the newest cannot be read."""
LOOKS = 8
"""Looks during a lease whether its writer is still there."""
MOST_TRIES = 5
"""To find out what became of a manifest whose answer did not come."""
MOST_LEFT = 16
"""Older copies that wait for a person. Another one is not begun: somebody must look."""


class HeldError(BackupError):
    """Another sink writes to this copy."""


class LostError(BackupError):
    """Another sink has become the writer."""


class UnlistedError(StoreError):
    """Our newest manifest is not there: somebody deleted it, or who answers is no store."""


@dataclass(slots=True)
class FoundCopy:
    """The newest manifest that can be read, and the highest number that is taken."""

    newest: CopyManifest | None = None
    highest: int = 0
    problems: list[str] = field(default_factory=list)


class WriterLease:
    """Of one process: `session` is its own, `holder` its directory's; both 32 hex digits."""

    def __init__(self, store: CopyStore, config: BackupSection, clock: Clock, *, holder: str, session: str) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._holder = holder
        self._session = session
        self._number = 0
        self.fence = 0
        self.committed: CopyManifest | None = None

    def __repr__(self) -> str:
        return f"<WriterLease {self._config.root} fence {self.fence}, manifest {self._number}>"

    async def free(self, found: FoundCopy) -> CopyManifest | None:
        """The newest manifest, when nobody else is its writer any more.

        Raises HeldError as soon as its writer has shown that it is there, StoreError.
        """
        newest = found.newest
        if newest is None or newest.released or newest.holder == self._holder:
            return newest
        began = self._clock.monotonic()
        while self._clock.monotonic() - began < newest.lease_seconds:
            await self._clock.sleep(max(newest.lease_seconds / LOOKS, 0.1))
            later = await self._store.names(MANIFESTS, after=manifest_name(found.highest))
            if any(number_of(one.name) is not None for one in later):
                raise HeldError(
                    f"another sink that calls itself {self._config.name!r} is writing to {self._config.root}; stop "
                    "that one, or give each sink a spool.backup.name of its own"
                )
        return newest

    async def leave(self, base: CopyManifest) -> None:
        """Keep a copy that this spool is not the continuation of. Raises BackupError."""
        left = await numbers(self._store, KEPT)
        if len(left) >= MOST_LEFT:
            raise BackupError(
                f"{len(left)} older copies wait below {self._config.root}/{KEPT}; look at them with `auditsink spool "
                "backup ls`, restore what is missing elsewhere, and remove them with `spool backup prune --copy`"
            )
        where = f"{KEPT}/{manifest_name(base.number)}"
        with contextlib.suppress(TakenError):
            await self._store.put(where, encode(base), create=True)
            log.error(
                "the copy holds what this spool does not: it is kept for a person, and a new one is begun",
                extra={"copy": f"{self._config.root}/{where}", "events": base.undelivered},
            )

    async def take(self, found: FoundCopy, base: CopyManifest | None) -> CopyManifest:
        """Become the writer, with a manifest that says what `base` says. Raises HeldError, StoreError."""
        self._number = found.highest
        self.fence = (found.newest.fence if found.newest else 0) + 1
        return await self.commit(base or self.empty(), first=True)

    async def prove(self) -> None:
        """Try with the last manifest whether the store keeps to conditions, and gives back what it took.

        Raises BackupError where it does not, StoreError.
        """
        assert self.committed is not None
        name, content = f"{MANIFESTS}/{manifest_name(self.committed.number)}", encode(self.committed)
        with contextlib.suppress(TakenError):
            await self._store.put(name, content, create=True)
            raise NoConditionsError
        if await self._store.get(name, manifest.MOST_STORED) != content:
            raise BackupError("the store does not give back what was stored; check endpoint, and proxies before it")

    def empty(self) -> CopyManifest:
        """A copy of nothing."""
        return CopyManifest(
            auditsink=__version__,
            sink=self._config.name,
            number=0,
            fence=0,
            holder=self._holder,
            session=self._session,
            written_ns=0,
            lease_seconds=0,
        )

    async def commit(self, state: CopyManifest, *, released: bool = False, first: bool = False) -> CopyManifest:
        """Add a manifest that says what `state` says. Raises LostError, StoreError."""
        for _ in range(MOST_TRIES):
            numbered = msgspec.structs.replace(
                state,
                version=manifest.VERSION,
                spool_version=manifest.SPOOL_VERSIONS[-1],
                auditsink=__version__,
                number=self._number + 1,
                fence=self.fence,
                holder=self._holder,
                session=self._session,
                written_ns=max(0, self._clock.wall_ns()),
                lease_seconds=self._config.lease_seconds,
                released=released,
            )
            content = await asyncio.to_thread(encode, numbered)
            try:
                await self._store.put(f"{MANIFESTS}/{manifest_name(numbered.number)}", content, create=True)
            except TakenError:
                await self._not_another(numbered.number, first=first)
                self._number += 1  # it is ours: an answer that never came
            else:
                await self.unfollowed(numbered.number, first=first)
                self._number = numbered.number
                self.committed = numbered
                return numbered
        raise LostError("the numbers of manifests are taken one after the other; look at who writes to the copy")

    async def _not_another(self, number: int, *, first: bool) -> None:
        name = manifest_name(number)
        try:
            there = await self.read(MANIFESTS, number)
        except (MissingError, NoManifestError):
            there = None
        if there is not None and there.session == self._session:
            return
        raise self._another(name, first=first)

    async def unfollowed(self, number: int | None = None, *, first: bool = False) -> None:
        """Whether nobody has added a manifest behind that number, or else our last one, and ours is there.

        That a number can be had proves nothing: who was away for long finds one that its follower deleted again. Nor
        does a 200: a page to log in is one, and some read as an empty list.

        Raises LostError, UnlistedError, StoreError.
        """
        known = self._number if number is None else number
        listed = await self._store.names(MANIFESTS, after=manifest_name(known - 1))
        found = [at for one in listed if (at := number_of(one.name)) is not None]
        for later in found:
            if later != known:
                await self._not_another(later, first=first)  # it is ours: an answer that never came
                self._number = later
        if not found:
            raise UnlistedError("the store does not list what was just stored; check endpoint, and proxies before it")

    async def listed(self) -> None:
        """Be sure that our newest manifest is there, if need be as another one. Raises LostError, StoreError."""
        try:
            await self.unfollowed()
        except UnlistedError:
            assert self.committed is not None
            await self.commit(self.committed)

    def _another(self, name: str, *, first: bool) -> HeldError | LostError:
        kind = HeldError if first else LostError
        return kind(
            f"another sink that calls itself {self._config.name!r} has become the writer of {self._config.root} "
            f"(manifest {name}); stop that one, or give each sink a spool.backup.name of its own, and start again"
        )

    async def read(self, directory: str, number: int) -> CopyManifest:
        """A manifest. Raises MissingError, NoManifestError, NewerCopyError, StoreError."""
        return await read_manifest(self._store, self._config, directory, number)


async def read_manifest(store: CopyStore, config: BackupSection, directory: str, number: int) -> CopyManifest:
    """The manifest with that number in `manifests` or `kept`.

    Raises MissingError, NoManifestError, NewerCopyError, StoreError.
    """
    name = f"{directory}/{manifest_name(number)}"
    data = await store.get(name, manifest.MOST_STORED)
    return await asyncio.to_thread(decode, data, where=f"{config.root}/{name}", sink=config.name, number=number)


async def numbers(store: CopyStore, directory: str) -> list[int]:
    """Of the manifests in `manifests` or `kept`, in order; other objects there are passed over. Raises StoreError."""
    return [number for one in await store.names(directory) if (number := number_of(one.name)) is not None]


async def find(store: CopyStore, config: BackupSection) -> FoundCopy:
    """The newest manifest that can be read. Raises NewerCopyError, StoreError."""
    found = FoundCopy()
    several = await numbers(store, MANIFESTS)
    found.highest = several[-1] if several else 0
    if not several:
        await _proved_empty(store)
    for number in reversed(several[-1 - LEFT_MANIFESTS :]):
        try:
            found.newest = await read_manifest(store, config, MANIFESTS, number)
        except (NoManifestError, MissingError) as problem:
            found.problems.append(str(problem))
        else:
            found.problems = [f"{problem}; the one before is used" for problem in found.problems]
            return found
    if several:
        raise NoManifestError(
            f"none of the last manifests below {config.root}/{MANIFESTS} can be read ({found.problems[0]}): look at "
            "who else writes there, or give this sink another spool.backup.name"
        )
    return found


async def _proved_empty(store: CopyStore) -> None:
    """Raise StoreError when what answers has an object that cannot be there: a page, which reads as an empty list."""
    with contextlib.suppress(MissingError):
        await store.get(f"{MANIFESTS}/{manifest_name(0)}", manifest.MOST_STORED)
        raise StoreError("what answers there lists nothing and has everything; check endpoint, and proxies before it")
