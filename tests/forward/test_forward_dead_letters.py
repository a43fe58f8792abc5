"""Dead letters: byte for byte, durable, listed once, taken away whole, whatever breaks in between."""

import errno
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.audit.eventlist import Mark
from auditsink.common.disk import RealDisk
from auditsink.delivery.destination import Batch
from auditsink.forward import dead_letter, dead_letters
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.dead_letter_count import MOST_REASONS, OTHERS, DeadLetterCount
from auditsink.forward.dead_letters import DeadLetters, DeadLettersFullError, open_all, place
from auditsink.testing.disk import FakeDisk

AT_NS = 1_795_388_400_123_456_000
PLACE = place(Path("/spool"), "siem")
FILE = PLACE / "letters.ndjson"


def letter_of(sequence: int = 0, event: bytes = b'{"a":1}', reason: str = "no", cluster: str = "c1") -> DeadLetter:
    batch = Batch(cluster, "CN=api", [event], [sequence], AT_NS - 1000, Mark(0))
    return DeadLetter.of("siem", batch, 0, reason, AT_NS)


def letters_on(disk: FakeDisk, max_bytes: int | None = 1_000_000) -> DeadLetters:
    return DeadLetters(PLACE, max_bytes, disk=disk, sleep=lambda _: None)


@given(st.binary() | st.text().map(str.encode))
def test_every_event_comes_back_byte_for_byte(event: bytes) -> None:
    found = dead_letter.decode(letter_of(3, event).encode())
    assert found is not None
    assert found.content == event
    assert list(found.batch().events) == [event]


def test_a_line_says_what_was_refused_by_whom_when_and_why() -> None:
    line = json.loads(letter_of(42, '{"ü":"\\ud800"}'.encode(), reason="code 6").encode())
    assert line == {
        "id": letter_of(42, '{"ü":"\\ud800"}'.encode()).id,
        "destination": "siem",
        "cluster": "c1",
        "sequence": 42,
        "source": "CN=api",
        "received_at": "2026-11-22T23:00:00.123455Z",
        "refused_at": "2026-11-22T23:00:00.123456Z",
        "reason": "code 6",
        "event": '{"ü":"\\ud800"}',
    }


def test_what_is_not_utf8_is_base64() -> None:
    line = json.loads(letter_of(0, b"\xff\x00").encode())
    assert line["event_base64"] == "/wA="
    assert "event" not in line


def test_a_letter_keeps_what_another_try_needs() -> None:
    batch = Batch("c1", "CN=api", [b"a", b"body"], [7, 8], AT_NS, Mark.UNSPLIT)
    again = DeadLetter.of("siem", batch, 1, "no", AT_NS).batch()
    assert again == Batch("c1", "CN=api", [b"body"], [8], AT_NS, Mark.UNSPLIT)


def test_the_id_is_that_of_the_event_and_its_place() -> None:
    assert letter_of(1).id == letter_of(1, reason="other").id
    assert len({letter_of(1).id, letter_of(2).id, letter_of(1, b"x").id, letter_of(1, cluster="c2").id}) == 4


def test_a_page_of_html_is_cut() -> None:
    assert len(letter_of(reason="<html>" * 1000).reason) == dead_letter.LONGEST_REASON


@pytest.mark.parametrize("line", [b"", b"null", b"{}", b"\x00" * 40, b'{"id":1}', b'{"id":"a"', b"\xff", b"[" * 5000])
def test_what_is_no_letter_is_none(line: bytes) -> None:
    assert dead_letter.decode(line) is None


def test_letters_are_listed_in_the_order_of_their_refusal() -> None:
    letters = letters_on(FakeDisk())
    assert (list(letters), letters.size(), letters.get("x")) == ([], 0, None)
    letters.append([letter_of(2), letter_of(1)])
    letters.append([letter_of(9)])
    assert [one.sequence for one in letters] == [2, 1, 9]
    assert letters.get(letter_of(1).id) == letter_of(1)
    assert letters.size() == sum(len(letter_of(at).encode()) for at in (2, 1, 9))


