"""Grafana Loki and VictoriaLogs, built from their modules in the Go module proxy, and started.

Both have replacements in their go.mod, so `go install` refuses them; their sources build where they are unpacked.
VictoriaLogs takes a minute. Loki takes a quarter of an hour, so it is built only with AUDITSINK_REAL=all.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from ground import CACHE, free_port, running, tool

VICTORIALOGS = "1.117.0"
LOKI = "3.7.7"


def built(name: str, version: str, module: str, package: str) -> Path:
    """The program `.real/NAME-VERSION/NAME`; built when it is not there yet. Skips the test where it cannot be."""
    place = CACHE / f"{name}-{version}"
    place.mkdir(parents=True, exist_ok=True)
    program = place / name
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test runs may want it at once
        if not program.exists():
            if name == "loki" and os.environ["AUDITSINK_REAL"] != "all":
                pytest.skip("Loki takes a quarter of an hour to build: AUDITSINK_REAL=all make test-real")
            _build(place, program, f"{module}@v{version}", package)
    return program


def _build(place: Path, program: Path, module: str, package: str) -> None:
    source = place / "source"
    shutil.rmtree(source, ignore_errors=True)
    try:
        told = json.loads(_go("mod", "download", "-json", module, folder=place))
        shutil.copytree(told["Dir"], source, copy_function=shutil.copy)
        subprocess.run(["chmod", "-R", "u+w", source], check=True)
        # A module carries no other module's folder, so a replacement by one is taken back: its version is required too.
        described = (source / "go.mod").read_text().splitlines(keepends=True)
        (source / "go.mod").write_text("".join(line for line in described if "=> ./" not in line))
        _go("build", "-o", "built", package, folder=source)
    except subprocess.CalledProcessError as failed:
        pytest.skip(f"{module} cannot be built: {failed.stderr[-600:]}")
    (source / "built").rename(program)  # there only when it is whole
    shutil.rmtree(source)


def _go(*words: str, folder: Path) -> str:
    environment = {**os.environ, "GOFLAGS": "-mod=mod -p=2", "GOWORK": "off"}
    command = [tool("go", "it builds Loki and VictoriaLogs"), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def answers(url: str) -> bool:
    """Whether a GET of this succeeds."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as found:
        return bool(found.status == 200)
    return False


async def fetched(url: str) -> bytes:
    """The body of a GET."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        body = await answer.read()
        assert answer.status == 200, body
        return body


@contextlib.asynccontextmanager
async def victorialogs(place: Path) -> AsyncIterator[str]:
    """VictoriaLogs, running; its URL."""
    program = built("victoria-logs", VICTORIALOGS, "github.com/VictoriaMetrics/VictoriaMetrics", "./app/victoria-logs")
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [program, f"-storageDataPath={place / 'victoria'}", f"-httpListenAddr=127.0.0.1:{port}"]
    command += ["-retentionPeriod=100y"]
    async with running(command, place / "victoria.out", lambda: answers(f"{url}/health")):
        yield url


_LOKI = """
auth_enabled: false
analytics: {{reporting_enabled: false}}
server:
  http_listen_address: 127.0.0.1
  http_listen_port: {port}
  grpc_listen_address: 127.0.0.1
  grpc_listen_port: {grpc}
  log_level: warn
common:
  instance_addr: 127.0.0.1
  path_prefix: {place}
  replication_factor: 1
  ring: {{kvstore: {{store: inmemory}}}}
  storage: {{filesystem: {{chunks_directory: {place}/chunks, rules_directory: {place}/rules}}}}
schema_config:
  configs:
    - {{from: 2020-10-24, store: tsdb, object_store: filesystem, schema: v13, index: {{prefix: index_, period: 24h}}}}
ingester: {{max_chunk_age: 10000h}}
limits_config:
  {{reject_old_samples: false, max_entries_limit_per_query: 100000, max_query_length: 0, split_queries_by_interval: 0,
   {limits}}}
"""


@contextlib.asynccontextmanager
async def loki(place: Path, limits: str) -> AsyncIterator[str]:
    """Loki in one process, running; its URL. `limits`: more of its `limits_config`, in YAML."""
    program = built("loki", LOKI, "github.com/grafana/loki/v3", "./cmd/loki")
    url = f"http://127.0.0.1:{(port := free_port())}"
    settings = place / "loki.yaml"
    settings.write_text(_LOKI.format(port=port, grpc=free_port(), place=place / "loki", limits=limits))
    async with running([program, f"-config.file={settings}"], place / "loki.out", lambda: answers(f"{url}/ready")):
        yield url
