"""docs/own-destination.md: the package on that page is built, installed, configured, run, and put through its suite."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import running

from auditsink.audit.eventlist import joined

PAGE = Path(__file__).parents[2] / "docs" / "own-destination.md"
_FILE = re.compile(r"^`([\w./]+\.(?:py|toml))`:(?:(?!^```|^`[\w./]+`:).)*^```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page."""
    place = tmp_path_factory.mktemp("lines")
    files = dict(_FILE.findall(PAGE.read_text(encoding="utf-8")))
    assert set(files) == {
        "pyproject.toml",
        "auditsink_lines/__init__.py",
        "auditsink_lines/section.py",
        "auditsink_lines/destination.py",
        "tests/test_lines.py",
    }
    for name, content in files.items():
        (place / name).parent.mkdir(exist_ok=True, parents=True)
        (place / name).write_text(content, encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH with the package, built and installed by pip."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*pip, "--target", site, package], capture_output=True, text=True, check=False)
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip(f"the builder of packages cannot be had here: {done.stderr.splitlines()[-1]}")
    assert not done.returncode, done.stderr
    return os.pathsep.join([str(site), str(PAGE.parents[1])])


def call(pythonpath: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a module, with the package at hand."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": pythonpath},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_passes_the_conformance_suite(package: Path, installed: str) -> None:
    done = call(installed, "pytest", "-q", "-o", "asyncio_mode=auto", "tests", cwd=package)
    assert not done.returncode, done.stdout
    assert re.search(r"\d\d passed, 1 skipped", done.stdout), done.stdout


def test_check_knows_the_section(tmp_path: Path, installed: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"spool: {{path: {tmp_path}/spool}}\ndestinations: [{{name: a, type: lines, host: collector}}]\n")
    said = call(installed, "auditsink", "check", "-c", config, cwd=tmp_path)
    assert "delivers to a: lines over TCP at collector:5170" in said.stdout
    assert "destinations[0].host: events travel in the clear" in said.stdout
    config.write_text("destinations: [{name: a, type: lines, host: collector, port: 0, hots: b}]\n")
    said = call(installed, "auditsink", "check", "-c", config, cwd=tmp_path)
    assert 'destinations[0].hots: unknown key; did you mean "host"?' in said.stderr
    config.write_text("destinations: [{name: a, type: lines, host: collector, port: 0}]\n")
    said = call(installed, "auditsink", "check", "-c", config, cwd=tmp_path)
    assert "destinations[0].port: must be from 1 to 65,535" in said.stderr
    without = call(str(PAGE.parents[1]), "auditsink", "check", "-c", config, cwd=tmp_path)
    assert "destinations[0].type: expected one of" in without.stderr


async def test_a_sink_delivers_to_it(tmp_path: Path, installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readline()
        came = [(await reader.readline())[:-1] for _ in range(int(head.split()[1]))]
        bad = [at for at, line in enumerate(came) if b"BAD" in line]
        if bad:
            writer.write(b"BAD %d\n" % bad[0])
        else:
            lines.extend(came)
            writer.write(b"OK\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("PYTHONPATH", installed)
    destination = {"name": "a", "type": "lines", "host": "127.0.0.1", "port": port, "batch": {"max_wait": "10ms"}}
    events = [b'{"auditID":"%d"}' % number for number in range(5)]
    async with running.Sink(tmp_path, [destination]) as sink:
        assert (await sink.post(joined([*events[:2], b'{"auditID":"BAD"}', *events[2:]])))[0] == 200
        status: dict[str, Any] = await sink.delivered()
        (told,) = status["destinations"]
        assert (told["type"], told["delivered"], told["dead_lettered"]) == ("lines", 5, 1)
        assert 'auditsink_destination_delivered_events_total{cluster="default",destination="a"} 5' in await sink.get(
            "/metrics"
        )
        await sink.stop()
    assert lines == events
    letters = call(installed, "auditsink", "deadletter", "ls", "-c", sink.config, cwd=tmp_path)
    assert "the collector refuses the event for good" in letters.stdout
    server.close()
    await server.wait_closed()
