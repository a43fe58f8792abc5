"""The sink as a process: signals, threads, the garbage collector, the allocator, and the exit code."""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from auditsink import __version__
from auditsink.common import descriptors, resolver
from auditsink.common.watch import FileWatch
from auditsink.config import Config
from auditsink.load import files
from auditsink.observe import logs
from auditsink.service import Guest, ReloadError, Sink

log = logging.getLogger("auditsink.process")

STOP_SECONDS = 8.0
"""For an orderly stop. Kubernetes kills after 30 s by default, a system that shuts down after 10."""
WATCHDOG_SECONDS = 9.5
"""After this the process ends whatever still hangs: a disk that does not answer, say. The spool survives a kill."""
COLLECT_AFTER = 10_000
"""Containers until the collector looks for cycles. Requests leave hardly any, and looking after each 700 (Python 3.11)
took 2 to 3 % of the CPU with one event a request; the memory under load is the same."""
THREADS = 64
"""For what blocks: compression, the spool's disk. What may never return has threads of its own (`blocking`)."""
LOG_SECONDS = 0.5
"""For the last log lines; whoever has stopped reading them must not keep the process from ending."""
LOOK_SECONDS = 2.0
"""Between two looks at the configuration's file, with `watch: true`."""
IGNORED = (signal.SIGUSR1, signal.SIGUSR2)
"""Signals that people send to daemons, and that end a process which does not expect them."""


def run(
    config: Config,
    greet: Callable[[], None] = lambda: None,
    guest: Guest | None = None,
    *,
    file: Path | None = None,
    reread: Callable[[], Config] | None = None,
) -> int:
    """Run until a signal; the exit code. `greet` is called once it is ready. Raises StartError.

    `file` is the configuration's, and `reread` what it says now: for SIGHUP, and with `watch` whenever it changes.
    """
    for number in (*IGNORED, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # until the loop is there
    logs.configure(config.log)
    bound_allocator()
    try:
        sink = Sink(config, guest=guest, reread=reread)
        watched = FileWatch([file] if config.watch and file is not None else [])
        return resolver.run(_live(sink, [*config.risks(), *files.exposed(config)], greet, watched))
    finally:
        logs.flush(LOG_SECONDS)


async def _live(sink: Sink, risks: list[str], greet: Callable[[], None], watched: FileWatch) -> int:
    loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="auditsink")
    loop.set_default_executor(threads)
    loop.set_exception_handler(_report)
    threading.excepthook = lambda dead: _thread_died(sink, dead)
    sys.unraisablehook = _unraisable
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop)
    for number in IGNORED:
        loop.add_signal_handler(number, _ignore, number)
    allowed = descriptors.raise_limit()
    await sink.start()
    log.info("files that this process may have open", extra=allowed._asdict())
    reloader = _Reloader(sink)
    loop.add_signal_handler(signal.SIGHUP, reloader.begin)
    watching = asyncio.create_task(_watch(watched, reloader))
    # What lives now lives until the end; the collector need not walk it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    for risk in risks:
        log.warning("risky: %s", risk)
    log.info("ready", extra={"version": __version__, **sink.addresses()})
    greet()
    await stop.wait()
    watching.cancel()
    await _stop(sink)
    _leave_stuck_threads(threads)
    return 0


async def _stop(sink: Sink) -> None:
    watchdog = threading.Timer(WATCHDOG_SECONDS, _give_up)
    watchdog.daemon = True
    watchdog.start()
    log.info("stopping: new batches get 503, what was accepted is finished", extra={"seconds": STOP_SECONDS})
    await sink.stop(STOP_SECONDS)
    watchdog.cancel()
    log.info("stopped")


class _Reloader:
    """One reload at a time; one more when something was changed meanwhile."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def begin(self) -> None:
        """Take up the changed file."""
        if self._task is not None and not self._task.done():
            self._again = True
            return
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self._again = False
            await _reload(self._sink)
            if not self._again:
                return


async def _reload(sink: Sink) -> None:
    try:
        changes = await sink.reread()
    except ReloadError as problem:
        for line in str(problem).splitlines():
            log.error(  # noqa: TRY400 - the lines say it all
                "the changed configuration is refused, the one before stays in force: %s", line
            )
    else:
        said = changes.sentences()
        for line in said or ["nothing in it is different"]:
            log.info("the configuration was read again: %s", line)


async def _watch(watched: FileWatch, reloader: _Reloader) -> None:
    while watched:
        await asyncio.sleep(LOOK_SECONDS)
        if await asyncio.to_thread(watched.changed):
            reloader.begin()


def _on_signal(stop: asyncio.Event) -> None:
    stop.set()
    # Not through the loop any more: it may be what hangs.
    loop = asyncio.get_running_loop()
    for again in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(again)
        signal.signal(again, _at_once)


def _ignore(number: signal.Signals) -> None:
    log.warning(
        "this signal does nothing: files named by *_file are read again by themselves when they change; a changed "
        "configuration is taken up by SIGHUP or `auditsink reload`",
        extra={"signal": number.name},
    )


def _at_once(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)


def _give_up() -> NoReturn:
    log.error("the stop took too long and was cut short; nothing that was accepted is lost")
    _exit(1)


def _leave_stuck_threads(threads: ThreadPoolExecutor) -> None:
    """A thread that hangs in a system call would keep the process alive for ever; end it from here."""
    waiting = threading.Thread(target=threads.shutdown, daemon=True)
    waiting.start()
    waiting.join(timeout=0.5)
    if waiting.is_alive():
        log.warning("a thread hangs in a call to the system and is left behind")
        _exit(0)


def _exit(code: int) -> NoReturn:
    logs.flush(LOG_SECONDS)
    os._exit(code)


def _thread_died(sink: Sink, dead: Any) -> None:
    name = dead.thread.name if dead.thread else "a thread"
    problem = (dead.exc_type, dead.exc_value, dead.exc_traceback)
    log.critical("a thread died", extra={"thread_name": name}, exc_info=problem)
    sink.fail(f"thread {name} died of {dead.exc_type.__name__}; restart the sink and report it with its log")


def _unraisable(ignored: Any) -> None:
    """What Python could only print, as it is; the log stars what is secret."""
    problem = (ignored.exc_type, ignored.exc_value, ignored.exc_traceback)
    log.error(ignored.err_msg or "an error that nobody could catch", exc_info=problem)


def _report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio found nobody to tell: one connection's affair, as far as it is not a part's own task."""
    log.error(context.get("message", "an error in the event loop"), exc_info=context.get("exception"))


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_MAPPED_BYTES = 2**20
"""Blocks from this size on are mapped, and go back when they are freed. An apiserver's usual batch is smaller."""
_SPARE_BYTES = 2**23
"""What may lie free at the heap's end, so that usual batches do not fetch pages from the kernel each time."""


def bound_allocator() -> None:
    """Have a few large bodies not become the process's size, before it starts a thread. Does nothing without glibc.

    glibc learns from the first large block that is freed to take such blocks from its heap from then on, up to 32 MiB
    (mallopt(3), M_MMAP_THRESHOLD), where one small block on top keeps all that is below. Three bodies of 31 MB, one
    after the other, left 187 MiB that way, and 71 MiB with fixed bounds.
    """
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _SPARE_BYTES)
        # A heap of its own for each thread that once read a chunk: 23 MiB more after three destinations had caught up.
        libc.mallopt(_M_ARENA_MAX, 1)
