"""A whole sink with evidence: what was posted is proven in its spool and in its file, and shows in /status."""

import asyncio
from pathlib import Path

import aiohttp
import corpus
import pytest
from evidencekit import private_pem, public_pem

from auditsink import load
from auditsink.cli import run
from auditsink.config import Config
from auditsink.service import Sink, StartError


def config(place: Path, evidence: str) -> Config:
    text = (
        "receive: {listen: '127.0.0.1:0'}\nadmin: {listen: '127.0.0.1:0'}\n"
        f"spool: {{path: {place}/spool, max_bytes: 64MiB, segment_bytes: 64KiB}}\n"
        f"destinations: [{{name: disk, type: file, path: {place}/audit.ndjson}}]\n"
        f"evidence: {evidence}\n"
    )
    return load.parse(text.encode(), "f", {})


async def test_what_two_clusters_posted_is_proven(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1,450 events, two lives, the events of both clusters mixed in one file."""
    (tmp_path / "key.pem").write_bytes(private_pem())
    (tmp_path / "public.pem").write_bytes(public_pem())
    settings = config(
        tmp_path, f"{{path: {tmp_path}/proof/checkpoints.ndjson, key_file: {tmp_path}/key.pem, every: 1s}}"
    )
    bodies = [body.data for body in corpus.bodies("batch50-request-h2tls")]
    for half in (bodies[:20], bodies[20:]):
        sink = Sink(settings)
        await sink.start()
        async with aiohttp.ClientSession() as session:
            for number, body in enumerate(half):
                url = f"{sink.addresses()['receive']}/{('blue', 'green')[number % 2]}"
                async with session.post(url, data=body) as answer:
                    assert answer.status == 200
            async with session.get(sink.addresses()["admin"] + "/status") as answer:
                status = await answer.json()
        await sink.stop(8.0)
    row = next(one for one in status["destinations"] if one["name"] == "checkpoints")
    assert row["type"] == "checkpoint"
    assert row["accepted"] == row["delivered"] + row["dropped"] + row["pending"]

    given = [
        "verify",
        "--checkpoints",
        f"{tmp_path}/proof/checkpoints.ndjson",
        "--public-key",
        f"{tmp_path}/public.pem",
    ]
    for what in (["--spool", f"{tmp_path}/spool"], ["--file", f"{tmp_path}/audit.ndjson"]):
        code = await asyncio.to_thread(run, [*given, *what])
        said = capsys.readouterr()
        assert (code, said.err) == (0, "")
        assert f"proven:       {corpus.EVENTS['batch50-request-h2tls']} events" in said.out
        assert "not covered" not in said.out


async def test_a_key_that_is_none_stops_the_start_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(b"no key")
    settings = config(tmp_path, f"{{path: {tmp_path}/checkpoints.ndjson, key_file: {tmp_path}/key.pem}}")
    with pytest.raises(StartError, match=r"evidence\.key_file: .*is no private key in PEM; make one with"):
        await Sink(settings).start()
    (tmp_path / "key.pem").write_bytes(private_pem())
    sink = Sink(settings)
    await sink.start()
    await sink.stop(2.0)


async def test_a_start_that_fails_later_lets_go_of_the_checkpoint_file(tmp_path: Path) -> None:
    good = config(tmp_path, f"{{path: {tmp_path}/checkpoints.ndjson}}")
    sink = Sink(good)
    await sink.start()
    taken = sink.addresses()["receive"].split("/")[2]
    await sink.stop(2.0)
    with_port = load.parse(
        (
            f"receive: {{listen: '{taken}'}}\nadmin: {{listen: '127.0.0.1:0'}}\n"
            f"spool: {{path: {tmp_path}/spool, max_bytes: 64MiB}}\n"
            f"destinations: [{{name: disk, type: stdout}}]\nevidence: {{path: {tmp_path}/checkpoints.ndjson}}\n"
        ).encode(),
        "f",
        {},
    )
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), *taken.split(":"))
    with pytest.raises(StartError, match=r"receive\.listen"):
        await Sink(with_port).start()
    server.close()
    await server.wait_closed()
    sink = Sink(good)
    await sink.start()
    await sink.stop(2.0)
