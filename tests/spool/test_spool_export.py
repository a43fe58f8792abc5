"""Out of a spool and back into one: the same events, sequences, times and sources, or a sentence that says why not."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from spoolkit import PATH, body_of, config, events_of, open_spool, submit, submit_all

from auditsink.spool import Spool, SpoolError, identity, segment_file
from auditsink.spool.offline import export_format, inspect
from auditsink.spool.offline.export import Selection, export
from auditsink.spool.offline.export_format import ExportedSegment
from auditsink.spool.offline.import_ import restore
from auditsink.spool.types import Record
from auditsink.testing.clock import FakeClock
from auditsink.testing.disk import FakeDisk

MADE_NS = 1_800_000_000_000_000_000
RING = PATH / "rings" / "default"


def noise(chance: random.Random, count: int = 40) -> bytes:
    return body_of(*(chance.randbytes(500).hex() for _ in range(count)))


def several_segments(disk: FakeDisk, **changes: object) -> Spool:
    """A spool whose ring `default` has at least four segments."""
    chance = random.Random(1)
    spool = open_spool(disk, **changes)
    submit_all(spool, spool.ring("default"), [noise(chance) for _ in range(12)], "CN=apiserver")
    assert len(spool.ring("default").segments) >= 4
    return spool


def all_records(disk: FakeDisk) -> list[Record]:
    return list(inspect.records(PATH, "default", disk))


def lines_of(file: Path) -> list[bytes]:
    return content_of(file).splitlines()


def content_of(file: Path) -> bytes:
    with zstandard.open(file, "rb") as stream:
        return bytes(stream.read())


def test_an_export_is_the_events_one_a_line_and_a_manifest(tmp_path: Path) -> None:
    disk = FakeDisk()
    spool = several_segments(disk)
    spool.stop()
    manifest = export(PATH, ["default"], tmp_path / "out", made_ns=MADE_NS, disk=disk)

    (ring,) = manifest.rings
    assert (ring.cluster, ring.ring, ring.open_from, ring.gone) == (
        "default",
        spool.rings["default"].ring_id.hex(),
        None,
        [],
    )
    written = [line for one in ring.segments for line in lines_of(tmp_path / "out" / one.events)]
    assert written == [event for record in all_records(disk) for event in record.events]
    for one, held in zip(ring.segments, segment_file.segments(RING, disk), strict=True):
        content = segment_file.read(held, disk)
        assert content is not None
        assert (one.first, one.next, one.count) == (held.header.first_sequence, content.stop, content.stop - one.first)
        assert one.digest == content.digest.hex()
        assert (
            one.sha256
            == hashlib.sha256(b"".join(x + b"\n" for x in lines_of(tmp_path / "out" / one.events))).hexdigest()
        )
    assert export_format.load(tmp_path / "out") == manifest
    assert json.loads((tmp_path / "out" / "manifest.json").read_bytes())["tool"].startswith("auditsink ")
    assert (tmp_path / "out" / "manifest.json").stat().st_mode & 0o077 == 0


def test_a_running_sink_is_exported_but_for_the_segment_it_writes(tmp_path: Path) -> None:
    disk = FakeDisk()
    spool = several_segments(disk)
    last = spool.rings["default"].segments[-1].first
    (ring,) = export(PATH, ["default"], tmp_path / "out", made_ns=MADE_NS, disk=disk).rings
    assert (ring.open_from, ring.segments[-1].next) == (last, last)
    spool.stop()


def test_a_segment_that_the_limit_removes_meanwhile_is_told(tmp_path: Path) -> None:
    disk = FakeDisk()
    spool = several_segments(disk)
    spool.stop()
    paths = [one.path for one in segment_file.segments(RING, disk)]
    looked_at: list[int] = []

    def progress(size: int) -> None:
        if not looked_at:
            disk.unlink(paths[1])
        looked_at.append(size)

    (ring,) = export(PATH, ["default"], tmp_path / "out", made_ns=MADE_NS, disk=disk, progress=progress).rings
    assert [bool(size) for size in looked_at] == [True, False, *[True] * (len(paths) - 2)]
    firsts = [one.first for one in ring.segments]
    assert [name.stem for name in (paths[0], *paths[2:])] == [f"{first:020d}" for first in firsts]
    assert ring.gone == [(ring.segments[0].next, firsts[1])]


def test_a_time_selects_whole_segments(tmp_path: Path) -> None:
    disk, clock = FakeDisk(), FakeClock(wall_ns=10**18)
    chance = random.Random(2)
    spool = Spool.open(config(), disk=disk, clock=clock)
    spool.start(lambda call: call())
    for _ in range(12):
        submit(spool, spool.ring("default"), noise(chance))
        clock.jump(60)
    spool.stop()
    everything = export(PATH, ["default"], tmp_path / "all", made_ns=MADE_NS, disk=disk).rings[0].segments
    middle = everything[2]
    since, until = (round(time.timestamp() * 10**9) for time in (middle.first_received, middle.last_received))

    (ring,) = export(
        PATH, ["default"], tmp_path / "some", made_ns=MADE_NS, disk=disk, selection=Selection(since, until + 1)
    ).rings
    assert ring.segments == [middle]
    (ring,) = export(
        PATH, ["default"], tmp_path / "none", made_ns=MADE_NS, disk=disk, selection=Selection(until=1)
    ).rings
    assert ring.segments == []


def test_an_export_is_not_written_over(tmp_path: Path) -> None:
    disk = FakeDisk()
    several_segments(disk).stop()
    export(PATH, ["default"], tmp_path, made_ns=MADE_NS, disk=disk)
    with pytest.raises(SpoolError, match="holds an export already"):
        export(PATH, ["default"], tmp_path, made_ns=MADE_NS, disk=disk)


def test_an_export_that_was_cut_short_is_none(tmp_path: Path) -> None:
    disk = FakeDisk()
    several_segments(disk).stop()

    def progress(_size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(PATH, ["default"], tmp_path, made_ns=MADE_NS, disk=disk, progress=progress)
    with pytest.raises(SpoolError, match="is no export"):
        export_format.load(tmp_path)
    export(PATH, ["default"], tmp_path, made_ns=MADE_NS, disk=disk)


def test_damage_is_left_out_and_counted(tmp_path: Path) -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    submit_all(spool, spool.ring("default"), [body_of("a", "b"), body_of("c"), body_of("d")])
    spool.stop()
    (held,) = segment_file.segments(RING, disk)
    content = segment_file.read(held, disk)
    assert content is not None
    broken = bytearray(content.data)
    broken[content.frames[1].offset + 70] ^= 1
    disk.put(held.path, bytes(broken))

    (ring,) = export(PATH, ["default"], tmp_path / "out", made_ns=MADE_NS, disk=disk).rings
    (one,) = ring.segments
    assert (one.first, one.next, one.count) == (0, 4, 3)
    assert lines_of(tmp_path / "out" / one.events) == events_of("a", "b", "d")
    target = FakeDisk()
    assert restore(tmp_path / "out", PATH, disk=target)["default"].written == 3
    assert [(record.first_sequence, record.events) for record in all_records(target)] == [
        (0, events_of("a", "b")),
        (3, events_of("d")),
    ]


def exported_spool(disk: FakeDisk, place: Path) -> export_format.Manifest:
    several_segments(disk).stop()
    return export(PATH, ["default"], place, made_ns=MADE_NS, disk=disk)


def test_a_restore_brings_back_sequences_times_sources_and_the_ring_itself(tmp_path: Path) -> None:
    disk, target = FakeDisk(), FakeDisk()
    exported_spool(disk, tmp_path)
    done = restore(tmp_path, PATH, disk=target)

    assert (done["default"].written, done["default"].present) == (480, 0)
    assert all_records(target) == all_records(disk)
    assert identity.peek(RING, target) == identity.peek(RING, disk)
    assert inspect.verify(PATH, "default", target).problems == []
    spool = open_spool(target)
    ring = spool.ring("default")
    assert (ring.floor, ring.durable, ring.cursor("new").position) == (0, 480, 0)
    submit(spool, ring, body_of("after"))
    assert ring.durable == 481
    spool.stop()
    assert inspect.verify(PATH, "default", target).problems == []


def test_a_part_is_restored_under_its_own_sequences(tmp_path: Path) -> None:
    """The first segments were dropped before the export was made."""
    disk, target = FakeDisk(), FakeDisk()
    several_segments(disk).stop()
    firsts = [one.header.first_sequence for one in segment_file.segments(RING, disk)]
    for one in segment_file.segments(RING, disk)[:2]:
        disk.unlink(one.path)
    export(PATH, ["default"], tmp_path, made_ns=MADE_NS, disk=disk)
    restore(tmp_path, PATH, disk=target)
    spool = open_spool(target)
    assert spool.ring("default").floor == firsts[2]
    assert spool.ring("default").cursor("new").position == firsts[2]
    spool.stop()


def test_restoring_again_changes_nothing(tmp_path: Path) -> None:
    disk, target = FakeDisk(), FakeDisk()
    exported_spool(disk, tmp_path)
    restore(tmp_path, PATH, disk=target)
    before = {path: target.content(path) for path in target.paths() if path.suffix == ".seg"}
    done = restore(tmp_path, PATH, disk=target)
    assert (done["default"].written, done["default"].present) == (0, 480)
    assert {path: target.content(path) for path in target.paths() if path.suffix == ".seg"} == before


@pytest.mark.parametrize("seed", range(5))
def test_a_restore_that_a_crash_cuts_short_is_repeated(tmp_path: Path, seed: int) -> None:
    disk, target = FakeDisk(), FakeDisk()
    exported_spool(disk, tmp_path)
    steps = iter(range(6 + seed))

    def progress(_one: export_format.ExportedSegment) -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path, PATH, disk=target, progress=progress)
    target.crash(random.Random(seed))
    restore(tmp_path, PATH, disk=target)
    assert all_records(target) == all_records(disk)
    assert inspect.verify(PATH, "default", target).problems == []


def test_what_a_copy_was_still_writing_is_completed(tmp_path: Path) -> None:
    """The copy was made while the sink ran: of its last segment it holds a part."""
    disk, target = FakeDisk(), FakeDisk()
    spool = several_segments(disk)
    for path in disk.paths():
        target.make_directory(path.parent)
        target.put(path, disk.content(path))
    submit(spool, spool.ring("default"), body_of("x", "y"))
    spool.stop()
    export(PATH, ["default"], tmp_path, made_ns=MADE_NS, disk=disk)
    assert restore(tmp_path, PATH, disk=target)["default"].written == 2
    assert all_records(target) == all_records(disk)


def test_an_untouched_ring_becomes_the_exported_one(tmp_path: Path) -> None:
    """A sink was started on the new directory before anybody thought of the import."""
    disk, target = FakeDisk(), FakeDisk()
    exported_spool(disk, tmp_path)
    spool = open_spool(target)
    spool.ring("default").cursor("siem")
    spool.stop()
    restore(tmp_path, PATH, disk=target)
    assert all_records(target) == all_records(disk)
    spool = open_spool(target)
    ring = spool.ring("default")
    assert ring.account(ring.cursor("siem")).pending == 480
    spool.stop()


def test_a_ring_with_other_events_is_left_alone(tmp_path: Path) -> None:
    disk, target = FakeDisk(), FakeDisk()
    exported_spool(disk, tmp_path)
    spool = open_spool(target)
    submit(spool, spool.ring("default"), body_of("mine"))
    spool.stop()
    with pytest.raises(SpoolError, match="made anew since the export"):
        restore(tmp_path, PATH, disk=target)
    assert [record.events for record in all_records(target)] == [events_of("mine")]


def test_other_events_under_the_same_sequences_are_found(tmp_path: Path) -> None:
    disk, target = FakeDisk(), FakeDisk()
    several_segments(disk).stop()
    for path in disk.paths():
        target.make_directory(path.parent)
        target.put(path, disk.content(path))
    for one, text in ((disk, "x"), (target, "y")):
        spool = open_spool(one)
        submit(spool, spool.ring("default"), body_of(text))
        spool.stop()
    export(PATH, ["default"], tmp_path, made_ns=MADE_NS, disk=disk)
    with pytest.raises(SpoolError, match="event 480 is not the one that was exported"):
        restore(tmp_path, PATH, disk=target)


def test_what_lies_before_a_ring_cannot_be_put_into_it(tmp_path: Path) -> None:
    disk = FakeDisk()
    exported_spool(disk, tmp_path)
    disk.unlink(segment_file.segments(RING, disk)[0].path)
    with pytest.raises(SpoolError, match="the export begins with 0; import into an empty directory"):
        restore(tmp_path, PATH, disk=disk)


def test_a_spool_in_use_is_not_restored_into(tmp_path: Path) -> None:
    disk, target = FakeDisk(), FakeDisk()
    exported_spool(disk, tmp_path)
    spool = open_spool(target)
    with pytest.raises(SpoolError, match="in use by another auditsink"):
        restore(tmp_path, PATH, disk=target)
    spool.stop()


def test_only_one_cluster_may_be_restored(tmp_path: Path) -> None:
    disk, target = FakeDisk(), FakeDisk()
    spool = open_spool(disk)
    submit(spool, spool.ring("blue"), body_of("b"))
    submit(spool, spool.ring("green"), body_of("g"))
    spool.stop()
    export(PATH, ["blue", "green"], tmp_path, made_ns=MADE_NS, disk=disk)
    assert list(restore(tmp_path, PATH, cluster="green", disk=target)) == ["green"]
    assert target.names(PATH / "rings") == ["green"]


def _flip(file: Path, at: int = -20) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 0xFF
    file.write_bytes(content)


def _forge(file: Path, before: bytes, after: bytes) -> None:
    """Another content, well compressed: only the digest can tell."""
    content = content_of(file)
    file.write_bytes(zstandard.ZstdCompressor().compress(content.replace(before, after)))


DAMAGES: dict[str, Callable[[Path, ExportedSegment], object]] = {
    "a flipped byte": lambda place, one: _flip(place / one.events),
    "a flipped byte beside": lambda place, one: _flip(place / one.requests, 12),
    "other events": lambda place, one: _forge(place / one.events, b"Metadata", b"Metadatb"),
    "other times": lambda place, one: _forge(place / one.requests, b"CN=apiserver", b"CN=nobody"),
    "fewer events": lambda place, one: _forge(place / one.events, b'{"level":', b'\n{"level":'),
    "no requests": lambda place, one: (place / one.requests).write_bytes(zstandard.ZstdCompressor().compress(b"{}\n")),
    "no line break": lambda place, one: (place / one.events).write_bytes(zstandard.ZstdCompressor().compress(b"{}")),
    "a missing file": lambda place, one: (place / one.events).unlink(),
    "an empty file": lambda place, one: (place / one.events).write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_export_is_told_before_anything_is_written(tmp_path: Path, damage: str) -> None:
    disk, target = FakeDisk(), FakeDisk()
    manifest = exported_spool(disk, tmp_path)
    DAMAGES[damage](tmp_path, manifest.rings[0].segments[-1])
    with pytest.raises(SpoolError) as caught:
        restore(tmp_path, PATH, disk=target)
    assert str(tmp_path) in str(caught.value)
    assert target.paths() == []


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (b"", "is no manifest"),
        (b"[]", "is no manifest"),
        (b'{"version":2,"tool":"","made":"2026-11-22T00:00:00Z","rings":[]}', "is of version 2"),
        (
            b'{"tool":"","made":"2026-11-22T00:00:00Z","rings":[{"cluster":"../x","ring":"%b","segments":[]}]}'
            % (b"0" * 32),
            "cluster",
        ),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, manifest: bytes, told: str) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest)
    with pytest.raises(SpoolError, match=told):
        restore(tmp_path, PATH, disk=FakeDisk())


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    exported_spool(FakeDisk(), tmp_path)
    name = tmp_path / "manifest.json"
    name.write_bytes(name.read_bytes().replace(b"default/000", b"default/../../000"))
    with pytest.raises(SpoolError, match="is no manifest"):
        export_format.load(tmp_path)
