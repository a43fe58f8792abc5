"""Group commit: all that waits is taken, written, synced once, and everybody is told.

While one sync runs, the next requests gather; so sixty-four waiting clients cost one sync, and a lone one waits for
nobody. Who commits: a thread of its own, the writer, does whatever may take long: compression of large bodies, several
rings, rotation, zeros, a disk in trouble. What is small and for one ring the loop commits while the writer is idle:
handing the interpreter to and fro costs more than the commit. Only the write and the sync are then done in a helper's
thread, for which the loop waits `LOOP_WAIT` at most. Past that it goes on, and is told when the disk has answered: a
disk that hangs freezes nothing, and one that is slow is left to the writer for a while.

One commit at a time, whoever makes it: what arrives meanwhile waits for its end.
"""

import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from auditsink.common.blocking import SyncThread
from auditsink.common.clock import Clock
from auditsink.spool.commit import Append, entries_of
from auditsink.spool.committer import Commit, CommitResult, Committer, Durability
from auditsink.spool.keys import Keyring
from auditsink.spool.log import RingLog
from auditsink.spool.record_cache import RecordCaches
from auditsink.spool.ring import Ring
from auditsink.spool.statistics import SyncTimes
from auditsink.spool.types import SpoolRejection

log = logging.getLogger("auditsink.spool")

COMMIT_BYTES = 8 * 2**20
"""Bodies taken into one commit: enough to share a sync, few enough that the first of them is not kept waiting."""
LOOP_BYTES = 2**18
"""Bodies in a commit that the loop makes, at most: compressing more would keep everything else waiting."""
LOOP_WAIT = 0.002
"""Seconds that the loop waits for the disk."""
SKIPPED = (16, 1024)
"""Commits that are left to the writer after the disk took longer than that: at least, and at most. It doubles with each
such sync, and halves with each that was quick."""
MOST_LOOKS = 8
"""Turns of the loop, at most, in which more requests may join a commit before it begins."""
SYNC_INTERVAL = 1.0
"""Seconds between syncs with `durability: interval`."""
PROBE_SECONDS = 2.0
"""Between two looks at a disk that refused. A sink that is not ready gets no requests whose success would tell."""
HANG_SECONDS = 10.0
"""A commit that takes longer is a disk that hangs: a third of what an apiserver waits for its answer."""

Call = Callable[[], None]


