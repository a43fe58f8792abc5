"""A copy that is damaged or not ours to read, a directory that goes away or is full: told, and nothing is deleted."""

import asyncio
import errno
import os
import re
import resource
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest
import zstandard
from backupkit import KEEP, Copied, check_return, everything, restarted, section, whole

from auditsink.backup import BackupError
from auditsink.backup.copies import listed, prune
from auditsink.backup.local import cursors_of, rings_of
from auditsink.backup.plan import LocalState
from auditsink.backup.statistics import BackupState
from auditsink.backup.store import CopyStore, MissingError, StoredObject, StoreError
from auditsink.spool.offline import inspect


def objects_of(sink: Copied) -> list[Path]:
    return sorted((sink.path.parent / "copy" / sink.section.root / "data").iterdir())


@pytest.mark.parametrize("harm", ["changed", "cut", "gone"])
async def test_a_damaged_object_costs_what_was_in_it_and_is_named(tmp_path: Path, harm: str) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(100)
    await sink.round()
    events = everything(sink)
    sink.stop()
    victim = max(objects_of(sink), key=lambda place: place.stat().st_size)
    content = bytearray(victim.read_bytes())
    if harm == "changed":
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    elif harm == "cut":
        victim.write_bytes(content[: len(content) // 2])
    else:
        victim.unlink()
    other = await restarted(sink)
    assert other.prepared.restored is not None
    assert any(victim.name in problem for problem in other.prepared.restored.problems)
    found = everything(other) if "prod" in other.spool.rings else []
    assert found != events
    assert [event for event in events if event in found] == found
    other.add(1)  # it goes on
    assert other.spool.rings["prod"].durable == 101
    other.stop()


@pytest.mark.parametrize("lost", ["beginning", "middle", "end", "all"])
async def test_segments_that_a_restore_sets_aside_are_named_by_verify(tmp_path: Path, lost: str) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    for _ in range(3):  # an object each
        sink.add(10, size=20_000)
        await sink.round()
    sink.stop()
    objects = objects_of(sink)
    chosen = {"beginning": objects[:1], "middle": objects[1:2], "end": objects[2:], "all": objects}[lost]
    for victim in chosen:
        victim.unlink()
    other = await restarted(sink)
    ring = other.spool.rings["prod"]
    sequences = {record.first_sequence for record in inspect.records(other.path, "prod")}
    assert (ring.durable, len(sequences) < 30) == (30, True)
    assert list((other.path / "rings" / "prod" / "damaged").iterdir()) != []
    other.stop()
    report = inspect.verify(other.path, "prod")
    named = {
        at
        for first, last in re.findall(r"events (\d+) to (\d+) are missing", "\n".join(report.problems + report.notes))
        for at in range(int(first), int(last) + 1)
    }
    assert named == set(range(30)) - sequences


async def test_what_everybody_had_is_no_loss_of_a_restore(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(10)
    await sink.round()
    sink.add(10)
    sink.deliver(15)
    put, store = sink.prepared.store.put, sink.prepared.store

    async def no_data(name: str, content: bytes, *, create: bool = False) -> None:
        if name.startswith("data/"):
            raise StoreError("it takes no data")
        await put(name, content, create=create)

    store.put = no_data  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        await sink.round()
    await sink.uploader._state_it(
        LocalState(rings_of([sink.spool.rings["prod"]], cursors_of([sink.spool.rings["prod"]]))), {}, 0
    )
    sink.stop()
    store.put = put  # type: ignore[method-assign]
    other = await restarted(sink)
    assert other.prepared.restored is not None
    assert other.prepared.restored.gaps == {"prod": (15, 20)}
    other.stop()


async def test_a_manifest_that_cannot_be_read_gives_way_to_the_one_before(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(10)
    await sink.round()
    events = everything(sink)
    await sink.round()
    sink.stop()
    newest = max((tmp_path / "copy" / sink.section.root / "manifests").iterdir())
    newest.write_bytes(newest.read_bytes()[:50])
    other = await restarted(sink)
    assert everything(other) == events
    assert other.uploader._lease.committed is not None
    assert other.uploader._lease.committed.number == int(newest.name) + 1
    other.stop()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((b'"version":1', b'"version":2'), "run the newer auditsink"),
        ((b'"spool_version":2', b'"spool_version":3'), "run the newer auditsink"),
        ((b'"sink":"auditsink"', b'"sink":"somebody"'), "of another sink"),
        ((b"rings/prod/", b"rings/../x/"), "cannot be one of a spool"),
    ],
)
async def test_a_copy_that_is_not_ours_to_read_is_refused(
    tmp_path: Path, change: tuple[bytes, bytes], says: str
) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    for _ in range(8):
        sink.add(10)
        await sink.round()
    sink.stop()
    for place in (tmp_path / "copy" / sink.section.root / "manifests").iterdir():
        plain = zstandard.ZstdDecompressor().decompress(place.read_bytes(), max_output_size=2**24)
        place.write_bytes(zstandard.ZstdCompressor().compress(plain.replace(*change)))
    with pytest.raises(BackupError, match=says):
        await restarted(sink)
    assert not (tmp_path / "spool-again" / "rings").exists()


async def test_nobody_else_on_the_machine_reads_a_copy_in_a_directory(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(1)
    await sink.round()
    sink.stop()
    assert (tmp_path / "copy" / sink.section.root).stat().st_mode & 0o777 == 0o700


async def test_what_lies_among_the_dead_letters_and_is_none_spoils_no_manifest(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(5)
    odd = sink.path / "deadletters" / "Some One's"
    odd.mkdir(parents=True)
    (odd / "letters.ndjson").write_bytes(b"{}\n")
    (tmp_path / "copy" / sink.section.root / "manifests").mkdir(parents=True)
    (tmp_path / "copy" / sink.section.root / "manifests" / ("9" * 20)).write_text("not ours")
    await sink.round()
    await check_return(sink)


async def test_while_an_older_copy_cannot_be_read_nothing_is_deleted_that_it_may_need(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(300)
    await sink.round()
    first = sink.data()
    sink.deliver(300)
    sink.stop()
    kept = tmp_path / "copy" / sink.section.root / "kept"
    kept.mkdir()
    (kept / f"{1:020d}").write_bytes(b"cannot be read")
    again = Copied(tmp_path, "spool", sink.section, sink.clock)
    await again.start()
    await again.round()
    again.clock.jump(2 * KEEP)
    await again.round()
    assert first <= again.data()
    assert "prune it" in str(again.uploader.statistics().note)
    store = again.prepared.store
    delete = store.delete

    async def refused(names: Sequence[str]) -> None:
        raise StoreError("it is read-only")

    store.delete = refused  # type: ignore[method-assign]
    await again.round()
    assert "cannot be deleted from the copy: it is read-only" in str(again.uploader.statistics().note)
    store.delete = delete  # type: ignore[method-assign]
    await again.round()
    assert "prune it" in str(again.uploader.statistics().note)
    again.stop()


async def test_a_directory_that_goes_away_is_not_made_anew_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(20)
    await sink.round()
    (tmp_path / "copy").rename(tmp_path / "unmounted")
    (tmp_path / "copy").mkdir()
    sink.add(20)
    with pytest.raises(StoreError, match="mount its disk again, or restart the sink to begin a new copy"):
        await sink.round()
    assert list((tmp_path / "copy").iterdir()) == []
    (tmp_path / "copy").rmdir()
    (tmp_path / "unmounted").rename(tmp_path / "copy")
    await sink.round()
    events = everything(sink)
    assert len(events) == 40
    sink.stop()
    other = await restarted(sink)
    assert everything(other) == events
    other.stop()
    whole(other)


async def test_a_writer_whose_store_fails_again_is_failing_and_starts_no_longer(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    store = sink.prepared.store
    names = store.names
    states: list[BackupState] = []

    async def away(*_: object, **_named: object) -> NoReturn:
        states.append(sink.uploader.statistics().state)
        raise StoreError("the store is away")

    async def back(*_: object, **_named: object) -> list[StoredObject]:
        states.append(sink.uploader.statistics().state)
        store.names = names  # type: ignore[method-assign]
        return await names("manifests")

    async def get(name: str, most: int) -> bytes:
        if name.endswith("/" + 20 * "0"):
            raise MissingError(f"there is none, of {most} bytes at most")
        return await away()

    store.names, store.get = away, get  # type: ignore[method-assign]
    copying = asyncio.create_task(sink.uploader.run())
    while sink.uploader.statistics().failures < 2:
        await asyncio.sleep(0.005)
        await sink.clock.advance(1.0)
    store.names = back  # type: ignore[method-assign]
    while sink.uploader.statistics().state is BackupState.STARTING and len(states) < 10:
        await asyncio.sleep(0.005)
        await sink.clock.advance(1.0)
    assert set(states) == {BackupState.STARTING}
    assert sink.uploader.statistics().state is BackupState.FAILING
    copying.cancel()
    await asyncio.wait([copying])
    sink.stop()


async def test_who_only_reads_makes_no_copy_of_that_name(tmp_path: Path) -> None:
    store = CopyStore(section(tmp_path, name="nobody"))
    assert await listed(store, section(tmp_path, name="nobody")) == ([], [])
    assert list((tmp_path / "copy").iterdir()) == []
    store.close()


async def test_why_a_directory_takes_no_more_is_told_in_the_words_of_the_system(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    await sink.round()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))
    try:
        with pytest.raises(StoreError, match=f"copy: {os.strerror(errno.EFBIG)}; check the disk, the path"):
            await sink.uploader._store.put("data/large", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    sink.stop()


async def test_manifests_that_cannot_be_read_are_told_with_what_to_do_and_nothing_is_pruned(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(1)
    await sink.round()
    sink.stop()
    objects = sink.data()
    for place in (tmp_path / "copy" / sink.section.root / "manifests").iterdir():
        place.write_text("x")
    store = CopyStore(sink.section)
    with pytest.raises(BackupError, match=r"nothing is deleted.*look at who else writes there"):
        await prune(store, sink.section, [], dry_run=False)
    with pytest.raises(BackupError, match="none of the last manifests") as told:
        await listed(store, sink.section)
    assert "the one before is used" not in str(told.value)
    assert sink.data() == objects
    store.close()
