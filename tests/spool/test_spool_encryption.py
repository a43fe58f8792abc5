"""A spool whose records are encrypted: round trips, rotation, missing and wrong keys, tampering, torn writes."""

import base64
import logging
import random
from pathlib import Path

import pytest
import zstandard
from spoolkit import PATH, body_of, config, die, events_of, open_spool, parts, read_all, reframed, submit, submit_all

from auditsink.common.disk import RealDisk
from auditsink.common.secret import WatchedFile
from auditsink.config import Encryption
from auditsink.spool import Spool, SpoolError, frame, segment, segment_file
from auditsink.spool.errors import MissingKeyError
from auditsink.spool.keys import Keyring, parse_keys
from auditsink.spool.offline import inspect
from auditsink.spool.types import Receipt, Tally
from auditsink.testing.clock import FakeClock
from auditsink.testing.disk import FakeDisk

RING = PATH / "rings" / "default"
NAMES = [f"secret-event-{number}" for number in range(6)]


def line(name: str) -> str:
    return f"{name} {base64.b64encode(random.Random(name).randbytes(32)).decode()}\n"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "spool.keys"
    path.write_text(line("first"))
    return path


def encrypted(disk: FakeDisk, key_file: Path, **changes: object) -> Spool:
    return open_spool(disk, encryption=Encryption(key_file=key_file), **changes)


def keys_of(path: Path) -> Keyring:
    return Keyring(WatchedFile(path, parse_keys))


def stored_names(disk: FakeDisk, key_file: Path, count: int = 6) -> Path:
    """Six records of one event in one encrypted segment."""
    spool = encrypted(disk, key_file)
    ring = spool.ring("default")
    submit_all(spool, ring, [body_of(name) for name in NAMES[:count]], "cert:apiserver")
    spool.stop()
    return ring.segments[0].path


def test_what_is_stored_is_read_back_and_none_of_it_stands_on_the_disk(key_file: Path) -> None:
    disk = FakeDisk()
    path = stored_names(disk, key_file)
    spool = encrypted(disk, key_file)
    ring = spool.ring("default")
    assert read_all(ring) == (events_of(*NAMES), 0)
    chunk = ring.reader().read(2, 1)
    assert (chunk.records[0].first_sequence, chunk.records[0].source) == (2, "cert:apiserver")
    spool.stop()
    header, frames, content = parts(disk, path)
    assert (header.key_name, len(frames)) == ("first", 6)
    for one in frames:
        assert one.encrypted
        with pytest.raises(zstandard.ZstdError):
            zstandard.frame_content_size(bytes(frame.payload_of(one, bytes(content), one.offset)))
    assert b"auditID" not in content
    assert b"secret-event" not in content


def test_equal_bodies_look_different_and_nonces_never_repeat(key_file: Path) -> None:
    disk = FakeDisk()
    spool = encrypted(disk, key_file)
    for cluster in ("a", "b"):
        submit_all(spool, spool.ring(cluster), [body_of(name) for name in NAMES])
    spool.stop()
    seen = set()
    for path in disk.paths():
        if path.suffix == ".seg":
            _header, frames, content = parts(disk, path)
            for one in frames:
                payload = bytes(frame.payload_of(one, bytes(content), one.offset))
                seen |= {payload[:12], payload[12:], one.digest}
    assert len(seen) == 2 * 6 * 3


def test_verify_needs_no_key(key_file: Path) -> None:
    disk = FakeDisk()
    path = stored_names(disk, key_file)
    report = inspect.verify(PATH, "default", disk)
    assert (report.problems, report.events) == ([], 6)
    assert inspect.verify(PATH, "default", disk, keys=keys_of(key_file)).problems == []
    _header, frames, content = parts(disk, path)
    content[frames[3].offset + 100] ^= 1
    disk.put(path, bytes(content))
    problems = inspect.verify(PATH, "default", disk).problems
    assert any("damaged bytes" in one for one in problems)
    assert not any("TAMPERING" in one for one in inspect.verify(PATH, "default", disk, keys=keys_of(key_file)).problems)


def test_commands_beside_the_sink_refuse_without_the_key_and_work_with_it(key_file: Path, tmp_path: Path) -> None:
    disk = FakeDisk()
    stored_names(disk, key_file)
    with pytest.raises(MissingKeyError, match=r"'first' \(check [0-9a-f]{8}\), which was not given"):
        list(inspect.records(PATH, "default", disk))
    wrong = tmp_path / "other.keys"
    wrong.write_text(line("other"))
    with pytest.raises(MissingKeyError, match=r"other.keys does not hold \(it holds other\)"):
        list(inspect.records(PATH, "default", disk, keys=keys_of(wrong)))
    with pytest.raises(MissingKeyError, match=r"^/spool/rings/default/0{20}.seg: .*--key-file"):
        list(inspect.records(PATH, "default", disk))
    found = [event for one in inspect.records(PATH, "default", disk, keys=keys_of(key_file)) for event in one.events]
    assert found == events_of(*NAMES)


