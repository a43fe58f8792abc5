"""What the .deb adds to the wheel: the unit, its configuration, manual pages and completions."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from auditsink import cli, load

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "config" / "debian"
UNIT = DEBIAN / "auditsink.service"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pages")
    subprocess.run([sys.executable, DEBIAN / "pages.py", place], check=True, cwd=ROOT)
    return place


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_calls_the_unit_little_exposed() -> None:
    command: list[str | Path] = ["systemd-analyze", "security", "--offline=yes", "--threshold=15", "--no-pager", UNIT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze looks at running units only")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure level" in done.stdout


def test_the_configuration_of_the_unit_is_one_that_the_sink_takes_and_listens_on_loopback_only() -> None:
    assert "-c /etc/auditsink/config.yaml" in UNIT.read_text()
    config = load.load(DEBIAN / "config.yaml")
    assert config.receive.listen.startswith("127.0.0.1:")
    assert config.admin.listen.startswith("127.0.0.1:")
    assert config.spool.path.is_relative_to("/var/lib/auditsink")


def test_there_is_a_page_for_each_command_with_its_options_and_its_example(pages: Path) -> None:
    for name in cli.COMMANDS:
        assert (pages / "man" / f"auditsink-{name}.1").exists()
    page = (pages / "man" / "auditsink-spool-export.1").read_text()
    assert r"\fB\-\-since\fP" in page
    assert r"auditsink spool export \-\-path /var/lib/auditsink" in page
    assert "\b" not in page


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_the_pages_are_typeset_without_a_warning_and_no_line_is_lost(pages: Path) -> None:
    plain = {**os.environ, "MANROFFOPT": "-c", "MANWIDTH": "300", "LC_ALL": "C.UTF-8"}
    for page in sorted((pages / "man").iterdir()):
        command: list[str | Path] = ["man", "--warnings", "-E", "UTF-8", "-l", "-P", "cat", page]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=plain)
        assert not done.stderr
    shown = subprocess.run(
        ["man", "-l", "-P", "cat", pages / "man" / "auditsink-serve.1"],
        capture_output=True,
        text=True,
        check=True,
        env=plain,
    ).stdout
    assert "./data/audit.ndjson" in shown
    assert "auditsink serve -c /etc/auditsink/config.yaml" in shown


def test_each_shell_finds_its_completions(pages: Path) -> None:
    assert {one.name for one in (pages / "completions").iterdir()} == {"auditsink", "_auditsink", "auditsink.fish"}
    asked = {"_AUDITSINK_COMPLETE": "bash_complete", "COMP_WORDS": "auditsink spool ex", "COMP_CWORD": "2"}
    command = [sys.executable, "-m", "auditsink"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **asked}).stdout
    assert said.split() == ["plain,export"]
    subprocess.run(["bash", "-n", pages / "completions" / "auditsink"], check=True)


def test_the_command_of_the_package_takes_its_own_libraries_and_what_was_put_beside_them() -> None:
    text = (DEBIAN / "auditsink.bin" / "auditsink").read_text()
    assert text.startswith("#!/usr/bin/python3 -IS\n")
    assert text.index("/usr/lib/auditsink") < text.index("/usr/local/lib/auditsink")
