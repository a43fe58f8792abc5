"""`auditsink status`: the accounting of a running sink, as a table, or live: then it is the page in text."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

import click

from auditsink.cli import tables, terminal
from auditsink.cli.admin_port import AdminPort, document, url_option
from auditsink.cli.tables import pending, safe, seconds, table, until_loss
from auditsink.cli.terminal import Style, StyledLine
from auditsink.common.units import Size

WINDOW = 6
"""Documents over which a rate is taken."""
_LEVELS = {"good": Style.GOOD, "look": Style.LOOK, "bad": Style.BAD}
_ROWS = {"look": Style.LOOK, "bad": Style.BAD}
_WIDEST_BAR = 60


class LastSeen(NamedTuple):
    """A status document and when it came (monotonic seconds)."""

    at: float
    status: Mapping[str, Any]


def board(seen: Sequence[LastSeen], width: int, height: int) -> list[StyledLine]:
    """The newest of `seen`, rates over all of them; at most `height` lines."""
    status = seen[-1].status
    lines = [*_head(seen, width), *_destinations(seen), *_troubles(status, width)]
    if len(lines) > height:
        return [*lines[: height - 1], StyledLine(f"... {len(lines) - height + 1} lines more; make the terminal higher")]
    return lines + _clusters(seen, height - len(lines))


def _head(seen: Sequence[LastSeen], width: int) -> Iterator[StyledLine]:
    status = seen[-1].status
    verdict = status.get("verdict") or {"level": "", "text": status["state"]}
    spool = status["spool"]
    share = spool["bytes"] / spool["max_bytes"] if spool["max_bytes"] else 0.0
    style = _LEVELS.get(verdict["level"], Style.BOLD)
    yield from _wrapped(f"auditsink {safe(status['version'])}: {safe(verdict['text'])}", width, style)
    if loss := until_loss(verdict):
        yield StyledLine(f"  {loss}", style)
    for command in verdict.get("commands", ())[:2]:
        yield StyledLine(f"  $ {safe(command)}", Style.BOLD)
    yield StyledLine("")
    rate = _rate(seen, lambda one: one["accepted_events"])
    refused = sum(status["rejected_requests"].values())
    yield StyledLine(
        f"receive  {rate} events, {status['accepted_events']:,} in all; {status['duplicate_batches']:,} repeated "
        f"batches, {refused:,} requests refused"
    )
    yield StyledLine(f"ring     [{_bar(status, share, min(_WIDEST_BAR, width - 20))}] {share:.0%}")
    yield StyledLine(
        f"         {Size(spool['bytes'])} of {Size(spool['max_bytes'])}, {Size(spool['wanted_bytes'])} still needed, "
        f"oldest {seconds(spool['oldest_seconds'])}, {Size(spool['damaged_bytes'])} damaged"
    )
    for line in tables.copy_of(status):
        yield from _wrapped(f"copy     {line}", width)
    yield StyledLine("")


def _bar(status: Mapping[str, Any], share: float, width: int) -> str:
    """What is held, oldest first, and the number of each destination where it is in it."""
    width = max(10, width)
    spool = status["spool"]
    held = spool["next_sequence"] - spool["first_sequence"]
    filled = min(width, round(width * share))
    bar = list("#" * filled + "." * (width - filled))
    for number, one in enumerate(status["destinations"], 1):
        place = round(max(filled - 1, 0) * (1 - min(1.0, one["pending"] / held)) if held else 0)
        free = next((at for at in range(place, width) if not bar[at].isdigit()), place)
        bar[free] = str(number % 10)
    return "".join(bar)


def _destinations(seen: Sequence[LastSeen]) -> Iterator[StyledLine]:
    several = seen[-1].status["destinations"]
    rows = [
        (
            f"{number} {one['name']}", one["type"], one["state"], _rate(seen, _delivered(one["name"])),
            f"{one['delivered']:,}", pending(one),
            *(f"{one[key]:,}" for key in ("filtered", "dead_lettered", "dropped")),
            seconds(one["lag_seconds"]),
        )
        for number, one in enumerate(several, 1)
    ]  # fmt: skip
    header = ("  DESTINATION", "TYPE", "STATE", "RATE", "DELIVERED", "PENDING", "FILTERED", "DEAD", "DROPPED", "LAG")
    head, *body = table(header, rows, right=range(3, 10)).splitlines()
    yield StyledLine(head, Style.BOLD)
    for text, one in zip(body, several, strict=True):
        yield StyledLine(text, _ROWS.get(one.get("level"), Style.PLAIN))


def _troubles(status: Mapping[str, Any], width: int) -> Iterator[StyledLine]:
    for reason in status.get("reasons", ()):
        yield from _wrapped(f"not ready: {safe(reason)}", width, Style.BAD)
    for number, one in enumerate(status["destinations"], 1):
        if one["last_error"] or one.get("advice"):
            yield StyledLine("")
            yield from _wrapped(f"{number} {safe(one['name'])}{_last_error(one)}", width)
        for advice in one.get("advice", ()):
            yield from _wrapped(f"  {safe(advice)}", width, Style.FAINT)


def _last_error(one: Mapping[str, Any]) -> str:
    if not one["last_error"]:
        return ""
    if one.get("last_error_over"):
        return f", the last error is over; it was at {safe(one.get('last_error_at'))}: {safe(one['last_error'])}"
    wait = f"; next try in {seconds(one['next_attempt_seconds'])}" if one.get("next_attempt_seconds") else ""
    return f", {safe(one.get('last_error_at'))}: {safe(one['last_error'])}{wait}"


def _wrapped(text: str, width: int, style: Style = Style.PLAIN) -> Iterator[StyledLine]:
    for line in wrap(text, max(20, width), subsequent_indent="  "):
        yield StyledLine(line, style)


def _clusters(seen: Sequence[LastSeen], height: int) -> list[StyledLine]:
    """As many as there is room for, those with the most pending first."""
    several = seen[-1].status.get("clusters", ())
    room = height - 3
    if room < 1 or not several:
        return []
    heaviest = sorted(several, key=_pending, reverse=True)[:room]
    rates = _cluster_rates(seen)
    rows = [
        (
            one["cluster"], rates.get(one["cluster"], "-"), f"{one['spool']['next_sequence']:,}",
            Size(one["spool"]["bytes"]), seconds(one["spool"]["oldest_seconds"]), f"{_pending(one):,}",
        )
        for one in heaviest
    ]  # fmt: skip
    head, *body = table(
        ("CLUSTER", "RATE", "ACCEPTED", "RING", "OLDEST", "PENDING"), rows, right=range(1, 6)
    ).splitlines()
    more = [StyledLine(f"... and {len(several) - room:,} more", Style.FAINT)] if len(several) > room else []
    return [StyledLine(""), StyledLine(head, Style.BOLD), *map(StyledLine, body), *more]


def _pending(cluster: Mapping[str, Any]) -> int:
    return sum(one["pending"] for one in cluster["destinations"])


def _cluster_rates(seen: Sequence[LastSeen]) -> dict[str, str]:
    before = {one["cluster"]: one["spool"]["next_sequence"] for one in seen[0].status.get("clusters", ())}
    now = {one["cluster"]: one["spool"]["next_sequence"] for one in seen[-1].status.get("clusters", ())}
    return {name: _slope(before.get(name), value, seen[-1].at - seen[0].at) for name, value in now.items()}


def _delivered(name: str) -> Any:
    return lambda status: next((one["delivered"] for one in status["destinations"] if one["name"] == name), None)


def _rate(seen: Sequence[LastSeen], value: Any) -> str:
    return _slope(value(seen[0].status), value(seen[-1].status), seen[-1].at - seen[0].at)


def _slope(before: int | None, after: int, passed: float) -> str:
    """Never below zero: a sink that was started anew counts from its disk."""
    if before is None or passed <= 0:
        return "-"
    rate = max(0.0, (after - before) / passed)
    return f"{rate:.1f}/s" if 0 < rate < 10 else f"{rate:,.0f}/s"


def plain(lines: Iterable[StyledLine]) -> str:
    """For where no terminal is."""
    return "\n".join(line.text for line in lines)


WATCH_SECONDS = 2
PATH = "/status"


@click.command("status")
@url_option
@click.option("--watch", is_flag=True, help=f"Live, every {WATCH_SECONDS} s, until Ctrl-C.")
@click.option("--exit-code", is_flag=True, help="Exit 0 good, 3 look when there is time, 4 bad or gone.")
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table", help="json: /status as it is.")
def command(url: str, watch: bool, exit_code: bool, output: str) -> int:
    """Show where the events of a running sink are.

    For each destination: accepted = delivered + filtered + dead letters + dropped + pending.

    \b
    Examples:
      auditsink status
      auditsink status --watch
      auditsink status --exit-code || page-somebody
      auditsink status --url http://sink:2020 -o json
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    port = AdminPort(url)
    if not watch:
        try:
            code = _once(port, output)
        except click.ClickException as problem:
            if exit_code and not isinstance(problem, click.UsageError):
                raise SinkGoneError(problem.message) from None
            raise
        return code if exit_code else 0
    if output == "json":
        _repeated(lambda: click.echo(port.get(PATH).strip().decode(errors="replace")))
    elif terminal.is_terminal():
        with terminal.screen():
            _repeated(_Live(port).draw)
    else:
        _repeated(_Live(port).write)
    return 0


