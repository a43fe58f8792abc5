"""Chunks on the volume: moved before the start, delivered once, kept and named where they are damaged."""

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from test_chunks import RECORDED, chunk, eventlist

from auditsink.audit.eventlist import Split
from auditsink.config.spool import Spool as SpoolConfig
from auditsink.fluentbit.leftovers import AGAIN_SECONDS, DAMAGED, DIRECTORY, Adopted, Leftovers, adopt, buffer_size
from auditsink.spool import Spool
from auditsink.spool.ring import Ring
from auditsink.spool.types import Record, SpoolRejection, SubmitCallback
from auditsink.testing.clock import FakeClock


@asynccontextmanager
async def spool(path: Path, **settings: object) -> AsyncIterator[Spool]:
    opened = Spool.open(SpoolConfig(path=path, **settings))  # type: ignore[arg-type]
    loop = asyncio.get_running_loop()
    opened.start(loop.call_soon_threadsafe, loop.call_soon)
    try:
        yield opened
    finally:
        await asyncio.to_thread(opened.stop)


def held(opened: Spool, cluster: str = "prod") -> list[bytes]:
    ring = opened.rings.get(cluster)
    if ring is None:
        return []
    reader = ring.reader()
    records: list[Record] = reader.read(0, 10**9).records
    reader.close()
    return [event for record in records for event in record.events]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    for name in ("http.0", "lost+found", "auditsink"):
        (tmp_path / name).mkdir()
    (tmp_path / "http.0" / "7-1795883845.391741469.flb").write_bytes(RECORDED.read_bytes())
    (tmp_path / "http.0" / "notes.txt").write_text("not ours")
    return tmp_path


def test_chunks_are_moved_and_all_else_is_left_alone(volume: Path) -> None:
    ours = volume / "auditsink"

    assert adopt(volume, ours) == Adopted(1, 4096)

    assert (ours / DIRECTORY / "http.0" / "7-1795883845.391741469.flb").read_bytes() == RECORDED.read_bytes()
    assert [one.name for one in (volume / "http.0").iterdir()] == ["notes.txt"]
    assert adopt(volume, ours) == Adopted()


def test_a_chunk_of_the_same_name_takes_nobodys_place(volume: Path) -> None:
    ours = volume / "auditsink"
    adopt(volume, ours)
    (volume / "http.0" / "7-1795883845.391741469.flb").write_bytes(b"another")

    adopt(volume, ours)

    assert sorted(one.stat().st_size for one in (ours / DIRECTORY / "http.0").iterdir()) == [7, 4096]


def test_links_out_of_the_volume_are_not_followed(volume: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "1-1.1.flb").write_bytes(b"x")
    (volume / "link").symlink_to(elsewhere)

    assert adopt(volume, volume / "auditsink").files == 1
    assert (elsewhere / "1-1.1.flb").exists()


def test_what_cannot_be_moved_is_named_with_its_size(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_self: Path, _target: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "rename", denied)

    (problem,) = adopt(volume, volume / "auditsink").problems

    assert "7-1795883845.391741469.flb (4,096 bytes): Permission denied; its events are not delivered" in problem


def test_a_buffer_of_objects_has_its_size(volume: Path) -> None:
    assert buffer_size(volume / "http.0") == 4096 + len("not ours")
    assert buffer_size(volume / "nothing") == 0


async def test_what_was_left_is_in_the_ring_once_the_oldest_first(volume: Path) -> None:
    ours = volume / "auditsink"
    (volume / "http.0" / "9-1795883844.5.flb").write_bytes(chunk([[0, {}], eventlist({"auditID": "older"})]))
    adopt(volume, ours)
    added = {"region": "eu-1", "stage": "prod"}

    async with spool(ours) as opened:
        left = Leftovers(ours, "prod", added, FakeClock())
        await left.deliver(opened)
        await Leftovers(ours, "prod", added, FakeClock()).deliver(opened)
        events = held(opened)

    assert events[0] == b'{"auditID":"older"}'
    assert len(events) == 7
    assert left.events == 7
    assert list((ours / DIRECTORY / "http.0").iterdir()) == []


async def test_a_crash_before_the_file_is_removed_doubles_nothing(volume: Path) -> None:
    ours = volume / "auditsink"
    adopt(volume, ours)
    file = ours / DIRECTORY / "http.0" / "7-1795883845.391741469.flb"

    async with spool(ours) as opened:
        await Leftovers(ours, "prod", {}, FakeClock()).deliver(opened)
        file.write_bytes(RECORDED.read_bytes())
        again = Leftovers(ours, "prod", {}, FakeClock())
        await again.deliver(opened)
        assert len(held(opened)) == 6

    assert again.events == 0
    assert not file.exists()


async def test_a_torn_file_is_delivered_as_far_as_it_goes_and_kept(
    volume: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = volume / "auditsink"
    adopt(volume, ours)
    torn = ours / DIRECTORY / "http.0" / "8-1795883846.1.flb"
    data = chunk([[0, {}], eventlist({"auditID": "good"})])[:-64] + b"\xc1"
    torn.write_bytes(data[:10] + (int.from_bytes(data[10:14]) + 1).to_bytes(4) + data[14:])

    async with spool(ours) as opened:
        with caplog.at_level(logging.ERROR):
            await Leftovers(ours, "prod", {}, FakeClock()).deliver(opened)
        assert b'{"auditID":"good"}' in held(opened)
        (line,) = caplog.records
        assert (line.bytes, line.records_delivered) == (len(data), 1)  # type: ignore[attr-defined]
        caplog.clear()
        await Leftovers(ours, "prod", {}, FakeClock()).deliver(opened)
        assert len(held(opened)) == 7

    kept = torn.with_name(torn.name + DAMAGED)
    assert kept.stat().st_size == len(data)
    (line,) = caplog.records
    assert str(kept) in line.getMessage()


class _Counted(FakeClock):
    """Sleeps no time at all, and remembers for how long it was to."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def test_a_full_ring_is_waited_for(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = volume / "auditsink"
    adopt(volume, ours)
    clock = _Counted()

    async with spool(ours) as opened:
        submit = opened.submit

        def full_once(ring: Ring, body: bytes, split: Split, source: str, done: SubmitCallback) -> None:
            if clock.slept:
                submit(ring, body, split, source, done)
            else:
                done(SpoolRejection.FULL)

        monkeypatch.setattr(opened, "submit", full_once)
        await Leftovers(ours, "prod", {}, clock).deliver(opened)
        assert len(held(opened)) == 6

    assert clock.slept == [AGAIN_SECONDS]
