"""What surrounds a running sink: who reads its log, who sends it signals, how many files it may have open."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import struct
import termios
from collections.abc import Callable
from pathlib import Path

import aiohttp
import corpus
import pytest
import yaml
from running import COMMAND, LIVE, STOP_PATIENCE, Sink, eventually

from auditsink.testing.collector import Collector

PIPE_BYTES = 4096


def small(number: int) -> corpus.Body:
    event = corpus.event(f"{'odd' if number % 2 else 'even'}-{number}", b'"x"')
    return corpus.Body(f"{number}", corpus.event_list([event]), [event])


class UnheardSink(Sink):
    """Its standard error is a small pipe that nobody reads once it has said that it is ready."""

    into = -1

    async def launch(self) -> None:
        self._ready.clear()
        self.out, into = os.pipe()
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._process = await asyncio.create_subprocess_exec(
            *self._command, "serve", "-c", self.config, stderr=into, stdin=asyncio.subprocess.DEVNULL
        )
        os.close(into)
        LIVE.add(self._process.pid)
        self._listener = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        said = b""
        while not said.endswith(b"\n") or b'"ready"' not in said:
            said += await asyncio.to_thread(os.read, self.out, 65536)
        ready = json.loads(said.splitlines()[-1])
        self.receive, self.admin = ready["receive"], ready["admin"]
        self._ready.set()

    @property
    def unread(self) -> int:
        """Bytes in the pipe."""
        (found,) = struct.unpack("i", fcntl.ioctl(self.out, termios.FIONREAD, b"\0" * 4))
        return int(found)


async def test_nobody_reads_the_log_and_everything_goes_on(tmp_path: Path) -> None:
    """Intake, probes, neighbours, and a stop in order; what is still wanted of the log is there when it is read."""
    async with Collector(refuse=lambda event: b"odd" in event) as collector:
        refusing = {"name": "hook", "type": "http", "url": collector.url, "batch": {"max_events": 1}}
        written = tmp_path / "audit.ndjson"
        disk = {"name": "disk", "type": "file", "path": str(written), "batch": {"max_wait": "50ms"}}
        async with UnheardSink(tmp_path, [refusing, disk]) as sink:
            for number in range(300):  # of many clusters, because equal lines are only counted
                assert (await sink.post(small(number).data, f"/c{number % 50}"))[0] == 200
            await eventually(lambda: sink.unread > PIPE_BYTES - 1000)
            for number in range(300, 310):
                assert (await sink.post(small(number).data))[0] == 200
            assert await sink.get("/livez") == "alive\n"
            await sink.until(lambda status: all(one["pending"] == 0 for one in status["destinations"]))
            assert written.read_bytes().count(b"\n") == 310
            assert sink.unread > PIPE_BYTES - 1000
            code, seconds = await sink.stop()
            assert code == 0
            assert seconds < STOP_PATIENCE
        os.close(sink.out)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
async def test_a_signal_that_daemons_get_is_told_and_does_not_kill(tmp_path: Path, number: signal.Signals) -> None:
    written = tmp_path / "audit.ndjson"
    async with Sink(tmp_path, [{"name": "disk", "type": "file", "path": str(written)}]) as sink:
        sink.signal(number)
        await eventually(lambda: any(line.get("signal") == number.name for line in sink.lines))
        assert (await sink.post(small(1).data))[0] == 200
        await sink.delivered()
        code, seconds = await sink.stop()
        assert (code, seconds < STOP_PATIENCE) == (0, True)


FILES = 150
"""Descriptors of a process that is short of them."""


def address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition("/")[0].rpartition(":")
    return host, int(port)


async def test_more_clients_than_files_are_told_so_quietly_and_nobody_else_suffers(tmp_path: Path) -> None:
    """On both ports: probes are answered, rings grow, who is let in later posts on, and the log stays short."""
    written = tmp_path / "audit.ndjson"
    limited = ("sh", "-c", f'ulimit -n {FILES}; exec "$0" "$@"', *COMMAND)
    disk = {"name": "disk", "type": "file", "path": str(written), "batch": {"max_wait": "50ms"}}
    spool = {"max_bytes": "8MiB", "segment_bytes": "64KiB"}
    async with Sink(tmp_path, [disk], command=limited, spool=spool) as sink:
        assert any(line.get("now") == FILES for line in sink.lines)
        idle = [await asyncio.open_connection(*address(sink.receive)) for _ in range(2 * FILES)]
        idle += [await asyncio.open_connection(*address(sink.admin)) for _ in range(20)]
        assert await sink.get("/livez") == "alive\n"
        with contextlib.suppress(aiohttp.ClientError):
            assert (await sink.post(small(0).data))[0] == 503
        for _, writer in idle:
            writer.close()
        bodies = [corpus.plain_body(f"n{number}") for number in range(200)]
        await sink.apiserver(body.data for body in bodies)
        status = await sink.delivered()
        assert status["destinations"][0]["delivered"] == 600
        assert status["ready"]
    assert len([line for line in sink.lines if line["level"] != "info"]) < 10, sink.lines


async def test_a_destination_that_was_taken_out_too_early_is_told_of(
    tmp_path: Path, keep_port: Callable[[int], None]
) -> None:
    """One line at the start, and `/status` knows; put back, it gets what it had not got."""
    async with Collector() as collector:
        hook = {"name": "hook", "type": "http", "url": collector.url, "backoff": {"initial": "50ms", "max": "50ms"}}
        disk = {"name": "disk", "type": "file", "path": str(tmp_path / "audit.ndjson"), "batch": {"max_wait": "50ms"}}
        await collector.stop()
        keep_port(collector.port)
        bodies = [small(number) for number in range(20)]
        async with Sink(tmp_path, [hook, disk]) as sink:
            for body in bodies:
                assert (await sink.post(body.data))[0] == 200
            assert (await sink.stop())[0] == 0
        async with Sink(tmp_path, [disk]) as sink:
            told = [line for line in sink.lines if "configured no longer" in line["message"]]
            assert [(line["destination"], line["events"], line["clusters"]) for line in told] == [("hook", 20, 1)]
            status = await sink.status()
            assert status["removed_destinations"] == [{"name": "hook", "undelivered": 20}]
            assert "hook is configured no longer" in await sink.get("/readyz")
            assert (await sink.stop())[0] == 0
        await collector.start(collector.port)
        async with Sink(tmp_path, [hook, disk]) as sink:
            assert (await sink.delivered())["removed_destinations"] == []
            assert collector.events == [event for body in bodies for event in body.events]


async def test_files_that_get_in_each_others_way_are_refused_at_the_start(tmp_path: Path) -> None:
    log = {"name": "log", "type": "file", "path": str(tmp_path / "audit.log")}
    old = {"name": "old", "type": "file", "path": str(tmp_path / "audit.log.1")}
    sink = Sink(tmp_path, [log, old])
    await sink.launch()
    assert await sink.ended() == 1
    assert "destinations[1].path: is the file of destinations[0].path" in sink.lines[-1]["message"]


async def test_files_that_get_in_each_others_way_are_refused_in_a_running_sink(tmp_path: Path) -> None:
    log = {"name": "log", "type": "file", "path": str(tmp_path / "audit.log"), "batch": {"max_wait": "50ms"}}
    old = {"name": "old", "type": "file", "path": str(tmp_path / "audit.log.1")}
    async with Sink(tmp_path, [log]) as sink:
        sink.config.write_text(yaml.safe_dump(yaml.safe_load(sink.config.read_text()) | {"destinations": [log, old]}))
        sink.signal(signal.SIGHUP)
        await eventually(lambda: any("is the file of destinations[0].path" in str(line) for line in sink.lines))
        assert (await sink.post(small(1).data))[0] == 200
        assert [one["name"] for one in (await sink.delivered())["destinations"]] == ["log"]
