"""Points in time on the command line: `--since 2h --until 2026-11-22T21:00:00Z`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from auditsink.common import timestamps
from auditsink.common.clock import SystemClock

F = TypeVar("F", bound=Callable[..., Any])

BEGINNING, END = 0, 2**63 - 1


def since_option(text: str, *, required: bool = False) -> Callable[[F], F]:
    """The option `--since TIME`: nanoseconds since the epoch, `BEGINNING` when it is left out."""
    return _option("--since", text, BEGINNING, required=required)


def until_option(text: str) -> Callable[[F], F]:
    """The option `--until TIME`: nanoseconds since the epoch, `END` when it is left out."""
    return _option("--until", text, END, required=False)


def _option(name: str, text: str, absent: int, *, required: bool) -> Callable[[F], F]:
    def parsed(ctx: click.Context, param: click.Parameter, value: str | None) -> int:
        if value is None:
            return absent
        try:
            found = timestamps.parse(value, SystemClock().wall_ns())
        except ValueError as problem:
            raise click.BadParameter(str(problem), ctx, param) from None
        if not timestamps.has_zone(value):
            click.echo(
                f"auditsink: {name} {value} has no time zone and is taken as {timestamps.seconds(found)}", err=True
            )
        return found

    more = " RFC 3339, or 2h for two hours ago."
    return click.option(name, metavar="TIME", required=required, callback=parsed, help=text + more)