def test_verify_with_some_of_the_keys_tells_what_it_can_and_what_it_cannot(key_file: Path) -> None:
    disk = FakeDisk()
    first = stored_names(disk, key_file)
    key_file.write_text(line("second") + key_file.read_text())
    spool = encrypted(disk, key_file)
    submit_all(spool, spool.ring("default"), [body_of("later")])
    second = spool.ring("default").segments[-1].path
    spool.stop()
    header, frames, content = parts(disk, second)
    victim = frames[0]
    content[victim.offset : victim.offset + victim.size] = reframed(header, victim, bytes(content), received=1)
    disk.put(second, bytes(content))
    key_file.write_text(line("second"))
    problems = inspect.verify(PATH, "default", disk, keys=keys_of(key_file)).problems
    assert any(one.startswith(f"{first}: whether its records were changed cannot be told") for one in problems)
    assert any(one.startswith(f"{second}: TAMPERING") for one in problems)


def test_a_new_key_begins_a_new_segment_and_the_old_one_reads_what_it_wrote(key_file: Path) -> None:
    disk, clock = FakeDisk(), FakeClock()
    spool = Spool.open(config(encryption=Encryption(key_file=key_file)), disk=disk, clock=clock)
    spool.start(lambda call: call())
    ring = spool.ring("default")
    submit(spool, ring, body_of("a"))
    key_file.write_text(line("second") + line("first"))
    clock.jump(5)
    assert submit(spool, ring, body_of("b")) == Receipt(1, 1), "within the same look"
    clock._move_to(clock.monotonic() + 2)
    assert submit(spool, ring, body_of("c")) == Receipt(2, 1)
    assert submit(spool, ring, body_of("d")) == Receipt(3, 1)
    assert [held.header.key_name for held in ring.segments] == ["first", "second"]
    assert [held.first for held in ring.segments] == [0, 2]
    assert read_all(ring) == (events_of("a", "b", "c", "d"), 0)
    assert submit(spool, ring, body_of("a")) == Receipt(4, 1), "a new key forgets retries, once"
    assert submit(spool, ring, body_of("a")) == Receipt(4, 1, duplicate=True)
    spool.stop()
    assert inspect.verify(PATH, "default", disk).problems == []
    spool = Spool.open(config(encryption=Encryption(key_file=key_file)), disk=disk, clock=clock)
    spool.start(lambda call: call())
    assert read_all(spool.ring("default")) == (events_of("a", "b", "c", "d", "a"), 0)
    assert submit(spool, spool.ring("default"), body_of("d")) == Receipt(3, 1, duplicate=True)
    spool.stop()


def test_turning_it_on_and_off_leaves_what_is_there_readable(key_file: Path) -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    submit(spool, spool.ring("default"), body_of("plain"))
    spool.stop()
    spool = encrypted(disk, key_file)
    submit(spool, spool.ring("default"), body_of("encrypted"))
    assert read_all(spool.ring("default")) == (events_of("plain", "encrypted"), 0)
    spool.stop()
    with pytest.raises(SpoolError, match=r"'first' .* which was not given; add that key to the key file"):
        Spool.open(config(), disk=disk)
    assert disk.open_files == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (line("second"), r"does not hold \(it holds second\)"),
        (line("x").replace("x ", "first ", 1), r"does not hold \(it holds another key of that name\)"),
    ],
)
def test_a_missing_or_wrong_key_stops_the_start_with_one_sentence(key_file: Path, content: str, told: str) -> None:
    disk = FakeDisk()
    spool = encrypted(disk, key_file)
    ring = spool.ring("default")
    submit(spool, ring, body_of("a"))
    spool.stop()
    before = {path: disk.content(path) for path in disk.paths()}
    right = key_file.read_text()
    key_file.write_text(content)
    with pytest.raises(SpoolError, match=told) as caught:
        encrypted(disk, key_file)
    assert "\n" not in str(caught.value)
    assert str(ring.segments[0].path) in str(caught.value)
    assert content.split()[1] not in str(caught.value)
    assert disk.open_files == 0
    assert {path: disk.content(path) for path in disk.paths()} == before, "and nothing was touched"
    key_file.write_text(content + right.replace("first ", "renamed "))
    spool = encrypted(disk, key_file)
    assert read_all(spool.ring("default")) == (events_of("a"), 0), "a key is its bytes, not its name"
    spool.stop()


