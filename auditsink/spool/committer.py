"""One commit, from the requests to their answers: prepare, place, sync, tell what the disk refused.

That is the writer's thread or, for what is small, the loop's (see `writer`). Nothing here waits for anything but the
disk, and compression releases the GIL.
"""

import errno
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import zstandard

from auditsink.common.clock import Clock
from auditsink.common.disk import create_anew, write_all
from auditsink.spool import content
from auditsink.spool.commit import Append, WriteJob, entries_of, is_small, make_entries, records
from auditsink.spool.errors import NO_SPACE
from auditsink.spool.keys import Keyring
from auditsink.spool.log import RingLog
from auditsink.spool.record_cache import RecordCache, RecordCaches
from auditsink.spool.ring import Ring
from auditsink.spool.statistics import SyncTimes
from auditsink.spool.types import Receipt, Record, SpoolRejection

log = logging.getLogger("auditsink.spool")

REFUSAL_PAUSE = 0.25
"""Seconds for which a ring's requests are refused at their headers after one found no room; then one may try again."""
PARALLEL_SYNCS = 4
"""Files synced at once when several rings have something: the journal merges them, more threads only queue."""

Durability = Literal["fsync", "interval", "os"]
Group = tuple[RingLog, list[WriteJob]]
"""What is stored in one ring, in order."""


GONE = frozenset({errno.ENOENT, errno.ESTALE})
PROBE_FILE = "probe"
PROBE_BYTES = 2**20
"""As much as a ring's first segment takes: where there is no room for one, the disk is not back."""
PAGE = bytes(4096)


class DiskTrouble:
    """The rings that can take nothing because of their disk. Said once when it begins and once when it ends.

    A sink that is not ready may get no requests any more, so none would show that the disk is back: `probe` looks.
    `problem`, the one sentence that readiness shows, may be read by any thread.
    """

    def __init__(self) -> None:
        self.problem: str | None = None
        self._rings: dict[Ring, str] = {}

    def __bool__(self) -> bool:
        return bool(self._rings)

    def begins(self, ring: Ring, error: OSError) -> None:
        """A batch of this ring was refused for this error."""
        known = ring in self._rings
        self._rings[ring] = self.problem = sentence(ring, error)
        if not known:
            extra = {"cluster": ring.cluster, "error": str(error)}
            log.error("the disk takes no batches; they get 503 until it does: %s", self.problem, extra=extra)

    def ends(self, ring: Ring) -> None:
        """The disk has taken something of this ring."""
        if self._rings and self._rings.pop(ring, None) is not None:
            self.problem = next(iter(self._rings.values()), None)
            log.warning("the disk takes batches again", extra={"cluster": ring.cluster})

    def probe(self) -> None:
        """See for each ring whether the disk would take a segment now; up to the first for which it would not."""
        for ring in list(self._rings):
            try:
                probe(ring)
            except OSError as error:
                self.begins(ring, error)
                return
            self.ends(ring)


def probe(ring: Ring) -> None:
    """Reserve, write and sync a file in the ring's directory, and remove it. Raises OSError."""
    path = ring.path / PROBE_FILE
    file = create_anew(ring.disk, path)
    try:
        file.allocate(PROBE_BYTES)
        write_all(file, [PAGE], 0)
        file.sync()
    finally:
        file.close()
        ring.disk.unlink(path)


def sentence(ring: Ring, error: OSError) -> str:
    """What is wrong with which path, and what to do."""
    if error.errno in NO_SPACE:
        remedy = "free space on that disk, or lower spool.max_bytes so that the disk is never filled"
    elif error.errno in GONE:
        remedy = "it was removed under the running sink; restart it, and find out who did that"
    else:
        remedy = "check the disk"
    return f"{ring.path} takes no writes: {error.strerror or error}; {remedy}"


@dataclass(slots=True)
class Commit:
    """`jobs`: one for each request, in order; `groups`: those of them that are stored."""

    jobs: list[WriteJob]
    groups: list[Group]


@dataclass(slots=True)
class CommitResult:
    """What the loop is to tell: each request's result, fresh records, and rings that may have moved, up to where."""

    results: list[tuple[Append, Receipt | SpoolRejection]]
    fresh: list[tuple[RecordCache, Record]] = field(default_factory=list)
    moved: dict[Ring, int] = field(default_factory=dict)


