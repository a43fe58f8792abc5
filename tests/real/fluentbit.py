"""fluent-bit's `splunk` input: a HEC that somebody else wrote.

No registry has its program, so `AUDITSINK_FLUENT_BIT` names one (built with `FLB_IN_SPLUNK`); without it the tests are
skipped. It checks the token, takes gzip, answers with HEC's codes, and knows neither indexes nor acknowledgement.
What it took lies in a file of whole envelopes, one a line.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from ground import free_port, listens, running

TOKEN = "11111111-aaaa-bbbb-cccc-222222222222"


def program() -> Path:
    """The program; skips the test where there is none, or one without the input."""
    named = os.environ.get("AUDITSINK_FLUENT_BIT", "")
    if not named:
        pytest.skip("set AUDITSINK_FLUENT_BIT to a fluent-bit with its splunk input: no registry has one")
    helped = subprocess.run([named, "-i", "splunk", "-h"], capture_output=True, text=True, check=False)
    if "splunk_token" not in helped.stdout + helped.stderr:
        pytest.skip(f"{named} was built without its splunk input (FLB_IN_SPLUNK)")
    return Path(named)


class FluentBit:
    """One place on disk and one port, whatever number of lives: `async with hec.life(): ...`."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self.program = program()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._place = place

    @property
    def version(self) -> str:
        """As it says itself."""
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout
        return f"fluent-bit {said.split()[2].removeprefix('v')}, splunk input"

    @asynccontextmanager
    async def life(self, token: str = TOKEN, **settings: Any) -> AsyncIterator[int]:
        """From when it listens until it is killed with SIGKILL; its pid. What it has taken it keeps over its lives."""
        source = {"name": "splunk", "listen": "127.0.0.1", "port": self.port, "splunk_token": token}
        source |= {"buffer_max_size": "20M", "storage.type": "filesystem"} | settings
        sink = {"name": "file", "match": "*", "path": str(self._place), "file": "taken.ndjson", "format": "plain"}
        document = {
            "service": {"flush": 0.1, "grace": 1, "storage.path": str(self._place / "chunks")},
            "pipeline": {"inputs": [source], "outputs": [sink]},
        }
        config = self._place / "fluent-bit.yaml"
        config.write_text(yaml.safe_dump(document))
        command: list[str | Path] = [self.program, "-c", config]
        async with running(command, self._place / "fluent-bit.log", lambda: listens(self.port)) as process:
            yield process.pid

    def taken(self) -> list[dict[str, Any]]:
        """The envelopes that arrived, in order. Those it has not written out yet come later.

        A line that a SIGKILL tore is none: it writes the envelopes of that moment again in its next life.
        """
        file = self._place / "taken.ndjson"
        return list(_whole(file.read_bytes().split(b"\n")[:-1])) if file.exists() else []


def _whole(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        with contextlib.suppress(ValueError):
            yield json.loads(line)
