"""What a start makes of whatever it finds: power losses in the middle of things, foreign files, and bad disks."""

import contextlib
import errno
import logging
import random
from pathlib import Path

import pytest
from spoolkit import PATH, body_of, config, die, events_of, noise, open_spool, read_all, submit, submit_all

from auditsink.common.disk import RealDisk
from auditsink.spool import Spool, SpoolError, segment
from auditsink.spool.types import Receipt, SpoolRejection, Tally
from auditsink.testing.disk import FakeDisk

RING = PATH / "rings" / "default"


@pytest.mark.parametrize("seed", range(40))
def test_a_batch_that_a_power_loss_tore_is_stored_when_it_is_sent_again(seed: int) -> None:
    """Its header may be on the disk without its payload: that must not pass for a batch that is stored already."""
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    submit(spool, ring, noise(0))
    bodies = [noise(number, 3000 if number % 2 else 10) for number in range(1, 7)]
    disk.cut_power(1, random.Random(seed))  # the write is done, the sync is not
    assert submit_all(spool, ring, bodies) == [SpoolRejection.UNAVAILABLE] * 6
    die(spool, disk)
    spool = open_spool(disk)
    ring = spool.ring("default")
    answers = submit_all(spool, ring, bodies)
    found, _missing = read_all(ring)
    for body, answer in zip(bodies, answers, strict=True):
        assert isinstance(answer, Receipt)
        assert body[body.index(b"[") + 1 : body.rindex(b"]")] in found, "what was answered is there"
    spool.stop()


def test_what_a_killed_process_did_not_sync_is_synced_before_its_sender_is_told_that_it_is_stored() -> None:
    told = 0
    for calls in range(12):
        disk = FakeDisk()
        spool = open_spool(disk, segment_bytes=2**12)  # exactly one record a segment: nothing to trim at the start
        ring = spool.ring("default")
        disk.cut_power(calls, None)
        submit(spool, ring, noise(1))
        die(spool, disk)
        spool = open_spool(disk, segment_bytes=2**12)
        answer = submit(spool, spool.ring("default"), noise(1))
        assert isinstance(answer, Receipt)
        told += answer.duplicate
        disk.crash(random.Random(calls))
        spool = open_spool(disk, segment_bytes=2**12)
        assert read_all(spool.ring("default")) == ([noise(1)[noise(1).index(b"[") + 1 : -3]], 0)
        spool.stop()
    assert told > 2, "the case that is meant"


def test_a_disk_that_syncs_nothing_at_the_start_is_told() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    submit(spool, spool.ring("default"), noise(1))
    spool.stop()
    disk.fail("sync", errno.EIO, times=100)
    with pytest.raises(SpoolError, match="must be on a working disk"):
        Spool.open(config(), disk=disk)
    disk.heal()
    assert disk.open_files == 0
    open_spool(disk).stop()


@pytest.mark.parametrize("calls", range(14))
def test_a_power_loss_while_the_first_batch_is_stored_is_no_damage(calls: int) -> None:
    for seed in range(30):
        disk = FakeDisk()
        spool = open_spool(disk)
        ring = spool.ring("default")
        disk.cut_power(calls, random.Random(seed))
        answer = submit(spool, ring, body_of("a"))
        die(spool, disk)
        spool = open_spool(disk)
        ring = spool.ring("default")
        assert ring.damaged_bytes == 0
        found = read_all(ring)
        assert found == (events_of("a"), 0) or (found == ([], 0) and not isinstance(answer, Receipt))
        assert isinstance(submit(spool, ring, body_of("b")), Receipt)
        spool.stop()


def test_foreign_names_beside_the_rings_stop_no_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = open_spool(RealDisk(), path=tmp_path)
    submit(spool, spool.ring("default"), body_of("a"))
    spool.stop()
    rings = tmp_path / "rings"
    (rings / "README").write_text("not a directory")
    (rings / "lost+found").mkdir()
    (rings / ".snapshot").mkdir()
    Path(bytes(rings).decode() + "/\udcff\udcfe").mkdir()
    with caplog.at_level(logging.WARNING):
        spool = open_spool(RealDisk(), path=tmp_path)
    assert list(spool.rings) == ["default"]
    assert len([one for one in caplog.records if str(tmp_path) in str(one.__dict__)]) == 4
    assert not (rings / "lost+found" / "ring.meta").exists()
    spool.stop()


