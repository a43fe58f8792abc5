"""A log that is followed: over every kind of rotation and over restarts, each event once, none skipped."""

import gzip
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditsink.auditlogs.follow import Follower
from auditsink.auditlogs.place import LogPlace, StateFile, StateFileError

HEAD = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1",'


def event(number: int) -> bytes:
    time = f"2025-01-04T14:13:20.{number:06d}Z".encode()
    return HEAD + b'"auditID":"%d","stage":"Panic","stageTimestamp":"%s"}' % (number, time)


def lines(*numbers: int) -> bytes:
    return b"".join(event(number) + b"\n" for number in numbers)


Step = Callable[[], None]


class Log:
    """A log that changes by script: each `wait` plays a step; after the last one, and a few waits more, it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place: LogPlace | None = None
        self.said: list[str] = []
        self.took: list[bytes] = []

    def follow(self, *steps: Step, batch: int = 100, patience: int = 6) -> list[int]:
        """The events that were given out, by number."""
        left: Iterator[Step | None] = iter([*steps, *[None] * patience])

        def wait() -> bool:
            step = next(left, "end")
            if callable(step):
                step()
            return step != "end"

        follower = Follower(self.path, self.place, batch=batch, say=self.said.append, wait=wait)
        found = []
        for body in follower.bodies():
            self.took.append(body.data)
            found += [int(part.split(b'"')[1]) for part in body.data.split(b'"auditID"')[1:]]
            self.place = follower.place(body)
        return found

    def append(self, *numbers: int) -> Step:
        return lambda: self.write(lines(*numbers))

    def write(self, content: bytes) -> None:
        with self.path.open("ab") as stream:
            stream.write(content)

    def rename(self, name: str, *, pack: bool = False) -> Step:
        def step() -> None:
            other = self.path.with_name(name)
            self.path.rename(other)
            if pack:
                other.with_name(f"{name}.gz").write_bytes(gzip.compress(other.read_bytes()))
                other.unlink()

        return step

    def copy_truncate(self, name: str, more: bytes = b"") -> Step:
        """`more` is written before the copy is made, and not seen here before."""

        def step() -> None:
            self.write(more)
            shutil.copy(self.path, self.path.with_name(name))
            with self.path.open("r+b") as stream:
                stream.truncate()

        return step


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "audit.log")


def test_a_growing_log_is_read_as_it_grows(log: Log) -> None:
    log.write(lines(1, 2))
    assert log.follow(log.append(3), log.append(4, 5)) == [1, 2, 3, 4, 5]
    assert log.said == []


def test_a_log_that_is_not_there_yet_is_waited_for(log: Log) -> None:
    assert log.follow(log.append(1)) == [1]
    assert log.said == [f"{log.path}: is not there; waiting for it"]


def test_a_line_is_sent_when_it_is_whole(log: Log) -> None:
    whole = event(1)
    steps = [lambda: log.write(whole[:50]), lambda: log.write(whole[50:]), lambda: log.write(b"\n")]
    assert log.follow(*steps) == [1]


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_after_a_restart_nothing_is_sent_twice(log: Log, batch: int) -> None:
    log.write(lines(1, 2, 3))
    assert log.follow(batch=batch) == [1, 2, 3]
    assert log.follow(log.append(4), batch=batch) == [4]
    assert log.follow(batch=batch) == []


def test_what_was_not_taken_is_sent_again(log: Log) -> None:
    log.write(lines(1, 2, 3, 4))
    follower = Follower(log.path, None, batch=2, say=log.said.append, wait=lambda: False)
    log.place = follower.place(next(follower.bodies()))
    assert log.follow() == [3, 4]


@pytest.mark.parametrize("name", ["audit-2025-01-04T14-13-20.123.log", "audit.log.1", "audit.log-20250104"])
def test_a_renamed_log_is_read_to_its_end_and_then_the_new_one(log: Log, name: str) -> None:
    def late() -> None:
        """The writer still has the old file open."""
        with log.path.with_name(name).open("ab") as stream:
            stream.write(lines(3))

    log.write(lines(1))
    assert log.follow(log.append(2), log.rename(name), late, log.append(4), log.append(5)) == [1, 2, 3, 4, 5]


def test_the_end_of_a_renamed_log_counts_without_a_line_break(log: Log) -> None:
    log.write(lines(1) + event(2))
    assert log.follow(log.rename("audit.log.1"), log.append(3)) == [1, 2, 3]


def test_a_log_that_was_renamed_twice_between_two_looks_is_read_whole(log: Log) -> None:
    def twice() -> None:
        log.append(2)()
        log.rename("audit.log.2")()
        log.append(3)()
        log.rename("audit.log.1")()
        log.append(4)()

    log.write(lines(1))
    assert log.follow(twice) == [1, 2, 3, 4]


def test_a_log_that_was_removed_is_read_to_its_end(log: Log) -> None:
    def remove() -> None:
        log.write(lines(2))
        log.path.unlink()

    log.write(lines(1))
    assert log.follow(remove, log.append(3)) == [1, 2, 3]


def test_a_copied_and_truncated_log_is_read_to_its_end_in_the_copy(log: Log) -> None:
    log.write(lines(1))
    assert log.follow(log.copy_truncate("audit.log.1", lines(2, 3)), log.append(4)) == [1, 2, 3, 4]


def test_a_truncated_log_that_has_grown_beyond_the_old_one_is_noticed(log: Log) -> None:
    def step() -> None:
        log.copy_truncate("audit.log.1", lines(2))()
        log.write(lines(3, 4, 5, 6))

    log.write(lines(1))
    assert log.follow(step) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("restart", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("pack", [False, True])
def test_a_writer_that_does_not_append_leaves_nul_bytes_and_nothing_is_skipped(
    log: Log, restart: int, pack: bool
) -> None:
    """As kube-apiserver under logrotate's copytruncate: the log goes on where it was, behind a hole."""
    stream = log.path.open("wb", buffering=0)
    written = 0

    def write(count: int) -> None:
        nonlocal written
        stream.write(lines(*range(written, written + count)))
        written += count

    def rotate(name: str) -> Step:
        def step() -> None:
            write(3)
            copy = log.path.with_name(name)
            shutil.copy(log.path, copy)
            if pack:
                copy.with_name(f"{name}.gz").write_bytes(gzip.compress(copy.read_bytes()))
                copy.unlink()
            stream.truncate(0)
            write(2)

        return step

    write(60)  # more than is kept of a log's beginning
    steps = [rotate("audit.log.1"), lambda: write(30), rotate("audit.log.2"), lambda: write(30), rotate("audit.log.3")]
    with stream:
        found = log.follow(*steps[:restart], patience=1)
        found += log.follow(*steps[restart:], patience=12)
    assert found == list(range(written))


