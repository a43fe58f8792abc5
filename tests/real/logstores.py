"""Grafana Loki and VictoriaLogs, built from their modules in the Go module proxy, and started.

VictoriaLogs takes a minute to build, Loki a quarter of an hour.
"""

import contextlib
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import gobuild
from ground import free_port, running

VICTORIALOGS = "1.117.0"
LOKI = "3.7.7"


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
    module = f"github.com/VictoriaMetrics/VictoriaMetrics@v{VICTORIALOGS}"
    program = gobuild.program(
        "victoria-logs", VICTORIALOGS, lambda work: gobuild.from_source(work, module, "./app/victoria-logs")
    )
    url = f"http://127.0.0.1:{(port := free_port())}"
    command: list[str | Path] = [program, f"-storageDataPath={place / 'victoria'}", f"-httpListenAddr=127.0.0.1:{port}"]
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
    module = f"github.com/grafana/loki/v3@v{LOKI}"
    program = gobuild.program("loki", LOKI, lambda work: gobuild.from_source(work, module, "./cmd/loki"), slow=True)
    url = f"http://127.0.0.1:{(port := free_port())}"
    settings = place / "loki.yaml"
    settings.write_text(_LOKI.format(port=port, grpc=free_port(), place=place / "loki", limits=limits))
    async with running([program, f"-config.file={settings}"], place / "loki.out", lambda: answers(f"{url}/ready")):
        yield url
