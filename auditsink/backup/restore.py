"""Puts a copy into a directory that holds no spool: fetched and checked piece by piece, in place by one rename.

Whatever cannot be had or is not what the manifest says becomes a damaged stretch, which the spool steps over and
counts, and `auditsink spool verify` names: one bad object costs what was in it. Restored is all that somebody still
wants, and of the rest the newest that fits.
"""

import asyncio
import contextlib
import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from auditsink.backup import BackupError
from auditsink.backup.lease import DATA
from auditsink.backup.manifest import (
    CHECKPOINTS,
    CopiedCursor,
    CopiedFile,
    CopiedPiece,
    CopiedRing,
    CopiedSegment,
    CopyManifest,
)
from auditsink.backup.statistics import RestoredCopy
from auditsink.backup.store import CopyStore, MissingError, StoreError
from auditsink.common.blocking import BlockingCalls
from auditsink.common.clock import Clock
from auditsink.common.disk import UNREADABLE, Disk, closed_on_error, replace, write_all
from auditsink.evidence.checkpoint import NoCheckpointError, decode
from auditsink.spool import identity, recovery, segment_file
from auditsink.spool.identity import Identity
from auditsink.spool.ring import Ring
from auditsink.spool.segment import ChainLink, SegmentHeader
from auditsink.spool.slots import SlotFile

DELIVERED_SHARE = 0.5
"""Of `spool.max_bytes`: what was delivered everywhere comes back up to here, for replays and to recognise retries."""


@dataclass(frozen=True, slots=True)
class RingPlan:
    """A ring as it is to lie there. `next_sequence`: no sequence below it is given out again."""

    cluster: str
    ring: str
    segments: Sequence[CopiedSegment]
    cursors: Mapping[str, CopiedCursor]
    next_sequence: int

    @property
    def consumed(self) -> int:
        """Every destination was done with the events before this sequence."""
        return min((one.position for one in self.cursors.values()), default=self.next_sequence)

    @property
    def floor(self) -> int:
        """The first sequence that is held, or known to be missing."""
        return self.segments[0].first if self.segments else min(self.consumed, self.next_sequence)


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """Rings and other files."""

    rings: Sequence[RingPlan]
    files: Sequence[CopiedFile]

    def all_files(self) -> list[CopiedFile]:
        """All that is to be fetched, in the order in which it matters."""
        return [*self.files, *(one.file for ring in self.rings for one in ring.segments)]


def restore_plan(manifest: CopyManifest, max_bytes: int, stated: Mapping[str, int] | None = None) -> RestorePlan:
    """`stated`: by ring (hex), the sequence after the last that somebody knows to have been given out."""
    begins = {id(ring): _first_wanted(ring) for ring in manifest.rings}
    room = max_bytes * DELIVERED_SHARE - sum(
        one.file.size for ring in manifest.rings for one in ring.segments[begins[id(ring)] :]
    )
    others = sorted(
        ((one.created_ns, at, ring) for ring in manifest.rings for at, one in enumerate(ring.segments)),
        key=lambda entry: (-entry[0], -entry[1]),
    )
    for _created, at, ring in others:
        if at == begins[id(ring)] - 1 and ring.segments[at].file.size <= room:
            room -= ring.segments[at].file.size
            begins[id(ring)] = at
    rings = [_ring(ring, begins[id(ring)], (stated or {}).get(ring.ring, 0)) for ring in manifest.rings]
    return RestorePlan(rings, manifest.files)


def _first_wanted(ring: CopiedRing) -> int:
    """The number of the first segment of which some destination wants something, or that still grew."""
    consumed = ring.consumed
    wanted = [at for at, one in enumerate(ring.segments) if one.end > consumed or not one.closed]
    return wanted[0] if wanted else len(ring.segments)


def _ring(ring: CopiedRing, begin: int, stated: int) -> RingPlan:
    return RingPlan(ring.cluster, ring.ring, ring.segments[begin:], ring.cursors, max(ring.end, ring.copied, stated))


log = logging.getLogger("auditsink.backup")

DRAFT = "restoring"
"""The directory in the spool's in which a restore is made. What is left of one that was cut short is removed."""
ASIDE = "rings-set-aside-"
"""What stood in the place of the rings, with the time behind it."""
AT_ONCE = 4
READ_BYTES = 2**23
"""Fetched in one go: a piece that we wrote is never larger."""
MOST_TOLD = 20
"""Problems with single pieces that are told; more of them are counted."""