def test_a_truncated_log_without_a_copy_is_said(log: Log) -> None:
    def truncate() -> None:
        with log.path.open("r+b") as stream:
            stream.truncate()

    log.write(lines(1, 2))
    assert log.follow(truncate, log.append(3)) == [1, 2, 3]
    assert any("is neither there nor beside it" in said for said in log.said)


def test_a_log_that_lost_its_end_is_read_again(log: Log) -> None:
    """Twice is better than never, and the end of it must not be waited for."""

    def cut() -> None:
        with log.path.open("r+b") as stream:
            stream.truncate(len(lines(1)))

    log.write(lines(1, 2))
    assert log.follow(cut, log.append(3)) == [1, 2, 1, 3]
    assert any("is neither there nor beside it" in said for said in log.said)


def test_a_packed_log_grows_no_more(log: Log) -> None:
    log.path.write_bytes(gzip.compress(lines(1, 2)))
    assert log.follow() == [1, 2]
    assert log.follow() == []
    assert len(log.said) < 5


def test_what_cannot_be_read_as_a_file_is_told(log: Log) -> None:
    log.path.mkdir()
    assert log.follow() == []
    assert log.said == [f"{log.path}: cannot be read; check its permissions"]


@pytest.mark.parametrize("pack", [False, True])
def test_a_log_that_was_rotated_during_a_restart_is_found_beside_it(log: Log, pack: bool) -> None:
    log.write(lines(1, 2))
    assert log.follow() == [1, 2]
    log.append(3)()
    log.rename("audit-2025-01-04T14-13-20.123.log", pack=pack)()
    log.append(4, 5)()
    log.rename("audit-2025-01-04T14-13-21.123.log", pack=pack)()
    log.append(6)()
    assert log.follow(log.append(7)) == [3, 4, 5, 6, 7]


def test_a_log_that_was_truncated_during_a_restart_is_found_in_its_copy(log: Log) -> None:
    log.write(lines(1, 2))
    assert log.follow() == [1, 2]
    log.copy_truncate("audit.log.1", lines(3))()
    log.write(lines(4, 5, 6))
    assert log.follow() == [3, 4, 5, 6]


def test_older_logs_are_left_alone(log: Log) -> None:
    log.path.with_name("audit.log.1").write_bytes(lines(1, 2))
    log.write(lines(3))
    assert log.follow(log.rename("audit.log.2"), log.append(4)) == [3, 4]


def test_other_files_beside_it_are_none_of_the_log(log: Log) -> None:
    log.path.with_name("audit.log.state").write_text('{"version":1}')
    log.path.with_name("auditing.log").write_bytes(lines(9))
    log.write(lines(1))
    assert log.follow(log.rename("audit.log.1"), log.append(2)) == [1, 2]


def test_a_log_whose_rest_is_gone_is_said_and_the_others_are_read(log: Log) -> None:
    log.write(lines(1, 2))
    assert log.follow() == [1, 2]
    log.path.unlink()
    log.write(lines(5))
    log.rename("audit.log.1")()
    log.write(lines(6))
    assert log.follow() == [5, 6]
    assert "is neither there nor beside it" in log.said[0]


