"""A disk that is full, read-only or taken away, and a second sink on the same spool, all while clients post.

While it lasts: 503 with a whole number in Retry-After, and readiness says why. Afterwards everything that was
answered 200 is there.
"""

import asyncio
import contextlib
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import committing
import pytest
from arriving import NotedFile
from disks import MIB, blank, loop_refusal, mounted, run, tmpfs, tmpfs_refusal
from effort import Effort, Report, only_long
from ledger import Ledger, size
from running import STOP_PATIENCE, Sink, check_accounts, eventually
from storm import Storm

from auditsink.common.units import Size
from auditsink.config import Spool as SpoolConfig
from auditsink.spool import Spool

CLIENTS = 6
NOWHERE = {"name": "trail", "type": "http", "url": "http://127.0.0.1:9", "backoff": {"max": "1s"}}
SMALL = {"max_bytes": "256MiB", "segment_bytes": "512KiB"}
ABORTS = 40
ABORT_AFTER = 200
"""Commits: far enough into a segment that its blocks were reserved some time ago."""
SEEN = 20
"""Refusals, or answers after them, that make a state and not a moment."""


def trail(path: Path) -> dict[str, Any]:
    """The destination that gets everything; it has the name of the one that did not."""
    return {"name": "trail", "type": "file", "path": str(path), "rotate_bytes": "1TiB", "batch": {"max_wait": "50ms"}}


async def refused(storm: Storm) -> None:
    """Wait until clients are told to come again, and see that they are told how."""
    before = storm.refused.get(503, 0)
    await eventually(lambda: storm.refused.get(503, 0) >= before + SEEN)
    assert set(storm.refused) == {503}
    assert storm.retry_after == {"1"}


async def taken_again(ledger: Ledger) -> None:
    """Wait until batches are taken."""
    before = len(ledger.batches())
    await eventually(lambda: len(ledger.batches()) >= before + SEEN)


async def all_there(
    place: Path, spool: dict[str, Any], ledger: Ledger, report: Report, tried: tuple[int, str], **more: object
) -> None:
    """Start a sink that can deliver on that spool, and compare."""
    noted = NotedFile(place / "after.ndjson")
    async with Sink(place / "after", [trail(noted.path)], spool=spool) as sink:
        check_accounts(await sink.delivered())
        assert (await sink.stop())[0] == 0
    arrivals = noted.look()
    promised = ledger.batches()
    missing = arrivals.missing(promised)
    report.row(
        *tried,
        batches_answered_200=len(promised),
        answered=sum(map(size, promised)),
        missing=len(missing),
        repeated=arrivals.repeats,
        **more,
    )
    assert not missing
    assert not arrivals.foreign
    assert arrivals.disorder == 0


async def fill_and_free(
    place: Path,
    spool: dict[str, Any],
    effort: Effort,
    report: Report,
    *,
    fill: Callable[[Sink], None],
    free: Callable[[Sink], None],
) -> None:
    """The disk fills up and gets room again, several times, without a restart."""
    ledger = Ledger(place / "ledger")
    rounds = effort.of(2, 10)
    async with Sink(place / "sink", [NOWHERE], spool=spool, receive={"retry_after": "1s"}) as sink:
        async with Storm(sink, ledger, CLIENTS, seed=effort.seed) as storm:
            for _ in range(rounds):
                await taken_again(ledger)
                fill(sink)
                await refused(storm)
                status = await sink.status()
                check_accounts(status)
                assert (status["ready"], "not ready: spool:" in await sink.get("/readyz")) == (False, True)
                free(sink)
                await taken_again(ledger)
                await sink.until(lambda now: now["ready"])
        peak = sink.peak
        await sink.kill()
    await all_there(place, spool, ledger, report, (rounds, "times full"), refusals=storm.refused[503], peak=peak // MIB)


async def test_a_full_tmpfs_is_answered_503_until_there_is_room(tmp_path: Path, effort: Effort, report: Report) -> None:
    if (why := tmpfs_refusal()) is not None:
        pytest.skip(why)
    with tmpfs(tmp_path / "small", 200 * MIB) as disk:
        spool = SMALL | {"path": str(disk / "spool")}
        ballast = Ballast(disk)
        await fill_and_free(tmp_path, spool, effort, report, fill=ballast.fill, free=ballast.free)


@only_long
async def test_a_full_ext4_is_answered_503_until_there_is_room(tmp_path: Path, effort: Effort, report: Report) -> None:
    if (why := loop_refusal()) is not None:
        pytest.skip(why)
    with mounted(blank(tmp_path / "disk.img", 200 * MIB), tmp_path / "small"):
        disk = tmp_path / "small"
        spool = SMALL | {"path": str(disk / "spool")}
        ballast = Ballast(disk)
        await fill_and_free(tmp_path, spool, effort, report, fill=ballast.fill, free=ballast.free)


async def test_a_limit_on_file_sizes_is_answered_503_until_it_is_raised(
    tmp_path: Path, effort: Effort, report: Report
) -> None:
    """The form that needs no root: writes and preallocations past the limit fail with EFBIG."""

    def limit(most: int) -> Callable[[Sink], None]:
        return lambda sink: resource.prlimit(sink.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY)) and None

    spool = SMALL | {"path": str(tmp_path / "spool")}
    few, all_of_them = limit(2**14), limit(resource.RLIM_INFINITY)
    await fill_and_free(tmp_path, spool, effort, report, fill=few, free=all_of_them)


