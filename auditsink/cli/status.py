"""`auditsink status`: the accounting of a running sink, as a table, or live."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import click

from auditsink.cli import tables, terminal
from auditsink.cli.admin_port import AdminPort, document, url_option
from auditsink.cli.board import WINDOW, LastSeen, board, plain
from auditsink.cli.terminal import Style, StyledLine

WATCH_SECONDS = 2
PATH = "/status"


@click.command("status")
@url_option
@click.option("--watch", is_flag=True, help=f"Live, every {WATCH_SECONDS} s, until Ctrl-C.")
@click.option("--exit-code", is_flag=True, help="Exit 0 when all is good, 3 to look when there is time, 4 when bad.")
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
        code = _once(port, output)
        return code if exit_code else 0
    if output == "json":
        _repeated(lambda: click.echo(port.get(PATH).strip().decode(errors="replace")))
    elif terminal.is_terminal():
        with terminal.screen():
            _repeated(_Live(port).draw)
    else:
        _repeated(_Live(port).write)
    return 0


EXIT_CODES = {"good": 0, "look": 3, "bad": 4}
"""By the level of the verdict; `doctor` has the same."""


def _once(port: AdminPort, output: str) -> int:
    """Show it; the exit code of its verdict."""
    content = port.get(PATH)
    status = document(port.url, PATH, content, "destinations")
    click.echo(content.strip().decode(errors="replace") if output == "json" else tables.status(status))
    return EXIT_CODES.get(str(status.get("verdict", {}).get("level")), EXIT_CODES["bad"])


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
            gone = StyledLine(f"THE SINK DOES NOT ANSWER since {age}: {tables.safe(problem.message)}", Style.BAD)
            old = [StyledLine(line.text, Style.FAINT) for line in board(self._seen, width, height - 4)]
            return [gone, StyledLine("what follows is old", Style.FAINT), *old, StyledLine(""), note]
        return [*board(self._seen, width, height - 2), StyledLine(""), note]


def _status(port: AdminPort) -> dict[str, Any]:
    return document(port.url, PATH, port.get(PATH), "destinations")