def test_foreign_things_inside_a_ring_stop_no_start_and_are_no_events(tmp_path: Path) -> None:
    spool = open_spool(RealDisk(), path=tmp_path)
    ring = spool.ring("default")
    submit(spool, ring, body_of("a"))
    ring.cursor("siem").advance(Tally(delivered=1))
    first = ring.segments[0].path
    spool.stop()
    first.with_name("00000000000000000000 (copy).seg").write_bytes(first.read_bytes())
    first.with_name("00000000000000000007.seg").write_bytes(first.read_bytes())  # a copy under another name
    first.with_name("00000000000000000008.seg").mkdir()
    first.with_name("00000000000000000009.seg").symlink_to("nowhere")
    first.with_name("00000000000000000010.seg").symlink_to("00000000000000000010.seg")
    first.with_name("00000000000000000011.seg").write_text("just text")
    first.with_name("\udcff.seg").write_text("a name that is not UTF-8")
    (first.parent / "ring.meta").write_bytes(b"")
    (first.parent / "cursors" / "siem.cursor").unlink()
    (first.parent / "cursors").rmdir()
    spool = open_spool(RealDisk(), path=tmp_path)
    ring = spool.ring("default")
    assert read_all(ring) == (events_of("a"), 0)
    assert submit(spool, ring, body_of("b")) == Receipt(1, 1)
    assert ring.cursor("siem").position == 0, "a lost cursor repeats"
    assert len(list((first.parent / "damaged").iterdir())) == 5
    spool.stop()


def test_a_ring_id_file_of_another_kind_is_taken_for_a_lost_one() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    submit(spool, ring, body_of("a"))
    ring.cursor("siem")
    spool.stop()
    disk.put(RING / "ring.meta", disk.content(RING / "cursors" / "siem.cursor"))
    spool = open_spool(disk)
    assert read_all(spool.ring("default")) == (events_of("a"), 0)
    spool.stop()


def test_a_full_disk_keeps_no_sink_from_starting() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    ring = spool.ring("default")
    submit(spool, ring, body_of("a"))
    spool.stop()
    disk.fail("write", errno.ENOSPC, times=100)
    spool = open_spool(disk)
    assert read_all(spool.ring("default")) == (events_of("a"), 0)
    disk.heal()
    spool.stop()


@pytest.mark.parametrize("calls", range(20))
def test_a_power_loss_at_the_first_start_leaves_a_spool_that_opens(calls: int) -> None:
    for seed in range(10):
        disk = FakeDisk()
        disk.cut_power(calls, random.Random(seed))
        with contextlib.suppress(SpoolError):
            spool = open_spool(disk)
            with contextlib.suppress(SpoolError):
                spool.ring("default")
            spool._writer.stop()
        disk.power_on()
        spool = open_spool(disk)
        assert submit(spool, spool.ring("default"), body_of("a")) == Receipt(0, 1)
        spool.stop()


def test_a_ring_that_cannot_be_made_leaves_nothing_open() -> None:
    """A client that names new clusters on a full disk must not use up the descriptors."""
    disk = FakeDisk()
    spool = open_spool(disk)
    before = disk.open_files
    disk.capacity = disk.allocated()
    for number in range(5):
        with pytest.raises(SpoolError, match="cannot be made"):
            spool.ring(f"cluster-{number}")
    assert disk.open_files == before
    disk.heal()
    assert spool.ring("cluster-1").durable == 0
    spool.stop()
    assert disk.open_files == 0


@pytest.mark.parametrize("name", ["", ".", "..", "../etc", "a/b", ".hidden", "x" * 64, "a\n"])
def test_a_cluster_never_leaves_its_directory(name: str) -> None:
    spool = open_spool(FakeDisk())
    with pytest.raises(SpoolError, match="no name for a cluster"):
        spool.ring(name)
    spool.stop()


def test_directories_that_a_killed_start_made_are_made_durable(tmp_path: Path) -> None:
    class Watched(RealDisk):
        synced: list[Path] = []  # noqa: RUF012 - one instance

        def sync_directory(self, path: Path) -> None:
            self.synced.append(path)
            super().sync_directory(path)

    (tmp_path / "rings" / "default" / "cursors").mkdir(parents=True)
    disk = Watched()
    spool = open_spool(disk, path=tmp_path)
    assert {tmp_path, tmp_path / "rings", tmp_path / "rings" / "default"} <= set(disk.synced)
    spool.stop()


