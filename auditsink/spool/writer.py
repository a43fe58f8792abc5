"""Group commit: one thread takes all that waits, writes it, syncs once, and wakes everybody.

While one sync runs, the next requests gather; so sixty-four waiting clients cost one sync, and a lone one waits for
nobody. Compression happens here too: zstd releases the GIL.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

import zstandard

from auditsink.common.clock import Clock
from auditsink.spool import content
from auditsink.spool.commit import (
    Append,
    WriteJob,
    entries_of,
    gather,
    is_small,
    records,
)
from auditsink.spool.keys import Keyring
from auditsink.spool.log import RingLog
from auditsink.spool.record_cache import RecordCache, RecordCaches
from auditsink.spool.ring import Ring
from auditsink.spool.shelf import Shelf
from auditsink.spool.statistics import SyncTimes
from auditsink.spool.trouble import DiskTrouble
from auditsink.spool.types import Receipt, Record, SpoolRejection

log = logging.getLogger("auditsink.spool")

COMMIT_BYTES = 8 * 2**20
"""Bodies taken into one commit: enough to share a sync, few enough that the first of them is not kept waiting."""
SYNC_INTERVAL = 1.0
"""Seconds between syncs with `durability: interval`."""
REFUSAL_PAUSE = 0.25
"""Seconds for which a ring's requests are refused at their headers after one found no room; then one may try again."""
PROBE_SECONDS = 2.0
"""Between two looks at a disk that refused. A sink that is not ready gets no requests whose success would tell."""
HANG_SECONDS = 10.0
"""A commit that takes longer is a disk that hangs: a third of what an apiserver waits for its answer."""
PARALLEL_SYNCS = 4
"""Files synced at once when several rings have something: the journal merges them, more threads only queue."""

Call = Callable[[], None]
Durability = Literal["fsync", "interval", "os"]


