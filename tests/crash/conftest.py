"""Fixtures of the crash tests, and the table at the end that says what was lost."""

import os
import random
from collections.abc import Iterator

import pytest
from effort import LONG, Effort, Report

_ROW = "what was tried and what was lost"
"""The property of a test's report under which a row travels, also from the process of another worker."""


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    reports = [one for several in terminalreporter.stats.values() for one in several if hasattr(one, "user_properties")]
    rows = [
        row
        for one in reports
        if getattr(one, "when", "") == "teardown"
        for name, row in one.user_properties
        if name == _ROW
    ]
    if rows:
        terminalreporter.section(_ROW)
        for row in rows:
            terminalreporter.line(row)
