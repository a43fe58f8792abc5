"""Spools and exports beside their checkpoints, while the ring's limit works on them."""

import random
from collections.abc import Callable
from pathlib import Path

from evidencekit import LEDGER, SPOOL, bench, stated

from auditsink.evidence.verify.archive import Archive, Period
from auditsink.evidence.verify.findings import Findings
from auditsink.evidence.verify.verify_spool import SpoolVerifier
from auditsink.spool import identity, segment_file
from auditsink.spool.identity import Identity
from auditsink.spool.slots import SlotFile
from auditsink.testing.disk import FakeDisk

RING = SPOOL / "rings" / "c"


async def filled() -> FakeDisk:
    """A ring of several segments, all of them covered."""
    disk, chance = FakeDisk(), random.Random(1)
    async with bench(disk) as one:
        for _ in range(12):
            await one.put("c", *(chance.randbytes(500).hex() for _ in range(40)))
    assert len(stated(disk)) >= 4
    return disk


def verify(disk: FakeDisk, place: Path, progress: Callable[[int], object] = lambda _size: None) -> Findings:
    copy = place / "checkpoints.ndjson"
    copy.write_bytes(disk.content(LEDGER))
    findings = Findings()
    with Archive([copy], None, findings) as archive:
        archive.read(Period())
        SpoolVerifier(archive, findings, progress).check_spool(SPOOL, ["c"], disk)
    return findings


def drop_first(disk: FakeDisk) -> int:
    """As the ring's limit does; the new floor."""
    first, second = segment_file.segments(RING, disk)[:2]
    who = identity.peek(RING, disk)
    assert who is not None
    meta = SlotFile.open(disk, RING / identity.FILE)
    meta.write(Identity(who.ring_id, second.header.first_sequence).encode())
    disk.unlink(first.path)
    return second.header.first_sequence


async def test_each_segment_is_covered_by_itself(tmp_path: Path) -> None:
    """So after any number of drops, all that is left is proven."""
    disk = await filled()
    floor = 0
    while len(segment_file.segments(RING, disk)) > 1:
        findings = verify(disk, tmp_path)
        assert (findings.problems, findings.proven, findings.elsewhere) == ([], 480 - floor, floor)
        floor = drop_first(disk)


async def test_a_segment_that_is_dropped_while_the_others_are_read_is_no_mismatch(tmp_path: Path) -> None:
    disk = await filled()
    dropped: list[int] = []

    def progress(_size: int) -> None:
        if not dropped:
            dropped.extend((drop_first(disk), drop_first(disk)))

    findings = verify(disk, tmp_path, progress)
    assert findings.problems == []
    assert findings.proven == 480 - (dropped[1] - dropped[0])


async def test_a_segment_that_vanishes_without_being_dropped_is_missing(tmp_path: Path) -> None:
    disk = await filled()
    disk.unlink(segment_file.segments(RING, disk)[1].path)
    (problem,) = verify(disk, tmp_path).problems
    assert problem.startswith("cluster c: missing: events ")


async def test_a_ring_whose_identity_was_lost_is_known_by_its_segments(tmp_path: Path) -> None:
    disk = await filled()
    disk.unlink(RING / identity.FILE)
    findings = verify(disk, tmp_path)
    assert (findings.problems, findings.proven) == ([], 480)


async def test_a_ring_that_is_gone_is_told(tmp_path: Path) -> None:
    disk = await filled()
    for path in disk.paths():
        if RING in path.parents:
            disk.unlink(path)
    (problem,) = verify(disk, tmp_path).problems
    assert "missing: 480 events of the ring" in problem
