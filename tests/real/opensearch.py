"""OpenSearch from Maven Central: its server's jars, and a main program of a few lines (OneNode.java) around them."""

import contextlib
import fcntl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ground import CACHE, free_port, running, tool
from logstores import answers

VERSION = "2.19.1"
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>one-node</artifactId><version>1</version>
  <dependencies>
    {dependencies}
  </dependencies>
</project>
"""
_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
_DEPENDENCIES = (
    ("org.opensearch", "opensearch", VERSION),
    ("org.opensearch.plugin", "transport-netty4-client", VERSION),  # the HTTP port
    ("org.apache.logging.log4j", "log4j-core", "2.21.0"),  # optional to the server's jar, and not to the server
)
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


def fetched() -> Path:
    """Where the jars and the compiled program are; skips the test where they cannot be had."""
    place = CACHE / f"opensearch-{VERSION}"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test runs may want it at once
        if not (place / "classes" / "OneNode.class").exists():
            _fetch(place)
    return place


def _fetch(place: Path) -> None:
    dependencies = "\n    ".join(_DEPENDENCY.format(*one) for one in _DEPENDENCIES)
    (place / "pom.xml").write_text(_POM.format(dependencies=dependencies))
    maven, javac = tool("mvn", "it fetches OpenSearch"), tool("javac", "it compiles OpenSearch's main program")
    source = Path(__file__).with_name("OneNode.java")
    fetching: list[list[str | Path]] = [
        [maven, "-q", "-B", _COPY, "-DoutputDirectory=jars"],
        [javac, "-cp", "jars/*", "-d", "classes", source],
    ]
    for command_line in fetching:
        done = subprocess.run(command_line, cwd=place, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"OpenSearch {VERSION} cannot be had: {(done.stdout + done.stderr)[-600:]}")


@contextlib.asynccontextmanager
async def opensearch(place: Path, port: int | None = None) -> AsyncIterator[str]:
    """One node, running; its URL. What an earlier one left in `place` is still there."""
    java = tool("java", "it runs OpenSearch")
    fetched_to = fetched()
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    command: list[str | Path] = [
        java, "-Xmx512m", "-Dopensearch.set.netty.runtime.available.processors=false",
        "-cp", f"{fetched_to / 'classes'}:{fetched_to / 'jars'}/*", "OneNode", place / "opensearch", str(port),
    ]  # fmt: skip
    async with running(command, place / "opensearch.out", lambda: answers(url)):
        yield url
