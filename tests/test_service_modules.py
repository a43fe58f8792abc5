"""A sink carries what its configuration asks for: memory at rest is modules, so what it does not need is not loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

ALWAYS = ["auditsink.receive.connection", "auditsink.spool.writer", "msgspec", "starlette", "uvicorn"]
HEAVY = [
    "aiohttp",
    "aiokafka",
    "anyio._core",
    "argparse",
    "attr",
    "auditsink.destinations.http",
    "auditsink.destinations.kafka",
    "auditsink.destinations.authorization",
    "auditsink.destinations.objects",
    "auditsink.destinations.splunk",
    "auditsink.doctor",
    "auditsink.evidence.make",
    "auditsink.filters",
    "auditsink.apiserver",
    "auditsink.auditlogs",
    "auditsink.spool.offline.export",
    "auditsink.testing",
    "auditsink.gardener",
    "confluent_kafka",
    "cryptography",
    "h11",
    "email.parser",
    "html.entities",
    "http.server",
    "httpx",
    "httpx2",
    "importlib.metadata",
    "lightkube",
    "logging.handlers",
    "moto",
    "multiprocessing",
    "obstore",
    "requests",
    "urllib.request",
    "urllib3",
    "uvicorn.main",
    "yarl",
]
"""Each takes between 0.1 and 10 MB, and serves another destination, another command, or nobody."""

RUN = """
import asyncio, sys
from pathlib import Path
from auditsink.cli import serve
from auditsink.load import parse
from auditsink.service import Sink

async def loaded(config):
    sink = Sink(config)
    await sink.start()
    print(*sorted(set(sys.modules) & set(sys.argv[2:])))
    await sink.stop(5.0)

asyncio.run(loaded(parse(sys.argv[1].encode(), "f", {})))
"""


@pytest.mark.parametrize(
    ("destination", "needs"),
    [
        ("type: splunk, url: 'http://127.0.0.1:1', token: x", ["auditsink.destinations.splunk"]),
        (
            "type: http, url: 'http://127.0.0.1:1'",
            ["auditsink.destinations.http", "auditsink.destinations.authorization"],
        ),
        ("type: stdout", []),
    ],
)
def test_a_sink_loads_what_its_configuration_needs(tmp_path: Path, destination: str, needs: list[str]) -> None:
    config = f"""
        receive: {{listen: 127.0.0.1:0}}
        admin: {{listen: 127.0.0.1:0}}
        spool: {{path: {tmp_path / "spool"}, max_bytes: 64MiB}}
        destinations: [{{name: d, {destination}}}]
    """
    command = [sys.executable, "-c", RUN, config, *ALWAYS, *HEAVY]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == sorted([*ALWAYS, *needs])
