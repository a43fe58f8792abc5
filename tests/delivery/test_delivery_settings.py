"""Secrets that change under a running sink."""

import logging
from pathlib import Path

import pytest

from auditsink.common.secret import Secret
from auditsink.delivery.settings import Credential


def credential(file: Path) -> Credential:
    return Credential("destinations[siem].token", None, file, header_safe=True)


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    token = credential(file)
    assert token.reveal() == "first"

    file.write_text("second-one\n")
    assert token.reveal() == "second-one"


def test_a_rotation_half_done_keeps_the_last_good_token_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    token = credential(file)

    with caplog.at_level(logging.WARNING):
        file.write_text("half a\n")
        assert [token.reveal() for _ in range(3)] == ["first"] * 3
        file.unlink()
        assert [token.reveal() for _ in range(3)] == ["first"] * 3

    assert len(caplog.records) == 2
    assert all("destinations[siem].token_file" in record.getMessage() for record in caplog.records)
    assert "first" not in caplog.text
    assert "half a" not in caplog.text

    file.write_text("second\n")
    assert token.reveal() == "second"


def test_a_token_from_the_configuration_itself_is_just_that() -> None:
    assert Credential("k", Secret("inline"), None, header_safe=True).reveal() == "inline"


def test_a_password_may_hold_spaces_and_any_letters() -> None:
    assert Credential("k", Secret("pass wörd"), None, header_safe=False).reveal() == "pass wörd"
