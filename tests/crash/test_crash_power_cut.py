"""The power goes: what was answered 200 is on the disk; with a weaker durability it is not, or the test is none."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from arriving import NotedFile
from disks import MIB, Copy, Drive, loop_refusal
from effort import Effort, Report, only_long
from ledger import Arrivals, Key, Ledger, body, cluster, size
from running import Sink, check_accounts, eventually
from storm import Storm

CLIENTS = 6
SPOOL = {"max_bytes": "48MiB", "segment_bytes": "512KiB"}
DISK = 80 * MIB
IDLE_SECONDS = 3.0
LOAD_SECONDS = 0.6
ANSWERED = 20
"""Batches between two cuts, at least; a busy machine takes longer for them."""
NOWHERE = "http://127.0.0.1:9"
"""The discard port: nothing listens, so the spool alone holds what was accepted."""
NAME = "trail"
"""Of the only destination, the same before and after the cut: it goes on at its cursor."""


@pytest.fixture(autouse=True)
def _mountable() -> None:
    if (why := loop_refusal()) is not None:
        pytest.skip(why)


class Cut(NamedTuple):
    """A disk as the power cut left it, what had been promised and delivered by then, and what waited for an answer."""

    name: str
    copy: Copy
    promised: list[Key]
    waiting: list[Key]
    delivered: Arrivals


class Scene:
    """A sink under load on a disk whose power can be cut again and again: each cut is a copy, and the sink goes on."""

    def __init__(self, place: Path, drive: Drive, durability: str, *, flowing: bool) -> None:
        self.ledger = Ledger(place / "ledger")
        self.cuts: list[Cut] = []
        self._place = place
        self._drive = drive
        self._out = NotedFile(place / "audit.ndjson")
        destination: dict[str, Any] = (
            {"type": "file", "path": str(self._out.path), "rotate_bytes": "1TiB", "batch": {"max_wait": "50ms"}}
            if flowing
            else {"type": "http", "url": NOWHERE}
        )
        spool = SPOOL | {"path": str(drive.path / "spool"), "durability": durability}
        self.sink = Sink(place / "sink", [destination | {"name": NAME}], spool=spool)

    async def answered(self, more: int) -> None:
        """Wait until clients were promised so many more batches."""
        wanted = len(self.ledger.batches()) + more
        await eventually(lambda: len(self.ledger.batches()) >= wanted)

    async def cut(self, name: str) -> None:
        """Right now."""
        self.sink.signal(signal.SIGSTOP)
        copy = await asyncio.to_thread(self._drive.cut, name)
        await asyncio.sleep(0.05)  # answers that had left the sink are read by their clients, and are promises
        promised = self.ledger.batches()
        waiting = sorted(self.ledger.posted.difference(promised))
        self.cuts.append(Cut(name, copy, promised, waiting, NotedFile(self._out.path).look()))
        self.sink.signal(signal.SIGCONT)


@asynccontextmanager
async def scene(place: Path, durability: str, *, storeys: int, flowing: bool) -> AsyncIterator[Scene]:
    with Drive(place / "drive", DISK, storeys) as drive:
        made = Scene(place, drive, durability, flowing=flowing)
        async with made.sink:
            yield made


async def cut_under_load(made: Scene, effort: Effort, *, quick: int = 1, kills: bool = True) -> None:
    """Several times, at any moment; `quick`: how often in the quick form.

    `kills`: now and then the process was killed before, and its successor has synced what it found.
    """
    async with Storm(made.sink, made.ledger, CLIENTS, seed=effort.seed):
        for number in range(effort.of(quick, 6)):
            await made.answered(ANSWERED)
            await asyncio.sleep(LOAD_SECONDS)
            if kills and number % 3 == 2:
                await made.sink.kill()
                await made.sink.start()
            await made.cut(f"load-{number}")


async def cut_when_idle(made: Scene) -> None:
    """After everything has been quiet for a while."""
    await asyncio.sleep(IDLE_SECONDS)
    await made.cut("idle")


class Found(NamedTuple):
    """What is left after a cut: how many promised events are nowhere now, and what `spool verify` says."""

    missing: int
    verdict: str


async def power_on(place: Path, cut: Cut, report: Report) -> Found:
    """Verify the spool, start a sink on it, have the clients repeat what was not answered, and compare.

    The retries matter: the disk may hold half of such a batch, which must not be taken for the whole.
    """
    found = NotedFile(place / f"{cut.name}.ndjson")
    with cut.copy as disk:
        spool = SPOOL | {"path": str(disk / "spool")}
        verdict = await verify(disk / "spool")
        destination = {"name": NAME, "type": "file", "path": str(found.path), "rotate_bytes": "1TiB"}
        async with Sink(place / f"sink-{cut.name}", [destination], spool=spool) as sink:
            for key in cut.waiting:
                assert (await sink.post(body(key), f"/{cluster(key)}"))[0] == 200
            check_accounts(await sink.delivered())
            assert (await sink.stop())[0] == 0
    arrivals = found.look()
    assert not set(cut.delivered.missing(cut.waiting)) & set(arrivals.missing(cut.waiting))
    missing = len(set(cut.delivered.missing(cut.promised)) & set(arrivals.missing(cut.promised)))
    report.row(
        1,
        "power cuts",
        cut=cut.name,
        batches_answered_200=len(cut.promised),
        answered=sum(map(size, cut.promised)),
        batches_repeated=len(cut.waiting),
        missing=missing,
        repeated=sum(len(seen & cut.delivered.counts.get(key, Counter())) for key, seen in arrivals.counts.items()),
        verify=verdict,
    )
    assert not arrivals.foreign
    return Found(missing, verdict)


async def verify(spool: Path) -> str:
    """What `auditsink spool verify` finds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auditsink", "spool", "verify", "--path", spool,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    damage = [line for line in said.decode().splitlines() if line.startswith("DAMAGE")]
    return "whole" if process.returncode == 0 else f"{len(damage)} problems"


