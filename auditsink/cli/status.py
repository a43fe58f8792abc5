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
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table", help="json: /status as it is.")
def command(url: str, watch: bool, output: str) -> None:
    """Show where the events of a running sink are.

    For each destination: accepted = delivered + filtered + dead letters + dropped + pending.

    \b
    Examples:
      auditsink status
      auditsink status --watch
      auditsink status --url http://sink:2020 -o json
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    port = AdminPort(url)
    if output == "json":
        _repeated(lambda: click.echo(port.get(PATH).strip().decode(errors="replace")), watch=watch)
    elif not watch:
        click.echo(tables.status(_status(port)))
    elif terminal.is_terminal():
        with terminal.screen():
            _repeated(_Live(port).draw, watch=True)
    else:
        _repeated(_Live(port).write, watch=True)


def _repeated(show: Callable[[], None], *, watch: bool) -> None:
    show()
    while watch:
        time.sleep(WATCH_SECONDS)
        show()


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
            note = StyledLine(f"old: {tables.safe(problem.message)}", Style.BAD)
        return [*board(self._seen, width, height - 2), StyledLine(""), note]


def _status(port: AdminPort) -> dict[str, Any]:
    return document(port.url, PATH, port.get(PATH), "destinations")
