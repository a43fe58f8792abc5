"""The table at the end of `make test-real`: one row for each thing that was thrown at a real server.

A test takes the fixture `rows` and calls it once for each row, when its figures are known. Columns are as wide as what
stands in them; rows come in the order of the tests.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True, slots=True)
class Row:
    """What came of it, in events. `server` with its version; `out`: distinct events that arrived there."""

    server: str
    thrown: str
    into: int
    out: int
    dead_lettered: int = 0
    repeated: int = 0
    note: str = ""


HEADINGS = ("server", "thrown at it", "in", "out", "dead-lettered", "repeated", "")


class Rows(list[Row]):
    """`rows(server=..., thrown=..., into=..., out=...)` adds a `Row`."""

    def __call__(
        self,
        *,
        server: str,
        thrown: str,
        into: int,
        out: int,
        dead_lettered: int = 0,
        repeated: int = 0,
        note: str = "",
    ) -> None:
        """See `Row` for what each is."""
        self.append(Row(server, thrown, into, out, dead_lettered, repeated, note))


def table(rows: Sequence[Row]) -> list[str]:
    """The rows as lines of a Markdown table."""
    cells = [HEADINGS, *(tuple(map(str, astuple(row))) for row in rows)]
    widths = [max(3, *(len(line[column]) for line in cells)) for column in range(len(fields(Row)))]
    ruled = [cells[0], tuple("-" * width for width in widths), *cells[1:]]
    return [f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in ruled]
