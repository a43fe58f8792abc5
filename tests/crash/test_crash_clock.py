"""The wall clock jumps by hours, both ways, under load and over restarts: no event is lost, no figure turns absurd."""

import asyncio
import signal
import sys
from pathlib import Path

from arriving import NotedFile
from effort import Effort, Report
from ledger import Ledger
from running import Sink, check_accounts, eventually
from storm import Storm

HOUR = 3600
JUMPS = (5 * HOUR, -9 * HOUR, 100 * 24 * HOUR, -400 * 24 * HOUR, 0)
CLIENTS = 4
BATCH = 200


async def test_a_clock_that_jumps_costs_nothing(tmp_path: Path, effort: Effort, report: Report) -> None:
    """After every jump batches go on being taken and delivered, also by a sink that starts in the new time."""
    offset = tmp_path / "offset"
    set_clock(offset, 0)
    ledger = Ledger(tmp_path / "ledger")
    noted = NotedFile(tmp_path / "audit.ndjson")
    batch = {"max_wait": "50ms", "max_events": BATCH}
    destination = {"name": "disk", "type": "file", "path": str(noted.path), "rotate_bytes": "1TiB", "batch": batch}
    command = (sys.executable, Path(__file__).with_name("jumping.py"), offset)
    spool = {"max_bytes": "32MiB", "segment_bytes": "256KiB"}
    jumps = effort.of(1, 4) * (JUMPS if effort.long else JUMPS[:3])
    async with Sink(tmp_path / "sink", [destination], command, spool=spool) as sink:
        async with Storm(sink, ledger, CLIENTS, seed=effort.seed) as storm:
            for jump in jumps:
                set_clock(offset, jump)
                await progress(sink, ledger)
                status = await sink.status()
                check_accounts(status)
                assert status["ready"]
                assert status["destinations"][0]["lag_seconds"] >= 0
                assert status["spool"]["oldest_seconds"] >= 0
                number = signal.SIGTERM if jump > 0 else signal.SIGKILL
                await sink.stop(number)
                await sink.start()
                await progress(sink, ledger)
        await sink.delivered()
        assert (await sink.stop())[0] == 0
    promised = ledger.batches()
    arrivals = noted.look()
    missing = arrivals.missing(promised)
    report.row(
        len(jumps),
        "jumps",
        batches_answered_200=len(promised),
        answered=ledger.events(),
        missing=len(missing),
        repeated=arrivals.repeats,
    )
    assert not missing
    assert not arrivals.foreign
    assert arrivals.disorder == 0
    # A kill repeats what was in flight; and a retry is not recognised when its first try seems to be hours ago.
    assert arrivals.repeats <= len(jumps) * (BATCH + CLIENTS * 400)
    assert set(storm.refused) <= {503}


def set_clock(offset: Path, seconds: int) -> None:
    """In one go: the sink reads the file all the time."""
    new = offset.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(offset)


async def progress(sink: Sink, ledger: Ledger) -> None:
    """Wait until more has been answered and delivered."""
    answered = len(ledger.batches()) + 10
    await eventually(lambda: len(ledger.batches()) >= answered)
    delivered = (await sink.status())["destinations"][0]["delivered"]
    await sink.until(lambda now: now["destinations"][0]["delivered"] > delivered)
    await asyncio.sleep(0)
