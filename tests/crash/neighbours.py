"""Many quiet clusters, or one noisy one, in a process of their own: who got which answer, and how soon.

Each quiet cluster posts a batch at its pace and waits for the answer; the noisy one posts a hundred times as often and
takes no notice of Retry-After, which is worse than an apiserver. The collector beside them notes when an event arrives.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

NOISY = "noisy"
NOISE = 100
"""Times the rate of a quiet cluster."""
NOISY_CONNECTIONS = 10
EVENTS = 5
_FILLER = "x" * 2000
_MARK = b'"auditID":"'


def batch(cluster: str, number: int) -> bytes:
    """A batch of 10 kB that never was before; the auditIDs name cluster and batch."""
    items = ",".join(
        f'{{"level":"Metadata","auditID":"{cluster}/{number}/{at}","stage":"ResponseComplete","note":"{_FILLER}"}}'
        for at in range(EVENTS)
    )
    return f'{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{items}]}}\n'.encode()


class Run:
    """Posts for some seconds; `acks` and `lags` in seconds, of quiet clusters only."""

    def __init__(self, url: str, clusters: int, per_second: float, *, noise: bool) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path
        self._pause = 1 / per_second
        self._names = [f"quiet-{at:03d}" for at in range(clusters)]
        self._noise = noise
        self._posted: dict[str, float] = {}
        self.statuses: dict[str, Counter[int]] = {"quiet": Counter(), NOISY: Counter()}
        self.acks: list[float] = []
        self.lags: list[float] = []

    async def post(self, seconds: float, first: int) -> None:
        """All of them, side by side."""
        ends = time.monotonic() + seconds
        tasks = [
            self._cluster(name, self._pause, ends, first, self._pause * at / len(self._names))
            for at, name in enumerate(self._names)
        ]
        if self._noise:  # over as many connections as an apiserver in trouble has, one after the other like all others
            pause = self._pause * NOISY_CONNECTIONS / NOISE
            tasks += [
                self._cluster(NOISY, pause, ends, first + at * 10**6, pause * at / NOISY_CONNECTIONS)
                for at in range(NOISY_CONNECTIONS)
            ]
        await asyncio.gather(*tasks)

    async def _cluster(self, name: str, pause: float, ends: float, number: int, begins: float) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        await asyncio.sleep(begins)
        due = time.monotonic()
        while due < ends:
            body = batch(name, number)
            head = f"POST {self._path}/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            began = time.monotonic()
            self._posted[f"{name}/{number}"] = began
            writer.write(head.encode() + body)
            status = await _answer(reader)
            self._answered(name, status, time.monotonic() - began)
            number += 1
            due += pause
            await asyncio.sleep(max(0, due - time.monotonic()))
        writer.close()

    def _answered(self, name: str, status: int, seconds: float) -> None:
        self.statuses[NOISY if name == NOISY else "quiet"][status] += 1
        if name != NOISY:
            self.acks.append(seconds)

    def arrived(self, content: bytes) -> None:
        """The collector has got a request."""
        now = time.monotonic()
        for part in content.split(_MARK)[1::EVENTS]:
            name = part[: part.index(b'"')].decode().rpartition("/")[0]
            posted = self._posted.pop(name, None)
            if posted is not None and not name.startswith(NOISY):
                self.lags.append(now - posted)

    def figures(self) -> dict[str, Any]:
        """Milliseconds."""
        return {
            **{f"{kind}_statuses": dict(found) for kind, found in self.statuses.items()},
            "ack": [1000 * one for one in self.acks],
            "lag": [1000 * one for one in self.lags],
        }


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
    return int(head.split()[1])


async def main() -> None:
    """Print the collector's port, then for each line of the input (JSON: the run) its figures."""
    run: Run | None = None

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                content = await reader.readexactly(length)
                if run is not None:
                    run.arrived(content)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(collect, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - it speaks to the test
    first = 0
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        run = Run(asked["url"], asked["clusters"], asked["per_second"], noise=asked["noise"])
        await run.post(asked["seconds"], first)
        first += 10**4
        await asyncio.sleep(asked["settle"])
        print(json.dumps(run.figures()), flush=True)  # noqa: T201
    server.close()
    os._exit(0)  # asyncio would tell of every connection that is still open


if __name__ == "__main__":
    asyncio.run(main())
