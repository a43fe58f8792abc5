"""What a person does with a sink's copies: try their store, look at them, restore one, remove what nobody needs.

Needs no lease: nothing is written but a probe, and what a restore writes to its own directory; nothing is deleted that
a manifest names or that may be on its way into one.
"""

import contextlib
import uuid
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from auditsink.backup import BackupError
from auditsink.backup.lease import DATA, KEPT, LEFT_MANIFESTS, MANIFESTS, find, numbers, read_manifest
from auditsink.backup.manifest import CopyManifest, NoManifestError, fence_of, manifest_name, number_of
from auditsink.backup.store import CopyStore, DeniedError, MissingError, NoConditionsError, StoreError, TakenError
from auditsink.config.backup import BackupSection

ORPHAN_AGE = timedelta(hours=1)
"""Between an object and the newest manifest, by the store's clock: a younger one may be stated by the next."""
PROBE = "probe"
"""The directory of the objects that try the store."""
RIGHTS = ("list", "write", "read", "delete")
_PROBED = b"written by `auditsink check --connect`; may be deleted\n"


@dataclass(frozen=True, slots=True)
class CopyListing:
    """`current`: the one that is written to; the others wait for a person."""

    manifest: CopyManifest
    current: bool


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted, or would be: copies by their numbers, objects, bytes."""

    copies: tuple[int, ...]
    objects: int
    size: int


async def tried(store: CopyStore, config: BackupSection) -> None:
    """Do to a probe what the copy does to its objects. Raises BackupError with what is missing, and leaves nothing."""
    probe = f"{PROBE}/{uuid.uuid4().hex}"
    denied: dict[str, str] = {}

    async def allowed(right: str, call: Awaitable[object]) -> None:
        try:
            await call
        except DeniedError as problem:
            denied[right] = str(problem)

    await allowed("list", store.names(PROBE))
    try:
        await allowed("write", store.put(probe, _PROBED, create=True))
        if "write" not in denied:
            await _kept_to(store, probe)
        await allowed("read", _read_back(store, probe, written="write" not in denied))
        await allowed("delete", store.delete([probe]))
    except BackupError:
        with contextlib.suppress(BackupError):
            await store.delete([probe])
        raise
    if denied:
        raise BackupError(_missing_rights(config, denied, left=probe if "write" not in denied else None))
    if any(one.name == probe.removeprefix(f"{PROBE}/") for one in await store.names(PROBE)):
        raise BackupError(
            f"{config.root}/{probe} was deleted and is there still; check the store, and proxies before it"
        )


async def _kept_to(store: CopyStore, probe: str) -> None:
    with contextlib.suppress(TakenError):
        await store.put(probe, _PROBED, create=True)
        raise NoConditionsError


async def _read_back(store: CopyStore, probe: str, *, written: bool) -> None:
    found = None
    with contextlib.suppress(MissingError):
        found = await store.get(probe, len(_PROBED))
    if written and found != _PROBED:
        raise StoreError("the store does not give back what was stored; check endpoint, and proxies before it")


def _missing_rights(config: BackupSection, denied: Mapping[str, str], left: str | None) -> str:
    has = [right for right in RIGHTS if right not in denied]
    may = f"may {', '.join(has)}, but not {' or '.join(denied)}" if has else "may do nothing"
    more = f"; the probe {config.root}/{left} stays there" if left is not None and "delete" in denied else ""
    return f"this sink {may} below {config.root}/: {next(iter(denied.values()))}{more}"


async def listed(store: CopyStore, config: BackupSection) -> tuple[list[CopyListing], list[str]]:
    """The copies, the current one last; and what is wrong with what lies there, in sentences. Raises BackupError."""
    found = await find(store, config)
    problems = list(found.problems)
    copies: list[CopyListing] = []
    for number in await numbers(store, KEPT):
        try:
            copies.append(CopyListing(await read_manifest(store, config, KEPT, number), current=False))
        except MissingError:
            continue
        except BackupError as problem:
            problems.append(str(problem))
    if found.newest is not None:
        copies.append(CopyListing(found.newest, current=True))
    return copies, problems


async def chosen(store: CopyStore, config: BackupSection, number: int | None) -> CopyManifest:
    """The copy of that number, or the current one. Raises BackupError."""
    copies, problems = await listed(store, config)
    for one in reversed(copies):
        if number in (None, one.manifest.number):
            return one.manifest
    if not copies:
        told = f" ({problems[0]})" if problems else ""
        raise BackupError(f"there is no copy below {config.root} {config.where}{told}; check spool.backup and its name")
    known = ", ".join(str(one.manifest.number) for one in copies)
    raise BackupError(
        f"there is no copy {number} below {config.root}, which has {known}; see `auditsink spool backup ls`"
    )


async def prune(store: CopyStore, config: BackupSection, unwanted: Iterable[int], *, dry_run: bool) -> Pruned:
    """Delete these copies that wait for a person, and objects that no manifest names. Raises BackupError."""
    wanted_away = sorted(set(unwanted))
    kept = await numbers(store, KEPT)
    if unknown := [number for number in wanted_away if number not in kept]:
        raise BackupError(
            f"copy {unknown[0]} is none that waits below {config.root}/{KEPT}; `auditsink spool backup ls` shows them"
        )
    data = await store.names(DATA)  # first: what is stated after this is not in it
    manifests = [one for one in await store.names(MANIFESTS) if number_of(one.name) is not None]
    needed: set[str] = set()
    stays = [(MANIFESTS, one.name) for one in manifests[-1 - LEFT_MANIFESTS :]]
    stays += [(KEPT, manifest_name(number)) for number in kept if number not in wanted_away]
    for directory, name in stays:
        try:
            needed |= (await read_manifest(store, config, directory, int(name))).objects()
        except MissingError:
            continue
        except NoManifestError as problem:
            raise BackupError(
                f"nothing is deleted, for what that copy needs is not known: {problem}; look at who else writes there, "
                "and remove it from the store once nobody needs it"
            ) from None
    newest = max((one.modified for one in manifests), default=None)
    orphans = [
        one
        for one in data
        if fence_of(one.name) is not None
        and one.name not in needed
        and newest is not None
        and newest - one.modified > ORPHAN_AGE
    ]
    old = [f"{MANIFESTS}/{one.name}" for one in manifests[: -1 - LEFT_MANIFESTS]]
    if not dry_run:
        await store.delete([f"{KEPT}/{manifest_name(number)}" for number in wanted_away])
        await store.delete([*(f"{DATA}/{one.name}" for one in orphans), *old])
    return Pruned(tuple(wanted_away), len(orphans) + len(old), sum(one.size for one in orphans))
