"""How much is tried, and what is told of it.

`make test` runs the quick forms; `make torture` sets AUDITSINK_TORTURE=1 and runs the long ones.
AUDITSINK_SEED=n repeats the random choices of an earlier run (not its timing).
"""

import os
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


class Report:
    """Rows of the table at the end, one for each thing that was tried."""

    def __init__(self, test: str, seed: int) -> None:
        self.rows: list[str] = []
        self._test = test
        self._seed = seed

    def row(self, **figures: object) -> None:
        """What was tried and what came of it: `rounds=12, missing=0`."""
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
        self.rows.append(f"{self._test}: {said} (seed {self._seed})")