class Ballast:
    """A file that takes all the room of a disk, and gives it back."""

    def __init__(self, disk: Path) -> None:
        self._file = disk / "ballast"

    def fill(self, _sink: Sink) -> None:
        with self._file.open("wb", buffering=0) as file:
            for piece in (MIB, 4096):
                while True:
                    try:
                        file.write(bytes(piece))
                    except OSError:
                        break

    def free(self, _sink: Sink) -> None:
        self._file.unlink()


async def test_a_disk_that_turns_read_only(tmp_path: Path, effort: Effort, report: Report) -> None:
    """What ext4 does after an error; it cannot be undone while mounted, so the sink is started again afterwards."""
    if (why := loop_refusal()) is not None:
        pytest.skip(why)
    ledger = Ledger(tmp_path / "ledger")
    image, disk = blank(tmp_path / "disk.img", 128 * MIB), tmp_path / "disk"
    spool = SMALL | {"path": str(disk / "spool"), "max_bytes": "64MiB"}
    with mounted(image, disk):
        async with Sink(tmp_path / "sink", [NOWHERE], spool=spool, receive={"retry_after": "1s"}) as sink:
            async with Storm(sink, ledger, CLIENTS, seed=effort.seed) as storm:
                await taken_again(ledger)
                run("mount", "-o", "remount,abort", disk)
                await refused(storm)
                promised = len(ledger.batches())
                assert "not ready: spool:" in await sink.get("/readyz")
                check_accounts(await sink.status())
                await refused(storm)
                assert len(ledger.batches()) == promised, "nothing can be durable on a read-only disk"
            code, seconds = await sink.stop()
            assert code == 0
            assert seconds < STOP_PATIENCE
        await check_refuses_to_start(tmp_path / "again", spool, "Read-only file system")
    with mounted(image, disk):
        await all_there(tmp_path, spool, ledger, report, (1, "time read-only"), refusals=storm.refused[503])


@only_long
@pytest.mark.parametrize("kind", ["zeros", "reserved"])
def test_a_journal_that_aborts_in_mid_sync_takes_nothing_that_was_answered(
    tmp_path: Path, report: Report, kind: str
) -> None:
    """Into blocks that are only reserved, a sync needs the journal, and can return 0 for what the abort loses.

    The control shows that: the same spool without zeros ahead of its frames. How often is the kernel's affair.
    """
    if (why := loop_refusal()) is not None:
        pytest.skip(why)
    answered, losses, lost = 0, 0, 0
    image, disk = tmp_path / "disk.img", tmp_path / "disk"
    for _ in range(ABORTS):
        with mounted(blank(image, 48 * MIB), disk):
            before = _commits_until_abort(disk, kind)
        with mounted(image, disk):
            missing = before - _stored(disk / "spool")
        answered += len(before)
        losses += bool(missing)
        lost += len(missing)
    report.row(ABORTS, "aborts", frames_go_over=kind, answered=answered, aborts_that_lost=losses, missing=lost)
    assert kind == "reserved" or not lost


def _commits_until_abort(disk: Path, kind: str) -> set[int]:
    """What was answered, one commit after the other, until ext4 aborted its journal in the middle of it."""
    command = [sys.executable, committing.__file__, str(disk / "spool"), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(ABORT_AFTER)]
        run("mount", "-o", "remount,abort", disk)
        lines += process.stdout.readlines()
    return {int(line) for line in lines}


def _stored(path: Path) -> set[int]:
    """The numbers of the events that a spool still holds."""
    spool = Spool.open(SpoolConfig(path=path, max_bytes=Size(2**25), segment_bytes=Size(2**22)))
    spool.start(lambda call: call())
    reader = spool.ring("default").reader()
    chunk = reader.read(0, 2**30)
    reader.close()
    spool.stop()
    return {committing.number_of(event) for record in chunk.records for event in record.events}