class Writer:
    """Takes requests, and sees to it that each is committed by the thread or by the loop."""

    def __init__(
        self,
        *,
        durability: Durability,
        clock: Clock,
        caches: RecordCaches,
        moved: set[Ring],
        keys: Keyring | None = None,
    ) -> None:
        self._committer = Committer(durability=durability, clock=clock, caches=caches, moved=moved, keys=keys)
        self._clock = clock
        self._bug: str | None = None
        self._busy_since: float | None = None
        self._lock = threading.Lock()  # to `_closed`, `_arrived` and the queue's input
        self._closed = False
        self._arrived: list[Append] = []
        self._arrived_bytes = 0  # of their bodies
        self._arrived_for: RingLog | None = None  # whose they are; None for several
        self._seen = self._looks = 0  # of `_arrived`, at the last look; and the looks
        self._queue: queue.SimpleQueue[list[Append] | Call | None] = queue.SimpleQueue()
        self._given = self._got = self._done = 0  # into the queue, out of it, and done with
        self._taken: deque[Append] = deque()  # out of the queue and in no commit yet
        self._call: Call | None = None  # out of the queue and not made yet
        self._committing = threading.Lock()  # to the rings' logs: whoever commits has it while it uses the processor
        self._thread = threading.Thread(target=self._run, name="auditsink-writer", daemon=True)
        self._notify: Callable[[Call], object] | None = None
        self._soon: Callable[[Call], object] | None = None
        self._sync: SyncThread | None = None
        self._pending: Commit | None = None  # of the loop, while the disk has not answered
        self._skip = 0  # commits that the loop leaves to the thread
        self._next_skip = SKIPPED[0]

    def start(self, notify: Callable[[Call], object], soon: Callable[[Call], object] | None = None) -> None:
        """Begin; results are handed to `notify`, which brings them into the loop's thread.

        `soon`: the loop's `call_soon`. With it the loop makes commits too, and what is submitted in a few turns of it
        is taken together: else each of the others would wait for a commit that has just begun for the first.
        """
        self._notify = notify
        self._soon = soon
        if soon is not None and self._committer.durability == "fsync":
            self._sync = SyncThread()
        self._thread.start()

    def submit(self, append: Append) -> None:
        """Queue a request. In the loop's thread where `soon` was given, else any."""
        with self._lock:
            if not self._closed:
                if not self._arrived:
                    self._arrived_for = append.ring_log
                    if self._soon is not None:
                        self._soon(self._hand_over)
                elif append.ring_log is not self._arrived_for:
                    self._arrived_for = None
                self._arrived.append(append)
                self._arrived_bytes += len(append.body)
                if self._soon is None:
                    self._queue_arrived()
                return
        self._tell(CommitResult([(append, SpoolRejection.STOPPING)]))

    def in_loop(self, call: Call) -> None:
        """Have a call made in the loop's thread; not at all when the loop is closed. Any thread, after `start`."""
        assert self._notify is not None
        with contextlib.suppress(RuntimeError):
            self._notify(call)

    @property
    def sync_times(self) -> SyncTimes:
        """How long the disk took."""
        return self._committer.sync_times

    @property
    def problem(self) -> str | None:
        """Why batches are not kept right now, in a sentence; any thread."""
        since = self._busy_since
        if since is not None and (seconds := self._clock.monotonic() - since) > HANG_SECONDS:
            return f"the disk has not answered for {seconds:.0f} s; check it: batches wait until it does"
        return self._bug or self._committer.trouble.problem

    def stop(self) -> None:
        """Finish what waits, then end. Blocks; not in the loop's thread, where there is one."""
        with self._lock:
            self._closed = True  # nothing comes after this, so nobody waits for a thread that has ended
        if self._sync is not None:
            with self._committing:
                pass  # the loop begins nothing from now on
            self._sync.stop()
            with self._committing:
                commit, self._pending = self._pending, None
                if commit is not None:
                    self._put(partial(self._end, commit, self._sync.problem))
        with self._lock:
            self._queue_arrived()
        self._put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._committer.close()

    def _put(self, work: list[Append] | Call | None) -> None:
        self._given += 1
        self._queue.put(work)

    def _queue_arrived(self) -> None:
        if self._arrived:
            self._put(self._arrived)
        self._forget_arrived()

    def _forget_arrived(self) -> None:
        self._arrived = []
        self._arrived_bytes = self._seen = self._looks = 0

    # The loop's commits.

    def _hand_over(self) -> None:
        """In the loop's thread: see to the commit of what has arrived."""
        if self._pending is not None:
            return  # its end comes back here
        if len(self._arrived) > self._seen and self._looks < MOST_LOOKS and self._arrived_bytes <= LOOP_BYTES:
            self._seen = len(self._arrived)
            self._looks += 1
            assert self._soon is not None
            self._soon(self._hand_over)  # requests are coming in: they join
        elif self._may_commit() and self._committing.acquire(blocking=False):
            try:
                waits = self._begin()
            finally:
                self._committing.release()
            if waits:
                self._wait()
        else:
            with self._lock:
                self._queue_arrived()

    def _may_commit(self) -> bool:
        """Whether the loop may make the commit: it is little, for one ring, and the thread has nothing to do."""
        committer = self._committer
        if self._sync is None or not self._arrived or self._given != self._done:
            return False
        if committer.trouble or committer.keys is not None or self._arrived_bytes > LOOP_BYTES:
            return False
        if self._skip:
            self._skip -= 1
            return False
        return self._arrived_for is not None

    def _begin(self) -> bool:
        """Have what has arrived on its way to the disk, or handed to the thread; True for the former."""
        with self._lock:
            if self._closed:
                return False  # `stop` takes it
            appends = self._arrived
            self._forget_arrived()
        self._busy_since = self._clock.monotonic()
        try:
            commit = self._committer.prepare(appends, reading=False)
            if commit is None or not self._stage(commit):
                self._busy_since = None
                self._put(appends)
                return False
        except Exception as problem:  # noqa: BLE001 - logged there
            self._failed(appends, problem)
            return False
        self._pending = commit
        return True

    def _stage(self, commit: Commit) -> bool:
        """Begin to write and sync, if that is all that the ring needs."""
        if len(commit.groups) != 1:
            return False  # retries alone
        ((ring_log, jobs),) = commit.groups
        if not ring_log.stage(entries_of(jobs)):
            return False
        assert self._sync is not None
        self._sync.start(partial(self._committer.sync_staged, ring_log), self._sync_ended)
        return True

    def _wait(self) -> None:
        assert self._sync is not None
        if self._sync.wait(LOOP_WAIT):
            self._next_skip = max(self._next_skip // 2, SKIPPED[0])
            self._late()
        else:
            self._skip, self._next_skip = self._next_skip, min(2 * self._next_skip, SKIPPED[1])

    def _sync_ended(self) -> None:
        """In the helper's thread, when the loop has gone on."""
        self.in_loop(self._late)  # where the loop is closed, `stop` sees to it

    def _late(self) -> None:
        """In the loop's thread: the disk has answered."""
        assert self._sync is not None
        with self._committing:
            commit, self._pending = self._pending, None
            if commit is None:
                return  # `stop` was quicker
            problem = self._sync.problem
            if problem is not None:
                self._put(partial(self._end, commit, problem))  # a fresh segment, and whatever that takes
            else:
                outcome = self._settled(commit)
        if problem is None:
            self._committer.publish(outcome)
        if self._arrived and self._soon is not None:
            self._soon(self._hand_over)

    def _settled(self, commit: Commit) -> CommitResult:
        """What is to be told of a commit that the disk has taken."""
        ((ring_log, _jobs),) = commit.groups
        ring_log.settle()
        outcome = self._committer.conclude(commit)
        self._busy_since = self._bug = None
        if ring_log.wants_zeros or ring_log.wants_successor or ring_log.wants_rotation:
            self._put(partial(self._committer.look_ahead, commit.groups))
        return outcome

    def _end(self, commit: Commit, problem: Exception | None) -> None:
        """In the thread: end a commit of the loop that met with a problem, or with the end of the sink."""
        ((ring_log, jobs),) = commit.groups
        try:
            if isinstance(problem, OSError):
                self._committer.disk_failed(ring_log, problem)
                self._committer.again(ring_log, jobs)
            elif problem is not None:
                raise problem  # noqa: TRY301 - one place for all of them
            else:
                ring_log.settle()
            outcome = self._committer.conclude(commit)
        except Exception as bug:  # noqa: BLE001 - logged there
            self._failed([job.append for job in commit.jobs], bug)
        else:
            self._tell(outcome)

    # The thread.

    def _run(self) -> None:
        going = True
        late = self._committer.durability == "interval"
        synced_at = self._clock.monotonic()
        while going:
            going = self._work()
            if late and self._clock.monotonic() - synced_at >= SYNC_INTERVAL:
                self._committer.sync_late()
                synced_at = self._clock.monotonic()
        if late:
            self._committer.sync_late()

    def _work(self) -> bool:
        """Do what waits. A call of its own, so that nothing keeps its requests alive during the next wait."""
        appends, going = self._take()
        with self._committing:
            self._busy_since = self._clock.monotonic() if appends or self._call else None
            if appends:
                self._commit(appends)
            if (call := self._call) is not None:
                self._call = None
                call()
            elif not appends and self._committer.trouble:
                self._committer.trouble.probe()
            self._busy_since = None
            if not self._taken:
                self._done = self._got
        return going

    def _take(self) -> tuple[list[Append], bool]:
        """All that waits, up to `COMMIT_BYTES` or a call, which is left in `_call`; False when it is time to end."""
        chosen: list[Append] = []
        size = 0
        while size < COMMIT_BYTES:
            if not self._taken:
                try:
                    work = self._queue.get_nowait() if chosen else self._queue.get(timeout=self._patience())
                except queue.Empty:
                    break
                self._got += 1
                if work is None:
                    return chosen, False
                if not isinstance(work, list):
                    self._call = work
                    break
                self._taken.extend(work)
            append = self._taken.popleft()
            chosen.append(append)
            size += len(append.body)
        return chosen, True

    def _patience(self) -> float | None:
        """Seconds to wait for a request before there is something else to do."""
        if self._committer.durability == "interval":
            return SYNC_INTERVAL
        return PROBE_SECONDS if self._committer.trouble else None

    def _commit(self, appends: list[Append]) -> None:
        committer = self._committer
        try:
            commit = committer.prepare(appends)
            assert commit is not None  # the disk may be read here
            committer.store(commit.groups)
            outcome = committer.conclude(commit)
            self._bug = None
        except Exception as problem:  # noqa: BLE001 - logged there
            self._failed(appends, problem)
            return
        self._tell(outcome)
        committer.look_ahead(commit.groups)  # now that nobody waits

    def _failed(self, appends: list[Append], problem: Exception) -> None:
        """Whatever it is, nobody may wait for ever and the thread must live."""
        log.error("the spool's writer failed; the requests of this moment were refused", exc_info=problem)
        self._busy_since = None
        self._bug = f"the spool's writer failed: {problem!r}; report it with the sink's log"
        self._tell(CommitResult([(append, SpoolRejection.UNAVAILABLE) for append in appends]))

    def _tell(self, outcome: CommitResult) -> None:
        assert self._notify is not None
        try:
            self._notify(partial(self._committer.publish, outcome))
        except RuntimeError:  # the loop is closed: nobody is left to be told
            log.warning("requests became durable after the sink had stopped listening")
