"""What is measured: the sink, and peers that are given the same work. Starts them on 127.0.0.1 and ends them."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import orjson
import yaml

PEERS = Path(__file__).parent / "peers"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
RETRY_SECONDS = 5
"""The longest wait between two attempts, for every system: the default of 60 s would be the catching up."""


class SystemFailedError(Exception):
    """A system did not start, or died: its name and its last words."""


@dataclass(frozen=True)
class Place:
    """Where a system runs: a directory on the measured disk, and the ports of its destinations on 127.0.0.1."""

    directory: Path
    destinations: tuple[int, ...]
    ring_bytes: int = 2**33
    segment_bytes: int | None = None


@dataclass
class Running:
    """A started system. `ready_seconds`: from its start to the moment when it took requests."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path
    port: int
    path: str
    admin: int | None = None
    ready_seconds: float = 0.0
    killed: bool = False

    def kill(self) -> None:
        """As a power cut does it, as far as the process is concerned."""
        self.killed = True
        self.process.kill()
        self.process.wait()

    @property
    def pid(self) -> int:
        """Of the process that was started; it may have children."""
        return self.process.pid

    def settled(self, only: str = "") -> bool | None:
        """Whether all that was accepted is delivered (to one destination), by its own account; None: it gives none."""
        if self.admin is None:
            return None
        several = orjson.loads(_get(self.admin, "/status"))["destinations"]
        return all(one["pending"] == 0 for one in several if only in ("", one["name"]))

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 when the system has none such."""
        if self.admin is None:
            return 0.0
        found = re.findall(rf"(?m)^{name}(?:{{[^}}]*}})? (\S+)$", _get(self.admin, "/metrics").decode())
        return sum(map(float, found))

    def last_words(self) -> str:
        """The end of what it said on standard error."""
        return self.log.read_text(errors="replace")[-2000:]


class System(Protocol):
    """One column of the tables."""

    @property
    def name(self) -> str:
        """The column's head."""
        ...

    def version(self) -> str:
        """As the program says it."""
        ...

    def run(self, place: Place) -> contextlib.AbstractContextManager[Running]:
        """Started and ready; ended with the `with`. Starting twice in one directory finds what was stored."""
        ...


@dataclass(frozen=True)
class Sink:
    """auditsink as its configuration's defaults have it, but for the ring's size and the longest wait.

    `sections` stand in the place of the configuration's own.
    """

    name: str = "auditsink"
    command: tuple[str, ...] = (sys.executable, "-m", "auditsink")
    sections: Mapping[str, object] = field(default_factory=dict)

    def version(self) -> str:
        """See `System.version`."""
        return f"{_version([*self.command, '--version'])}, Python {sys.version.split()[0]}"

    @contextlib.contextmanager
    def run(self, place: Place) -> Iterator[Running]:
        """See `System.run`."""
        port, admin = free_port(), free_port()
        file = place.directory / "auditsink.yaml"
        file.write_text(yaml.safe_dump({**_sink_config(place, port, admin), **self.sections}))
        command = [*self.command, "serve", "-c", str(file)]
        with _started(self.name, command, place.directory, port=port, admin=admin) as running:
            yield running


@dataclass(frozen=True)
class Peer:
    """Another program, with its configuration from `benchmarks/peers` and these settings in its environment."""

    name: str
    binary: Path
    arguments: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)

    def version(self) -> str:
        """See `System.version`."""
        return _version([str(self.binary), "--version"])

    @contextlib.contextmanager
    def run(self, place: Place) -> Iterator[Running]:
        """See `System.run`."""
        storage = place.directory / "storage"
        storage.mkdir(exist_ok=True)
        port = free_port()
        environment = {"INTAKE_PORT": str(port), "HEC_PORT": str(place.destinations[0]), "STORAGE": str(storage)}
        command = [str(self.binary), *self.arguments]
        with _started(self.name, command, place.directory, port=port, env=environment | self.settings) as running:
            yield running


def peers(kind: str, binary: Path, *, full: bool) -> list[System]:
    """The variants of a peer that are compared. Raises ValueError for a kind that has no configuration here."""
    match kind:
        case "fluent-bit":
            plain = {"SYNC": "normal", "COMPRESS": "none"}
            several = [
                ("", "fluent-bit.conf", plain),
                (" sync full", "fluent-bit.conf", plain | {"SYNC": "full"}),
                (" split", "fluent-bit-split.conf", plain),
                (" gzip", "fluent-bit.conf", plain | {"COMPRESS": "gzip"}),
                (" split, full, gzip", "fluent-bit-split.conf", {"SYNC": "full", "COMPRESS": "gzip"}),
            ]
            chosen = several if full else several[:3]
            return [Peer(kind + label, binary, ("-c", file), settings) for label, file, settings in chosen]
        case "otelcol":
            arguments = ("--config", "otelcol.yaml")
            settings = {"FSYNC": "true", "PLAIN": "false"}
            return [Peer(f"{kind} fsync, gzip", binary, arguments, settings)]
        case "vector":
            # Since 0.57 Vector expands no variables in its configuration unless this says so.
            settings = {"COMPRESS": "gzip", "VECTOR_DANGEROUSLY_ALLOW_ENV_VAR_INTERPOLATION": "true"}
            return [Peer(f"{kind} split, gzip", binary, ("--config", "vector.yaml", "-q"), settings)]
        case "auditsink":
            return [Sink("auditsink (other)", (str(binary),))]
    raise ValueError(f"no configuration for {kind!r}; there is one for fluent-bit, otelcol, vector and auditsink")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has right now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _sink_config(place: Place, port: int, admin: int) -> dict[str, object]:
    destinations = [
        {
            "name": f"siem{number}",
            "type": "splunk",
            "url": f"http://127.0.0.1:{destination}",
            "token": "benchmark",
            "backoff": {"max": f"{RETRY_SECONDS}s"},
        }
        for number, destination in enumerate(place.destinations)
    ]
    return {
        "receive": {"listen": f"127.0.0.1:{port}"},
        "admin": {"listen": f"127.0.0.1:{admin}"},
        "spool": {
            "path": str(place.directory / "spool"),
            "max_bytes": place.ring_bytes,
            **({} if place.segment_bytes is None else {"segment_bytes": place.segment_bytes}),
        },
        "destinations": destinations,
        "log": {"level": "warning"},
    }


@contextlib.contextmanager
def _started(
    name: str,
    command: list[str],
    directory: Path,
    *,
    port: int,
    admin: int | None = None,
    env: dict[str, str] | None = None,
) -> Iterator[Running]:
    log = directory / "log"
    with log.open("ab") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=PEERS, env=os.environ | (env or {}), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    running = Running(name, process, log, port, "/audit", admin)
    try:
        _wait_until_ready(running, began)
        running.ready_seconds = time.monotonic() - began
        yield running
        if process.poll() is not None and not running.killed:
            raise SystemFailedError(f"{name} died with exit code {process.returncode}:\n{running.last_words()}")
    finally:
        _stop(process)


def _wait_until_ready(running: Running, began: float) -> None:
    while time.monotonic() - began < START_SECONDS:
        if running.process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            if running.admin is None:
                socket.create_connection(("127.0.0.1", running.port), 1).close()
            else:
                _get(running.admin, "/readyz")
            return
        time.sleep(0.005)
    raise SystemFailedError(f"{running.name} did not become ready:\n{running.last_words()}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _get(port: int, path: str) -> bytes:
    """Raises OSError, for an answer other than 200 too."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        content: bytes = response.read()
        return content


def _version(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return (done.stdout or done.stderr).strip().splitlines()[0]
