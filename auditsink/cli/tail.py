"""`auditsink tail`: the events of a running sink as they pass, one line each."""

import contextlib
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from auditsink.audit.eventlist import one_line
from auditsink.cli.admin_port import AdminPort, document, url_option
from auditsink.cli.tables import safe, shown
from auditsink.cli.terminal import Style, is_terminal, styled
from auditsink.tail.lookback import MOST

_FILTER = "Only those; * for anything, ! before it: all others. May be repeated."


@click.command("tail")
@url_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "--last", type=click.IntRange(0, MOST), default=20, show_default=True, help="Begin with so many.")
@click.option("--cluster", multiple=True, metavar="PATTERN", help=_FILTER)
@click.option("--user", multiple=True, metavar="PATTERN", help="The same.")
@click.option("--verb", multiple=True, metavar="PATTERN", help="The same.")
@click.option("--resource", multiple=True, metavar="PATTERN", help="The same: pods, pods/exec, deployments.apps.")
@click.option("--namespace", multiple=True, metavar="PATTERN", help="The same.")
@click.option("--code", multiple=True, metavar="PATTERN", help="The same: 403, 4xx.")
@click.option("-o", "output", type=click.Choice(["line", "json"]), default="line", help="json: the events themselves.")
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False), help="What the sink's admin.token_file holds."
)
def command(
    *, url: str, follow: bool, last: int, output: str, token_file: Path | None, **patterns: tuple[str, ...]
) -> None:
    """Show the newest events of a running sink, and with -f those that come.

    The sink bounds what it looks at for this: what passes beyond that is told as skipped.

    \b
    Examples:
      auditsink tail -f --user '!system:*' --verb delete --verb patch
      auditsink tail -n 100 --code 403 -o json | jq .user.username
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    port = AdminPort(url, token_file)
    asked = [(field, pattern) for field, several in patterns.items() for pattern in several]
    asked += [("last", str(last)), ("follow", str(int(follow))), ("raw", str(int(output == "json")))]
    terminal = is_terminal()
    if terminal and output == "line":
        _header(port)
    for line in port.lines("/tail", asked):
        told = _told(port, line)
        if told.get("skipped"):
            click.echo(f"auditsink: {told['skipped']:,} events skipped", err=True)
        elif told.get("cluster"):
            _event(port, told, raw=output == "json", terminal=terminal)
    if follow:
        raise click.ClickException(f"{url}: the sink has ended the tail; it was stopped, or started anew")


def _header(port: AdminPort) -> None:
    """How the sink is, above what passes; a sink that does not say stops nothing."""
    with contextlib.suppress(click.ClickException):
        verdict = document(port.url, "/status", port.get("/status"), "destinations").get("verdict") or {}
        style = {"good": Style.GOOD, "look": Style.LOOK}.get(str(verdict.get("level")), Style.BAD)
        click.echo(styled(safe(verdict.get("text")), style), color=True)


def _told(port: AdminPort, line: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(line)
        if isinstance(told, dict):
            return told
    except orjson.JSONDecodeError:
        pass
    raise click.ClickException(f"{port.url}/tail: is no auditsink tail; --url must be the sink's admin port")


def _event(port: AdminPort, told: dict[str, Any], *, raw: bool, terminal: bool) -> None:
    if not raw:
        click.echo(line(told, colours=terminal), color=terminal)
        return
    content = told["raw"].encode() if told.get("raw") is not None else _fetched(port, told)
    sys.stdout.buffer.write(shown(content) if terminal else content)
    sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def _fetched(port: AdminPort, told: dict[str, Any]) -> bytes:
    """An event that is too large to travel with its line."""
    return one_line(port.get("/event", [("cluster", told["cluster"]), ("sequence", str(told.get("sequence", 0)))]))


def line(told: dict[str, Any], *, colours: bool) -> str:
    """`10:00:00.123Z prod admin delete pods/shop/web-1 200 ResponseComplete`, with nothing that steers a terminal."""
    place = "/".join(filter(None, (told.get(key, "") for key in ("resource", "namespace", "name"))))
    user = told.get("user", "")
    code = told.get("code", 0)
    words = (
        (told["time"][11:], Style.FAINT),
        (told["cluster"], Style.PLAIN),
        (f"{user} as {told['impersonated']}" if told.get("impersonated") else user, Style.PLAIN),
        (told.get("verb", ""), Style.BOLD),
        (place or told.get("uri", "") or told.get("unreadable", ""), Style.PLAIN),
        (str(code or ""), Style.BAD if code >= 400 else Style.GOOD),
        (told.get("stage", ""), Style.FAINT),
    )
    return " ".join(styled(safe(word), style) if colours else safe(word) for word, style in words if word)
