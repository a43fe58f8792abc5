"""`auditsink send`: post files as a kube-apiserver would, with its patience."""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from auditsink.apiserver.retry_schedule import ATTEMPTS, PostResult
from auditsink.apiserver.send import Totals, send
from auditsink.apiserver.sources import Body, SourceError, bodies
from auditsink.apiserver.webhook import Webhook, tls_context
from auditsink.cli.tables import safe
from auditsink.common import resolver
from auditsink.common.clock import SystemClock
from auditsink.common.secret import Secret, UnreadableFileError, WatchedFile, parse_secret

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("send")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
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
    "--connections", type=click.IntRange(1, 1000), default=4, show_default=True, help="Batches posted at once."
)
def command(
    *,
    files: tuple[Path, ...],
    url: str,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    token_file: Path | None,
    rate: float | None,
    batch: int,
    connections: int,
) -> int:
    """Post recorded batches or an audit log, as a kube-apiserver would.

    FILE is an EventList (.json), an archive of them (.tar, .tar.gz, .zip), or an apiserver's audit log (one event a
    line), also compressed (.gz, .zst). A batch that is not taken is tried five times, after 10, 15, 22 and 34 s.

    \b
    Examples:
      auditsink send tests/data/batch-default-mixed-http.tar.gz
      auditsink send /var/log/kubernetes/audit.log --rate 500
      auditsink send a.json --url https://sink:9880/audit/prod --ca ca.pem --token-file token
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    webhook = _webhook(url=url, ca=ca, cert=cert, key=key, token_file=token_file, connections=connections)
    run = _SendRun(files, batch)
    resolver.run(run.post_all(webhook, connections, rate))
    return run.report()


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


class _SendRun:
    """One call of the command: what is read, what was passed over, what to say at the end."""

    def __init__(self, files: tuple[Path, ...], batch: int) -> None:
        self._files = files
        self._batch = batch
        self._totals = Totals()
        self._passed_over: Counter[str] = Counter()
        self._first_passed_over: dict[str, str] = {}
        self._damaged: list[str] = []
        self._told: set[tuple[str, int]] = set()
        self._started = time.monotonic()
        self._bar = _bar(sum(file.stat().st_size for file in files)) if sys.stderr.isatty() else None

    async def post_all(self, webhook: Webhook, connections: int, rate: float | None) -> None:
        """Everything in the files."""
        with self._bar or nullcontext():
            async with webhook:
                await send(
                    self._bodies(),
                    webhook.post,
                    totals=self._totals,
                    connections=connections,
                    rate=rate,
                    clock=SystemClock(),
                    random=random.random,
                    on_retry=self._on_retry,
                )

    def report(self) -> int:
        """Print the summary; the exit code."""
        totals, seconds = self._totals, time.monotonic() - self._started
        for why, count in self._passed_over.items():
            click.echo(f"passed over {count:,}: {why} (the first: {safe(self._first_passed_over[why])})", err=True)
        for damage in self._damaged:
            click.echo(f"auditsink: {damage}", err=True)
        if totals.failed_batches:
            given_up = f"{totals.failed_batches:,} batches with {totals.failed_events:,} events"
            click.echo(f"auditsink: gave up {given_up}: {totals.last_failure}; see the sink's log", err=True)
        elif not totals.batches and not self._damaged:
            click.echo("auditsink: nothing to send: no file holds an EventList or an audit log", err=True)
        click.echo(
            f"sent {totals.batches:,} batches, {totals.events:,} events, {totals.bytes:,} bytes in {seconds:.1f} s; "
            f"{totals.retries:,} retries, {totals.failed_batches:,} failed"
        )
        return 1 if totals.failed_batches or self._damaged or not totals.batches else 0

    def _bodies(self) -> Iterator[Body]:
        for path in self._files:
            with path.open("rb") as stream:
                read = 0
                try:
                    for body in bodies(path, stream, self._batch, self._pass_over):
                        self._advance(stream.tell() - read)
                        read = stream.tell()
                        yield body
                except SourceError as problem:
                    self._damaged.append(str(problem))
            self._advance(path.stat().st_size - read)

    def _advance(self, read: int) -> None:
        if self._bar:
            self._bar.update(read)

    def _pass_over(self, name: str, why: str) -> None:
        self._passed_over[why] += 1
        self._first_passed_over.setdefault(why, name)

    def _on_retry(self, failure: PostResult, wait: float, attempt: int) -> None:
        # A hundred connections that fail alike are one piece of news.
        if (news := (str(failure), attempt)) not in self._told:
            self._told.add(news)
            click.echo(f"{failure}; trying again in {wait:.0f} s (attempt {attempt} of {ATTEMPTS})", err=True)


def _bar(size: int) -> Any:
    return click.progressbar(length=size, label="Sending", file=sys.stderr, show_eta=True)