def test_a_repeat_after_a_crash_is_listed_once() -> None:
    letters = letters_on(FakeDisk())
    letters.append([letter_of(1), letter_of(2)])
    letters.append([letter_of(2), letter_of(3)])
    assert [one.sequence for one in letters] == [1, 2, 3]
    assert letters.remove([letter_of(2).id]) == 1
    assert [one.sequence for one in letters] == [1, 3]


def test_when_full_nothing_is_thrown_away_and_the_error_says_what_to_do() -> None:
    disk = FakeDisk()
    size = len(letter_of(1).encode())
    letters = letters_on(disk, max_bytes=2 * size)
    letters.append([letter_of(1), letter_of(2)])
    with pytest.raises(DeadLettersFullError, match="auditsink deadletter drop --destination siem") as problem:
        letters.append([letter_of(3)])
    assert "dead_letter_bytes" in str(problem.value)
    assert [one.sequence for one in letters] == [1, 2]
    letters_on(disk).remove([letter_of(1).id])
    letters.append([letter_of(3)])
    assert [one.sequence for one in letters] == [2, 3]


def test_when_full_the_oldest_go_where_that_is_wanted_and_are_counted() -> None:
    disk = FakeDisk()
    size = len(letter_of(0).encode())
    letters = DeadLetters(PLACE, 20 * size, drop_oldest=True, disk=disk, sleep=lambda _: None)
    dropped = [letters.append([letter_of(number)]) for number in range(10, 60)]
    kept = [one.sequence for one in letters]
    assert kept == list(range(60 - len(kept), 60)), "the newest"
    assert letters.size() <= 20 * size
    assert sum(dropped) == 50 - len(kept) == letters.dropped()
    assert 1 < max(dropped) < 6, "some more than needed, so that not each one costs a new file"
    assert DeadLetters(PLACE, disk=disk).dropped() == letters.dropped(), "after a restart too"


def test_more_at_once_than_there_is_room_for_keeps_the_newest() -> None:
    size = len(letter_of(10).encode())
    letters = DeadLetters(PLACE, 8 * size, drop_oldest=True, disk=FakeDisk(), sleep=lambda _: None)
    letters.append([letter_of(number) for number in range(10, 15)])
    assert letters.append([letter_of(number) for number in range(20, 90)]) == 5 + 63
    assert [one.sequence for one in letters] == list(range(83, 90))
    assert letters.dropped() == 68


@pytest.mark.parametrize("seed", range(10))
def test_a_power_loss_while_the_oldest_go_loses_none_that_was_to_stay(seed: int) -> None:
    disk = FakeDisk()
    size = len(letter_of(10).encode())
    letters = DeadLetters(PLACE, 10 * size, drop_oldest=True, disk=disk, sleep=lambda _: None)
    for number in range(10, 40):
        letters.append([letter_of(number)])
    before = [one.sequence for one in letters]
    disk.crash(random.Random(seed))
    disk.power_on()
    assert [one.sequence for one in DeadLetters(PLACE, disk=disk)] == before


def test_a_torn_last_line_is_passed_over_then_cut_off_and_counted() -> None:
    disk = FakeDisk()
    letters = letters_on(disk)
    letters.append([letter_of(1)])
    disk.put(FILE, letter_of(1).encode() + letter_of(2).encode()[:-9])
    assert [one.sequence for one in letters] == [1]
    letters.append([letter_of(2)])
    assert [one.sequence for one in letters] == [1, 2]
    assert letters.torn == 1
    assert disk.content(FILE) == letter_of(1).encode() + letter_of(2).encode()


def test_lines_that_cannot_be_read_cost_nothing_but_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "_BLOCK", 7)
    disk = FakeDisk()
    letters = letters_on(disk)
    letters.append([letter_of(1)])
    disk.put(FILE, b"\x00\x00\n" + letter_of(1).encode() + b'{"half":\n' + letter_of(2).encode())
    assert [one.sequence for one in letters] == [1, 2]
    assert letters.remove([letter_of(1).id]) == 1
    assert disk.content(FILE) == b"\x00\x00\n" + b'{"half":\n' + letter_of(2).encode()
    assert letters.clear() == 1
    assert (disk.content(FILE), list(letters)) == (b"", [])


