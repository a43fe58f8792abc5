"""The two ends of a measured system, as processes: the load client in front of it, the receiver behind it."""

import http.client
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from benchmarks import process
from benchmarks.bodies import Bodies
from benchmarks.systems import Running

GRACE_SECONDS = 60.0
"""For answers that are still to come when the time for posting is over."""
IDLE_SECONDS = 2.5
"""With next to no CPU, and a system is taken to have delivered everything: each flushes after at most a second."""
IDLE_SHARE = 0.1
LOOK_SECONDS = 0.25
DRAIN_SECONDS = 120.0


@dataclass(frozen=True)
class Load:
    """What the client does: `seconds` or `posts`, whichever ends first; `rate` in posts a second, 0 for full speed.

    `each`: it also says of each answer when it was waited for.
    """

    bodies: Bodies
    connections: int
    seconds: float
    posts: int = 0
    rate: float = 0.0
    clusters: int = 0
    each: bool = False


@dataclass(frozen=True)
class Posted:
    """What came of it. `events` and `bytes` of accepted posts; `ack_ms` by percentile; `refused` by status.

    `each`: from when to when an answer was waited for, in ns of the monotonic clock; only where it was asked for.
    """

    events: int
    bytes: int
    posts: int
    seconds: float
    began_ns: int
    ack_ms: dict[str, float]
    refused: dict[str, int]
    broken: int
    each: list[tuple[int, int]]


def post(program: Path, running: Running, load: Load) -> Posted:
    """Run the load client against a system."""
    return post_to(program, running.port, running.path, load)


def post_to(program: Path, port: int, path: str, load: Load) -> Posted:
    """Run the load client against a port."""
    numbers = (load.connections, load.seconds, load.posts, load.rate, load.clusters, int(load.each))
    command = [str(program), str(port), path, str(load.bodies.directory), *map(str, numbers)]
    timeout = load.seconds + GRACE_SECONDS
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=timeout)
    said = orjson.loads(done.stdout)
    return Posted(
        events=load.bodies.count(said["accepted"]),
        bytes=said["bytes"],
        posts=said["answered"],
        seconds=(said["ended_ns"] - said["began_ns"]) / 1e9,
        began_ns=said["began_ns"],
        ack_ms=said["ack_ms"],
        refused={status: times for status, times in said["statuses"].items() if not status.startswith("2")},
        broken=said["broken"],
        each=[(due, answered) for due, answered in said.get("each", [])],
    )


@dataclass(frozen=True)
class Received:
    """What the receiver has by now; `events` only when it counts. `most_ns`: when 95 % of the bytes were there."""

    requests: int
    bytes: int
    events: int
    first_ns: int
    last_ns: int
    most_ns: int


class Receiver:
    """A null HEC receiver on `port`, from `with` to its end."""

    def __init__(self, program: Path, *, port: int = 0, count: bool = False) -> None:
        """Port 0: any. `count` inflates bodies and counts events, which costs CPU: not in a measured run."""
        self._command = [str(program), str(port), str(int(count))]
        self._process: subprocess.Popen[bytes]
        self.port = port

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def received(self) -> Received:
        """Ask it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/stats")
            return Received(**orjson.loads(connection.getresponse().read()))
        finally:
            connection.close()

    def drained(self, running: Running) -> Received:
        """Wait until the system has delivered everything: by its own account, or because it does nothing any more."""
        until = time.monotonic() + DRAIN_SECONDS
        before, idle = -1.0, 0.0
        while time.monotonic() < until:
            received = self.received()
            settled = running.settled()
            if received.requests and (settled or (settled is None and idle > IDLE_SECONDS)):
                break
            time.sleep(LOOK_SECONDS)
            cpu = process.cpu(running.pid)
            idle = idle + LOOK_SECONDS if cpu - before < IDLE_SHARE * LOOK_SECONDS else 0.0
            before = cpu
        return received