@only_long
async def test_a_disk_that_hangs_gives_no_answer_and_no_200(tmp_path: Path, effort: Effort, report: Report) -> None:
    """A frozen file system stands for storage that has gone quiet: no error, and no sync that returns."""
    if (why := loop_refusal()) is not None:
        pytest.skip(why)
    ledger = Ledger(tmp_path / "ledger")
    with mounted(blank(tmp_path / "disk.img", 128 * MIB), tmp_path / "disk"):
        disk = tmp_path / "disk"
        spool = SMALL | {"path": str(disk / "spool"), "max_bytes": "64MiB"}
        receive = {"retry_after": "1s", "max_in_flight": "2MiB", "max_body": "2MiB"}
        async with Sink(tmp_path / "sink", [NOWHERE], spool=spool, receive=receive) as sink:
            async with Storm(sink, ledger, CLIENTS, seed=effort.seed):
                await taken_again(ledger)
                with frozen(disk):
                    await asyncio.sleep(1)
                    promised = len(ledger.batches())
                    await sink.until(lambda now: not now["ready"])
                    assert "the disk has not answered for" in await sink.get("/readyz")
                    assert len(ledger.batches()) == promised
                await taken_again(ledger)
                await sink.until(lambda now: now["ready"])
            await sink.kill()
        await all_there(tmp_path, spool, ledger, report, (1, "hang"), frozen="11 s")


@contextlib.contextmanager
def frozen(disk: Path) -> Iterator[None]:
    """Nothing is written to that file system for a while."""
    run("fsfreeze", "--freeze", disk)
    try:
        yield
    finally:
        run("fsfreeze", "--unfreeze", disk)


async def test_a_spool_directory_that_is_deleted_under_the_sink(tmp_path: Path, effort: Effort, report: Report) -> None:
    """What was in it is gone with it; nothing more is promised until a restart makes a new one."""
    ledger = Ledger(tmp_path / "ledger")
    noted = NotedFile(tmp_path / "audit.ndjson")
    receive = {"retry_after": "1s"}
    async with Sink(tmp_path / "sink", [trail(noted.path)], receive=receive, spool=SMALL) as sink:
        async with Storm(sink, ledger, CLIENTS, seed=effort.seed):
            await taken_again(ledger)
        await sink.delivered()
        shutil.rmtree(sink.spool)
        promised = len(ledger.batches())
        async with Storm(sink, ledger, CLIENTS, first_client=CLIENTS, seed=effort.seed) as storm:
            await refused(storm)
            assert "not ready: spool:" in await sink.get("/readyz")
            assert len(ledger.batches()) == promised, "nothing can be durable in a directory that is gone"
            assert (await sink.stop())[0] == 0
            await sink.start()
            await taken_again(ledger)
        check_accounts(await sink.delivered())
        assert (await sink.stop())[0] == 0
    arrivals = noted.look()
    missing = arrivals.missing(ledger.batches())
    report.row(1, "removal", answered=ledger.events(), missing=len(missing), repeated=arrivals.repeats)
    assert not missing
    assert not arrivals.foreign


async def test_a_second_sink_on_the_same_spool_refuses_and_harms_nothing(
    tmp_path: Path, effort: Effort, report: Report
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    noted = NotedFile(tmp_path / "audit.ndjson")
    async with Sink(tmp_path / "sink", [trail(noted.path)], spool=SMALL) as sink:
        spool = SMALL | {"path": str(sink.spool)}
        attempts = effort.of(2, 10)
        async with Storm(sink, ledger, CLIENTS, seed=effort.seed) as storm:
            for _ in range(attempts):
                await check_refuses_to_start(tmp_path / "second", spool, "in use by another auditsink")
                await taken_again(ledger)
        check_accounts(await sink.delivered())
        assert (await sink.stop())[0] == 0
    arrivals = noted.look()
    missing = arrivals.missing(ledger.batches())
    report.row(attempts, "attempts", answered=ledger.events(), missing=len(missing), repeated=arrivals.repeats)
    assert not missing
    assert not storm.refused
    assert (arrivals.repeats, arrivals.foreign, arrivals.disorder) == (0, [], 0)


async def check_refuses_to_start(place: Path, spool: dict[str, Any], why: str) -> None:
    """Exit code 1, and one line that names the key, the path and the reason."""
    sink = Sink(place, [NOWHERE], spool=spool)
    await sink.launch()
    assert await sink.ended() == 1
    said = [line["message"] for line in sink.lines]
    assert len(said) == 1
    assert f"spool.path {spool['path']}" in said[0]
    assert why in said[0]
    await asyncio.sleep(0)
