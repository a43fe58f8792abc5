"""The file destination on real files: whole lines, on the disk before they count, through rotation and accidents."""
# ruff: noqa: ASYNC240 - these tests look at local files between awaits, and nothing else runs in their loop

import errno
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from destinationkit import HOSTILE, batch, event
from hypothesis import given
from hypothesis import strategies as st

from auditsink.audit.eventlist import Mark, unsplit_document
from auditsink.config import FileConfig
from auditsink.delivery.destination import DestinationError
from auditsink.delivery.outcome import Delivered, Outcome, Retry
from auditsink.destinations import file as module
from auditsink.destinations.file import FileDestination, RotatingFile
from auditsink.testing.clock import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "below" / "audit.ndjson"


def destination(path: Path, **settings: Any) -> FileDestination:
    return FileDestination(FileConfig(name="disk", path=path, **settings), FakeClock())


async def deliver(disk: FileDestination, events: Sequence[bytes], **settings: Any) -> Outcome:
    attempt = await disk.prepare(batch(events, **settings))
    return await attempt()


def lines(*events: bytes) -> bytes:
    return b"".join(one + b"\n" for one in events)


async def test_events_are_lines_byte_for_byte_and_in_order(path: Path) -> None:
    disk = destination(path)
    assert await deliver(disk, [event(0), event(1)]) == Delivered()
    assert await deliver(disk, [event(2)]) == Delivered()
    await disk.close()

    assert path.read_bytes() == lines(event(0), event(1), event(2))
    assert path.stat().st_mode & 0o777 == 0o600


async def test_bytes_that_are_no_utf8_stay_as_they_are(path: Path) -> None:
    disk = destination(path)
    await deliver(disk, [HOSTILE["invalid-utf8"]], marks=Mark.NOT_UTF8)
    await disk.close()

    assert path.read_bytes() == lines(HOSTILE["invalid-utf8"])


async def test_line_breaks_between_tokens_become_spaces(path: Path) -> None:
    disk = destination(path)
    await deliver(disk, [HOSTILE["raw-newlines"]])
    await disk.close()

    assert path.read_bytes() == lines(HOSTILE["raw-newlines"].replace(b"\n", b" ").replace(b"\r", b" "))


async def test_a_body_that_could_not_be_split_is_one_document(path: Path) -> None:
    disk = destination(path)
    await deliver(disk, [b"{\xff\n"], marks=Mark.UNSPLIT | Mark.NOT_UTF8)
    await disk.close()

    assert path.read_bytes() == lines(unsplit_document(b"{\xff\n"))


