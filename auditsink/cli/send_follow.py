"""`auditsink send --follow FILE --state FILE`: a log that grows, for a cluster that has no webhook.

One batch at a time, so that the order is the log's and the place in the state file is that of what the sink has. The
log is the buffer: a batch is tried until it is taken, and only an answer that cannot change ends the command.
"""

import asyncio
import random
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import click

from auditsink.apiserver.hopeless import HopelessError
from auditsink.apiserver.send import Sender, Totals, send
from auditsink.apiserver.webhook import Webhook
from auditsink.auditlogs.batches import Body
from auditsink.auditlogs.follow import Follower
from auditsink.auditlogs.place import StateFile, StateFileError
from auditsink.cli.send_report import Retries, summary
from auditsink.cli.tables import safe
from auditsink.common import resolver
from auditsink.common.clock import SystemClock

LOOK_SECONDS = 1.0
"""Between two looks at a log that has not grown. An event waits as long for others to come with it."""


def run(path: Path, state_path: Path, webhook: Webhook, *, batch: int, rate: float | None) -> int:
    """Follow until a signal ends it; the exit code."""
    started, totals = time.monotonic(), Totals()
    ended: Exception | None = None
    try:
        with StateFile(state_path) as state:
            following = _Following(path, state, totals, batch)
            try:
                resolver.run(following.post_all(webhook, rate))
            except (HopelessError, StateFileError) as problem:
                ended = problem
    except StateFileError as problem:
        raise click.ClickException(f"--state {problem}") from None
    except OSError as problem:
        raise click.ClickException(f"{path}: cannot be read ({problem.strerror or problem})") from None
    summary(totals, time.monotonic() - started, ended)
    return 1 if ended or totals.failed_batches else 0


class _Following:
    """One run of the command."""

    def __init__(self, path: Path, state: StateFile, totals: Totals, batch: int) -> None:
        self._state = state
        self._totals = totals
        self._given_up = 0
        self._stopped = threading.Event()
        self._follower = Follower(path, state.load(), batch=batch, say=_say, wait=self._wait)

    async def post_all(self, webhook: Webhook, rate: float | None) -> None:
        """Until SIGTERM or SIGINT. What is under way then was not taken, and will be sent again."""
        clock, task = SystemClock(), asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        sender = Sender(
            webhook.post, self._totals, clock=clock, random=random.random, on_retry=Retries().tell, for_ever=True
        )
        try:
            async with webhook:
                with suppress(asyncio.CancelledError):
                    await send(
                        self._follower.bodies(), sender, connections=1, rate=rate, clock=clock, taken=self._taken
                    )
        finally:
            self._stopped.set()

    def _wait(self) -> bool:
        return not self._stopped.wait(LOOK_SECONDS)

    def _taken(self, body: Body) -> None:
        self._state.save(self._follower.place(body))
        if self._totals.failed_batches > self._given_up:
            self._given_up = self._totals.failed_batches
            _say(f"an event is given up: {self._totals.last_failure}; it is larger than the sink takes")


def _say(text: str) -> None:
    click.echo(safe(text), err=True)
