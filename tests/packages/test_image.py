"""The Dockerfile, as far as it can be looked at without an engine; tests/real/test_real_image.py runs its steps."""

import asyncio
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from running import Sink

ROOT = Path(__file__).parents[2]
DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())


def health_check(port: int) -> int:
    """The exit code of the image's health check for an admin port."""
    found = re.search(r"^HEALTHCHECK .*?CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found is not None
    command = [word.replace("/2020", f"/{port}") for word in json.loads(found[1])]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode


@contextmanager
def answering(code: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code if self.path == "/readyz" else 500)
            self.end_headers()
            self.wfile.write(b"it says 200 somewhere\n 200 \n")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("code", "healthy"), [(200, True), (503, False), (404, False)])
def test_the_health_check_goes_by_the_status_of_readyz(code: int, healthy: bool) -> None:
    with answering(code) as port:
        assert (health_check(port) == 0) is healthy


def test_nobody_there_is_not_healthy() -> None:
    with answering(200) as port:
        pass
    assert health_check(port) != 0


async def test_a_running_sink_is_healthy(tmp_path: Path) -> None:
    async with Sink(tmp_path, [{"name": "disk", "type": "file", "path": str(tmp_path / "audit.ndjson")}]) as sink:
        port = int(sink.admin.rpartition(":")[2])
        assert await asyncio.to_thread(health_check, port) == 0


def test_the_base_is_there_without_an_argument_and_named_by_its_digest() -> None:
    (base,) = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) - stages == {"${BASE}"}


def test_all_that_is_copied_reaches_the_engine() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if not line.startswith("#")]
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert "requirements.lock" in copied
    for source in copied:
        assert (ROOT / source).exists()
        ignored = False
        for pattern in patterns:  # the last one that fits decides
            if fnmatch(source, pattern.lstrip("!")):
                ignored = not pattern.startswith("!")
        assert not ignored, source
