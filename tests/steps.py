"""How many steps a request takes: calls and files of ours from its first byte to the answer. `make steps` prints them.

A real sink runs in this process, a client posts to it over a socket, and a profiler sees every Python call of every
thread. What counts lies between the call that asks where the first byte goes and the call that writes the 200.
"""

import asyncio
import gc
import json
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
WARM = 20
"""Requests before the first that counts: heads are remembered, the ring is there."""
COUNTED = 9
EVENTS = {"a batch of 400 events": 400, "a single event": 1}
FIRST, LAST = "get_buffer", "write"


class Steps(NamedTuple):
    """Of one request: calls of ours, the files that they are in, and how often the file changes from call to call."""

    calls: int
    files: int
    changes: int


class Profiler:
    """Collects the calls of functions below `package`, of all threads, in the order in which they begin."""

    def __init__(self, package: Path) -> None:
        self._package = str(package)
        self._armed = False
        self._began = False
        self.calls: list[CodeType] = []

    def install(self) -> None:
        """For this thread and all that start from now on."""
        threading.setprofile(self._seen)
        sys.setprofile(self._seen)

    def arm(self) -> None:
        """Collect the next request."""
        self.calls, self._began, self._armed = [], False, True

    def _seen(self, frame: FrameType, event: str, _argument: object) -> None:
        if not self._armed or event != "call":
            return
        code = frame.f_code
        ours = code.co_filename.startswith(self._package)
        self._began = self._began or (ours and code.co_name == FIRST)
        if ours and self._began:
            self.calls.append(code)
        elif code.co_name == LAST and str(frame.f_locals.get("data", "")).startswith("b'HTTP/1.1 200"):
            self._armed = False

    def steps(self) -> Steps:
        """Of the request that was collected."""
        files = [code.co_filename for code in self.calls]
        changes = sum(before != after for before, after in pairwise(files))
        return Steps(len(files), len(set(files)), changes)


def event_list(number: int, events: int) -> bytes:
    """A body as kube-apiserver posts it; `number` makes it another one than all others."""
    item = {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete",
        "verb": "get", "requestURI": "/api/v1/namespaces/default/pods/x", "user": {"username": "system:node:x"},
        "requestReceivedTimestamp": "2026-01-02T03:04:05.000006Z", "stageTimestamp": "2026-01-02T03:04:05.000007Z",
    }  # fmt: skip
    items = [item | {"auditID": f"{number}-{one}", "pad": "x" * 1200} for one in range(events)]
    frame = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items}
    return json.dumps(frame, separators=(",", ":")).encode() + b"\n"


def post(body: bytes) -> bytes:
    """The request of an apiserver."""
    head = (
        "POST /audit?timeout=30s HTTP/1.1\r\nHost: sink\r\nUser-Agent: Go-http-client/1.1\r\n"
        f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n\r\n"
    )
    return head.encode() + body


async def measure(package: Path, place: Path) -> Iterator[tuple[str, Steps]]:
    """Run a sink, post to it, and give the median steps for each size of a body."""
    from auditsink import load  # noqa: PLC0415 - of the tree that was asked for
    from auditsink.service import Sink  # noqa: PLC0415

    text = (
        f"receive: {{listen: '127.0.0.1:0'}}\nspool: {{path: '{place}/spool', max_bytes: 64MiB}}\n"
        f"admin: {{listen: '127.0.0.1:0'}}\ndestinations: [{{name: f, type: file, path: '{place}/f.ndjson'}}]\n"
    )
    profiler = Profiler(package)
    profiler.install()
    sink = Sink(load.parse(text.encode(), "steps", {}))
    await sink.start()
    host, port = sink.addresses()["receive"].split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    found = []
    for number, (name, events) in enumerate(EVENTS.items()):
        several = []
        for round_ in range(WARM + COUNTED):
            await asyncio.sleep(0.05)  # delivery has ended: its calls are not those of a request
            profiler.arm()
            writer.write(post(event_list(1000 * number + round_, events)))
            answer = await reader.readuntil(b"}")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(answer.decode())
            several.append(profiler.steps())
        found.append((name, Steps(*(round(statistics.median(column)) for column in zip(*several[WARM:], strict=True)))))
    sys.setprofile(None)
    threading.setprofile(None)
    writer.close()
    await sink.stop(5)
    return iter(found)


def main(root: Path) -> None:
    """Print the steps of the tree at `root`."""
    sys.path.insert(0, str(root))
    gc.disable()  # a finalizer may run anywhere
    with tempfile.TemporaryDirectory() as place:
        for name, steps in asyncio.run(measure(root / "auditsink", Path(place))):
            sys.stdout.write(f"{name}: {steps.calls} calls in {steps.files} files, {steps.changes} changes of file\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT)