async def test_delivered_means_synced_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = destination(path)
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_size))
    await deliver(disk, [event(0)])
    await disk.close()

    assert synced == [len(event(0)) + 1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"{1}\n", b"{1}\n"),
        (b'{1}\n{"torn', b"{1}\n"),
        (b'{"torn', b""),
        (b"{1}\nnot of ours", b"{1}\nnot of ours\n"),
        (b"not of ours", b"not of ours\n"),
        (b'{1}\n{"' + b"x" * 200_000, b"{1}\n"),
        (b"x" * 65_536 + b"\n", b"x" * 65_536 + b"\n"),
        (b"x" * 65_535 + b"\n{", b"x" * 65_535 + b"\n"),
    ],
)
async def test_a_torn_last_line_is_repaired_at_the_start(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "audit.ndjson"
    path.write_bytes(before)
    disk = destination(path)
    await deliver(disk, [event(0)])
    await disk.close()

    assert path.read_bytes() == after + lines(event(0))


async def test_a_full_file_becomes_number_one_and_the_oldest_goes(path: Path) -> None:
    disk = destination(path, rotate_bytes=10 * (len(event(0)) + 1), keep=2)
    for number in range(7):
        await deliver(disk, [event(number)] * 5)
    await disk.close()

    assert sorted(one.name for one in path.parent.iterdir()) == ["audit.ndjson", "audit.ndjson.1", "audit.ndjson.2"]
    assert path.read_bytes() == lines(*[event(6)] * 5)
    assert path.with_name("audit.ndjson.1").read_bytes() == lines(*[event(4)] * 5, *[event(5)] * 5)
    assert path.with_name("audit.ndjson.2").read_bytes() == lines(*[event(2)] * 5, *[event(3)] * 5)


async def test_a_batch_larger_than_a_file_is_not_split(path: Path) -> None:
    disk = destination(path, rotate_bytes=100, keep=1)
    await deliver(disk, [event(0)] * 3)
    await deliver(disk, [event(1)] * 3)
    await disk.close()

    assert path.read_bytes() == lines(*[event(1)] * 3)
    assert path.with_name("audit.ndjson.1").read_bytes() == lines(*[event(0)] * 3)


async def test_a_file_that_was_full_before_the_start_is_rotated_first(tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    path.write_bytes(b"{}\n" * 100)
    disk = destination(path, rotate_bytes=200, keep=1)
    await deliver(disk, [event(0)])
    await disk.close()

    assert path.read_bytes() == lines(event(0))


@pytest.mark.parametrize("accident", ["rename", "remove", "replace", "truncate"])
async def test_a_file_taken_away_from_outside_is_opened_anew(path: Path, accident: str) -> None:
    disk = destination(path)
    await deliver(disk, [event(0)])
    aside = path.with_name("aside")
    if accident == "rename":
        path.rename(aside)
    elif accident == "remove":
        path.unlink()
    elif accident == "replace":
        aside.write_bytes(b"{2}\n")
        aside.replace(path)
    else:
        os.truncate(path, 0)
    assert await deliver(disk, [event(1)]) == Delivered()
    await disk.close()

    assert path.read_bytes() == (b"{2}\n" if accident == "replace" else b"") + lines(event(1))
    if accident == "rename":
        assert aside.read_bytes() == lines(event(0))


async def test_a_directory_taken_away_is_waited_for(path: Path) -> None:
    disk = destination(path)
    path.unlink()
    path.parent.rmdir()
    outcome = await deliver(disk, [event(0)])
    assert isinstance(outcome, Retry)
    assert str(path) in outcome.why

    path.parent.mkdir()
    assert await deliver(disk, [event(1)]) == Delivered()
    await disk.close()
    assert path.read_bytes() == lines(event(1))


class Disk:
    """Stands between the destination and the system's calls, and fails on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self.sync_problem: int | None = None
        monkeypatch.setattr(os, "pwritev", self.write)
        monkeypatch.setattr(os, "fdatasync", self.fdatasync)

    _write = staticmethod(os.pwritev)

    def write(self, fd: int, buffers: Sequence[bytes], offset: int) -> int:
        content = b"".join(buffers)
        if self.room is not None:
            if self.room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            content = content[: self.room]
            self.room -= len(content)
        return self._write(fd, [content], offset)

    def fdatasync(self, fd: int) -> None:
        if self.sync_problem is not None:
            raise OSError(self.sync_problem, os.strerror(self.sync_problem))


async def test_a_full_disk_takes_back_what_was_half_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = destination(path)
    await deliver(disk, [event(0)])
    system = Disk(monkeypatch)
    system.room = 40
    attempt = await disk.prepare(batch([event(1), event(2)]))
    outcome = await attempt()
    assert isinstance(outcome, Retry)
    assert str(path) in outcome.why
    assert "No space left on device" in outcome.why
    assert path.read_bytes() == lines(event(0))

    system.room = None
    assert await attempt() == Delivered()
    await disk.close()
    assert path.read_bytes() == lines(event(0), event(1), event(2))


async def test_a_failed_sync_is_not_trusted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = destination(path)
    await deliver(disk, [event(0)])
    system = Disk(monkeypatch)
    system.sync_problem = errno.EIO
    attempt = await disk.prepare(batch([event(1)]))
    assert isinstance(await attempt(), Retry)
    assert path.read_bytes() == lines(event(0))

    system.sync_problem = None
    assert await attempt() == Delivered()
    await disk.close()
    assert path.read_bytes() == lines(event(0), event(1))


@given(room=st.integers(1, 400), several=st.integers(1, 4))
def test_short_writes_never_leave_half_a_line(
    tmp_path_factory: pytest.TempPathFactory, room: int, several: int
) -> None:
    path = tmp_path_factory.mktemp("short") / "a"
    content = lines(*(event(number) for number in range(several)))
    with pytest.MonkeyPatch.context() as patch:
        system = Disk(patch)
        file = RotatingFile(path, 10**9, 1)
        system.room = room
        try:
            file.append(content)
        except OSError:
            assert path.read_bytes() == b""
            system.room = None
            file.append(content)
        file.close()
    assert path.read_bytes() == content


async def test_several_writers_share_a_file_through_its_rotations(path: Path) -> None:
    sink = destination(path, rotate_bytes=1000, keep=100)
    command = destination(path, rotate_bytes=1000, keep=100)
    for number in range(0, 20, 2):
        assert await deliver(sink, [event(number)]) == Delivered()
        assert await deliver(command, [event(number + 1)]) == Delivered()
    await sink.close()
    await command.close()

    written = sorted(
        path.parent.iterdir(), key=lambda one: (one == path, -int(one.suffix[1:] or 0) if one != path else 0)
    )
    assert len(written) > 3
    assert b"".join(one.read_bytes() for one in written) == lines(*(event(number) for number in range(20)))


async def test_a_file_that_another_process_is_writing_to_is_waited_for(path: Path) -> None:
    disk = destination(path)
    other = os.open(path, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    outcome = await deliver(disk, [event(0)])
    assert isinstance(outcome, Retry)
    assert f"{path}: another process is writing to it" in outcome.why
    late = destination(path)

    os.close(other)
    assert await deliver(disk, [event(0)]) == Delivered()
    assert await deliver(late, [event(1)]) == Delivered()
    await disk.close()
    await late.close()
    assert path.read_bytes() == lines(event(0), event(1))


async def test_a_line_that_another_writer_tore_is_repaired_before_ours(path: Path) -> None:
    disk = destination(path)
    path.write_bytes(b'{"torn')
    assert await deliver(disk, [event(0)]) == Delivered()
    await disk.close()

    assert path.read_bytes() == lines(event(0))


async def test_a_device_is_no_destination(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    with pytest.raises(DestinationError, match="is no regular file"):
        destination(fifo)


async def test_probing_writes_nothing(path: Path) -> None:
    disk = destination(path)
    assert await disk.probe() == Delivered()
    await disk.close()

    assert path.read_bytes() == b""


async def test_a_batch_that_comes_again_after_a_crash_is_there_as_whole_lines(path: Path) -> None:
    disk = destination(path)
    await deliver(disk, [event(0)])
    await disk.close()
    with path.open("ab") as torn:
        torn.write(event(1)[:30])

    disk = destination(path)
    await deliver(disk, [event(1)])
    await disk.close()
    assert path.read_bytes() == lines(event(0), event(1))


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """A disk that answers when this is set."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_disk_that_hangs_ends_the_attempt_in_time_and_no_second_call_is_made(
    path: Path, monkeypatch: pytest.MonkeyPatch, hanging: threading.Event
) -> None:
    disk, neighbour = destination(path, timeout=0.05), destination(path.with_name("neighbour"))
    real, calls, reached = os.fdatasync, [], threading.Event()

    def slow(fd: int) -> None:
        if os.fstat(fd).st_ino == path.stat().st_ino:
            calls.append(fd)
            reached.set()
            hanging.wait(60)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", slow)
    for _ in range(3):
        outcome = await deliver(disk, [event(0)])
        assert isinstance(outcome, Retry)
        assert f"{path}: its disk has not answered for 0.05 s" in outcome.why
    assert reached.wait(60)
    assert len(calls) == 1
    assert await deliver(neighbour, [event(1)]) == Delivered()

    hanging.set()
    patient = destination(path)
    while not isinstance(await deliver(disk, [event(0)]), Delivered):
        pass
    for one in (disk, neighbour, patient):
        await one.close()
    assert set(path.read_bytes().splitlines()) == {event(0)}


async def test_closing_does_not_wait_for_a_disk_that_hangs(
    path: Path, monkeypatch: pytest.MonkeyPatch, hanging: threading.Event
) -> None:
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.01)
    disk = destination(path, timeout=0.01)
    monkeypatch.setattr(os, "fdatasync", lambda _: hanging.wait(60))
    await deliver(disk, [event(0)])
    await disk.close()
