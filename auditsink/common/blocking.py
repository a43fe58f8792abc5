"""Calls that may never return, on threads of their own: a disk that hangs takes nothing from anybody else.

A thread that is stuck in the system cannot be ended. So whoever makes such calls has a few threads for himself: while
they are stuck his next call waits for one of them, and its caller is told when the deadline is over. The threads end
with the process, stuck or not.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Call = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class StuckError(Exception):
    """A call has not returned by its deadline; it may still do what it was to do."""


class BlockingCalls:
    """`most` calls at once. `run` belongs to an event loop's thread."""

    def __init__(self, name: str, most: int = 1) -> None:
        self._name = name
        self._most = most
        self._threads = 0
        self._calls = 0  # that wait or are under way
        self._counting = threading.Lock()
        self._waiting: SimpleQueue[_Call | None] = SimpleQueue()

    def __repr__(self) -> str:
        return f"<BlockingCalls {self._name} {self._calls} calls, {self._threads} of {self._most} threads>"

    async def run(self, seconds: float | None, function: Callable[..., T], *args: Any) -> T:
        """What the function returns, or its exception. Raises StuckError after so many seconds.

        A call that waits for a thread until then, or whose caller is cancelled, is not made any more.
        """
        call = self.begin(function, *args)
        answer = asyncio.wrap_future(call)
        try:
            done, _ = await asyncio.wait({answer}, timeout=seconds)
        finally:
            call.cancel()  # unless it has begun
            answer.cancel()
        if not done:
            raise StuckError
        return answer.result()

    def begin(self, function: Callable[..., T], *args: Any) -> "Future[T]":
        """Have the call made; for who waits in his own way. Any thread."""
        call: Future[T] = Future()
        self._waiting.put((call, function, args))
        self._have_thread()
        return call

    def close(self) -> None:
        """The threads end when nothing waits; those that are stuck, when they are no longer."""
        with self._counting:
            for _ in range(self._threads):
                self._waiting.put(None)
            self._threads = 0

    def _have_thread(self) -> None:
        with self._counting:
            self._calls += 1
            if self._threads < min(self._calls, self._most):
                self._threads += 1
                threading.Thread(target=self._work, name=f"auditsink-{self._name}", daemon=True).start()

    def _work(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            self._make(*waiting)
            del waiting  # or its arguments would live until the next call

    def _make(self, call: "Future[Any]", function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        wanted = call.set_running_or_notify_cancel()
        result, problem = None, None
        try:
            result = function(*args) if wanted else None
        except BaseException as failed:  # noqa: BLE001 - whatever it is, it is the caller's
            problem = failed
        with self._counting:  # first: whoever is told calls again
            self._calls -= 1
        if wanted and problem is None:
            call.set_result(result)
        elif wanted:
            call.set_exception(problem)


Job = Callable[[], None]


class SyncThread:
    """Does one thing at a time beside the loop, which waits for it for a moment and can go on without it.

    `start` a job, `wait` for it a while; if that was too short, `late` is called in this thread when it has ended.
    `problem` is what the last job raised. One job at a time.
    """

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
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