@dataclass(frozen=True, slots=True)
class RestoreTarget:
    """A spool's directory, the bytes that its rings may take, and where the checkpoint file lies, if there is one."""

    path: Path
    max_bytes: int
    checkpoints: Path | None
    disk: Disk

    @property
    def draft(self) -> Path:
        """Where a restore is made."""
        return self.path / DRAFT


@dataclass(slots=True)
class _Done:
    size: int = 0
    problems: list[str] = field(default_factory=list)
    gaps: dict[str, tuple[int, int]] = field(default_factory=dict)


async def restore(
    store: CopyStore,
    manifest: CopyManifest,
    target: RestoreTarget,
    *,
    clock: Clock,
    progress: Callable[[int, int], object] = lambda _done, _all: None,
) -> RestoredCopy:
    """Restore the copy into a directory which holds no ring; and the checkpoint file if it is gone.

    `progress` is called with the bytes that are there and those that will be. Raises BackupError, OSError; then it can
    be repeated.
    """
    calls = BlockingCalls("restore", 1)
    done = _Done()
    try:
        await calls.run(None, _clear, target)
        survived = await calls.run(None, _holds_something, target.checkpoints)
        files = [
            one
            for one in restore_plan(manifest, target.max_bytes).all_files()
            if one.path != CHECKPOINTS or not (survived or target.checkpoints is None)
        ]
        total = sum(one.size for one in files)
        fetcher = _Fetcher(store, target, calls, done)

        async def fetch(file: CopiedFile) -> None:
            await fetcher.fetch(file)
            progress(done.size, total)

        async with asyncio.TaskGroup() as group:
            for one in files:
                group.create_task(fetch(one))
        stated = target.checkpoints if survived else target.draft / CHECKPOINTS
        known = await calls.run(None, _stated, stated, {ring.ring for ring in manifest.rings})
        plan = restore_plan(manifest, target.max_bytes, known)
        await calls.run(None, _finish, plan, target, manifest.written_ns, done)
    except BaseExceptionGroup as several:
        raise _first(several) from None
    finally:
        calls.close()
    return RestoredCopy(
        manifest.number, manifest.complete_ns, clock.wall_ns(), len(plan.rings),
        sum(len(ring.segments) for ring in plan.rings), done.size, done.gaps, tuple(done.problems[:MOST_TOLD]),
    )  # fmt: skip


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = several
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _clear(target: RestoreTarget) -> None:
    if target.draft.exists():
        shutil.rmtree(target.draft)
    target.disk.make_directory(target.draft / "rings")


def _holds_something(path: Path | None) -> bool:
    try:
        return path is not None and path.stat().st_size > 0
    except FileNotFoundError:
        return False


class _Fetcher:
    """Fetches some files at once; of each the pieces one after the other, so memory holds `AT_ONCE` of them."""

    def __init__(self, store: CopyStore, target: RestoreTarget, calls: BlockingCalls, done: _Done) -> None:
        self._store = store
        self._draft = target.draft
        self._disk = target.disk
        self._calls = calls
        self._done = done
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._there: set[str] | None = None

    async def fetch(self, file: CopiedFile) -> None:
        """One file, synced. Raises StoreError, BackupError, OSError."""
        async with self._limit:
            place = self._draft / file.path
            await self._calls.run(None, self._disk.make_directory, place.parent)
            out = await self._calls.run(None, self._disk.create, place)
            try:
                for piece in file.pieces:
                    data = await self._piece(file, piece)
                    await self._calls.run(None, write_all, out, [data], piece.start)
                    self._done.size += piece.length
                await self._calls.run(None, out.sync)
            finally:
                out.close()

    async def _piece(self, file: CopiedFile, piece: CopiedPiece) -> bytes:
        """The bytes of a piece, or as many that mean damage. Raises StoreError when the store cannot be asked."""
        if piece.length > READ_BYTES:
            raise BackupError(f"{file.path}: a piece of {piece.length:,} bytes is none of ours; look at the manifest")
        why = ""
        for _ in range(2):  # it may have come damaged
            try:
                data = await self._store.read(f"{DATA}/{piece.object}", piece.at, piece.length)
            except MissingError:
                if await self._listed(piece.object):
                    raise StoreError(f"{DATA}/{piece.object} is listed, and cannot be read") from None
                why = "is not there"
                break
            if len(data) == piece.length and hashlib.sha256(data).hexdigest() == piece.sha256:
                return data
            why = "is cut short" if len(data) < piece.length else "was changed"
        lost = f"{file.path}: bytes {piece.start} to {piece.end - 1} are lost: {DATA}/{piece.object} {why}"
        self._done.problems.append(lost)
        return UNREADABLE * piece.length

    async def _listed(self, name: str) -> bool:
        """Whether an object is there after all: a 404 is also what a proxy says that does not know its store."""
        if self._there is None:
            self._there = {one.name for one in await self._store.names(DATA)}
        return name in self._there


