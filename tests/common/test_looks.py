"""Looks at files whose disk hangs: nobody waits long, and what was known stays in use."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from auditsink.common import watch
from auditsink.common.blocking import StuckError
from auditsink.common.secret import WatchedFile, parse_secret
from auditsink.common.watch import FileWatch, Look
from auditsink.config import ClientTls
from auditsink.http.tls import Tls


class Disk:
    """`os.stat` hangs for the files below a directory while `hangs` is set."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place
        self._monkeypatch = monkeypatch
        self.hangs = False
        self.answers = threading.Event()
        self.reached = threading.Event()
        self.asked = 0
        self._real = os.stat

    def hang(self) -> None:
        """From now on, and nobody waits long any more: a look before may take what it takes."""
        self.hangs = True
        self._monkeypatch.setattr(watch, "PATIENCE_SECONDS", 0.01)

    def stat(self, path: Any, *arguments: Any, **named: Any) -> os.stat_result:
        if self.hangs and str(path).startswith(str(self.place)):
            self.asked += 1
            self.reached.set()
            self.answers.wait(60)
        return self._real(path, *arguments, **named)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    found = Disk(tmp_path, monkeypatch)
    monkeypatch.setattr(os, "stat", found.stat)
    yield found
    found.answers.set()


def test_a_secret_on_a_disk_that_hangs_stays_what_it_was_until_the_disk_is_back(disk: Disk, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    watched = WatchedFile(file, parse_secret)
    disk.hang()
    for _ in range(5):
        assert not watched.changed()
    assert disk.reached.wait(60)
    assert disk.asked == 1, "one call hangs, and no other is made"
    assert watched.error == f"{file}: its disk does not answer; check it"
    assert watched.get().reveal() == "first"
    file.write_text("second one")
    disk.hangs = False
    disk.answers.set()
    while not watched.changed():
        pass
    assert watched.get().reveal() == "second one"
    assert watched.error is None


def test_a_context_on_a_disk_that_hangs_stays_in_use(
    disk: Disk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = Tls(ClientTls(ca_file=tmp_path / "ca.pem"), "tls")
    before = tls.context()
    disk.hang()
    assert [tls.context() for _ in range(3)] == [before] * 3
    assert len(caplog.records) == 1
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    disk.hangs = False
    disk.answers.set()
    while tls.context() is before:
        pass


def test_a_watch_over_several_files_says_nothing_while_one_hangs(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    files = FileWatch([tmp_path / "a", tmp_path / "b"])
    disk.hang()
    assert not any(files.changed() for _ in range(3))
    (tmp_path / "b").write_text("b")
    disk.hangs = False
    disk.answers.set()
    while not files.changed():
        pass
    assert not files.changed()


def test_a_file_is_not_looked_at_for_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FRESH_SECONDS", 3600.0)
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        return len(asked)

    look: Look[int] = Look()
    assert [look(ask) for _ in range(3)] == [1, None, None]
    monkeypatch.setattr(watch, "FRESH_SECONDS", 0.0)
    assert look(ask) == 2


def test_what_a_look_raises_is_raised() -> None:
    def ask() -> int:
        raise OSError(5, "Input/output error")

    look: Look[int] = Look()
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            look(ask)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is no regular file"):
        watch.content(tmp_path / "pipe")


def test_stuck_is_told_at_once_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    look: Look[bool] = Look()
    monkeypatch.setattr(watch, "PATIENCE_SECONDS", 0.01)
    with pytest.raises(StuckError):
        look(lambda: release.wait(60))
    monkeypatch.setattr(watch, "PATIENCE_SECONDS", 3600.0)
    with pytest.raises(StuckError):
        look(lambda: release.wait(60))
    release.set()
