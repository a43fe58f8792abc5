"""The sink as a whole, in this process: up in order, down in order, and nothing left behind in between."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import corpus
import pytest
from running import eventually

from auditsink import load, service
from auditsink.audit import scan
from auditsink.common.listen import bound, listen
from auditsink.config import Config
from auditsink.forward.forwarder import Forwarder
from auditsink.forward.reporting import DestinationState
from auditsink.observe.snapshot import Phase
from auditsink.service import Sink, StartError
from auditsink.spool import Spool


def configured(place: Path, **changes: str) -> Config:
    """A sink on any free port with one file."""
    sections = {
        "receive": "{listen: '127.0.0.1:0'}",
        "admin": "{listen: '127.0.0.1:0'}",
        "spool": f"{{path: {place}/spool, max_bytes: 64MiB}}",
        "destinations": f"[{{name: disk, type: file, path: {place}/audit.ndjson}}]",
    } | changes
    text = "\n".join(f"{name}: {value}" for name, value in sections.items())
    return load.parse(text.encode(), "f.yaml", {})


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Sink]:
    sink = Sink(config)
    await sink.start()
    try:
        yield sink
    finally:
        await sink.stop(2.0)


async def post(sink: Sink, body: bytes) -> int:
    async with aiohttp.ClientSession() as session, session.post(sink.addresses()["receive"], data=body) as answer:
        return answer.status


async def readyz(sink: Sink) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(sink.addresses()["admin"] + "/readyz") as answer:
        return answer.status, await answer.text()


async def test_a_batch_goes_in_and_comes_out(tmp_path: Path) -> None:
    body = corpus.plain_body("a")
    async with running(configured(tmp_path)) as sink:
        assert await post(sink, body.data) == 200
        assert (await readyz(sink))[0] == 200
        assert repr(sink) == "<Sink running, 1 destinations, failures: []>"
    assert (tmp_path / "audit.ndjson").read_bytes().split() == b"\n".join(body.events).split()
    assert sink.snapshot().phase is Phase.STOPPING


async def test_a_stopped_sink_can_be_started_again(tmp_path: Path) -> None:
    """The lock, the ports and the file are free; the accounting goes on."""
    for number in range(2):
        async with running(configured(tmp_path)) as sink:
            assert await post(sink, corpus.plain_body(f"n{number}").data) == 200
    assert sum(ring.next_sequence for ring in sink.snapshot().spool.rings) == 6


@pytest.fixture
def taken() -> Any:
    """An address that is in use."""
    with listen("test", "127.0.0.1:0") as listening:
        yield str(bound(listening))


@pytest.mark.parametrize("key", ["receive", "admin"])
async def test_a_port_in_use_is_told_and_everything_is_undone(tmp_path: Path, taken: str, key: str) -> None:
    with pytest.raises(StartError, match=f"{key}.listen {taken}: .*; stop what listens there, or choose another port"):
        await Sink(configured(tmp_path, **{key: f"{{listen: '{taken}'}}"})).start()
    async with running(configured(tmp_path)) as sink:
        assert await post(sink, corpus.plain_body("a").data) == 200


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"receive": "{tokens_file: /nowhere/tokens}"}, r"receive.tokens_file: /nowhere/tokens: No such file"),
        ({"spool": "{path: /proc/nowhere}"}, r"spool.path /proc/nowhere"),
        (
            {"destinations": "[{name: a, type: http, url: 'https://x', tls: {ca_file: /proc/version}}]"},
            r"destinations\[a\].tls.ca_file: /proc/version: holds no certificate",
        ),
    ],
)
async def test_what_cannot_work_is_told(tmp_path: Path, changes: dict[str, str], expected: str) -> None:
    with pytest.raises(StartError, match=expected) as caught:
        await Sink(configured(tmp_path, **changes)).start()
    assert "\n" not in str(caught.value)


async def test_a_sink_that_splits_wrongly_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_without_escapes", lambda text: text)
    with pytest.raises(StartError, match=r"this Python \(3\.\d+\.\d+.* splits an EventList wrongly") as caught:
        await Sink(configured(tmp_path)).start()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "spool").exists(), "it stopped before it touched anything"


async def test_a_destination_that_cannot_start_is_misconfigured_while_events_are_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "place").write_text("")
    broken = f"{{name: broken, type: file, path: {tmp_path}/place/audit.ndjson, batch: {{max_wait: 10ms}}}}"
    well = f"{{name: well, type: file, path: {tmp_path}/well.ndjson, batch: {{max_wait: 10ms}}}}"
    async with running(configured(tmp_path, destinations=f"[{broken}, {well}]")) as sink:
        body = corpus.plain_body("a")
        await eventually(lambda: sink.snapshot().destinations[0].state is DestinationState.MISCONFIGURED)
        state = sink.snapshot().destinations[0]
        assert state.last_error is not None
        assert state.last_error.text.startswith("destinations[broken].path: ")
        assert await post(sink, body.data) == 200
        await eventually(
            lambda: sum(one.delivered for one in sink.snapshot().destinations[1].accounts.values()) == len(body.events)
        )
        assert [one.pending for one in sink.snapshot().destinations[0].accounts.values()] == [len(body.events)]
        assert (await readyz(sink))[0] == 200
    (tmp_path / "place").unlink()
    async with running(configured(tmp_path, destinations=f"[{broken}, {well}]")):
        await eventually((tmp_path / "place" / "audit.ndjson").exists)
    assert (tmp_path / "place" / "audit.ndjson").read_bytes().split() == b"\n".join(body.events).split()


async def test_two_sinks_cannot_share_a_spool(tmp_path: Path) -> None:
    async with running(configured(tmp_path)):
        with pytest.raises(StartError, match=r"spool.path .* is in use by another auditsink"):
            await Sink(configured(tmp_path)).start()


async def dies(self: Forwarder) -> None:
    raise RuntimeError("a bug")


async def ends(self: Forwarder) -> None:
    return None


@pytest.mark.parametrize(("run", "how"), [(dies, "died of RuntimeError"), (ends, "ended by itself")])
async def test_a_part_that_dies_turns_readiness_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[[Forwarder], Any], how: str
) -> None:
    monkeypatch.setattr(Forwarder, "run", run)
    async with running(configured(tmp_path)) as sink:
        assert (await readyz(sink))[0] == 503
        assert (await readyz(sink))[1].startswith(f"not ready: delivery to disk {how}; restart the sink")


async def test_a_failure_told_from_another_thread_turns_readiness_off(tmp_path: Path) -> None:
    async with running(configured(tmp_path)) as sink:
        teller = threading.Thread(target=sink.fail, args=("thread writer died",))
        teller.start()
        await asyncio.to_thread(teller.join)
        code, text = await readyz(sink)
        assert (code, text.splitlines()[0]) == (503, "not ready: thread writer died")


async def test_a_step_that_fails_does_not_keep_the_others_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: Forwarder, seconds: float) -> None:
        raise RuntimeError("a bug")

    async with running(configured(tmp_path, destinations="[{name: out, type: stdout}]")) as sink:
        monkeypatch.setattr(Forwarder, "stop", broken)
    assert "a step of the stop failed; the next ones follow" in caplog.text
    with socket.create_server(("127.0.0.1", int(sink.addresses()["receive"].split(":")[2].split("/")[0]))):
        pass
    Spool.open(configured(tmp_path).spool).stop()
    for task in sink._tasks:
        task.cancel()
    await asyncio.wait(sink._tasks)


async def test_a_disk_that_hangs_does_not_hold_up_the_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spool's stop is waited for only as long as there is time."""
    hanging = threading.Event()
    real = Spool.stop

    def hangs(self: Spool) -> None:
        hanging.wait(60)
        real(self)

    async with running(configured(tmp_path)) as sink:
        monkeypatch.setattr(Spool, "stop", hangs)
        async with asyncio.timeout(30):
            await sink.stop(0.3)
        hanging.set()


def test_the_shares_of_the_time_leave_room_for_the_spool() -> None:
    assert 0 < service.DRAIN_SHARE < service.FORWARD_SHARE < 1