@pytest.mark.parametrize(
    ("storeys", "flowing"),
    [
        pytest.param(1, False, id="no-cache-backlog"),
        pytest.param(1, True, id="no-cache-flowing", marks=only_long),
        pytest.param(2, False, id="volatile-cache-backlog", marks=only_long),
        pytest.param(2, True, id="volatile-cache-flowing"),
    ],
)
async def test_a_power_cut_loses_nothing_that_was_answered_200(
    tmp_path: Path, effort: Effort, report: Report, storeys: int, flowing: bool
) -> None:
    """`durability: fsync`, on a disk without a cache and on one that forgets its own; destinations down and up."""
    async with scene(tmp_path, "fsync", storeys=storeys, flowing=flowing) as made:
        await cut_under_load(made, effort)
        if effort.long:
            await cut_when_idle(made)
        for cut in made.cuts:
            assert len(cut.promised) >= ANSWERED
            assert await power_on(tmp_path, cut, report) == (0, "whole")


@pytest.mark.parametrize("storeys", [1, pytest.param(2, marks=only_long)], ids=["no-cache", "volatile-cache"])
async def test_with_durability_os_the_same_power_cut_loses_events(
    tmp_path: Path, effort: Effort, report: Report, storeys: int
) -> None:
    """The control: if this lost nothing, the test above would prove nothing."""
    async with scene(tmp_path, "os", storeys=storeys, flowing=False) as made:
        await cut_under_load(made, effort, quick=2, kills=False)
        missing = [(await power_on(tmp_path, cut, report)).missing for cut in made.cuts]
        assert any(missing), missing  # now and then the kernel has just written everything by itself


@only_long
async def test_with_durability_interval_a_power_cut_costs_a_second(
    tmp_path: Path, effort: Effort, report: Report
) -> None:
    """Under load the newest may be lost; what is older than the interval is there."""
    async with scene(tmp_path, "interval", storeys=2, flowing=False) as made:
        await cut_under_load(made, effort, kills=False)
        await cut_when_idle(made)
        *under_load, idle = made.cuts
        for cut in under_load:
            await power_on(tmp_path, cut, report)
        assert await power_on(tmp_path, idle, report) == (0, "whole")
