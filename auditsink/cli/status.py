"""`auditsink status`: the accounting of a running sink, as a table."""

import time

import click

from auditsink.cli import admin_port, tables

WATCH_SECONDS = 2
PATH = "/status"


@click.command("status")
@admin_port.url_option
@click.option("--watch", is_flag=True, help=f"Show it again every {WATCH_SECONDS} s, until Ctrl-C.")
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table", help="json: /status as it is.")
def command(url: str, watch: bool, output: str) -> None:
    """Show where the events of a running sink are.

    For each destination: accepted = delivered + filtered + dead letters + dropped + pending.

    \b
    Examples:
      auditsink status
      auditsink status --url http://sink:2020 -o json
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    while True:
        raw = admin_port.fetch(url, PATH)
        text = raw.decode(errors="replace") if output == "json" else _table(url, raw)
        if not watch:
            click.echo(text)
            return
        click.clear()
        click.echo(f"{text}\n\nevery {WATCH_SECONDS} s, Ctrl-C ends")
        time.sleep(WATCH_SECONDS)


def _table(url: str, raw: bytes) -> str:
    return tables.status(admin_port.document(url, PATH, raw, "destinations"))
