"""All destinations are down: the ring fills and memory does not; then everything arrives, in order."""

import asyncio
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from arriving import NotedFile, NotingCollector, NotingHec
from disks import MIB
from effort import Effort, Report
from ledger import Ledger
from running import Sink, check_accounts, eventually
from storm import Storm

from auditsink.testing.hec import reply

CLIENTS = 6
TOKEN = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
BUSY = 9
"""HEC's code for a server that is busy."""
REFUSALS = 50
GROWTH = 24 * MIB
"""What memory may grow by between a ring that is a quarter full and one that is full: buffers that were never all in
use at once, not what the ring holds."""
PEAK = 150 * MIB
"""Bytes of memory that the sink may ever hold, with three destinations catching up at once."""


def anonymous(sink: Sink) -> int:
    """Bytes of memory that are the sink's own, from the kernel's sum over all mappings."""
    found = re.search(r"Anonymous:\s+(\d+) kB", Path(f"/proc/{sink.pid}/smaps_rollup").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def fill(sink: Sink, storm: Storm, limit: int) -> tuple[int, int]:
    """Wait until the ring is full; memory at a quarter and at the end."""
    quarter = 0
    while storm.refused.get(503, 0) < REFUSALS:
        held = (await sink.status())["spool"]["bytes"]
        if not quarter and held > limit / 4:
            quarter = anonymous(sink)
        if not storm.refused:
            assert held <= limit
        await asyncio.sleep(0.05)
    full = anonymous(sink)
    return quarter or full, full  # on a slow machine it may be full by the second look


async def test_a_backlog_fills_the_ring_and_not_the_memory(
    tmp_path: Path, effort: Effort, report: Report, keep_port: Callable[[int], None]
) -> None:
    """200 until the ring is full, then 503 with a whole number in Retry-After; all of it arrives, in order."""
    limit = effort.of(3, 128) * MIB
    ledger = Ledger(tmp_path / "ledger")
    noted = NotedFile(tmp_path / "out" / "audit.ndjson")
    common = {"batch": {"max_wait": "50ms"}, "backoff": {"initial": "100ms", "max": "500ms"}, "in_flight": 1}
    async with NotingCollector(max_body=20_000_000) as collector, NotingHec(token=TOKEN) as splunk:
        destinations = [
            {"name": "disk", "type": "file", "path": str(noted.path), "rotate_bytes": "1TiB", **common},
            {"name": "hook", "type": "http", "url": collector.url, **common},
            {"name": "siem", "type": "splunk", "url": splunk.url, "token": TOKEN, **common},
        ]
        spool = {"max_bytes": limit, "segment_bytes": limit // 16}
        async with Sink(tmp_path / "sink", destinations, spool=spool, receive={"retry_after": "3s"}) as sink:
            await collector.stop()
            keep_port(collector.port)
            splunk.script = [reply(BUSY)] * 100_000
            shutil.rmtree(noted.path.parent)
            async with Storm(sink, ledger, CLIENTS, seed=effort.seed) as storm:
                quarter, full = await fill(sink, storm, limit)
            status = await sink.status()
            check_accounts(status)
            assert (set(storm.refused), storm.retry_after) == ({503}, {"3"})
            assert status["rejected_requests"]["full"] >= REFUSALS
            assert 0.7 * limit < status["spool"]["bytes"] <= limit
            # What was stored after the last look was answered; nothing else is.
            assert ledger.events() <= status["accepted_events"] <= ledger.events() + CLIENTS * 400
            assert {one["pending"] for one in status["destinations"]} == {status["accepted_events"]}
            assert "ready\n" in await sink.get("/readyz")

            noted.path.parent.mkdir()
            splunk.script = []
            await collector.start(collector.port)
            await eventually(lambda: collector.arrivals.total)
            await sink.delivered()
            drained = anonymous(sink)
            peak = sink.peak
            assert (await sink.stop())[0] == 0
    everywhere = {"disk": noted.look(), "hook": collector.arrivals, "siem": splunk.arrivals}
    promised = ledger.batches()
    report.row(
        1,
        "full ring",
        ring=f"{limit // MIB} MiB",
        answered=ledger.events(),
        missing=sum(len(one.missing(promised)) for one in everywhere.values()),
        repeated=sum(one.repeats for one in everywhere.values()),
        own_memory_at_a_quarter_full_and_drained_MiB=(quarter // MIB, full // MIB, drained // MIB),
        peak_RSS_MiB=peak // MIB,
    )
    for arrivals in everywhere.values():
        assert not arrivals.missing(promised)
        assert (arrivals.foreign, arrivals.disorder, arrivals.repeats) == ([], 0, 0)
    assert full - quarter < GROWTH
    assert peak < PEAK