def test_a_damaged_packed_log_costs_its_rest(log: Log) -> None:
    log.write(lines(1))
    assert log.follow() == [1]
    log.path.unlink()
    packed = gzip.compress(lines(1, 2) + bytes(5000))
    log.path.with_name("audit.log.1.gz").write_bytes(packed[:-10])
    log.write(lines(3))
    assert log.follow() == [2, 3]
    assert any("cannot be read" in said for said in log.said)


def test_torn_lines_are_told_with_their_numbers_over_restarts(log: Log) -> None:
    log.write(lines(1) + event(2)[:40] + b"\n" + lines(3))
    assert log.follow() == [1, 3]
    log.write(event(4)[:40] + b"\n" + lines(5))
    assert log.follow() == [5]
    assert [said for said in log.said if "no whole event" in said] == [
        f"{log.path}: line {number} is torn or glued to another, and no whole event; passed over" for number in (2, 4)
    ]


def test_a_flood_of_torn_lines_is_told_ten_times(log: Log) -> None:
    log.write(b"oops\n" * 1000 + lines(1))
    assert log.follow() == [1]
    assert len(log.said) == 10


def test_parts_of_a_container_line_are_one_event_over_a_restart(log: Log) -> None:
    part = b"2025-01-04T14:13:20.1Z stdout "
    log.write(part + b"F " + event(1) + b"\n" + part + b"P " + event(2)[:40] + b"\n")
    assert log.follow() == [1]
    log.write(part + b"F " + event(2)[40:] + b"\n")
    assert log.follow() == [2]


def test_a_place_survives_in_its_file(tmp_path: Path) -> None:
    place = LogPlace(offset=7, line=1, inode=3, head_bytes=7, head_sha256="ab", began="2025")
    with StateFile(tmp_path / "state") as state:
        assert state.load() is None
        state.save(place)
        state.save(place)
        assert state.load() == place
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state", "state.lock"]


@pytest.mark.parametrize("content", [b"", b"hello", b"{}", b'{"version":2,"offset":1}', b"\xff"])
def test_a_file_that_is_no_state_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").write_bytes(content)
    with (
        StateFile(tmp_path / "state") as state,
        pytest.raises(StateFileError, match="is no state file of this version"),
    ):
        state.load()


def test_two_cannot_use_one_state_file(tmp_path: Path) -> None:
    with (
        StateFile(tmp_path / "state"),
        pytest.raises(StateFileError, match="another auditsink send uses it"),
        StateFile(tmp_path / "state"),
    ):
        raise AssertionError("both have it")


def test_a_state_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateFileError, match="cannot be written"), StateFile(tmp_path / "gone" / "state"):
        raise AssertionError("it was opened")


OPERATIONS = ["write", "write", "write", "half", "rename", "copy and truncate", "pack", "look", "look", "restart"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(st.sampled_from(OPERATIONS), max_size=30))
def test_whatever_happens_to_the_log_each_event_is_sent_once_and_in_order(
    script: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = Log(tmp_path_factory.mktemp("log") / "audit.log")
    log.write(lines(0))
    written, found, rotations, rest = 1, log.follow(), 0, b""
    steps: list[Step] = []

    def write(content: bytes) -> Step:
        return lambda: log.write(content)

    def rotate(step: Callable[[str], Step]) -> Step:
        name = f"audit.log.{rotations}"
        return lambda: step(name)() if log.path.exists() and log.path.stat().st_size else None

    def pack() -> None:
        """The oldest that is not packed, as logrotate's delaycompress and kube-apiserver do."""
        for old in sorted(log.path.parent.glob("audit.log.*"), key=lambda path: path.stat().st_mtime_ns)[:-1]:
            if old.suffix != ".gz":
                old.with_name(f"{old.name}.gz").write_bytes(gzip.compress(old.read_bytes()))
                old.unlink()
                return

    def all_of(todo: Iterable[Step]) -> Step:
        now = tuple(todo)

        def run() -> None:
            for step in now:
                step()

        return run

    batch: list[Step] = []  # what happens between two looks
    for operation in script:
        if operation == "write":
            batch.append(write(rest or lines(written)))
            written, rest = written + (not rest), b""
        elif operation == "half" and not rest:
            whole = lines(written)
            batch.append(write(whole[:50]))
            written, rest = written + 1, whole[50:]
        elif operation == "rename" and not rest:
            batch.append(rotate(log.rename))
            rotations += 1
        elif operation == "copy and truncate" and not rest:
            batch.append(rotate(log.copy_truncate))
            rotations += 1
        elif operation == "pack":
            batch.append(pack)
        elif operation == "look":
            steps.append(all_of(batch))
            batch = []
        elif operation == "restart":
            found += log.follow(*steps, patience=8)
            for step in batch:
                step()
            steps, batch = [], []
    batch.append(write(rest or lines(written)))
    written += not rest
    steps.append(all_of(batch))
    found += log.follow(*steps, patience=20)
    assert found == list(range(written))