class Writer:
    """The thread."""

    def __init__(
        self,
        *,
        durability: Durability,
        clock: Clock,
        tails: RecordCaches,
        moved: set[Ring],
        keys: Keyring | None = None,
    ) -> None:
        self.sync_times = SyncTimes()
        self._trouble = DiskTrouble()
        self._bug: str | None = None
        self._busy_since: float | None = None
        self._durability = durability
        self._keys = keys
        self._clock = clock
        self._tails = tails
        self._moved = moved
        self._door = threading.Lock()
        self._closed = False
        self._arrived: list[Append] = []
        self._queue: queue.SimpleQueue[list[Append] | None] = queue.SimpleQueue()
        self._taken: deque[Append] = deque()  # out of the queue and in no commit yet
        self._compress = zstandard.ZstdCompressor(level=1).compress
        self._pool = ThreadPoolExecutor(PARALLEL_SYNCS, thread_name_prefix="auditsink-sync")
        self._thread = threading.Thread(target=self._run, name="auditsink-writer", daemon=True)
        self._notify: Callable[[Call], object] | None = None
        self._soon: Callable[[Call], object] | None = None
        self._shelves: dict[int, Shelf] = {}

    def start(self, notify: Callable[[Call], object], soon: Callable[[Call], object] | None = None) -> None:
        """Begin; results are handed to `notify`, which brings them into the loop's thread.

        `soon`: the loop's `call_soon`. What is submitted in one turn of the loop then wakes the thread once, and not in
        the middle of it, for the first alone: then each of the others would wait for a commit that has just begun.
        """
        self._notify = notify
        self._soon = soon
        self._thread.start()

    def submit(self, append: Append) -> None:
        """Queue a request. In the loop's thread where `soon` was given, else any."""
        with self._door:
            if not self._closed:
                self._arrived.append(append)
                if self._soon is None:
                    self._queue_arrived()
                elif len(self._arrived) == 1:
                    self._soon(self._hand_over)
                return
        self._tell(partial(self._publish, [(append, SpoolRejection.STOPPING)], [], {}))

    def _hand_over(self) -> None:
        with self._door:
            self._queue_arrived()

    def _queue_arrived(self) -> None:
        if self._arrived:
            self._queue.put(self._arrived)
            self._arrived = []

    def refusal(self, shelf: Shelf) -> SpoolRejection | None:
        """Why a request that arrives now would most likely be refused; any thread."""
        until, why = shelf.refusing
        return why if until and self._clock.monotonic() < until else None

    @property
    def problem(self) -> str | None:
        """Why batches are not kept right now, in a sentence; any thread."""
        since = self._busy_since
        if since is not None and (seconds := self._clock.monotonic() - since) > HANG_SECONDS:
            return f"the disk has not answered for {seconds:.0f} s; check it: batches wait until it does"
        return self._bug or self._trouble.problem

    def stop(self) -> None:
        """Finish what waits, then end. Blocks."""
        with self._door:
            self._closed = True  # nothing comes after this, so nobody waits for a thread that has ended
            self._queue_arrived()
            self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown()

    def _run(self) -> None:
        going = True
        synced_at = self._clock.monotonic()
        while going:
            going = self._work()
            if self._durability == "interval" and self._clock.monotonic() - synced_at >= SYNC_INTERVAL:
                self._sync_late()
                synced_at = self._clock.monotonic()
        if self._durability == "interval":
            self._sync_late()

    def _work(self) -> bool:
        """Commit what waits. A call of its own, so that nothing keeps its requests alive during the next wait."""
        appends, going = self._take()
        if appends:
            self._busy_since = self._clock.monotonic()
            self._commit(appends)
            self._busy_since = None
        elif self._trouble:
            self._trouble.probe()
        return going

    def _take(self) -> tuple[list[Append], bool]:
        """All that waits, up to `COMMIT_BYTES`; False when it is time to end."""
        chosen: list[Append] = []
        size = 0
        while size < COMMIT_BYTES:
            if not self._taken:
                try:
                    arrived = self._queue.get_nowait() if chosen else self._queue.get(timeout=self._patience())
                except queue.Empty:
                    break
                if arrived is None:
                    return chosen, False
                self._taken.extend(arrived)
            append = self._taken.popleft()
            chosen.append(append)
            size += len(append.body)
        return chosen, True

    def _patience(self) -> float | None:
        """Seconds to wait for a request before there is something else to do."""
        if self._durability == "interval":
            return SYNC_INTERVAL
        return PROBE_SECONDS if self._trouble else None

    def _commit(self, appends: list[Append]) -> None:
        jobs: list[WriteJob] = []
        try:
            groups = self._prepare(appends, jobs)
            self._store(groups)
            self._settle_recent(groups)
            self._bug = None
        except Exception as problem:  # whatever it is, nobody may wait for ever and the thread must live
            log.exception("the spool's writer failed; the requests of this moment were refused")
            self._bug = f"the spool's writer failed: {problem!r}; report it with the sink's log"
            results: list[tuple[Append, Receipt | SpoolRejection]] = [
                (append, SpoolRejection.UNAVAILABLE) for append in appends
            ]
            self._tell(partial(self._publish, results, [], {}))
            return
        fresh = [(shelf.ring.tail, record) for shelf, several in groups for record in records(several)]
        moved = dict.fromkeys(self._moved, 0) | {shelf.ring: shelf.log.settled for shelf, _jobs in groups}
        self._moved.clear()
        self._tell(partial(self._publish, [(job.append, job.result()) for job in jobs], fresh, moved))
        for shelf, _jobs in groups:  # now that nobody waits
            try:
                shelf.log.look_ahead()
            except OSError as problem:
                self._disk_failed(shelf, problem)

    def _tell(self, call: Call) -> None:
        assert self._notify is not None
        try:
            self._notify(call)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            log.warning("requests became durable after the sink had stopped listening")

    def _prepare(self, appends: Sequence[Append], jobs: list[WriteJob]) -> list[tuple[Shelf, list[WriteJob]]]:
        """Recognise retries, group by ring, compress."""
        now = self._clock.monotonic()
        groups: dict[int, tuple[Shelf, list[WriteJob]]] = {}
        first_of: dict[bytes, WriteJob] = {}
        key = None
        if self._keys is not None:
            self._keys.refresh(now)
            key = self._keys.newest
        for append in appends:
            shelf = append.shelf
            payload = None if is_small(append.body) else self._compress(append.body)
            digest = content.digest(shelf.ring.ring_id, payload or append.body, key)
            job = WriteJob(append, digest, payload, shelf.recent.find(digest, now), first_of.get(digest))
            jobs.append(job)
            if job.duplicate_of is None and job.twin is None:
                first_of[digest] = job
                groups.setdefault(id(shelf), (shelf, []))[1].append(job)
        for _shelf, several in groups.values():
            gather(several, self._compress)
        return list(groups.values())

    def _store(self, groups: list[tuple[Shelf, list[WriteJob]]]) -> None:
        """Write all rings, sync all rings, and place again in a fresh segment what a disk error hit."""
        failed: list[tuple[Shelf, list[WriteJob]]] = []
        written: list[tuple[Shelf, list[WriteJob]]] = []
        for shelf, jobs in groups:
            try:
                self._place(shelf, jobs)
                written.append((shelf, jobs))
            except OSError as problem:
                self._disk_failed(shelf, problem)
                failed.append((shelf, jobs))
        if self._durability == "fsync":
            failed += self._sync(written)
        else:
            self._settle_unsynced(written)
        for shelf, jobs in failed:
            self._again(shelf, [job for job in jobs if job.refusal is None])

    def _place(self, shelf: Shelf, jobs: list[WriteJob]) -> None:
        refused = shelf.log.place(entries_of(jobs))
        for job in jobs:
            if job.entry in refused:
                job.refusal = SpoolRejection.FULL

    def _sync(self, written: list[tuple[Shelf, list[WriteJob]]]) -> list[tuple[Shelf, list[WriteJob]]]:
        """One sync for each dirty file, side by side; returns those that failed."""
        started = self._clock.monotonic()
        dirty = [(shelf, jobs) for shelf, jobs in written if shelf.log.dirty]
        if len(dirty) > 1:
            outcomes = list(self._pool.map(_sync_error, [shelf.log for shelf, _jobs in dirty]))
        else:
            outcomes = [_sync_error(shelf.log) for shelf, _jobs in dirty]
        if dirty:
            self.sync_times.observe(self._clock.monotonic() - started)
        failed: list[tuple[Shelf, list[WriteJob]]] = []
        for (shelf, jobs), problem in zip(dirty, outcomes, strict=True):
            if problem is None:
                shelf.log.settle()
                self._trouble.ends(shelf.ring)
            else:
                self._disk_failed(shelf, problem)
                failed.append((shelf, jobs))
        return failed

    def _settle_unsynced(self, written: list[tuple[Shelf, list[WriteJob]]]) -> None:
        for shelf, _jobs in written:
            if shelf.log.dirty:
                self._trouble.ends(shelf.ring)
            shelf.log.settle()
            if self._durability == "interval":
                self._shelves[id(shelf)] = shelf

    def _sync_late(self) -> None:
        for shelf in self._shelves.values():
            problem = _sync_error(shelf.log)
            if problem is not None:
                self._disk_failed(shelf, problem)
        self._shelves.clear()

    def _again(self, shelf: Shelf, jobs: list[WriteJob]) -> None:
        """The second and last try, in a fresh segment. What was durable before the failure is not placed twice."""
        settled = shelf.log.settled
        todo = [job for job in jobs if not 0 <= job.first_sequence < settled]
        for entry in entries_of(todo):
            entry.first_sequence = -1  # that of the first try may be given to another one now
        try:
            self._place(shelf, todo)
            shelf.log.sync()
            shelf.log.settle()
        except OSError as problem:
            self._disk_failed(shelf, problem)
            settled = shelf.log.settled
            for job in todo:
                if not 0 <= job.first_sequence < settled:
                    job.refusal = SpoolRejection.UNAVAILABLE
            self._trouble.begins(shelf.ring, problem)
        else:
            self._trouble.ends(shelf.ring)

    def _disk_failed(self, shelf: Shelf, problem: OSError) -> None:
        if shelf.log.abandon():
            log.error(
                "the disk failed under a segment; it is not written to again",
                extra={"cluster": shelf.ring.cluster, "error": str(problem)},
            )

    def _settle_recent(self, groups: list[tuple[Shelf, list[WriteJob]]]) -> None:
        now = self._clock.monotonic()
        for shelf, jobs in groups:
            for job in jobs:
                if job.refusal is None:
                    shelf.recent.add(job.digest, job.first_sequence, now)
                else:
                    shelf.refusing = (now + REFUSAL_PAUSE, job.refusal)

    def _publish(
        self,
        results: list[tuple[Append, Receipt | SpoolRejection]],
        fresh: list[tuple[RecordCache, Record]],
        moved: dict[Ring, int],
    ) -> None:
        """In the loop's thread: hand fresh records on, answer everybody, wake the readers.

        `moved`: rings, and up to where each is durable. That moves here and together with the tail: a destination
        that is caught up would else see events a moment before memory has them, and read them from the disk.
        """
        for ring, durable in moved.items():
            ring.durable = max(ring.durable, durable)
        for tail, record in fresh:
            self._tails.add(tail, record)
        for append, result in results:
            try:
                append.done(result)
            except Exception:
                log.exception("an answer could not be given; the batch is stored all the same")
        for ring in moved:
            ring.announce()


def _sync_error(log_of_ring: RingLog) -> OSError | None:
    try:
        log_of_ring.sync()
    except OSError as problem:
        return problem
    return None
