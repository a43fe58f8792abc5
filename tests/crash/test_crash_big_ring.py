"""Restart with gigabytes, and with hundreds of rings: what is read and held does not depend on what the rings hold."""

import asyncio
import base64
import random
import shutil
import threading
from pathlib import Path
from typing import NamedTuple

import corpus
import pytest
from disks import MIB
from effort import Effort, Report
from running import Sink, check_accounts

from auditsink import config
from auditsink.audit import eventlist
from auditsink.common.units import Size
from auditsink.spool import Spool
from auditsink.spool.types import Receipt, SpoolRejection

NOWHERE = {"name": "trail", "type": "http", "url": "http://127.0.0.1:9"}
BODY = 3 * MIB
READ_AT_START = 32 * MIB
"""More than an empty sink reads: the last segment (16 MiB), which is read whole when it has no seal; and headers."""
HELD_AT_START = 24 * MIB
"""More than an empty sink holds: that segment while it is read, and the batch that a destination waits to deliver."""


def fill(path: Path, size: int) -> int:
    """A ring of that many bytes, written as the sink writes; returns the events in it."""
    spool = Spool.open(config.Spool(path=path, max_bytes=Size(2 * size), durability="os"))
    spool.start(lambda call: call())
    ring = spool.ring("default")
    answered = threading.Semaphore(0)
    refused: list[SpoolRejection] = []

    def done(answer: Receipt | SpoolRejection) -> None:
        if not isinstance(answer, Receipt):
            refused.append(answer)
        answered.release()

    chance = random.Random(1)
    number = 0
    while ring.size < size and not refused:
        noise = base64.b64encode(chance.randbytes(BODY))
        body = corpus.event_list([corpus.event(f"big-{number}", b'"%b"' % noise)])
        spool.submit(ring, body, eventlist.split(body), "", done)
        assert answered.acquire(timeout=60)
        number += 1
    spool.stop()
    assert not refused
    return number


def bytes_read(sink: Sink) -> int:
    """By its system calls since it started."""
    lines = Path(f"/proc/{sink.pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


class Start(NamedTuple):
    """What a start cost: seconds to ready, bytes read, bytes resident; and the events that the ring holds."""

    seconds: float
    read: int
    resident: int
    events: int


async def start(sink: Sink) -> Start:
    seconds = await sink.start()
    return Start(seconds, bytes_read(sink), sink.resident, (await sink.status())["accepted_events"])


async def test_a_start_with_many_rings(tmp_path: Path, effort: Effort, report: Report) -> None:
    """After a kill that left the last segment of each without its seal; each has the cursors of two destinations."""
    count = effort.of(20, 300)
    also = NOWHERE | {"name": "also"}
    sink = Sink(tmp_path, [NOWHERE, also], spool={"max_bytes": 2 * count * MIB}, receive={"max_clusters": count})
    empty = await start(sink)
    for number in range(count):
        assert (await sink.post(corpus.plain_body(f"event-{number}").data, f"/cluster-{number}"))[0] == 200
    await sink.kill()
    killed = await start(sink)
    assert len((await sink.status())["clusters"]) == count
    check_accounts(await sink.status())
    await sink.kill()
    report.row(
        1,
        "start after a kill",
        rings=count,
        seconds_to_ready_empty=f"{empty.seconds:.2f}",
        after_a_kill=f"{killed.seconds:.2f}",
        RSS_MiB=[one.resident // MIB for one in (empty, killed)],
    )
    assert killed.events == 3 * count
    assert killed.resident - empty.resident < HELD_AT_START


async def test_a_start_does_not_depend_on_what_the_ring_holds(tmp_path: Path, effort: Effort, report: Report) -> None:
    """After an orderly stop, and after a kill that left a segment without its seal."""
    size = effort.of(64, 10 * 1024) * MIB
    if shutil.disk_usage(tmp_path).free < 1.5 * size:
        pytest.skip(f"needs {1.5 * size / 2**30:.1f} GiB of disk")
    settings = {"max_bytes": 2 * size}
    empty = Sink(tmp_path / "empty", [NOWHERE], spool=settings)
    nothing = await start(empty)
    await empty.kill()
    full = Sink(tmp_path / "full", [NOWHERE], spool=settings)
    stored = await asyncio.to_thread(fill, full.spool, size)
    stopped = await start(full)
    assert (await full.post(corpus.plain_body("last").data))[0] == 200
    await full.kill()
    killed = await start(full)
    await full.kill()
    shutil.rmtree(full.spool)
    report.row(
        2,
        "starts",
        ring=f"{size // MIB} MiB",
        events=stored,
        seconds_to_ready_empty=f"{nothing.seconds:.2f}",
        after_a_stop=f"{stopped.seconds:.2f}",
        after_a_kill=f"{killed.seconds:.2f}",
        MiB_read=[one.read // MIB for one in (nothing, stopped, killed)],
        RSS_MiB=[one.resident // MIB for one in (nothing, stopped, killed)],
    )
    assert (stopped.events, killed.events) == (stored, stored + 3)
    for one in (stopped, killed):
        assert one.read - nothing.read < READ_AT_START
        assert one.resident - nothing.resident < HELD_AT_START
