"""`auditsink deadletter`: what destinations refused for good, and another try."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from auditsink.cli.settings import config_option, read_config
from auditsink.cli.tables import safe, shown, table
from auditsink.common import resolver
from auditsink.common.clock import SystemClock
from auditsink.config import DestinationSection
from auditsink.destinations import build
from auditsink.destinations.wrappers import WithLabels
from auditsink.filters import build as filters
from auditsink.forward import dead_letters
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.dead_letter_count import REASON_CHARACTERS
from auditsink.forward.dead_letters import DeadLetterQueue
from auditsink.forward.redelivery import Report, deliver_dead_letters
from auditsink.spool import SpoolError
from auditsink.spooling import dead_letters_beside

F = TypeVar("F", bound=Callable[..., Any])
REASON_WIDTH = 70


def _destination_option(function: F) -> F:
    return click.option("--destination", metavar="NAME", help="Only this destination's.")(function)


def _path_option(function: F) -> F:
    text = "The spool's directory, instead of spool.path of the configuration."
    return click.option("--path", "spool_path", type=click.Path(path_type=Path), metavar="DIR", help=text)(function)


def _reason_option(function: F) -> F:
    text = "Only those whose reason begins so, as ls tells it."
    return click.option("--reason", default="", metavar="TEXT", help=text)(function)


@click.group("deadletter")
def command() -> None:
    """List, show, deliver again or drop what a destination refused.

    A dead letter is an event that a destination will never take as it is (too large for it, say). It is kept with the
    reason, so that it can be delivered again when the reason is gone. All of this works while the sink runs.

    \b
    Example:
      auditsink deadletter ls -c /etc/auditsink/config.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is


@command.command("ls")
@config_option
@_path_option
@_destination_option
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table", help="json: one a line, whole.")
def list_dead_letters(
    *, config_file: Path | None, spool_path: Path | None, destination: str | None, output: str
) -> None:
    """List them, oldest first, and how many there are for each reason.

    \b
    Examples:
      auditsink deadletter ls --path /var/lib/auditsink --destination siem
      auditsink deadletter ls -o json | jq -r .reason | sort | uniq -c
    """  # noqa: D301
    if output == "json":
        for dead_letter in _dead_letters(_queues(config_file, spool_path, destination).values(), ()):
            sys.stdout.buffer.write(dead_letter.encode())
        return
    header = ("ID", "DESTINATION", "CLUSTER", "SEQUENCE", "REFUSED", "BYTES", "REASON")
    found = list(_dead_letters(_queues(config_file, spool_path, destination).values(), ()))
    rows = [
        (
            dead_letter.id,
            dead_letter.destination,
            dead_letter.cluster,
            dead_letter.sequence,
            f"{dead_letter.refused_at:%Y-%m-%d %H:%M:%SZ}",
            len(dead_letter.content),
            dead_letter.reason[:REASON_WIDTH],
        )
        for dead_letter in found
    ]
    click.echo(table(header, rows, right=(3, 5)) if rows else "no dead letters")
    for line in _groups(found):
        click.echo(line)


def _groups(found: Iterable[DeadLetter]) -> Iterator[str]:
    """A line for each reason of each destination, the most frequent first, behind an empty one."""
    since: dict[tuple[str, str], datetime] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for one in found:
        group = (one.destination, one.reason[:REASON_CHARACTERS])
        counts[group] += 1
        since[group] = min(since.get(group, one.refused_at), one.refused_at)
    if counts:
        yield ""
    for (destination, reason), count in counts.most_common():
        began = f"{since[destination, reason]:%Y-%m-%d %H:%M:%SZ}"
        yield f"{safe(destination)}: {count:,} x {safe(reason)}, since {began}"


@command.command("show")
@config_option
@_path_option
@_destination_option
@click.option("--raw", is_flag=True, help="Only the event, byte for byte (a terminal gets no control characters).")
@click.argument("dead_letter_id", metavar="ID")
def show(
    *, config_file: Path | None, spool_path: Path | None, destination: str | None, raw: bool, dead_letter_id: str
) -> None:
    """Show one: what, when, why, and the event.

    \b
    Example:
      auditsink deadletter show 0123456789ab --raw | jq .
    """  # noqa: D301
    (dead_letter,) = _chosen(_queues(config_file, spool_path, destination).values(), (dead_letter_id,))[:1]
    if raw:
        sys.stdout.buffer.write(shown(dead_letter.content) if sys.stdout.isatty() else dead_letter.content)
        return
    for name in ("id", "destination", "cluster", "sequence", "source", "received_at", "refused_at", "reason"):
        click.echo(f"{name + ':':<13}{safe(getattr(dead_letter, name))}")
    click.echo(f"{'event:':<13}{safe(dead_letter.content.decode(errors='backslashreplace'))}")


