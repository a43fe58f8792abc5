"""`auditsink reservations`: whose the bytes of a running sink's spool are."""

from collections.abc import Mapping
from typing import Any

import click

from auditsink.cli import admin_port, tables
from auditsink.common.units import Size

PATH = "/reservations"


@click.command("reservations")
@admin_port.url_option
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table", help=f"json: {PATH} as it is.")
def command(url: str, output: str) -> None:
    """Show what is reserved for each cluster, what it uses, and what of that is shared room.

    STATE: ok, shared (holds more than its reservation), full (its next batch finds no room), removed (declared no
    longer; what it holds is still delivered).

    \b
    Examples:
      auditsink reservations
      auditsink reservations --url http://sink:2020 -o json
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    raw = admin_port.fetch(url, PATH)
    found = admin_port.document(url, PATH, raw, "reserved_bytes")
    click.echo(raw.decode(errors="replace") if output == "json" else table(found))


def table(values: Mapping[str, Any]) -> str:
    """`/reservations` for a person."""
    head = (
        f"{Size(values['reserved_bytes'])} of {Size(values['max_bytes'])} are reserved, "
        f"{Size(values['shared_bytes'])} are shared\n\n"
    )
    rows = [
        (
            row["cluster"],
            Size(row["reserved_bytes"]) if row["reserved_bytes"] else "-",
            Size(row["used_bytes"]),
            Size(row["shared_bytes"]) if row["shared_bytes"] else "-",
            tables.seconds(row["oldest_seconds"]) if row["used_bytes"] else "-",
            row["state"],
        )
        for row in values["clusters"]
    ]
    header = ("CLUSTER", "RESERVED", "USED", "SHARED", "OLDEST", "STATE")
    problems = "".join(f"\n{tables.safe(problem)}" for problem in values["problems"])
    return head + tables.table(header, rows, right=range(1, 5)) + problems
