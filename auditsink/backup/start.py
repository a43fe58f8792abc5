"""What a start does about the copy before the spool is opened: nothing, where there is a spool; else it is restored."""

import asyncio
import contextlib
import logging
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from auditsink.backup import BackupError
from auditsink.backup.lease import WriterLease, find
from auditsink.backup.restore import RestoreTarget, restore
from auditsink.backup.statistics import RestoredCopy
from auditsink.backup.store import CopyStore, StoreError
from auditsink.common import timestamps
from auditsink.common.clock import Clock
from auditsink.common.disk import Disk, read_around, replace
from auditsink.common.units import Size
from auditsink.config.backup import BackupSection
from auditsink.spool import identity, recovery, segment, segment_file
from auditsink.spool.lock import take_lock
from auditsink.spool.ring import Ring

log = logging.getLogger("auditsink.backup")

HOLDER = "backup.holder"
"""The file in the spool's directory that tells it from every other: 32 hex digits."""
PAUSE = 1.0
_HOLDER = re.compile(r"[0-9a-f]{32}\Z")
_PROGRESS_SECONDS = 10.0


class SpoolCondition(StrEnum):
    """Of a spool's directory."""

    EMPTY = "empty"
    """No ring in it has ever held an event."""
    RUINED = "ruined"
    """There are rings, and not one of them says who it is."""
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Prepared:
    """`lease`: taken already, for whoever copies from now on. `restored`: what was, if anything was."""

    store: CopyStore
    holder: str
    lease: WriterLease | None = None
    restored: RestoredCopy | None = None
    problem: str | None = None
    """Why nothing was restored although the directory was empty."""


def condition(path: Path, disk: Disk) -> SpoolCondition:
    """Of the spool at `path`. Reads only. Raises OSError."""
    try:
        clusters = disk.names(path / "rings")
    except FileNotFoundError:
        return SpoolCondition.EMPTY
    found = [_ring(path / "rings" / one, disk) for one in clusters if (path / "rings" / one).is_dir()]
    if SpoolCondition.WHOLE in found:
        return SpoolCondition.WHOLE
    return SpoolCondition.RUINED if SpoolCondition.RUINED in found else SpoolCondition.EMPTY


def _ring(path: Path, disk: Disk) -> SpoolCondition:
    known = identity.peek(path, disk)
    segments = [name for name in disk.names(path) if segment.is_file_name(name)]
    if known is None:
        return SpoolCondition.WHOLE if segment_file.segments(path, disk) else SpoolCondition.RUINED
    if known.floor or any(_used(path / name, disk) for name in segments):
        return SpoolCondition.WHOLE
    with contextlib.suppress(FileNotFoundError):
        ring = Ring(path.name, path, known.ring_id, disk, floor=0)
        if any(recovery.positions(ring)):
            return SpoolCondition.WHOLE
    return SpoolCondition.EMPTY


def _used(path: Path, disk: Disk) -> bool:
    """Whether anything stands behind the header."""
    file = disk.open(path)
    try:
        return bool(read_around(file, 2**16, segment.DATA_START).strip(b"\0"))
    finally:
        file.close()


def holder_of(path: Path, disk: Disk) -> str:
    """The directory's own number, made if it has none. Raises OSError."""
    place = path / HOLDER
    with contextlib.suppress(FileNotFoundError):
        file = disk.open(place)
        try:
            found = file.read(64, 0).decode(errors="replace").strip()
        finally:
            file.close()
        if _HOLDER.match(found):
            return found
    made = uuid.uuid4().hex
    replace(disk, place, [f"{made}\n".encode()])
    return made


