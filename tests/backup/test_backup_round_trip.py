"""A spool, its copy in a directory, and what comes back of it: whole, with keys, on other volumes, from before."""

import asyncio
import base64
import os
import shutil
from pathlib import Path

import pytest
from backupkit import KEEP, Copied, everything, meanwhile, restarted, section, whole

from auditsink.backup.copies import listed, prune
from auditsink.backup.lease import LEFT_MANIFESTS, HeldError, LostError
from auditsink.backup.restore import RestoreTarget, restore
from auditsink.backup.start import HOLDER, SpoolCondition, condition
from auditsink.backup.statistics import BackupState
from auditsink.backup.store import CopyStore, StoreError
from auditsink.common.disk import RealDisk
from auditsink.common.units import Duration
from auditsink.config import Encryption
from auditsink.forward.dead_letters import DeadLetters


async def test_rings_come_back_with_ids_chain_cursors_and_every_event(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(100)
    sink.add(5, "dev")
    await sink.round()
    sink.add(30)
    sink.deliver(40)
    await sink.round()
    events = everything(sink)
    sink.stop()
    other = await restarted(sink)
    mine, theirs = other.spool.rings["prod"], sink.spool.rings["prod"]
    assert everything(other) == events
    assert (mine.ring_id, mine.durable) == (theirs.ring_id, theirs.durable)
    assert mine.cursor("siem").position == 40
    assert mine.cursor("siem").tally.delivered == 40
    assert other.prepared.restored is not None
    assert (other.prepared.restored.clusters, other.prepared.restored.gaps) == (2, {})
    other.add(3)
    await other.round()
    other.stop()
    whole(other)


async def test_most_bytes_are_sent_once(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    for _ in range(20):
        sink.add(10)
        await sink.round()
    held = sum(one.length for one in sink.spool.rings["prod"].segments)
    assert held <= sink.uploader.statistics().uploaded_bytes <= 2 * held
    before = sink.uploader.statistics().uploaded_bytes
    await sink.round()
    assert sink.uploader.statistics().uploaded_bytes == before
    sink.stop()


async def test_what_is_delivered_everywhere_goes_after_keep_and_takes_its_objects_along(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(100)
    await sink.round()
    sink.add(100)
    await sink.round()
    objects = sink.data()
    sink.deliver(200)
    await sink.round()
    assert objects <= sink.data()
    sink.clock.jump(KEEP)
    await sink.round()
    gone = objects - sink.data()
    assert gone
    sink.stop()
    other = await restarted(sink)
    assert other.spool.rings["prod"].durable == 200  # no sequence is given out twice
    other.add(1)
    assert other.spool.rings["prod"].durable == 201
    other.stop()
    whole(other)


async def test_old_manifests_go_and_a_crowd_of_foreign_objects_is_left_alone(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    root = tmp_path / "copy" / sink.section.root
    foreign = [
        root / "data" / "notes.txt",
        root / "manifests" / "readme",
        root / "other" / "x",
        root.parent / "somebody",
    ]
    for place in foreign:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("not ours")
    orphan = root / "data" / "00000000-000000000001"
    orphan.write_text("of an upload that was never stated")
    await sink.start()
    for _ in range(20):
        sink.add(1)
        await sink.round()
    assert all(place.read_text() == "not ours" for place in foreign)
    assert not orphan.exists()
    assert len(list((root / "manifests").glob("0*"))) <= 7
    sink.stop()


async def test_encrypted_records_stay_encrypted_there_and_need_the_key_after_a_restore(tmp_path: Path) -> None:
    key = tmp_path / "keys"
    key.write_text(f"one {base64.b64encode(os.urandom(32)).decode()}\n")
    key.chmod(0o600)
    sink = Copied(tmp_path, encryption=Encryption(key_file=key))
    await sink.start()
    sink.add(10)
    await sink.round()
    events = everything(sink)
    sink.stop()
    other = await restarted(sink)
    assert everything(other) == events
    assert all(one.header.encrypted for one in other.spool.rings["prod"].segments)
    other.stop()
    whole(other)


async def test_dead_letters_and_checkpoints_come_back(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(1)
    letters = DeadLetters(sink.path / "deadletters" / "siem", 10_000)
    letters.path.mkdir(parents=True)
    (letters.path / "letters.ndjson").write_bytes(b'{"a":1}\n{"b":2}\n{"half')
    sink.checkpoints.write_bytes(b'{"checkpoint":1}\n')
    await sink.round()
    with (letters.path / "letters.ndjson").open("ab") as file:
        file.write(b'":3}\n')
    await sink.round()
    sink.stop()
    other = await restarted(sink)
    assert (other.path / "deadletters" / "siem" / "letters.ndjson").read_bytes() == b'{"a":1}\n{"b":2}\n{"half":3}\n'
    assert other.checkpoints.read_bytes() == b'{"checkpoint":1}\n'
    other.stop()


async def test_a_volume_from_before_keeps_the_newer_copy_for_a_person(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(10)
    await sink.round()
    sink.stop()
    shutil.copytree(sink.path, tmp_path / "snapshot")
    again = Copied(tmp_path, "spool", sink.section, sink.clock)
    await again.start()
    again.add(10)
    await again.round()
    events = everything(again)
    again.stop()
    old = Copied(tmp_path, "snapshot", sink.section, sink.clock)
    await old.start()
    old.add(3)
    await old.round()
    statistics = old.uploader.statistics()
    assert len(statistics.left) == 1
    old.deliver(13)
    old.clock.jump(2 * KEEP)
    await old.round()
    old.stop()
    # What was in the newer copy is there to be restored, and goes when a person says so.
    store = CopyStore(sink.section)
    copies, problems = await listed(store, sink.section)
    assert problems == []
    assert [(one.current, one.manifest.undelivered) for one in copies] == [(False, 20), (True, 0)]
    target = RestoreTarget(tmp_path / "elsewhere", 2**20, None, RealDisk())
    made = await restore(store, copies[0].manifest, target, clock=sink.clock)
    assert made.problems == ()
    there = Copied(tmp_path, "elsewhere", section(tmp_path, name="other"), sink.clock)
    await there.start()
    assert everything(there) == events
    there.stop()
    done = await prune(store, sink.section, [copies[0].manifest.number], dry_run=False)
    assert done.copies == (copies[0].manifest.number,)
    assert [one.current for one in (await listed(store, sink.section))[0]] == [True]
    store.close()


async def test_a_start_on_a_volume_that_was_begun_anew_while_the_store_was_away(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(10)
    await sink.round()
    sink.stop()
    shutil.rmtree(sink.path)
    shutil.move(tmp_path / "copy", tmp_path / "away")
    (tmp_path / "copy").write_text("")
    empty = Copied(tmp_path, "new", section(tmp_path, at_start="start_empty", timeout=1), sink.clock)
    await meanwhile(sink.clock, empty.start())
    empty.add(4)
    with pytest.raises(StoreError):
        await empty.round()
    (tmp_path / "copy").unlink()
    shutil.move(tmp_path / "away", tmp_path / "copy")
    await meanwhile(sink.clock, empty.round())
    assert len(empty.uploader.statistics().left) == 1
    empty.stop()


async def test_of_two_writers_one_has_lost_and_deletes_nothing(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(10)
    await sink.round()
    other = await restarted(sink)
    await other.round()
    data = sink.data()
    sink.add(10)
    sink.deliver(20)
    sink.clock.jump(2 * KEEP)
    with pytest.raises(LostError, match="has become the writer"):
        await sink.round()
    assert data <= sink.data()
    await other.round()
    assert other.uploader.statistics().state is BackupState.COPYING
    sink.stop()
    other.stop()
    whole(other)


async def test_a_living_writer_is_not_followed(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(1)
    await sink.round()
    other = Copied(tmp_path, "other", sink.section, sink.clock)
    starting = asyncio.create_task(other.start())
    while not starting.done():
        await asyncio.sleep(0.005)
        await sink.clock.advance(5.0)
        await sink.round()
    with pytest.raises(HeldError, match=r"a spool\.backup\.name of its own"):
        await starting
    sink.stop()


async def test_an_interrupted_restore_begins_anew(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(10)
    await sink.round()
    events = everything(sink)
    sink.stop()
    half = tmp_path / "spool-again" / "restoring" / "rings" / "prod"
    half.mkdir(parents=True)
    (half / f"{0:020d}.seg").write_bytes(b"half")
    other = await restarted(sink)
    assert everything(other) == events
    assert not (other.path / "restoring").exists()
    other.stop()


async def test_a_ruined_spool_is_set_aside_and_restored(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(10)
    await sink.round()
    events = everything(sink)
    sink.stop()
    for place in (sink.path / "rings" / "prod").iterdir():
        if place.is_file():
            place.write_bytes(os.urandom(place.stat().st_size))
    assert condition(sink.path, RealDisk()) is SpoolCondition.RUINED
    again = Copied(tmp_path, "spool", sink.section, sink.clock)
    await again.start()
    assert everything(again) == events
    assert len(list(sink.path.glob("rings-set-aside-*"))) == 1
    again.stop()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda _path: None, SpoolCondition.EMPTY),
        (lambda path: (path / "rings").mkdir(), SpoolCondition.EMPTY),
        (lambda path: (path / "rings" / "prod").mkdir(parents=True), SpoolCondition.RUINED),
    ],
    ids=["nothing", "no ring", "a ring of which nothing is left"],
)
def test_conditions_of_a_directory(tmp_path: Path, make: object, expected: SpoolCondition) -> None:
    make(tmp_path)  # type: ignore[operator]
    assert condition(tmp_path, RealDisk()) is expected


async def test_a_ring_that_never_held_an_event_is_no_spool(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.spool.ring("prod")
    sink.stop()
    assert condition(sink.path, RealDisk()) is SpoolCondition.EMPTY
    assert len((sink.path / HOLDER).read_text().strip()) == 32


async def test_a_sink_that_wakes_after_its_numbers_are_free_again_deletes_nothing_of_its_followers(
    tmp_path: Path,
) -> None:
    sink = Copied(tmp_path, config=section(tmp_path, keep=Duration(60)))
    await sink.start()
    sink.add(30)
    await sink.round()
    other = await restarted(sink)
    for _ in range(2 * LEFT_MANIFESTS):
        other.add(5)
        await other.round()
    assert sink.uploader._lease.committed is not None
    assert sink.uploader._lease.committed.number + 1 not in sink.manifests()  # it is to be had
    before = other.data()
    sink.deliver(30)
    sink.clock.jump(120)
    with pytest.raises(LostError, match="has become the writer"):
        await sink.round()
    assert before <= other.data()
    events = everything(other)
    other.stop()
    third = await restarted(other)
    assert everything(third) == events
    third.stop()
    sink.stop()
