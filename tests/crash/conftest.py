"""Fixtures of the crash tests, and the table at the end that says what was lost."""

import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from effort import LONG, Effort, Kind, Report, table

HERE = "tests/crash/"
_ROW = "what was tried and what was lost"
_COUNTS = "counts of it"
"""The properties of a test's report under which these travel, also from the process of another worker."""


@pytest.fixture(scope="session")
def effort() -> Effort:
    """Quick or long, and the seed of all random choices: the quick form makes the same ones each time."""
    seed = os.environ.get("AUDITSINK_SEED") or (random.SystemRandom().randrange(10**6) if LONG else 1)
    return Effort(LONG, int(seed))


@pytest.fixture
def report(request: pytest.FixtureRequest, effort: Effort) -> Iterator[Report]:
    """What this test has to say, pass or fail."""
    made = Report(request.node.name, effort.seed)
    yield made
    request.node.user_properties.extend((_ROW, row) for row in made.rows)
    request.node.user_properties.extend((_COUNTS, counts) for counts in made.counts)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was tried, and a table with a line for each kind that counted something, or did not pass."""
    tests: dict[str, list[pytest.TestReport]] = {}
    for several in terminalreporter.stats.values():
        for one in several:
            if isinstance(one, pytest.TestReport) and one.nodeid.startswith(HERE):
                tests.setdefault(one.nodeid, []).append(one)
    in_order = sorted(tests.values(), key=lambda phases: min(one.start for one in phases))
    kinds = [_kind(phases) for phases in in_order]
    rows = [row for phases in in_order for row in _said(phases, _ROW)]
    kinds = [one for one in kinds if one.counts or one.outcome == "failed" or (LONG and one.outcome != "passed")]
    if kinds:
        terminalreporter.section(_ROW)
        for row in rows:
            terminalreporter.line(str(row))
        terminalreporter.line("")
        for line in table(kinds):
            terminalreporter.line(line)


def _said(phases: Sequence[pytest.TestReport], name: str) -> list[Any]:
    return [said for one in phases if one.when == "teardown" for key, said in one.user_properties if key == name]


def _kind(phases: Sequence[pytest.TestReport]) -> Kind:
    """Of the reports of a test's set-up, call and teardown."""
    skipped = [one.longrepr[2].removeprefix("Skipped: ") for one in phases if isinstance(one.longrepr, tuple)]
    outcome = "failed" if any(one.failed for one in phases) else f"skipped: {skipped[0]}" if skipped else "passed"
    test = phases[0].nodeid.rpartition("::")[2]
    return Kind(test, _said(phases, _COUNTS), sum(one.duration for one in phases), outcome)