async def prepare(config: BackupSection, target: RestoreTarget, *, clock: Clock) -> Prepared:
    """Restore the newest copy of this sink's name where there is no spool. Raises BackupError, SpoolError, OSError.

    A store that is away is asked again for `timeout`.
    """
    path, disk = target.path, target.disk
    await asyncio.to_thread(disk.make_directory, path)
    # Another sink may be at it: it has the lock, and that is told before anything is looked at or asked.
    lock = await asyncio.to_thread(take_lock, disk, path)
    try:
        holder = await asyncio.to_thread(holder_of, path, disk)
        store = CopyStore(config)
        found = await asyncio.to_thread(condition, path, disk)
        if found is SpoolCondition.WHOLE:
            return Prepared(store, holder)
        if found is SpoolCondition.RUINED:
            log.error("no ring of the spool can be read: the copy is restored, and what is there is set aside")
        lease = WriterLease(store, config, clock, holder=holder, session=uuid.uuid4().hex)
        try:
            restored = await _Restoring(store, config, lease, target, clock).until(clock.monotonic() + config.timeout)
        except StoreError as problem:
            if config.at_start == "start_empty":
                log.error("the copy was not restored, the spool begins empty: %s", problem)  # noqa: TRY400 - a sentence
                return Prepared(store, holder, problem=str(problem))
            raise BackupError(
                f"spool.backup: {path} holds no spool and the copy {config.root} {config.where} cannot be read: "
                f"{problem}; mend that, or set spool.backup.at_start: start_empty to start without it"
            ) from None
        return Prepared(store, holder, lease if lease.committed else None, restored)
    finally:
        lock.close()


@dataclass(frozen=True, slots=True)
class _Restoring:
    """The newest copy, from the moment at which nobody else writes to it."""

    store: CopyStore
    config: BackupSection
    lease: WriterLease
    target: RestoreTarget
    clock: Clock

    async def until(self, end: float) -> RestoredCopy | None:
        """Take the lease and restore. Raises StoreError when the store is away until then (monotonic)."""
        complained = ""
        while True:
            try:
                if self.lease.committed is None and not await self._taken():
                    return None
                assert self.lease.committed is not None
                made = await restore(
                    self.store, self.lease.committed, self.target, clock=self.clock, progress=_progress(self.clock)
                )
            except StoreError as problem:
                if self.clock.monotonic() >= end:
                    raise
                if str(problem) != complained:
                    log.warning("the copy cannot be restored yet: %s", problem)
                    complained = str(problem)
                await self.clock.sleep(PAUSE)
            else:
                tell(made, self.config)
                return made

    async def _taken(self) -> bool:
        """Whether there is a copy, and it is ours."""
        found = await find(self.store, self.config)
        for problem in found.problems:
            log.warning("%s", problem)
        if found.newest is None:
            log.info("there is no copy of this sink yet; the spool begins empty", extra={"copy": self.config.root})
            return False
        log.info(
            "the spool is empty: its copy is restored as soon as nobody else writes to it",
            extra={"copy": self.config.root, "manifest": found.newest.number},
        )
        await self.lease.take(found, await self.lease.free(found))
        return True


def _progress(clock: Clock) -> Callable[[int, int], None]:
    told = clock.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal told
        if clock.monotonic() - told >= _PROGRESS_SECONDS:
            told = clock.monotonic()
            log.info("restoring", extra={"restored": str(Size(done)), "of": str(Size(total))})

    return progress


def tell(made: RestoredCopy, config: BackupSection) -> None:
    """What was restored, and what is missing, in the log."""
    until = timestamps.seconds(made.complete_ns) if made.complete_ns else "an unknown time"
    log.warning(
        "the spool was restored from its copy: what was accepted after %s is missing, up to %d s of it; what was "
        "delivered after that comes again",
        until,
        max(0, (made.at_ns - made.complete_ns) // 10**9) if made.complete_ns else 0,
        extra={
            "copy": config.root, "manifest": made.number, "clusters": made.clusters, "segments": made.segments,
            "bytes": made.size,
        },
    )  # fmt: skip
    for cluster, (first, stop) in made.gaps.items():
        log.error(
            "events are missing at the end of the copy",
            extra={
                "cluster": cluster,
                "first_sequence": first,
                "last_sequence": stop - 1,
            },
        )
    for problem in made.problems:
        log.error("a part of the copy is lost: %s", problem)
