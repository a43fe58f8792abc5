"""Fixtures of the crash tests, and the table at the end that says what was lost."""

import os
import random
from collections.abc import Iterator

import pytest
from effort import LONG, Effort, Report

_ROWS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def effort() -> Effort:
    """Quick or long, and the seed of all random choices."""
    return Effort(LONG, int(os.environ.get("AUDITSINK_SEED") or random.SystemRandom().randrange(10**6)))


@pytest.fixture
def report(request: pytest.FixtureRequest, effort: Effort) -> Iterator[Report]:
    """What this test has to say, pass or fail."""
    made = Report(request.node.name, effort.seed)
    yield made
    request.config.stash.setdefault(_ROWS, []).extend(made.rows)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    rows = config.stash.get(_ROWS, [])
    if rows:
        terminalreporter.section("what was tried and what was lost")
        for row in rows:
            terminalreporter.line(row)
