"""A sink that is given another name and then its old one again, while somebody else took up the copy of the old one."""

from pathlib import Path

import pytest
from backupkit import Copied, everything, meanwhile, section

from auditsink.backup.copies import listed
from auditsink.backup.restore import RestoreTarget, restore
from auditsink.backup.store import CopyStore
from auditsink.common.disk import RealDisk
from auditsink.spool.offline import inspect


@pytest.mark.parametrize("since", ["grew on", "removed what was delivered"])
async def test_what_another_took_under_the_old_name_is_kept_when_the_first_one_is_called_so_again(
    tmp_path: Path, since: str
) -> None:
    before, meantime = section(tmp_path, name="before"), section(tmp_path, name="meantime")
    first = Copied(tmp_path, "first", before)
    await first.start()
    first.add(5)
    await first.round()
    first.add(5)  # in its segment, and not in the copy
    first.stop()
    renamed = Copied(tmp_path, "first", meantime, first.clock)
    await renamed.start()
    await renamed.round()
    second = Copied(tmp_path, "second", before, first.clock)
    await meanwhile(first.clock, second.start())
    second.add(3)
    taken = everything(second)
    assert len(taken) == 8
    await second.uploader._step()
    await second.uploader.finish(60.0)
    second.stop()
    # Both rings have the same id, and gave the same sequences to other events.
    ring = renamed.spool.rings["prod"]
    while ring.durable < 20 or (ring.floor < 20 and since == "removed what was delivered"):
        renamed.add(20, size=30_000)
        renamed.deliver(ring.durable - ring.cursor("siem").position)
    renamed.stop()
    again = Copied(tmp_path, "first", before, first.clock)
    await again.start()
    await again.round()
    await again.round()
    again.stop()
    store = CopyStore(before)
    copies, problems = await listed(store, before)
    assert (problems, [one.current for one in copies]) == ([], [False, True])
    for number, one in enumerate(copies):
        target = RestoreTarget(tmp_path / str(number), 2**20, None, RealDisk())
        assert (await restore(store, one.manifest, target, clock=first.clock)).problems == ()
    store.close()
    records = inspect.records(tmp_path / "0", "prod")
    assert [event for record in records for event in record.events] == taken


async def test_a_sink_that_was_renamed_copies_all_under_its_new_name_and_leaves_the_old_copy(tmp_path: Path) -> None:
    before, after = section(tmp_path, name="before"), section(tmp_path, name="after")
    sink = Copied(tmp_path, "spool", before)
    await sink.start()
    sink.add(5)
    await sink.round()
    sink.stop()
    old = {path: path.read_bytes() for path in (tmp_path / "copy" / before.root).rglob("*") if path.is_file()}
    renamed = Copied(tmp_path, "spool", after, sink.clock)
    await renamed.start()
    renamed.add(5)
    renamed.deliver(10)
    await renamed.round()
    events = everything(renamed)
    renamed.stop()
    assert {path: path.read_bytes() for path in old} == old
    elsewhere = Copied(tmp_path, "elsewhere", after, sink.clock)
    await meanwhile(sink.clock, elsewhere.start())
    assert everything(elsewhere) == events
    elsewhere.stop()
    by_the_old_name = Copied(tmp_path, "old", before, sink.clock)
    await meanwhile(sink.clock, by_the_old_name.start())
    assert everything(by_the_old_name) == events[:5]  # those come again
    by_the_old_name.stop()
