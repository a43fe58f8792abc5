"""How much is tried, and what is told of it.

`make test` runs the quick forms; `make torture` sets AUDITSINK_TORTURE=1 and runs the long ones.
AUDITSINK_SEED=n repeats the random choices of an earlier run (not its timing).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

LONG = os.environ.get("AUDITSINK_TORTURE", "") not in ("", "0")
only_long = pytest.mark.skipif(not LONG, reason="one of the long forms: make torture")


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a test may go on. `of(quick, long)` is the one that applies."""

    long: bool
    seed: int

    def of(self, quick: int, long: int) -> int:
        """A number of rounds, clients, bytes."""
        return long if self.long else quick


Counts = Mapping[str, int | str]
"""Of a thing that was tried: how often (`tried`, `of`), and events `answered`, `missing`, `repeated`, where counted."""


class Report:
    """What a test has to say: a line for each thing that was tried, and what the table at the end counts of it."""

    def __init__(self, test: str, seed: int) -> None:
        self.rows: list[str] = []
        self.counts: list[Counts] = []
        self._test = test
        self._seed = seed

    def row(self, tried: int, of: str, /, **figures: object) -> None:
        """What was tried and what came of it: `row(12, "kills", missing=0, starts="0.3 s")`.

        `answered`, `missing` and `repeated` are events; with several rows of one test the table has the most that were
        answered, for they are of one ledger, and the sum of the others.
        """
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
        self.rows.append(f"{self._test}: {tried} {of}, {said} (seed {self._seed})")
        counted = {name: figures[name] for name in COUNTED if isinstance(figures.get(name), int)}
        self.counts.append({"tried": tried, "of": of, **counted})  # type: ignore[dict-item]


COUNTED = ("answered", "missing", "repeated")


@dataclass(frozen=True, slots=True)
class Kind:
    """One test: what it counted, how long it took, in seconds, and how it ended (`passed`, `skipped: no root`)."""

    test: str
    counts: Sequence[Counts]
    seconds: float
    outcome: str


def table(kinds: Sequence[Kind]) -> list[str]:
    """A line for each kind, in order, as Markdown."""
    rows = [("kind", "tried", *COUNTED, "minutes", "outcome"), ("---",) * 7, *(_line(one) for one in kinds)]
    return [f"| {' | '.join(row)} |" for row in rows]


def _line(kind: Kind) -> tuple[str, ...]:
    name = kind.test.removeprefix("test_").replace("_", " ")
    tried = sum(int(one["tried"]) for one in kind.counts)
    said = f"{tried:,} {kind.counts[0]['of']}" if kind.counts else ""
    events = {key: [int(one[key]) for one in kind.counts if key in one] for key in COUNTED}
    shown = [f"{(max if key == 'answered' else sum)(found):,}" if found else "" for key, found in events.items()]
    return (name, said, *shown, f"{kind.seconds / 60:.1f}", kind.outcome)