class Committer:
    """The steps. `moved`: rings whose floor rose (see `DiskQuota`)."""

    def __init__(
        self,
        *,
        durability: Durability,
        clock: Clock,
        caches: RecordCaches,
        moved: set[Ring],
        keys: Keyring | None = None,
    ) -> None:
        self.sync_times = SyncTimes()
        self.trouble = DiskTrouble()
        self.durability = durability
        self.keys = keys
        self._clock = clock
        self._caches = caches
        self._moved = moved
        self._compress = zstandard.ZstdCompressor(level=1).compress
        self._pool = ThreadPoolExecutor(PARALLEL_SYNCS, thread_name_prefix="auditsink-sync")
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="auditsink-successor")
        self._unsynced: dict[int, RingLog] = {}

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown()
        self._maker.shutdown()

    def prepare(self, appends: Sequence[Append], *, reading: bool = True) -> Commit | None:
        """Recognise retries, group by ring, compress. None without `reading`, when that would have to read the disk."""
        now = self._clock.monotonic()
        groups: dict[int, Group] = {}
        jobs: list[WriteJob] = []
        first_of: dict[bytes, WriteJob] = {}
        key = None
        if self.keys is not None:
            self.keys.refresh(now)
            key = self.keys.newest
        for append in appends:
            ring_log = append.ring_log
            payload = None if is_small(append.body) else self._compress(append.body)
            digest = content.digest(ring_log.ring.ring_id, payload or append.body, key)
            if not reading and ring_log.dedup.unproven(digest):
                return None
            job = WriteJob(append, digest, payload, ring_log.dedup.find(digest, now), first_of.get(digest))
            jobs.append(job)
            if job.duplicate_of is None and job.twin is None:
                first_of[digest] = job
                if (group := groups.get(id(ring_log))) is None:
                    group = groups[id(ring_log)] = (ring_log, [])
                group[1].append(job)
        for _log, several in groups.values():
            make_entries(several, self._compress)
        return Commit(jobs, list(groups.values()))

    def store(self, groups: list[Group]) -> None:
        """Write all rings, sync all rings, and place again in a fresh segment what a disk error hit."""
        failed: list[Group] = []
        written: list[Group] = []
        for ring_log, jobs in groups:
            try:
                self._place(ring_log, jobs)
                written.append((ring_log, jobs))
            except OSError as problem:
                self.disk_failed(ring_log, problem)
                failed.append((ring_log, jobs))
        if self.durability == "fsync":
            failed += self._sync(written)
        else:
            self._settle_unsynced(written)
        for ring_log, jobs in failed:
            self.again(ring_log, jobs)

    def sync_staged(self, ring_log: RingLog) -> None:
        """Write and sync what is staged for one ring. Touches nothing but its file. Raises OSError."""
        started = self._clock.monotonic()
        ring_log.write()
        ring_log.sync()
        self.sync_times.observe(self._clock.monotonic() - started)

    def conclude(self, commit: Commit) -> CommitResult:
        """All is stored or refused: remember what was accepted, and put together what is to be told."""
        now = self._clock.monotonic()
        for ring_log, jobs in commit.groups:
            for job in jobs:
                if job.refusal is None:
                    ring_log.dedup.add(job.digest, job.first_sequence, now)
                else:
                    ring_log.refusing = (now + REFUSAL_PAUSE, job.refusal)
        moved = dict.fromkeys(self._moved, 0) | {ring_log.ring: ring_log.settled for ring_log, _jobs in commit.groups}
        self._moved.clear()
        fresh = [(ring_log.ring.record_cache, record) for ring_log, jobs in commit.groups for record in records(jobs)]
        return CommitResult([(job.append, job.result()) for job in commit.jobs], fresh, moved)

    def publish(self, outcome: CommitResult) -> None:
        """In the loop's thread: hand fresh records on, answer everybody, wake the readers.

        A ring's durable end moves here, together with the record cache: a destination that is caught up would else see
        events a moment before memory has them, and read them from the disk.
        """
        for ring, durable in outcome.moved.items():
            ring.durable = max(ring.durable, durable)
            self._caches.let_go(ring.record_cache, ring.consumed())
        for cache, record in outcome.fresh:
            self._caches.add(cache, record)
        for append, result in outcome.results:
            try:
                append.done(result)
            except Exception:
                log.exception("an answer could not be given; the batch is stored all the same")
        for ring in outcome.moved:
            ring.announce()
        self._caches.tell_aged()

    def look_ahead(self, groups: list[Group]) -> None:
        """Write zeros where the next frames go, have the next segment's file made, begin it: now that nobody waits."""
        wanting = [ring_log for ring_log, _jobs in groups if ring_log.wants_zeros]
        for ring_log, problem in zip(wanting, self._side_by_side(RingLog.look_ahead, wanting), strict=True):
            if problem is not None:
                self.disk_failed(ring_log, problem)
        for ring_log, _jobs in groups:
            try:
                if ring_log.wants_successor:
                    ring_log.begin_successor(self._maker.submit)
                ring_log.rotate_early()
            except OSError as problem:
                self.disk_failed(ring_log, problem)

    def again(self, ring_log: RingLog, jobs: list[WriteJob]) -> None:
        """The second and last try, in a fresh segment. What was durable before the failure is not placed twice."""
        settled = ring_log.settled
        todo = [job for job in jobs if job.refusal is None and not 0 <= job.first_sequence < settled]
        for entry in entries_of(todo):
            entry.first_sequence = -1  # that of the first try may be given to another one now
        try:
            self._place(ring_log, todo)
            ring_log.sync()
            ring_log.settle()
        except OSError as problem:
            self.disk_failed(ring_log, problem)
            settled = ring_log.settled
            for job in todo:
                if not 0 <= job.first_sequence < settled:
                    job.refusal = SpoolRejection.UNAVAILABLE
            self.trouble.begins(ring_log.ring, problem)
        else:
            self.trouble.ends(ring_log.ring)

    def disk_failed(self, ring_log: RingLog, problem: OSError) -> None:
        """Nothing more is written to the ring's active segment."""
        if ring_log.abandon():
            log.error(
                "the disk failed under a segment; it is not written to again",
                extra={"cluster": ring_log.ring.cluster, "error": str(problem)},
            )

    def sync_late(self) -> None:
        """With `durability: interval`: sync what was written since the last time."""
        for ring_log in self._unsynced.values():
            problem = _problem_of(RingLog.sync, ring_log)
            if problem is not None:
                self.disk_failed(ring_log, problem)
        self._unsynced.clear()

    def _place(self, ring_log: RingLog, jobs: list[WriteJob]) -> None:
        refused = ring_log.place(entries_of(jobs))
        for job in jobs:
            if job.entry in refused:
                job.refusal = SpoolRejection.FULL

    def _sync(self, written: list[Group]) -> list[Group]:
        """One sync for each dirty file, side by side; returns those that failed."""
        started = self._clock.monotonic()
        dirty = [(ring_log, jobs) for ring_log, jobs in written if ring_log.dirty]
        outcomes = self._side_by_side(RingLog.sync, [ring_log for ring_log, _jobs in dirty])
        if dirty:
            self.sync_times.observe(self._clock.monotonic() - started)
        failed: list[Group] = []
        for (ring_log, jobs), problem in zip(dirty, outcomes, strict=True):
            if problem is None:
                ring_log.settle()
                self.trouble.ends(ring_log.ring)
            else:
                self.disk_failed(ring_log, problem)
                failed.append((ring_log, jobs))
        return failed

    def _side_by_side(self, step: Callable[[RingLog], None], several: list[RingLog]) -> list[OSError | None]:
        """What waits for the disk, done for each of them; what went wrong."""
        if len(several) > 1:
            return list(self._pool.map(partial(_problem_of, step), several))
        return [_problem_of(step, one) for one in several]

    def _settle_unsynced(self, written: list[Group]) -> None:
        for ring_log, _jobs in written:
            if ring_log.dirty:
                self.trouble.ends(ring_log.ring)
            ring_log.settle()
            if self.durability == "interval":
                self._unsynced[id(ring_log)] = ring_log


def _problem_of(step: Callable[[RingLog], None], ring_log: RingLog) -> OSError | None:
    try:
        step(ring_log)
    except OSError as problem:
        return problem
    return None