class SinkGoneError(click.ClickException):
    """It does not answer, which is not good either."""

    exit_code = 4


def _once(port: AdminPort, output: str) -> int:
    """Show it; the exit code of its verdict."""
    content = port.get(PATH)
    status = document(port.url, PATH, content, "destinations")
    click.echo(content.strip().decode(errors="replace") if output == "json" else tables.status(status))
    return tables.EXIT_CODES.get(str(status.get("verdict", {}).get("level")), tables.EXIT_CODES["bad"])


def _repeated(show: Callable[[], None]) -> None:
    while True:
        show()
        time.sleep(WATCH_SECONDS)


class _Live:
    """The documents of the last seconds. A sink that goes away after the first one is told, and waited for."""

    def __init__(self, port: AdminPort) -> None:
        self._port = port
        self._seen: deque[LastSeen] = deque(maxlen=WINDOW)

    def draw(self) -> None:
        width, height = terminal.size()
        terminal.draw(self._lines(width, height), width)

    def write(self) -> None:
        click.echo(plain(self._lines(*terminal.size())) + "\n")

    def _lines(self, width: int, height: int) -> list[StyledLine]:
        note = StyledLine(f"every {WATCH_SECONDS} s, Ctrl-C ends", Style.FAINT)
        try:
            self._seen.append(LastSeen(time.monotonic(), _status(self._port)))
        except click.ClickException as problem:
            if not self._seen:
                raise
            age = tables.seconds(time.monotonic() - self._seen[-1].at)
            why = f"THE SINK DOES NOT ANSWER since {age}: {tables.safe(problem.message)}"
            gone = list(_wrapped(why, width, Style.BAD))
            old = [StyledLine(line.text, Style.FAINT) for line in board(self._seen, width, height - len(gone) - 3)]
            return [*gone, StyledLine("what follows is old", Style.FAINT), *old, StyledLine(""), note]
        return [*board(self._seen, width, height - 2), StyledLine(""), note]


def _status(port: AdminPort) -> dict[str, Any]:
    return document(port.url, PATH, port.get(PATH), "destinations")
