"""`auditsink send FILE...`: files and standard input, once and to their end."""

import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from auditsink.apiserver.hopeless import HopelessError
from auditsink.apiserver.send import Sender, Totals, send
from auditsink.apiserver.webhook import Webhook
from auditsink.auditlogs.batches import Body
from auditsink.auditlogs.sources import bodies, live_bodies
from auditsink.cli.send_report import Passed, Retries, summary
from auditsink.common import resolver
from auditsink.common.clock import SystemClock

STANDARD_INPUT = Path("-")


def run(files: Sequence[Path], webhook: Webhook, *, batch: int, connections: int, rate: float | None) -> int:
    """Post all of it, and tell; the exit code."""
    started, reading, totals, retries = time.monotonic(), _Files(files, batch), Totals(), Retries()
    hopeless: HopelessError | None = None

    async def post_all() -> None:
        clock = SystemClock()
        sender = Sender(webhook.post, totals, clock=clock, random=random.random, on_retry=retries.tell)
        try:
            async with webhook:
                await send(reading.bodies(), sender, connections=connections, rate=rate, clock=clock)
        finally:
            reading.go_on = False  # the thread that waits for standard input keeps the loop from ending

    try:
        with reading.bar or nullcontext():
            resolver.run(post_all())
    except HopelessError as problem:
        hopeless = problem
    except KeyboardInterrupt:
        summary(totals, time.monotonic() - started)
        raise
    reading.passed.tell()
    if not (totals.batches or totals.repeated_batches or totals.failed_batches or reading.passed.damaged_files):
        click.echo("auditsink: nothing to send: there is no EventList and no audit log in it", err=True)
    summary(totals, time.monotonic() - started, hopeless)
    good = (totals.batches or totals.repeated_batches) and not totals.failed_batches
    return 0 if good and not reading.passed.damaged_files else 1


class _Files:
    """The bodies of the files, one after the other, and a bar on a terminal."""

    def __init__(self, files: Sequence[Path], batch: int) -> None:
        self.passed = Passed()
        self.go_on = True
        self._files = files
        self._batch = batch
        size = sum(_size(file) for file in files)
        self.bar = _bar(size) if size and sys.stderr.isatty() else None

    def bodies(self) -> Iterator[Body]:
        """In order. What cannot be read is noted."""
        for path in self._files:
            if path == STANDARD_INPUT:
                descriptor = sys.stdin.fileno()
                yield from live_bodies("standard input", descriptor, self._batch, self.passed, lambda: self.go_on)
                continue
            try:
                yield from self._of(path)
            except OSError as problem:
                self.passed.damaged(str(path), f"cannot be read ({problem.strerror or problem})")

    def _of(self, path: Path) -> Iterator[Body]:
        with path.open("rb") as stream:
            read, seekable = 0, stream.seekable()
            for body in bodies(str(path), stream, self._batch, self.passed):
                if seekable:
                    self._advance(stream.tell() - read)
                    read = stream.tell()
                yield body
        self._advance(_size(path) - read)

    def _advance(self, read: int) -> None:
        if self.bar:
            self.bar.update(read)


def _size(path: Path) -> int:
    """Bytes of a file; 0 for standard input, and for a pipe."""
    return 0 if path == STANDARD_INPUT else path.stat().st_size


def _bar(size: int) -> Any:
    return click.progressbar(length=size, label="Sending", file=sys.stderr, show_eta=True)
