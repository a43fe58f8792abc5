"""A sink and a real S3 API server, both of which are killed: every event is there, in order, and none twice."""

import asyncio
from pathlib import Path
from typing import Any

import corpus
from running import Sink
from s3server import BUCKET, S3Server


def lake(server: S3Server) -> dict[str, Any]:
    return {
        "name": "lake", "type": "s3", "bucket": BUCKET, "endpoint": server.url, "region": "us-east-1",
        "access_key_id": "key", "secret_access_key": "secret", "timeout": "2s",
        "batch": {"max_events": 300, "max_wait": "300ms"}, "backoff": {"initial": "100ms", "max": "300ms"},
    }  # fmt: skip


async def test_a_kill_in_the_middle_of_an_upload_doubles_nothing(tmp_path: Path) -> None:
    bodies = [*corpus.bodies("batch100-metadata-mtls-h2")]
    events = [event for body in bodies for event in body.events]
    with S3Server() as server:
        async with Sink(tmp_path, [lake(server)]) as sink:
            await sink.apiserver([body.data for body in bodies[:5]], at_once=1)
            await server.until(sum(len(body.events) for body in bodies[:5]))
            with server.stalled():
                await sink.apiserver([body.data for body in bodies[5:15]], at_once=1)
                await sink.until(lambda status: status["destinations"][0]["state"] == "retrying")
                await sink.kill()
            await sink.start()
            await sink.apiserver([body.data for body in bodies[15:]], at_once=1)
            (one,) = (await sink.delivered())["destinations"]
            await sink.stop()
        found = server.objects()
    assert [line for lines in found.values() for line in lines] == events
    assert len(found) > 3
    assert (one["accepted"], one["delivered"]) == (len(events), len(events))


async def piped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def relay(port: int, to: int) -> asyncio.Server:
    """Connections to one port go to the other."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(piped(reader, there_writer), piped(there_reader, writer), return_exceptions=True)

    return await asyncio.start_server(serve, "127.0.0.1", port)


async def test_a_server_that_was_killed_is_waited_for(tmp_path: Path) -> None:
    first, second = corpus.plain_body("first", 50), corpus.plain_body("second", 50)
    with S3Server() as server, S3Server() as another:
        async with Sink(tmp_path, [lake(server)]) as sink:
            await sink.apiserver([first.data])
            assert [line for lines in (await server.until(50)).values() for line in lines] == first.events
            server.kill()
            await sink.apiserver([second.data])
            status = await sink.until(lambda status: status["destinations"][0]["state"] == "retrying")
            assert status["destinations"][0]["pending"] == 50
            async with await relay(server.port, another.port):
                await sink.delivered()
                await sink.stop()
        assert [line for lines in another.objects().values() for line in lines] == second.events