def test_the_memory_of_digests_is_shared_fairly_by_many_rings_at_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from auditsink.spool import store  # noqa: PLC0415

    monkeypatch.setattr(store, "TOTAL_ENTRIES", 40)
    monkeypatch.setattr(store, "MIN_ENTRIES", 2)
    disk = FakeDisk()
    spool = open_spool(disk)
    for ring in range(10):
        submit_all(spool, spool.ring(f"c{ring}"), [body_of(f"{ring}-{number}") for number in range(20)])
    spool.stop()
    spool = open_spool(disk)
    assert [len(ring_log.dedup) for ring_log in spool._logs.values()] == [2] * 10
    spool.stop()


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_that_jumps_by_hours_loses_and_skips_nothing(hours: int) -> None:
    from auditsink.testing.clock import FakeClock  # noqa: PLC0415

    disk, clock = FakeDisk(), FakeClock()
    spool = Spool.open(config(), disk=disk, clock=clock)
    spool.start(lambda call: call())
    ring = spool.ring("default")
    submit(spool, ring, body_of("a"))
    clock.jump(hours * 3600)
    submit(spool, ring, body_of("b"))
    assert submit(spool, ring, body_of("a")) == Receipt(0, 1, duplicate=True), "windows are of monotonic time"
    assert spool.statistics().oldest_seconds >= 0
    spool.stop()
    spool = Spool.open(config(), disk=disk, clock=clock)
    spool.start(lambda call: call())
    ring = spool.ring("default")
    assert read_all(ring) == (events_of("a", "b"), 0)
    assert submit(spool, ring, body_of("c")) == Receipt(2, 1)
    spool.stop()


def test_a_segment_whose_name_is_not_its_own_is_not_unused() -> None:
    """Zeros are removed, anything else is kept for a person."""
    disk = FakeDisk()
    spool = open_spool(disk)
    submit(spool, spool.ring("default"), body_of("a"))
    spool.stop()
    disk.put(RING / segment.file_name(1), bytes(70_000))
    disk.put(RING / segment.file_name(2), bytes(70_000) + b"x")
    spool = open_spool(disk)
    assert disk.names(RING) == ["00000000000000000000.seg", "cursors", "damaged", "ring.meta"]
    assert spool.ring("default").damaged_bytes == 70_001
    spool.stop()


def test_many_rings_are_opened_in_their_order_with_the_cursors_that_are_wanted() -> None:
    disk = FakeDisk()
    names = [f"cluster-{number:03}" for number in range(60)]
    spool = open_spool(disk, max_bytes=2**23)
    for name in reversed(names):
        cursor = spool.ring(name).cursor("siem")
        submit(spool, spool.ring(name), body_of(name, "second"))
        cursor.advance(Tally(delivered=1))
    spool.stop()
    spool = Spool.open(config(), disk=disk, destinations=["siem", "lake"])
    assert list(spool.rings) == names
    for name, ring in spool.rings.items():
        assert {one: cursor.position for one, cursor in ring.cursors.items()} == {"siem": 1, "lake": 0}
        assert read_all(ring) == (events_of(name, "second"), 0)
    spool.stop()
    assert disk.open_files == 0


@pytest.mark.parametrize("operation", ["open", "sync", "sync_directory", "names"])
def test_one_ring_of_many_that_cannot_be_opened_stops_the_start_and_leaves_nothing_open(operation: str) -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    for number in range(40):
        spool.ring(f"cluster-{number}").cursor("siem")
    spool.stop()
    disk.fail_later(operation, errno.EIO, 30)
    with pytest.raises(SpoolError, match="Input/output error"):
        Spool.open(config(), disk=disk)
    assert disk.open_files == 0
    disk.heal()
    spool = open_spool(disk)
    assert len(spool.rings) == 40
    spool.stop()


def test_a_cursor_that_cannot_be_opened_keeps_no_ring_from_being_opened() -> None:
    """Its destination finds that out by itself, and says so; the others go on."""
    disk = FakeDisk()
    spool = open_spool(disk)
    spool.ring("default").cursor("siem")
    spool.stop()
    disk.fail("create", errno.ENOSPC)
    spool = Spool.open(config(), disk=disk, destinations=["lake", "siem"])
    assert list(spool.rings["default"].cursors) == ["siem"]
    spool.stop()
