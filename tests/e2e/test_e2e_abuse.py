"""Clients that want harm, all at once: each gets its answer or its cut, and nobody else notices."""

import asyncio
import gzip
from pathlib import Path
from urllib.parse import urlsplit

import corpus
from running import Sink, eventually

from auditsink.apiserver.webhook import Webhook

PEAK = 150 * 2**20
"""Bytes of memory that the sink may ever hold; some 60 MB of it are Python and what it imports."""
IDLE = 2000


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, sink: Sink) -> "Client":
        parts = urlsplit(sink.receive)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def post(self, body: bytes, length: int | None = None, headers: str = "") -> int:
        """Post, and the status of the answer; 0 when there was none."""
        size = len(body) if length is None else length
        self.writer.write(f"POST /audit HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body)
        return await self.answer()

    async def answer(self) -> int:
        """The status of the next answer; 0 when the connection was cut without one."""
        try:
            line = await self.reader.readline()
        except ConnectionError:
            return 0
        return int(line.split()[1]) if line else 0

    def close(self) -> None:
        self.writer.close()


async def trickle(sink: Sink) -> int:
    """Send a body byte by byte, for ever; the answer that ends it, or 0."""
    client = await Client.to(sink)
    client.writer.write(b"POST /audit HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    answer = asyncio.create_task(client.answer())
    while not answer.done():
        client.writer.write(b" ")
        await asyncio.wait([answer], timeout=0.2)
    client.close()
    return await answer


def nested(brackets: int) -> corpus.Body:
    """An event that nothing recursive survives."""
    event = corpus.event("nested", b"[" * (brackets // 2) + b"]" * (brackets // 2))
    return corpus.Body("nested", corpus.event_list([event]), [event])


async def test_abuse_is_answered_or_cut_and_normal_batches_keep_flowing(tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    destination = {"name": "disk", "type": "file", "path": str(path), "batch": {"max_wait": "50ms"}}
    receive = {"request_timeout": "15s", "max_connections": IDLE + 100}
    async with Sink(tmp_path / "sink", [destination], receive=receive, spool={"max_bytes": "256MiB"}) as sink:
        taken: list[corpus.Body] = []
        stop = asyncio.Event()

        async def post_normally() -> None:
            async with Webhook(sink.receive) as webhook:
                while not stop.is_set():
                    body = corpus.plain_body(f"normal-{len(taken)}", padding=200)
                    answer = await webhook.post(body.data, 30)
                    assert answer.taken, f"after {len(taken)}: {answer}"
                    taken.append(body)

        normal = asyncio.create_task(post_normally())
        await eventually(lambda: len(taken) > 20)

        idle = [await Client.to(sink) for _ in range(IDLE)]
        clients = [await Client.to(sink) for _ in range(4)]
        bomb = gzip.compress(corpus.HEAD + b" " * 300_000_000 + corpus.TAIL, 9)
        deep = nested(4_000_000)
        answers = await asyncio.gather(
            clients[0].post(b"x" * 100_000, length=100_000_000),
            clients[1].post(bomb, headers="Content-Encoding: gzip\r\n"),
            clients[2].post(deep.data),
            clients[3].post(b"{" * 4_000_000),
            trickle(sink),
        )
        assert list(answers[:4]) == [413, 413, 200, 400]
        assert answers[4] in {0, 408}
        before = len(taken)
        await eventually(lambda: len(taken) > before + 20)
        assert "ready\n" in await sink.get("/readyz")
        stop.set()
        await normal
        status = await sink.delivered()
        peak = sink.peak
        for client in (*idle, *clients):
            client.close()
        assert (await sink.stop())[0] == 0
    expected = [event for body in taken for event in body.events] + deep.events
    assert corpus.digests(path.read_bytes().split(b"\n")[:-1]) == corpus.digests(expected)
    assert status["rejected_requests"]["too_large"] == 2
    assert peak < PEAK, f"{peak / 2**20:.0f} MiB"
