"""Copies a running spool: every few seconds what is new and durable, then a manifest that says so.

It runs beside intake and never in its way: it reads what is on the disk, in threads of its own, a few megabytes at a
time, and whatever the store does costs it nothing but the copy's age. What was uploaded before a failure is not
uploaded again.
"""

import asyncio
import contextlib
import logging
import random as random_module
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from auditsink.backup import BackupError, plan
from auditsink.backup.lease import DATA, KEPT, LEFT_MANIFESTS, MANIFESTS, LostError, WriterLease, find, numbers
from auditsink.backup.local import LocalFiles, cursors_of, rings_of
from auditsink.backup.manifest import CopiedFile, CopiedRing, CopyManifest, data_name, fence_of, manifest_name
from auditsink.backup.object_writer import DISK_SECONDS, ObjectWriter
from auditsink.backup.plan import LocalState, Stretch
from auditsink.backup.start import Prepared
from auditsink.backup.statistics import BackupState, BackupStatistics
from auditsink.backup.store import FullError, StoreError
from auditsink.common.blocking import BlockingCalls, StuckError
from auditsink.common.clock import Clock
from auditsink.common.disk import Disk, RealDisk
from auditsink.common.signal import Signal, cancelled
from auditsink.config.backup import BackupSection
from auditsink.spool.ring import Ring

log = logging.getLogger("auditsink.backup")

AT_ONCE = 2
"""Uploads side by side: with chunks of 8 MiB this bounds the memory."""
BACKOFF = (1.0, 60.0)
"""Seconds before another try after a failure: at first, and at most."""
SURVEY_SECONDS = 3600.0
"""Between two looks at all that lies there: a bucket's own rules, or a person, may have removed what is needed."""


