"""`auditsink status`: the accounting of a running sink, as a table."""

import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import click
import orjson

from auditsink.cli import tables

WATCH_SECONDS = 2
TIMEOUT_SECONDS = 5
ANSWER_BYTES = 64 * 2**20


@click.command("status")
@click.option("--url", default="http://127.0.0.1:2020", show_default=True, help="The sink's admin port.")
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
        raw = _fetch(url)
        text = raw.decode(errors="replace") if output == "json" else tables.status(_parsed(url, raw))
        if not watch:
            click.echo(text)
            return
        click.clear()
        click.echo(f"{text}\n\nevery {WATCH_SECONDS} s, Ctrl-C ends")
        time.sleep(WATCH_SECONDS)


def _fetch(url: str) -> bytes:
    try:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise click.UsageError("--url is no URL; write http:// or https:// and a host.")
        with urllib.request.urlopen(f"{url.rstrip('/')}/status", timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - checked
            content = answer.read(ANSWER_BYTES)
            assert isinstance(content, bytes)
            return content
    except urllib.error.HTTPError as problem:
        raise click.ClickException(
            f"{url}/status: answers {problem.code}; --url must be the sink's admin port"
        ) from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "reason", None) or problem
        raise click.ClickException(
            f"{url}: no answer ({reason}); is the sink running, and is this its admin port?"
        ) from None


def _parsed(url: str, raw: bytes) -> dict[str, Any]:
    try:
        status = orjson.loads(raw)
        if isinstance(status, dict) and "destinations" in status:
            return status
    except orjson.JSONDecodeError:
        pass
    raise click.ClickException(f"{url}/status: is no auditsink status; --url must be the sink's admin port")
