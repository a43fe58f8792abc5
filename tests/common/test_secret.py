"""Secrets do not show themselves, and watched files keep their last good value."""

import gc
import os
from pathlib import Path
from typing import Any

import pytest

from auditsink.common import redact as redaction
from auditsink.common import secret
from auditsink.common.secret import Secret, UnreadableFileError, WatchedFile, parse_secret

VALUE = "hunter2-hunter2"


def test_a_secret_prints_as_stars() -> None:
    shown = Secret(VALUE)
    assert f"{shown} {shown!r} {[shown]}" == "*** *** [***]"
    assert shown.reveal() == VALUE
    assert not hasattr(shown, "__dict__")


def test_an_empty_secret_is_false() -> None:
    assert not Secret("")
    assert Secret(" ")


def test_secrets_in_use_are_known_for_as_long_as_they_live() -> None:
    held = Secret(VALUE)
    assert VALUE in secret.alive()
    del held
    gc.collect()
    assert VALUE not in secret.alive()


@pytest.mark.parametrize("content", [b"hunter2", b"hunter2\n", b"  hunter2\r\n"])
def test_a_secret_file_may_end_as_editors_end_it(content: bytes) -> None:
    assert parse_secret(content).reveal() == "hunter2"


@pytest.mark.parametrize(("content", "why"), [(b"\n ", "is empty"), (b"hunter2\xff", "is not UTF-8 text")])
def test_a_useless_secret_file_says_why_without_its_content(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why) as problem:
        parse_secret(content)
    assert "hunter" not in str(problem.value)
    assert "0xff" not in str(problem.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that says "one"."""
    file = tmp_path / "watched"
    file.write_text("one")
    return file


def replace(path: Path, text: str) -> None:
    """As secrets are rotated: a new file takes the name."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def test_a_watched_file_is_parsed_again_only_when_it_is_another(path: Path) -> None:
    parsed: list[bytes] = []

    def parse(content: bytes) -> str:
        parsed.append(content)
        return content.decode()

    watched = WatchedFile(path, parse)
    assert watched.get() == "one"
    assert watched.changed() is False
    replace(path, "two")
    assert watched.changed() is True
    assert watched.changed() is False
    assert watched.get() == "two"
    assert parsed == [b"one", b"two"]


def test_a_change_in_place_is_seen_by_its_time(path: Path) -> None:
    watched = WatchedFile(path, bytes.decode)
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert watched.changed() is True
    assert watched.get() == "two"


def test_a_file_that_vanishes_keeps_its_value_and_says_so(path: Path) -> None:
    watched = WatchedFile(path, bytes.decode)
    path.unlink()
    assert watched.changed() is False
    assert watched.get() == "one"
    assert watched.error is not None
    assert "watched" in watched.error
    replace(path, "back")
    assert watched.changed() is True
    assert [watched.get(), watched.error] == ["back", None]


def test_a_file_that_no_longer_parses_keeps_its_value_and_says_so(path: Path) -> None:
    watched = WatchedFile(path, parse_secret)
    replace(path, "\n")
    assert watched.changed() is False
    assert watched.changed() is False
    assert watched.error == f"{path}: is empty; write the secret into it"
    assert watched.get().reveal() == "one"


def test_the_first_read_must_succeed(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"nowhere: No such file.*check the path and its permissions"):
        WatchedFile(tmp_path / "nowhere", bytes.decode)
    (tmp_path / "empty").touch()
    with pytest.raises(UnreadableFileError, match="empty: is empty"):
        WatchedFile(tmp_path / "empty", parse_secret)


def test_forms_are_made_once_for_each_change_of_the_set_of_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    forms = redaction._forms

    def counted(value: str) -> Any:
        made.append(value)
        return forms(value)

    monkeypatch.setattr(redaction, "_forms", counted)
    secrets = [Secret(f"swordfish-{number:04}") for number in range(1100)]
    for _ in range(3):
        assert redaction.redact("said swordfish-0042, swordfish-1099") == "said ***, ***"
    assert len([value for value in made if value.startswith("swordfish-")]) == len(secrets)
    secrets.append(Secret("tunny-in-oil"))
    assert redaction.redact("tunny-in-oil swordfish-0001") == "*** ***"
    assert made[-1] == "tunny-in-oil"


def test_secrets_that_overlap_in_a_text_leave_nothing_of_either() -> None:
    first, second = Secret("abcdefgh"), Secret("efghijkl")
    assert redaction.redact("<abcdefghijkl>") == "<***>"
    del first, second