def test_taking_away_what_is_not_there_changes_nothing() -> None:
    disk = FakeDisk()
    letters = letters_on(disk)
    assert (letters.remove(["x"]), letters.clear()) == (0, 0)
    letters.append([letter_of(1)])
    writes = disk.calls["create"]
    assert letters.remove(["nobody"]) == 0
    assert disk.calls["create"] == writes


@pytest.mark.parametrize("operation", ["create", "write", "sync", "sync_directory", "open", "lock"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_an_append_that_fails_leaves_no_trace_and_can_be_tried_again(operation: str, error: int) -> None:
    disk = FakeDisk()
    letters = letters_on(disk)
    if operation in {"write", "sync", "open"}:
        letters.append([letter_of(1)])
    disk.fail(operation, error)
    with pytest.raises(OSError):
        letters.append([letter_of(2)])
    letters.append([letter_of(2)])
    disk.crash(random.Random(1))
    assert [one.sequence for one in letters_on(disk)][-1:] == [2]
    assert len(list(letters_on(disk))) == len(disk.content(FILE).splitlines())


@given(st.integers(0, 1_000_000), st.integers(0, 5), st.integers(0, 5))
def test_after_a_power_loss_every_letter_that_was_appended_is_there(seed: int, before: int, after: int) -> None:
    disk = FakeDisk()
    chance = random.Random(seed)
    letters = letters_on(disk)
    for at in range(before):
        letters.append([letter_of(at)])
    disk.fail("sync", errno.EIO)
    with pytest.raises(OSError):
        letters.append([letter_of(100, b"x" * 2000)])
    disk.crash(chance)
    letters = letters_on(disk)
    for at in range(before, before + after):
        letters.append([letter_of(at)])
    disk.crash(chance)
    sequences = [one.sequence for one in letters_on(disk)]
    assert [at for at in sequences if at != 100] == list(range(before + after))


def test_the_directory_is_synced_once_for_a_file_and_not_for_each_letter() -> None:
    disk = FakeDisk()
    letters = letters_on(disk)
    letters.append([letter_of(0)])
    before = disk.calls["sync_directory"]
    for at in range(1, 10):
        letters.append([letter_of(at)])
    assert disk.calls["sync_directory"] == before
    assert disk.calls["sync"] == 10


@given(st.integers(0, 1_000_000))
def test_letters_survive_when_a_command_died_between_its_rename_and_its_sync(seed: int) -> None:
    disk = FakeDisk()
    letters = letters_on(disk)
    letters.append([letter_of(at) for at in range(5)])
    disk.fail("sync_directory", errno.EIO)
    with pytest.raises(OSError):
        letters_on(disk).remove({letter_of(2).id})
    letters.append([letter_of(7)])
    letters.append([letter_of(8)])
    disk.crash(random.Random(seed))
    assert [one.sequence for one in letters_on(disk)] == [0, 1, 3, 4, 7, 8]


@given(st.integers(0, 1_000_000))
def test_letters_survive_when_the_file_was_moved_away_by_hand(seed: int) -> None:
    disk = FakeDisk()
    letters = letters_on(disk)
    letters.append([letter_of(0)])
    disk.rename(FILE, FILE.with_suffix(".old"))
    letters.append([letter_of(1)])
    disk.crash(random.Random(seed))
    assert [one.sequence for one in letters_on(disk)] == [1]


@given(st.integers(0, 1_000_000), st.sampled_from(["create", "write", "sync", "rename", "sync_directory"]))
def test_a_removal_that_breaks_loses_no_letter(seed: int, operation: str) -> None:
    disk = FakeDisk()
    letters = letters_on(disk)
    letters.append([letter_of(at, b"x" * 300) for at in range(5)])
    disk.fail(operation, errno.EIO)
    with pytest.raises(OSError):
        letters.remove({letter_of(2).id, letter_of(2, b"x" * 300).id})
    letters.append([letter_of(7)])
    disk.crash(random.Random(seed))
    sequences = {one.sequence for one in letters_on(disk)}
    assert {0, 1, 3, 4, 7} <= sequences


@given(st.integers(0, 1_000_000))
def test_a_removal_that_returned_holds_after_a_power_loss(seed: int) -> None:
    disk = FakeDisk()
    letters = letters_on(disk)
    letters.append([letter_of(at) for at in range(5)])
    assert letters.remove({letter_of(2).id}) == 1
    disk.crash(random.Random(seed))
    assert [one.sequence for one in letters_on(disk)] == [0, 1, 3, 4]


def test_the_lock_is_waited_for_and_not_for_ever() -> None:
    disk = FakeDisk()
    naps: list[float] = []
    letters = DeadLetters(PLACE, disk=disk, sleep=naps.append)
    letters.append([letter_of(1)])
    other = disk.lock(PLACE / "lock")
    with pytest.raises(TimeoutError, match="lock is held by another process"):
        letters.append([letter_of(2)])
    assert 1 < sum(naps) < 5
    other.close()
    letters.append([letter_of(2)])
    assert [one.sequence for one in letters] == [1, 2]


def test_a_disk_error_of_the_lock_is_not_taken_for_a_lock_that_is_held() -> None:
    disk = FakeDisk()
    disk.fail("lock", errno.EACCES)
    with pytest.raises(PermissionError):
        letters_on(disk).append([letter_of(1)])


def test_all_destinations_are_found_by_name() -> None:
    disk = FakeDisk()
    assert open_all(Path("/spool"), disk=disk) == {}
    letters_on(disk).append([letter_of(1)])
    found = open_all(Path("/spool"), disk=disk)
    assert [one.sequence for one in found["siem"]] == [1]
    assert list(found) == ["siem"]


def test_on_a_real_disk_the_files_are_the_owners_alone(tmp_path: Path) -> None:
    letters = DeadLetters(place(tmp_path, "siem"), 1_000_000)
    letters.append([letter_of(1), letter_of(2)])
    assert letters.remove({letter_of(1).id}) == 1
    assert [one.sequence for one in open_all(tmp_path)["siem"]] == [2]
    assert {path.name: path.stat().st_mode & 0o777 for path in letters.path.iterdir()} == {
        "letters.ndjson": 0o600,
        "lock": 0o600,
    }
    held = RealDisk().lock(letters.path / "lock")
    with pytest.raises(TimeoutError):
        DeadLetters(letters.path, sleep=lambda _: None).remove({letter_of(2).id})
    held.close()


def test_those_that_wait_are_counted_by_cluster_and_reason_and_only_what_came_is_read(tmp_path: Path) -> None:
    letters = DeadLetters(place(tmp_path, "siem"))
    count = DeadLetterCount(letters)
    count.look()
    assert count.waiting.total == 0
    letters.append([letter_of(1, reason="HTTP 400"), letter_of(2, reason="HTTP 400")])
    count.look()
    letters.append([letter_of(3, reason="blank", cluster="test")])
    count.look()
    assert count.waiting.by_cluster == {"c1": 2, "test": 1}
    assert [(group.reason, group.count) for group in count.waiting.reasons] == [("HTTP 400", 2), ("blank", 1)]
    letters.remove([letter_of(1).id])
    count.look()
    assert count.waiting.by_cluster == {"c1": 1, "test": 1}


def test_reasons_that_never_repeat_are_one_group(tmp_path: Path) -> None:
    letters = DeadLetters(place(tmp_path, "siem"))
    count = DeadLetterCount(letters)
    letters.append([letter_of(number, reason=f"row {number}") for number in range(100)])
    count.look()
    assert len(count.waiting.reasons) == MOST_REASONS + 1
    assert (count.waiting.reasons[0].reason, count.waiting.reasons[0].count) == (OTHERS, 80)