def test_a_reader_without_the_key_does_not_step_over_what_it_cannot_read(key_file: Path) -> None:
    """It cannot come to this in a sink, which does not start; a reader must not rely on that."""
    disk = FakeDisk()
    stored_names(disk, key_file)
    spool = encrypted(disk, key_file)
    ring = spool.ring("default")
    ring.keys = None
    reader = ring.reader()
    with pytest.raises(MissingKeyError):
        reader.read(0, 1000)
    assert ring.damaged_bytes == 0
    reader.close()
    spool.stop()


TAMPERINGS = {
    "another time": {"received": 1},
    "another count": {"events": 2},
    "another sequence": {"first": 900},
    "another length of the body": {"body": 10_000},
    "another mark": {"flags": 3 | 256},
    "another source": {"source": 13},
    "not encrypted": {"flags": 1},
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_header_that_was_changed_is_told_as_tampering_and_costs_its_record_alone(
    name: str, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FakeDisk()
    path = stored_names(disk, key_file)
    header, frames, content = parts(disk, path)
    victim = frames[5] if name == "another sequence" else frames[2]
    changes = dict(TAMPERINGS[name])
    if "source" in changes:
        changes["length"] = victim.payload_length + victim.source_length - changes["source"]
    changed = reframed(header, victim, bytes(content), **changes)
    content[victim.offset : victim.offset + victim.size] = changed
    disk.put(path, bytes(content))
    problems = inspect.verify(PATH, "default", disk, keys=keys_of(key_file)).problems
    assert any(f"TAMPERING at byte {victim.offset}" in one for one in problems), problems
    spool = encrypted(disk, key_file)
    ring = spool.ring("default")
    with caplog.at_level(logging.ERROR):
        found, missing = read_all(ring)
    assert (len(found), missing) == (5, 1)
    assert set(found) <= set(events_of(*NAMES))
    assert any(one.message.startswith("TAMPERING") for one in caplog.records)
    assert "secret-event" not in caplog.text
    (aside,) = [one for one in disk.paths() if "damaged" in one.parts]
    assert b"secret" not in disk.content(aside)
    spool.stop()


def test_a_record_that_was_moved_to_another_segment_does_not_open(key_file: Path) -> None:
    disk = FakeDisk()
    for life in range(2):
        spool = encrypted(disk, key_file)
        submit_all(spool, spool.ring("default"), [body_of(f"{life}-{number}") for number in range(3)])
        spool.stop()
    first, second = [path for path in disk.paths() if path.suffix == ".seg"]
    _header, frames, content = parts(disk, first)
    other, others, target = parts(disk, second)
    payload = frame.payload_of(frames[1], bytes(content), frames[1].offset)
    forged = frame.encode(
        other.seed, first_sequence=others[1].first_sequence, events=1, marks=others[1].marks, source=b"",
        received_ns=others[1].received_ns, body_length=others[1].body_length, payload=bytes(len(payload) - 28),
        digest=others[1].digest, encrypt=lambda _plain, _bound: bytes(payload),
    )  # fmt: skip
    assert len(forged) == others[1].size
    target[others[1].offset : others[1].offset + others[1].size] = forged
    disk.put(second, bytes(target))
    spool = encrypted(disk, key_file)
    found, missing = read_all(spool.ring("default"))
    assert found == events_of("0-0", "0-1", "0-2", "1-0", "1-2")
    assert missing == 1
    spool.stop()


def test_a_plain_record_in_an_encrypted_segment_is_tampering(key_file: Path) -> None:
    disk = FakeDisk()
    path = stored_names(disk, key_file, 1)
    header, (only,), content = parts(disk, path)
    body = body_of("forged")
    forged = frame.encode(
        header.seed, first_sequence=0, events=1, marks=only.marks, source=b"", received_ns=1, body_length=len(body),
        payload=zstandard.compress(body, level=1), digest=bytes(16),
    )  # fmt: skip
    disk.put(path, bytes(content[: segment.DATA_START]) + forged)
    spool = encrypted(disk, key_file)
    found, missing = read_all(spool.ring("default"))
    assert (found, missing) == ([], 1)
    assert inspect.verify(PATH, "default", disk, keys=keys_of(key_file)).problems != []
    spool.stop()


def test_every_byte_of_an_encrypted_record_flipped_under_a_good_checksum_is_seen(key_file: Path) -> None:
    from auditsink.spool.content import TamperedError, Unpacker  # noqa: PLC0415

    disk = FakeDisk()
    path = stored_names(disk, key_file, 1)
    header, (only,), content = parts(disk, path)
    unpacker = Unpacker(keys_of(key_file))
    assert unpacker.record(header, only, bytes(content), only.offset).events == events_of(NAMES[0])
    start = only.offset + frame.HEADER.size
    for at in range(start, start + only.source_length + only.payload_length):
        content[at] ^= 0x20
        with pytest.raises(TamperedError):
            unpacker.record(header, only, bytes(content), only.offset)
        content[at] ^= 0x20


@pytest.mark.parametrize("calls", range(4, 9))
def test_a_torn_encrypted_write_is_no_damage_and_its_retry_is_stored(calls: int, key_file: Path) -> None:
    for seed in range(8):
        disk = FakeDisk()
        spool = encrypted(disk, key_file)
        ring = spool.ring("default")
        submit(spool, ring, body_of("before"))
        bodies = [body_of(f"{number}-{random.Random(number).randbytes(900).hex()}") for number in range(4)]
        disk.cut_power(calls - 4, random.Random(seed))
        refused = [
            body
            for body, answer in zip(bodies, submit_all(spool, ring, bodies), strict=True)
            if not isinstance(answer, Receipt)
        ]
        die(spool, disk)
        spool = encrypted(disk, key_file)
        ring = spool.ring("default")
        assert all(isinstance(answer, Receipt) for answer in submit_all(spool, ring, refused))
        found, _missing = read_all(ring)
        assert {body[body.index(b"[") + 1 : -3] for body in bodies} <= set(found)
        spool.stop()


def test_the_limit_counts_what_encryption_adds(key_file: Path) -> None:
    disk = FakeDisk()
    spool = encrypted(disk, key_file, when_full="drop_oldest", max_bytes=2**18, segment_bytes=2**15)
    ring = spool.ring("default")
    cursor = ring.cursor("siem")
    for number in range(3000):
        submit(spool, ring, body_of(f"{number}"))
    assert ring.size <= 2**18
    on_disk = sum(len(disk.content(path)) for path in disk.paths() if path.suffix == ".seg")
    assert on_disk <= 2**18
    account = ring.account(cursor)
    assert account.accepted == account.dropped + account.pending == 3000
    spool.stop()


def test_on_a_real_disk_beside_the_commands(
    tmp_path: Path, key_file: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    from auditsink.cli import run  # noqa: PLC0415

    path = tmp_path / "spool"
    spool = open_spool(RealDisk(), path=path, encryption=Encryption(key_file=key_file))
    submit_all(spool, spool.ring("default"), [body_of(name) for name in NAMES])
    spool.ring("default").cursor("siem").advance(Tally(delivered=2))
    spool.stop()
    where = ["--path", str(path)]
    assert run(["spool", "verify", *where]) == 0
    assert run(["spool", "ls", *where]) == 0
    assert b"encrypted under first" in capfdbinary.readouterr().out
    for command in (["cat"], ["export", "--to", str(tmp_path / "no")]):
        assert run(["spool", *command, *where]) == 1
        told = capfdbinary.readouterr().err
        assert b"under the key 'first'" in told
        assert told.count(b"\n") == 1
    with_key = [*where, "--key-file", str(key_file)]
    assert run(["spool", "cat", *with_key]) == 0
    assert capfdbinary.readouterr().out == b"".join(event + b"\n" for event in events_of(*NAMES))
    assert run(["spool", "verify", *with_key]) == 0
    assert run(["spool", "export", "--to", str(tmp_path / "out"), *with_key]) == 0
    restored = tmp_path / "restored"
    assert run(["spool", "import", "--path", str(restored), "--key-file", str(key_file), str(tmp_path / "out")]) == 0
    assert run(["spool", "import", "--path", str(restored), str(tmp_path / "out")]) == 1, "not in the clear beside it"
    assert b"'first'" in capfdbinary.readouterr().err
    for one in segment_file.segments(restored / "rings" / "default", RealDisk()):
        assert one.header.encrypted
        assert b"auditID" not in one.path.read_bytes()
    spool = open_spool(RealDisk(), path=restored, encryption=Encryption(key_file=key_file))
    assert read_all(spool.ring("default")) == (events_of(*NAMES), 0)
    spool.stop()
    assert run(["spool", "cat", *where, "--key-file", str(tmp_path / "nothing")]) == 1
    assert b"--key-file: " in capfdbinary.readouterr().err
