"""What `auditsink send` says of its work: while it runs on standard error, at the end in a summary."""

from collections.abc import Sequence

import click

from auditsink.apiserver.retry_schedule import ATTEMPTS, PostResult
from auditsink.apiserver.send import Totals
from auditsink.cli.tables import safe

PLACES = 10
"""Lines and files of a kind that are told by name."""
_KINDS = 100  # of reasons that are told apart; the words of hostile files must not fill our memory


class Passed:
    """Lines and files that hold no event, by reason: how many, and where the first of them are."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, list[str]]] = {}
        self.damaged_files: list[str] = []

    def skipped(self, name: str, why: str, count: int, lines: Sequence[int]) -> None:
        """See `auditlogs.sources.Notes`."""
        if why not in self._found and len(self._found) >= _KINDS:
            why = "is no audit event"
        before, places = self._found.get(why, (0, []))
        more = [f"{name}:{line}" for line in lines] or [name]
        self._found[why] = (before + count, [*places, *more][:PLACES])

    def damaged(self, name: str, why: str) -> None:
        """See `auditlogs.sources.Notes`."""
        self.damaged_files.append(f"{name}: {why}")

    def tell(self) -> None:
        """Say on standard error all that was passed over."""
        for why, (count, places) in self._found.items():
            more = f" and {count - len(places):,} more" if count > len(places) else ""
            click.echo(f"passed over {count:,}: {safe(why)} ({safe(', '.join(places))}{more})", err=True)
        for damage in self.damaged_files:
            click.echo(f"auditsink: {safe(damage)}", err=True)


class Retries:
    """Tells of failures that are tried again: a hundred connections that fail alike are one piece of news."""

    def __init__(self) -> None:
        self._told: set[tuple[str, int]] = set()

    def tell(self, failure: PostResult, wait: float, attempt: int) -> None:
        """See `apiserver.deliver.OnRetry`."""
        news = (str(failure), attempt)
        if news not in self._told and len(self._told) < _KINDS:
            self._told.add(news)
            click.echo(f"{failure}; trying again in {wait:.0f} s (attempt {attempt} of {ATTEMPTS})", err=True)


def summary(totals: Totals, seconds: float, stopped: Exception | None = None) -> None:
    """What the sink has, and what it has not; `stopped`: what ended the run early."""
    if stopped is not None:
        click.echo(f"auditsink: stopped: {stopped}", err=True)
    elif totals.failed_batches:
        given_up = f"{totals.failed_batches:,} batches with {totals.failed_events:,} events"
        click.echo(f"auditsink: gave up {given_up}: {totals.last_failure}; see the sink's log", err=True)
    if totals.uncounted_events:
        click.echo(
            f"auditsink: {totals.uncounted_events:,} events were answered with a success that does not say how many "
            "were accepted; is --url an auditsink?",
            err=True,
        )
    if totals.repeated_batches:
        click.echo(
            f"repeated {totals.repeated_batches:,} batches, {totals.repeated_events:,} events that the sink had already"
        )
    click.echo(
        f"sent {totals.batches:,} batches, {totals.events:,} events, {totals.bytes:,} bytes in {seconds:.1f} s; "
        f"{totals.retries:,} retries, {totals.failed_batches:,} failed"
    )
