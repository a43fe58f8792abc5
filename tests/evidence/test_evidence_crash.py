"""Whatever crash, whenever: what is stated is in the spool, and in the end all that was answered is stated."""

import asyncio
import random
from pathlib import Path

import pytest
from evidencekit import LEDGER, SPOOL, Bench, event

from auditsink.config.spool import CHECKPOINTS
from auditsink.evidence.verify.archive import Archive, Period
from auditsink.evidence.verify.findings import Findings
from auditsink.evidence.verify.verify_spool import SpoolVerifier
from auditsink.spool.offline import inspect
from auditsink.testing.clock import FakeClock
from auditsink.testing.disk import FakeDisk


def verify(disk: FakeDisk, place: Path) -> Findings:
    copy = place / "checkpoints.ndjson"
    copy.write_bytes(disk.content(LEDGER))
    findings = Findings()
    with Archive([copy], None, findings) as archive:
        archive.read(Period())
        SpoolVerifier(archive, findings, lambda _size: None).check_spool(SPOOL, ["c"], disk)
    return findings


async def life(disk: FakeDisk, clock: FakeClock, chance: random.Random, answered: list[bytes], name: int) -> Bench:
    """A sink that takes a few batches; some minutes pass."""
    one = Bench(disk, clock)
    for number in range(chance.randint(0, 6)):
        texts = [f"{name}-{number}-{place}-{'x' * chance.randint(0, 2000)}" for place in range(chance.randint(1, 30))]
        await one.put("c", *texts)
        answered += map(event, texts)
        if chance.random() < 0.4:
            await clock.advance(chance.choice([1, 59, 61, 300]))
    return one


@pytest.mark.parametrize("seed", range(40))
async def test_crashes_leave_evidence_whole(tmp_path: Path, seed: int) -> None:
    disk, clock, chance = FakeDisk(), FakeClock(), random.Random(seed)
    answered: list[bytes] = []
    for name in range(4):
        one = await life(disk, clock, chance, answered, name)
        if chance.random() < 0.5:
            disk.crash(chance)
        await one.die()
        if LEDGER in disk.paths() and disk.content(LEDGER):
            before = disk.content(LEDGER)
            disk.put(LEDGER, before[: before.rfind(b"\n") + 1])  # what the next start does with a torn line
            if before.count(b"\n"):
                found = verify(disk, tmp_path)
                assert found.problems == [], found.problems
    one = await life(disk, clock, chance, answered, 4)
    await one.put("c", "last")
    ring = one.spool.rings["c"]
    await one.stop()

    found = verify(disk, tmp_path)
    assert (found.problems, found.uncovered, found.proven) == ([], 0, ring.durable)
    held = [one for record in inspect.records(SPOOL, "c", disk) for one in record.events]
    assert set(answered) <= set(held)
    account = ring.account(ring.cursor(CHECKPOINTS))
    assert (account.accepted, account.delivered, account.pending) == (ring.durable, ring.durable, 0)
    await asyncio.sleep(0)