def _stated(path: Path | None, rings: set[str]) -> Mapping[str, int]:
    """By ring, the sequence after the last event that a checkpoint states."""
    found: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError):
        if path is not None:
            with path.open("rb") as lines:
                for line in lines:
                    with contextlib.suppress(NoCheckpointError):
                        one = decode(line).checkpoint
                        if one.ring in rings:
                            found[one.ring] = max(found.get(one.ring, 0), one.next)
    return found


def _finish(plan: RestorePlan, target: RestoreTarget, now_ns: int, done: _Done) -> None:
    """Complete the rings, and have everything in its place; the rings last, by one rename."""
    draft, disk = target.draft, target.disk
    for ring in plan.rings:
        _make_ring(draft / "rings" / ring.cluster, ring, disk, now_ns, done)
    disk.sync_directory(draft / "rings")
    if target.checkpoints is not None and (draft / CHECKPOINTS).exists():
        _into_place(draft / CHECKPOINTS, target.checkpoints, disk)
    if (draft / "deadletters").is_dir():
        _dead_letters_into_place(draft / "deadletters", target.path / "deadletters", disk)
    place = target.path / "rings"
    if place.exists():
        if any(place.iterdir()):
            disk.rename(place, target.path / f"{ASIDE}{now_ns}")
        else:
            place.rmdir()
    disk.rename(draft / "rings", place)
    disk.sync_directory(target.path)
    shutil.rmtree(draft, ignore_errors=True)


def _dead_letters_into_place(source: Path, place: Path, disk: Disk) -> None:
    """Of destinations that have none here."""
    disk.make_directory(place)
    for one in sorted(source.iterdir()):
        if not (place / one.name).exists():
            disk.sync_directory(one)
            disk.rename(one, place / one.name)
    disk.sync_directory(place)


def _into_place(source: Path, place: Path, disk: Disk) -> None:
    """Perhaps on another volume, so it is a copy first."""
    disk.make_directory(place.parent)
    with source.open("rb") as stream:
        pieces = iter(partial(stream.read, READ_BYTES), b"")
        replace(disk, place, pieces, draft=place.with_name(f"{place.name}.restoring"))


def _make_ring(path: Path, plan: RingPlan, disk: Disk, now_ns: int, done: _Done) -> None:
    """Who it is, its cursors, and a segment for what is known to be missing at its end."""
    disk.make_directory(path / "cursors")
    ring_id = bytes.fromhex(plan.ring)
    _write_slot(disk, path / identity.FILE, Identity(ring_id, plan.floor).encode())
    for name, cursor in plan.cursors.items():
        _write_slot(disk, path / "cursors" / f"{name}.cursor", cursor.state.encode())
    ring = Ring(plan.cluster, path, ring_id, disk, floor=plan.floor)
    link = recovery.recover(ring)
    end = max((one.end for one in ring.segments), default=plan.floor)
    if end < plan.next_sequence:
        _write_gap(ring, link, end, plan.next_sequence, now_ns)
        if (first := max(end, plan.consumed)) < plan.next_sequence:  # what all had before is no loss
            done.gaps[plan.cluster] = (first, plan.next_sequence)


def _write_slot(disk: Disk, path: Path, payload: bytes) -> None:
    slots = SlotFile.open(disk, path)
    with closed_on_error(slots):
        slots.write(payload)
        slots.sync()
    slots.close()


def _write_gap(ring: Ring, link: ChainLink, first: int, stop: int, now_ns: int) -> None:
    """A sealed segment without records: these sequences were given out, and their events are lost."""
    header = SegmentHeader(
        ring.ring_id, hashlib.sha256(f"{first} {stop} {now_ns}".encode()).digest()[:8], first, now_ns,
        link.first, link.length, link.digest,
    )  # fmt: skip
    segment_file.write_sealed(ring.disk, ring.path, header, [], stop)
