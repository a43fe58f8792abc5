"""`auditsink spool backup` where something is in its way: a sink that runs, or its own end in the middle."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from backupkit import Copied, everything
from click.testing import CliRunner

from auditsink.backup import copies, store
from auditsink.backup.lease import LEFT_MANIFESTS
from auditsink.backup.restore import RestoreTarget, restore
from auditsink.backup.store import StoreError
from auditsink.cli import commands
from auditsink.common.disk import RealDisk
from auditsink.spool.offline import inspect


async def test_a_restore_leaves_the_empty_directory_of_a_sink_that_runs_alone(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(3)
    await sink.round()
    (tmp_path / "other").mkdir()
    idle = Copied(tmp_path / "other")
    await idle.start()
    file = tmp_path / "config.yaml"
    backup = {"type": "local", "path": str(tmp_path / "copy")}
    file.write_text(yaml.safe_dump({"spool": {"backup": backup}, "destinations": [{"name": "out", "type": "stdout"}]}))
    words = ["spool", "backup", "restore", "-c", str(file), "--to", str(idle.path)]
    said = await asyncio.to_thread(CliRunner().invoke, commands, words)
    assert "is in use by another auditsink" in f"{said.exception}"
    idle.add(2)
    taken = everything(idle)
    idle.stop()
    assert [event for record in inspect.records(idle.path, "prod") for event in record.events] == taken
    said = await asyncio.to_thread(CliRunner().invoke, commands, [*words[:-1], str(tmp_path / "free")])
    assert said.exit_code == 0, said.output
    sink.stop()


@pytest.mark.parametrize("most", range(4))
async def test_a_prune_that_ends_in_the_middle_costs_no_copy_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(2, size=40_000)
    await sink.round()
    sink.stop()
    shutil.copytree(sink.path, tmp_path / "snapshot")
    newer = Copied(tmp_path, "spool", sink.section, sink.clock)
    await newer.start()
    for _ in range(3):
        newer.add(1, size=40_000)
        await newer.round()
    newer.stop()
    old = Copied(tmp_path, "snapshot", sink.section, sink.clock)
    await old.start()
    old.add(1)
    for _ in range(LEFT_MANIFESTS + 1):
        await old.round()
    events = everything(old)
    old.stop()
    root = tmp_path / "copy" / sink.section.root
    for place in (root / "data").iterdir():
        os.utime(place, (0.0, 0.0))
    (kept,) = (root / "kept").iterdir()
    left = most

    def ended(directory: Path, paths: Sequence[str]) -> None:
        nonlocal left
        for path in paths:
            if not left:
                raise OSError
            left -= 1
            (directory / path).unlink()

    client = store.CopyStore(sink.section)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_remove", ended)
        with pytest.raises(StoreError):
            await copies.prune(client, sink.section, [int(kept.name)], dry_run=False)
    assert kept.exists() is (most == 0)
    for one in (await copies.listed(client, sink.section))[0]:
        target = RestoreTarget(tmp_path / str(one.manifest.number), 2**22, None, RealDisk())
        assert (await restore(client, one.manifest, target, clock=sink.clock)).problems == ()
    (current,) = [one.manifest for one in (await copies.listed(client, sink.section))[0] if one.current]
    there = inspect.records(tmp_path / str(current.number), "prod")
    assert [event for record in there for event in record.events] == events
    await copies.prune(client, sink.section, [int(kept.name)] if kept.exists() else [], dry_run=False)
    stored = {place.name for place in (root / "data").iterdir()}
    client.close()
    assert stored == current.objects()
