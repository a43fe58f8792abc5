"""`auditsink send`: post what files hold as a kube-apiserver would, with its patience; or follow a log that grows."""

import asyncio
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from auditsink.apiserver.hopeless import HopelessError
from auditsink.apiserver.send import Sender, Totals, send
from auditsink.apiserver.webhook import Webhook, tls_context
from auditsink.auditlogs.batches import Body
from auditsink.auditlogs.follow import Follower
from auditsink.auditlogs.place import StateFile, StateFileError
from auditsink.auditlogs.sources import bodies, live_bodies
from auditsink.cli.send_report import Passed, Retries, summary
from auditsink.cli.tables import safe
from auditsink.common import resolver
from auditsink.common.clock import SystemClock
from auditsink.common.secret import Secret, UnreadableFileError, WatchedFile, parse_secret

LOOK_SECONDS = 1.0
"""Between two looks at a log that has not grown. An event waits as long for others to come with it."""


def _follow(path: Path, state_path: Path, webhook: Webhook, *, batch: int, rate: float | None) -> int:
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


STANDARD_INPUT = Path("-")


def _post(files: Sequence[Path], webhook: Webhook, *, batch: int, connections: int, rate: float | None) -> int:
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


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_LOG = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_GROWING = click.Path(dir_okay=False, path_type=Path)


def _files(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[Path, ...]:
    """Files that are there, or the one that is followed, which need not be there yet."""
    kind = _GROWING if context.params.get("follow") else _LOG
    return tuple(Path(kind.convert(one, parameter, context)) for one in given)


@click.command("send")
@click.argument("files", nargs=-1, required=True, callback=_files, metavar="FILE...")
@click.option(
    "--follow", is_flag=True, is_eager=True, help="Go on with FILE as it grows, over rotations; needs --state."
)
@click.option("--state", type=_GROWING, metavar="FILE", help="Where --follow keeps the place that it has reached.")
@click.option("--url", default="http://127.0.0.1:9880/audit", show_default=True, help="Where to post.")
@click.option("--ca", type=FILE, metavar="FILE", help="CA that signed the sink's certificate (PEM).")
@click.option("--cert", type=FILE, metavar="FILE", help="Client certificate (PEM).")
@click.option("--key", type=FILE, metavar="FILE", help="Its key (PEM).")
@click.option("--token-file", type=FILE, metavar="FILE", help="File with the bearer token; needs https.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), metavar="EVENTS_PER_S", help="No faster than this."
)
@click.option(
    "--batch",
    type=click.IntRange(1, 100_000),
    default=400,
    show_default=True,
    help="Events a batch, for audit logs; recorded EventLists are sent as they are.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    help="Batches posted at once; with --follow always one.",
)
def command(
    *,
    files: tuple[Path, ...],
    follow: bool,
    state: Path | None,
    url: str,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    token_file: Path | None,
    rate: float | None,
    batch: int,
    connections: int,
) -> int:
    """Post what files hold, as a kube-apiserver would.

    FILE is an audit log, as it lies about: an event a line, an EventList a line, one event or list over several lines,
    a container's log (CRI, docker), with a node's or pod's name before each line (oc adm node-logs, kubectl logs),
    or what a cloud or collector made of it (CloudWatch, Azure Monitor, Google Cloud Logging and others); also packed
    (gzip, xz, bzip2, zstd) and in archives (tar, zip). "-" is standard input. A line that holds no whole event is
    passed over and said with its number.

    A batch that is not taken is tried five times, after 10, 15, 22 and 34 s; an answer that cannot change ends the run.

    \b
    Examples:
      auditsink send tests/data/batch-default-mixed-http.tar.gz
      auditsink send /var/log/kubernetes/audit.log --rate 500
      oc adm node-logs --role=master --path=kube-apiserver/audit.log | auditsink send -
      auditsink send --follow /var/log/kubernetes/audit.log --state /var/lib/auditsink/audit.place
      auditsink send a.json --url https://sink:9880/audit/prod --ca ca.pem --token-file token
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    if follow and (len(files) != 1 or files[0] == STANDARD_INPUT):
        raise click.UsageError("--follow goes on with one FILE; start one auditsink send for each.")
    if follow != (state is not None):
        raise click.UsageError("--follow and --state belong together: the place in the log is kept in a file.")
    webhook = _webhook(
        url=url, ca=ca, cert=cert, key=key, token_file=token_file, connections=1 if follow else connections
    )
    if state is not None:
        return _follow(files[0], state, webhook, batch=batch, rate=rate)
    return _post(files, webhook, batch=batch, connections=connections, rate=rate)


def _webhook(
    *, url: str, ca: Path | None, cert: Path | None, key: Path | None, token_file: Path | None, connections: int
) -> Webhook:
    scheme, secure = _scheme(url), bool(ca or cert or key or token_file)
    if secure and scheme == "http":
        raise click.UsageError(
            "--ca, --cert, --key and --token-file need an https:// URL: nothing is sent in the clear."
        )
    if bool(cert) != bool(key):
        raise click.UsageError("--cert and --key belong together.")
    try:
        tls = tls_context(ca, cert, key) if scheme == "https" else None
        token = _token(token_file) if token_file else None
    except UnreadableFileError as problem:
        raise click.ClickException(f"--token-file {problem}") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "reason", None) or getattr(problem, "strerror", None) or problem
        raise click.ClickException(f"--ca, --cert or --key: not usable ({reason}); give PEM files that fit") from None
    return Webhook(url, tls=tls, token=token, connections=connections)


def _scheme(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise click.UsageError("--url is no URL; write http:// or https:// and a host.")
    return parts.scheme


def _token(path: Path) -> Callable[[], Secret]:
    watched: WatchedFile[Secret] = WatchedFile(path, parse_secret)

    def current() -> Secret:
        watched.changed()
        return watched.get()

    return current
