"""A thread that does one thing at a time beside the loop, which waits for it for a moment and can go on without it."""

import queue
import threading
from collections.abc import Callable

Job = Callable[[], None]


class SyncThread:
    """`start` a job, `wait` for it a while; if that was too short, `late` is called in this thread when it has ended.

    `problem` is what the last job raised. One job at a time.
    """

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._late: Job
        self._ended = threading.Lock()
        self._ended.acquire()
        self._mutex = threading.Lock()
        self._over = True
        self._left = False
        self._thread = threading.Thread(target=self._run, name="auditsink-sync", daemon=True)
        self._thread.start()

    def start(self, job: Job, late: Job) -> None:
        """Begin; the job before has ended, and was waited for or told."""
        self._late, self._over, self._left = late, False, False
        self._jobs.put(job)

    def wait(self, seconds: float) -> bool:
        """Whether the job has ended within that time. If not, `late` will be called."""
        if not self._ended.acquire(timeout=seconds):
            with self._mutex:
                if not self._over:
                    self._left = True
                    return False
            self._ended.acquire()
        return True

    def stop(self) -> None:
        """Let the job end, and the thread. Blocks as long as the disk does."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception as problem:  # noqa: BLE001 - whoever waits decides
                self.problem = problem
            else:
                self.problem = None
            del job
            with self._mutex:
                self._over = True
                left = self._left
            if left:
                self._late()
            else:
                self._ended.release()