@command.command("replay")
@config_option
@_path_option
@_destination_option
@_reason_option
@click.argument("ids", metavar="[ID]...", nargs=-1)
def replay(
    *,
    config_file: Path | None,
    spool_path: Path | None,
    destination: str | None,
    reason: str,
    ids: tuple[str, ...],
) -> int:
    """Deliver them again, and take away those that arrive.

    Without an ID all of them; the beginning of an ID is enough where no other begins so. What is refused again stays,
    and is told with the new reason.

    \b
    Examples:
      auditsink deadletter replay -c /etc/auditsink/config.yaml --destination siem
      auditsink deadletter replay --reason "Splunk answered HTTP 400, code 7"
    """  # noqa: D301
    config = read_config(config_file)
    configured = {one.name: one for one in config.destinations}
    spool = spool_path or config.spool.path
    queues = _queues(config_file, spool_path, destination)
    ids = tuple(dead_letter.id for dead_letter in _chosen(queues.values(), ids)) if ids else ()
    good = True
    for name, queue in queues.items():
        chosen = [one for one in _dead_letters([queue], ids) if one.reason.startswith(reason)]
        if not chosen:
            continue
        if name not in configured:
            raise click.ClickException(
                f"destination {name!r} is not in the configuration; give the -c FILE that has it"
            )
        good = _replay_one(configured[name], spool, queue, chosen) and good
    return 0 if good else 1


@command.command("drop")
@config_option
@_path_option
@_destination_option
@_reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.argument("ids", metavar="[ID]...", nargs=-1)
def drop(
    *,
    config_file: Path | None,
    spool_path: Path | None,
    destination: str | None,
    reason: str,
    yes: bool,
    ids: tuple[str, ...],
) -> None:
    """Throw them away for good; without an ID all of them.

    \b
    Example:
      auditsink deadletter drop --destination siem 0123456789ab
    """  # noqa: D301
    queues = _queues(config_file, spool_path, destination)
    chosen = [one for one in _chosen(queues.values(), ids) if one.reason.startswith(reason)]
    count = len(chosen)
    if not count:
        click.echo("no dead letters")
        return
    if not yes:
        _confirm(f"Throw away {count:,} events that were never delivered?")
    some = bool(ids or reason)
    dropped = sum(queue.remove({one.id for one in chosen}) if some else queue.clear() for queue in queues.values())
    click.echo(f"dropped {dropped:,}")


def _confirm(question: str) -> None:
    """Raises click.Abort, and says so: without a terminal there is nobody to answer."""
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort:
        click.echo("\nauditsink: nothing was thrown away (--yes does not ask)", err=True)
        raise


def _queues(
    config_file: Path | None, spool_path: Path | None, destination: str | None
) -> Mapping[str, DeadLetterQueue]:
    """Dead letters by destination; those of a topic until the command ends. Raises ClickException."""
    config = None if spool_path else read_config(config_file)
    path = spool_path or (config.spool.path if config else Path())
    if (config is None or config.spool.type == "disk") and not path.is_dir():
        raise click.ClickException(f"{path}: is no directory; give the spool's by --path, or the sink's -c FILE")
    try:
        if config is None:
            queues: Mapping[str, DeadLetterQueue] = dead_letters.open_all(path)
        else:
            queues = click.get_current_context().with_resource(dead_letters_beside(config))
    except (OSError, SpoolError) as problem:
        raise click.ClickException(safe(str(problem))) from None
    if destination is None:
        return queues
    if destination not in queues:
        others = ", ".join(sorted(queues)) or "no destination"
        click.echo(f"no dead letters of {safe(destination)!r}; there are some of: {others}", err=True)
    return {name: queue for name, queue in queues.items() if name == destination}


def _dead_letters(queues: Iterable[DeadLetterQueue], ids: tuple[str, ...]) -> Iterator[DeadLetter]:
    return (dead_letter for queue in queues for dead_letter in queue if not ids or dead_letter.id.startswith(ids))


def _chosen(queues: Iterable[DeadLetterQueue], ids: tuple[str, ...]) -> list[DeadLetter]:
    """Those that are meant; the beginning of an id is enough. Raises ClickException for none, or several."""
    found = list(_dead_letters(queues, ids))
    for given in ids:
        meant = {dead_letter.id for dead_letter in found if dead_letter.id.startswith(given)}
        if not meant or not given:
            raise click.ClickException(f"no dead letter {given!r}; auditsink deadletter ls shows those that there are")
        if len(meant) > 1:
            raise click.ClickException(f"{given!r} begins {len(meant)} dead letters; give more of the id")
    return found


def _replay_one(config: DestinationSection, spool: Path, queue: DeadLetterQueue, chosen: list[DeadLetter]) -> bool:
    report = Report()
    resolver.run(_deliver(config, spool, queue, chosen, report))
    click.echo(f"{config.name}: delivered {len(report.delivered):,} of {len(chosen):,}")
    again: dict[str, list[str]] = {}
    for dead_letter, why in report.refused:
        again.setdefault(why, []).append(dead_letter.id)
    for why, ids in again.items():
        more = f" and {len(ids) - 1:,} more are" if len(ids) > 1 else " is"
        click.echo(f"{config.name}: {ids[0]}{more} refused again: {safe(why)}", err=True)
    if report.stopped:
        click.echo(f"auditsink: {config.name}: {safe(report.stopped)}; the rest stays as it is", err=True)
    return len(report.delivered) == len(chosen)


async def _deliver(
    config: DestinationSection, spool: Path, queue: DeadLetterQueue, chosen: list[DeadLetter], report: Report
) -> None:
    clock = SystemClock()
    event_filter = filters.build(config)
    destination = WithLabels(build(config, clock=clock), spool)
    await deliver_dead_letters(queue, chosen, destination, event_filter=event_filter, clock=clock, report=report)
