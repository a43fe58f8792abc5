"""Tests against servers that this project did not write: `make test-real` runs them, `make test` says so."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from kafka_secured import Secured
from rows import Rows, table

HERE = Path(__file__).parent
_ROWS = pytest.StashKey[Rows]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They fetch and build servers, so they run when asked for."""
    if os.environ.get("AUDITSINK_REAL", "") in ("", "0"):
        for item in items:
            if item.path.is_relative_to(HERE):
                item.add_marker(pytest.mark.skip(reason="fetches and runs real servers: make test-real"))


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> Rows:
    """Where a test notes what it threw at which server and what came of it: `rows(server=..., thrown=..., ...)`."""
    return request.config.stash.setdefault(_ROWS, Rows())


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    """Apache Kafka with one node, for all tests that do it no harm (`pytest.mark.asyncio(loop_scope="session")`)."""
    async with Secured(tmp_path_factory.mktemp("kafka") / "broker") as started:
        yield started


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    rows = config.stash.get(_ROWS, Rows())
    if rows:
        terminalreporter.section("what was thrown at real servers, and what came of it (events)")
        for line in table(rows):
            terminalreporter.line(line)
