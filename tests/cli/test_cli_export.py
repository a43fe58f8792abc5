"""`auditsink spool export` and `import` on real directories."""

import threading
from pathlib import Path

import pytest
from calling import Call

from auditsink.audit import eventlist
from auditsink.common.units import Size
from auditsink.config import Spool as SpoolConfig
from auditsink.spool import Spool
from auditsink.spool.offline import inspect

HEAD = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['


def take(place: Path, *clusters: str) -> Spool:
    """A spool that has taken two events for each cluster; not stopped."""
    spool = Spool.open(SpoolConfig(path=place, max_bytes=Size(2**26)))
    spool.start(lambda call: call())
    for cluster in clusters:
        body = HEAD + b'{"n":1},{"n":2}]}'
        spool.submit(spool.ring(cluster), body, eventlist.split(body), "", lambda _answer: None)
    return spool


@pytest.fixture
def place(tmp_path: Path) -> Path:
    take(tmp_path / "spool", "blue", "green").stop()
    return tmp_path


def test_out_and_in_again(place: Path, auditsink: Call) -> None:
    said = auditsink("spool", "export", "--path", place / "spool", "--to", place / "out")
    assert said == (0, "cluster blue: 2 events of 1 segments\ncluster green: 2 events of 1 segments\n", "")
    said = auditsink("spool", "import", "--path", place / "again", place / "out")
    assert said == (
        0,
        "".join(f"cluster {one}: 2 events restored, 0 were there already\n" for one in ("blue", "green")),
        "",
    )
    assert list(inspect.records(place / "again", "blue")) == list(inspect.records(place / "spool", "blue"))
    said = auditsink("spool", "import", "--path", place / "again", place / "out", "--cluster", "blue")
    assert said == (0, "cluster blue: 0 events restored, 2 were there already\n", "")
    assert auditsink("spool", "verify", "--path", place / "again").code == 0


def test_what_a_running_sink_still_writes_is_told(tmp_path: Path, auditsink: Call) -> None:
    take(tmp_path / "spool", "blue").stop()
    spool = take(tmp_path / "spool")
    running = take_more(spool)
    said = auditsink("spool", "export", "--path", tmp_path / "spool", "--to", tmp_path / "out")
    assert said.code == 0
    assert "cluster blue: 2 events of 1 segments\n" in said.out
    assert "cluster blue: events from 2 on are not sealed yet and not exported\n" in said.out
    running.stop()


def take_more(spool: Spool) -> Spool:
    answered = threading.Event()
    body = HEAD + b'{"n":3}]}'
    spool.submit(spool.ring("blue"), body, eventlist.split(body), "", lambda _answer: answered.set())
    assert answered.wait(30)
    return spool


def test_one_cluster_and_a_time(place: Path, auditsink: Call) -> None:
    said = auditsink(
        "spool", "export", "--path", place / "spool", "--to", place / "a", "--cluster", "blue", "--since", "1h"
    )
    assert said == (0, "cluster blue: 2 events of 1 segments\n", "")
    said = auditsink("spool", "export", "--path", place / "spool", "--to", place / "b", "--until", "1h")
    assert "cluster blue: 0 events of 0 segments\n" in said.out
    said = auditsink("spool", "import", "--path", place / "again", place / "b")
    assert said == (1, "", f"auditsink: {place / 'b'} holds no event\n")


def test_a_spool_in_use_is_not_imported_into(place: Path, auditsink: Call) -> None:
    auditsink("spool", "export", "--path", place / "spool", "--to", place / "out")
    spool = take(place / "spool")
    said = auditsink("spool", "import", "--path", place / "spool", place / "out")
    assert said.code == 1
    assert "in use by another auditsink" in said.err
    spool.stop()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["export", "--path", "/nonexistent", "--to", "x"], "/nonexistent is no spool"),
        (["export", "--path", "{}/spool", "--to", "{}/x", "--cluster", "red"], "has no ring of cluster 'red'"),
        (["export", "--path", "{}/spool", "--to", "/proc/x"], "check the disk, the path and its permissions"),
        (["import", "--path", "{}/x", "{}/spool"], "is no export"),
        (["import", "--path", "{}/x"], "Missing argument 'FROM'"),
    ],
)
def test_mistakes_are_one_line(place: Path, auditsink: Call, arguments: list[str], told: str) -> None:
    said = auditsink("spool", *(one.format(place) for one in arguments))
    assert said.code in {1, 2}
    assert told in said.err
    assert said.err.count("\n") == 1


def test_what_is_still_written_comes_along_when_asked_for_and_goes_back_in(tmp_path: Path, auditsink: Call) -> None:
    take(tmp_path / "spool", "blue").stop()
    running = take_more(take(tmp_path / "spool"))
    said = auditsink("spool", "export", "--path", tmp_path / "spool", "--to", tmp_path / "out", "--include-open")
    running.stop()
    assert said == (0, "cluster blue: 3 events of 2 segments\n", "")
    said = auditsink("spool", "import", "--path", tmp_path / "again", tmp_path / "out")
    assert said.out == "cluster blue: 3 events restored, 0 were there already\n"
    again, before = (list(inspect.records(tmp_path / one, "blue")) for one in ("again", "spool"))
    assert [record.events for record in again] == [record.events for record in before]
    assert auditsink("spool", "verify", "--path", tmp_path / "again").code == 0


def test_a_time_without_a_zone_is_told(place: Path, auditsink: Call) -> None:
    said = auditsink(
        "spool", "export", "--path", place / "spool", "--to", place / "o", "--since", "2026-11-22T21:00:00"
    )
    assert "--since 2026-11-22T21:00:00 has no time zone and is taken as 2026-11-22T21:00:00Z" in said.err