class Uploader:
    """Belongs to the loop's thread."""

    def __init__(
        self,
        config: BackupSection,
        rings: Callable[[], Sequence[Ring]],
        spool: Path,
        checkpoints: Path | None,
        prepared: Prepared,
        *,
        clock: Clock,
        disk: Disk | None = None,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """`rings` gives those there are; `prepared`: what the start has found out, perhaps with the lease."""
        self._config = config
        self._rings_now = rings
        self._store = prepared.store
        self._clock = clock
        self._random = random
        self._lease = prepared.lease or WriterLease(
            prepared.store, config, clock, holder=prepared.holder, session=uuid.uuid4().hex
        )
        self._prepared = prepared
        self._local = LocalFiles(spool, checkpoints, disk or RealDisk())
        self._calls = BlockingCalls("backup", AT_ONCE)
        self._objects = ObjectWriter(prepared.store, self._local, self._calls)
        self._changed = Signal(clock)
        self._began = LocalState(rings_of(rings(), cursors_of(rings())))  # before anything new is taken
        self._state = BackupState.STARTING
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        # The copy, as far as it is uploaded: what the last round saw of rings, and every file with its pieces.
        self._rings: tuple[CopiedRing, ...] = ()
        self._files: dict[str, CopiedFile] = {}
        self._stored: set[str] = set()
        self._left: dict[int, set[str]] = {}  # objects that older copies need, by the manifest's number
        self._complete_ns = 0
        self._complete_at: float | None = None  # monotonic, of the same moment
        self._pending = 0
        self._failures = 0
        self._problem: str | None = None
        self._problem_since_ns: int | None = None
        self._blind: str | None = None  # an older copy cannot be read: what it needs is not known
        self._undeleted: str | None = None
        self._garbage = 0  # objects that nothing needed at the last look
        self._old_manifests = 0  # all below are deleted
        self._gone: str | None = None  # of what is needed, at the last look
        self._adopted = False
        self._surveyed_at: float | None = None
        self._broke_off = False  # the last round

    def __repr__(self) -> str:
        return f"<Uploader {self._state.value} {self._lease}>"

    def statistics(self) -> BackupStatistics:
        """What it says of itself now."""
        committed = self._lease.committed
        return BackupStatistics(
            self._config.name,
            f"{self._config.root} {self._config.where}",
            self._config.every,
            self._state,
            self._age(),
            self._complete_ns,
            self._pending,
            committed.size if committed else 0,
            self._objects.bytes,
            self._objects.count,
            self._store.requests,
            self._failures,
            self._problem,
            self._problem_since_ns,
            self._gone or self._undeleted or self._blind,
            tuple(sorted(self._left)),
            self._garbage if self._undeleted else 0,
            self._prepared.restored,
        )

    def _age(self) -> float | None:
        if self._complete_at is not None:
            return max(0.0, self._clock.monotonic() - self._complete_at)
        if self._complete_ns:  # of the process before
            return max(0.0, (self._clock.wall_ns() - self._complete_ns) / 1e9)
        return None

    async def run(self) -> None:
        """Copy until `finish`."""
        self._task = asyncio.current_task()
        delay = BACKOFF[0]
        while not self._stopped:
            began = self._clock.monotonic()
            try:
                await self._step()
            except LostError as problem:
                self._lost(problem)
                while not self._stopped:
                    await self._changed.wait()
            except (BackupError, OSError, StuckError) as problem:
                self._failed(
                    str(problem) or f"the disk of the spool has not answered for {DISK_SECONDS:.0f} s; check it"
                )
                await self._changed.wait(delay * (0.5 + self._random() / 2))
                delay = min(2 * delay, BACKOFF[1])
            except Exception as problem:  # a bug must not end the copy of what is still to come
                if cancelled(problem):
                    raise
                log.exception("copying the spool failed in an unexpected way: report this bug")
                self._failed(f"an unexpected {type(problem).__name__}: report this bug with the log")
                await self._changed.wait(BACKOFF[1])
            else:
                delay = BACKOFF[0]
                if not self._stopped:
                    await self._changed.wait(max(0.0, began + self._config.every - self._clock.monotonic()))

    async def finish(self, seconds: float) -> None:
        """After the spool's end: copy what is left of it, and give the lease back. Bounded by so many seconds."""
        self._stopped = True
        self._changed.notify()
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                if self._task is not None:
                    await asyncio.wait({self._task})
                if self._lease.committed is not None and self._state is not BackupState.LOST:
                    await self._round(last=True)
        except (TimeoutError, BackupError, OSError, StuckError) as problem:
            why = str(problem) or "there was no time left"
            log.warning("the end of the spool is not in the copy: %s", why, extra={"bytes": self._pending})
        finally:
            if self._task is not None:
                self._task.cancel()
            self._state = BackupState.STOPPED
            self._calls.close()
            self._store.close()

    async def _step(self) -> None:
        if self._lease.committed is None:
            await self._begin()
        if not self._adopted:
            assert self._lease.committed is not None
            self._adopt(self._lease.committed)
        if self._surveyed_at is None or self._clock.monotonic() - self._surveyed_at >= SURVEY_SECONDS:
            await self._lease.prove()
            await self._survey()
        elif self._broke_off:  # what answered may have said that it has what it has not
            await self._lease.listed()
            await self._survey()
        self._broke_off = True
        await self._round()
        self._broke_off = False

    def _lost(self, problem: Exception) -> None:
        self._state = BackupState.LOST
        self._problem, self._problem_since_ns = str(problem), self._clock.wall_ns()
        log.error("nothing more is copied: %s", problem)

    def _failed(self, why: str) -> None:
        self._failures += 1
        self._state = BackupState.STARTING if self._lease.committed is None else BackupState.FAILING
        if why != self._problem:
            log.warning("the spool is not copied: %s", why, extra={"copy": self._config.root})
            self._problem = why
        if self._problem_since_ns is None:
            self._problem_since_ns = self._clock.wall_ns()

    def _worked(self) -> None:
        if self._problem is not None:
            log.info("the spool is copied again", extra={"copy": self._config.root})
        self._problem = self._problem_since_ns = None
        self._state = BackupState.COPYING

    # Becoming the writer.

    async def _begin(self) -> None:
        """Take the lease, and go on with what is there as far as it is ours. Raises LostError, BackupError."""
        found = await find(self._store, self._config)
        for problem in found.problems:
            log.warning("%s", problem)
        base = await self._lease.free(found)
        if base is not None:
            own = base.holder == self._prepared.holder
            if not (continued := plan.continues(self._began, base, own=own)):
                await self._lease.leave(base)
            base = base if own and continued else plan.shared(self._began, base)
        await self._lease.take(found, base)
        log.info("this sink writes to the copy", extra={"copy": self._config.root, "fence": self._lease.fence})

    def _adopt(self, taken: CopyManifest) -> None:
        """Go on with what this manifest holds: of rings that are ours."""
        ours = {(ring.cluster, ring.ring) for ring in self._began.rings}
        self._rings = tuple(ring for ring in taken.rings if (ring.cluster, ring.ring) in ours)
        self._files = {file.path: file for file in taken.files}
        self._files |= {one.file.path: one.file for ring in self._rings for one in ring.segments}
        self._complete_ns = taken.complete_ns
        self._adopted = True

    async def _survey(self) -> None:
        """What lies there: objects that nobody needs go with the next round's. Raises StoreError."""
        self._left, self._blind = {}, None
        for number in await numbers(self._store, KEPT):
            try:
                self._left[number] = (await self._lease.read(KEPT, number)).objects()
            except BackupError as problem:
                if isinstance(problem, StoreError):
                    raise
                # Its objects are not known, so none may be deleted that is not our own.
                self._blind = f"{problem}; nothing that others wrote is deleted: look at it, and prune it"
                self._left[number] = set()
        data = {one.name for one in await self._store.names(DATA)}
        known = {name for name in data if (fence := fence_of(name)) is not None and fence < self._lease.fence}
        self._missed(self._needed() - data)
        self._stored |= known | self._needed()
        self._surveyed_at = self._clock.monotonic()

    def _missed(self, gone: set[str]) -> None:
        """What is needed and not there is uploaded anew, as far as it is here."""
        self._gone = None
        if gone:
            self._files = {path: plan.before(file, gone) for path, file in self._files.items()}
            self._gone = (
                f"{len(gone)} objects of the copy were gone and are uploaded again where the spool has them; look at "
                "the bucket's lifecycle rules, and at who else deletes there"
            )
            log.error("%s", self._gone, extra={"copy": self._config.root, "first": min(gone)})

    def _needed(self) -> set[str]:
        needed = {piece.object for file in self._files.values() for piece in file.pieces}
        return needed | (self._lease.committed.objects() if self._lease.committed else set())

    # A round.

    async def _round(self, *, last: bool = False) -> None:
        """Upload what is new, state it, delete what is not needed. Raises LostError, StoreError."""
        taken_ns, taken_at = max(0, self._clock.wall_ns()), self._clock.monotonic()
        cursors = cursors_of(self._rings_now())
        files = await self._calls.run(DISK_SECONDS, self._local.look, dict(self._files))
        state = LocalState(rings_of(self._rings_now(), cursors), files)
        self._rings, todo = await asyncio.to_thread(self._planned, state, taken_ns)
        self._forget_others(state)
        sizes = plan.sizes_of(state)
        self._pending = sum(one.length for one in todo)
        state_at = taken_at + self._config.every
        groups = plan.grouped(todo)
        for start in range(0, len(groups), AT_ONCE):
            try:
                await self._upload_all(groups[start : start + AT_ONCE])
            except FullError:
                await self._make_room(state, sizes)
                raise
            if self._clock.monotonic() >= state_at and start + AT_ONCE < len(groups):
                await self._state_it(state, sizes, self._complete_ns)
                state_at = self._clock.monotonic() + self._config.every
        await self._state_it(state, sizes, taken_ns, released=last)
        self._complete_ns, self._complete_at, self._pending = taken_ns, taken_at, 0
        self._worked()
        if not last:
            await self._delete()

    def _planned(self, state: LocalState, now_ns: int) -> tuple[tuple[CopiedRing, ...], list[Stretch]]:
        before = plan.with_pieces(self._rings, self._files)
        rings = plan.next_rings(state, before, now_ns, round(self._config.keep * 1e9))
        return rings, plan.stretches(state, rings, self._files)

    def _forget_others(self, state: LocalState) -> None:
        """Files that are not in the copy any more; those that begin anew."""
        ours = {one.file.path: one.file for ring in self._rings for one in ring.segments}
        beside = {one.path: one.identity for one in state.files}
        kept = {path: file for path, file in self._files.items() if beside.get(path) == file.identity}
        self._files = ours | kept

    async def _upload_all(self, groups: Sequence[Sequence[Stretch]]) -> None:
        """Side by side; what worked counts, in order, even if another one failed. Raises the first failure."""
        results = await asyncio.gather(
            *(self._objects.write(group, self._named()) for group in groups), return_exceptions=True
        )
        broken: set[str] = set()
        for group, result in zip(groups, results, strict=True):
            if isinstance(result, BaseException):
                broken.update(one.path for one in group)
                continue
            for one, piece in zip(group, result, strict=True):
                if piece is None or one.path in broken:
                    broken.add(one.path)
                else:
                    file = self._files.get(one.path)
                    if file is None or file.identity != one.identity:
                        file = CopiedFile(one.path, one.identity)
                    if file.size >= one.start:  # else what stands before it was removed meanwhile
                        self._files[one.path] = plan.extended(file, one, piece)
                        self._pending -= one.length
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _named(self) -> str:
        name = data_name(self._lease.fence, self._objects.next())
        self._stored.add(name)
        return name

    async def _state_it(
        self, state: LocalState, sizes: Mapping[str, int], complete_ns: int, *, released: bool = False
    ) -> None:
        rings = plan.settled(plan.with_pieces(self._rings, self._files), sizes)
        committed = self._lease.committed
        before = {file.path: file for file in committed.files} if committed else {}
        files = [file for one in state.files if (file := self._whole(one, before)) is not None]
        manifest = CopyManifest(
            auditsink="", sink=self._config.name, number=0, fence=0, holder=32 * "0", session=32 * "0", written_ns=0,
            lease_seconds=0, complete_ns=complete_ns, rings=rings, files=tuple(files),
        )  # fmt: skip
        await self._lease.commit(manifest, released=released)

    def _whole(self, one: plan.LocalFile, before: Mapping[str, CopiedFile]) -> CopiedFile | None:
        """The file as far as it is uploaded; while a new one is not whole, the one in its place before."""
        file, earlier = self._files.get(one.path), before.get(one.path)
        appended = file is not None and earlier is not None and earlier.identity == file.identity
        if file is not None and (file.size >= one.size or appended or earlier is None):
            return file if file.pieces else None
        return earlier

    async def _make_room(self, state: LocalState, sizes: Mapping[str, int]) -> None:
        """Of a store that takes no more: what everybody has had for long enough goes although nothing new fits."""
        with contextlib.suppress(StoreError):
            await self._state_it(state, sizes, self._complete_ns)
        await self._lease.unfollowed()
        await self._delete()

    async def _delete(self) -> None:
        """Remove what no manifest needs. A failure is told and tried again, and is no failure of the copy."""
        garbage = plan.garbage(self._stored, self._needed(), *self._left.values())
        if self._blind:
            garbage = [name for name in garbage if fence_of(name) == self._lease.fence]
        self._garbage = len(garbage)
        committed = self._lease.committed
        assert committed is not None
        newest_old = committed.number - LEFT_MANIFESTS
        try:
            if self._old_manifests < newest_old:
                old = [number for number in await self._old(newest_old) if number not in self._left]
                await self._store.delete([f"{MANIFESTS}/{manifest_name(number)}" for number in old])
                self._old_manifests = newest_old
            await self._store.delete([f"{DATA}/{name}" for name in garbage])
        except StoreError as problem:
            note = f"what is needed no longer cannot be deleted from the copy: {problem}"
            if note != self._undeleted:
                log.warning("%s", note)
            self._undeleted = note
        else:
            self._stored.difference_update(garbage)
            self._undeleted = None

    async def _old(self, newest_old: int) -> list[int]:
        """Numbers of manifests to delete: at first whatever is there, then those that this process has left behind."""
        if self._old_manifests:
            return list(range(self._old_manifests, newest_old))
        return [number for number in await numbers(self._store, MANIFESTS) if number < newest_old]
