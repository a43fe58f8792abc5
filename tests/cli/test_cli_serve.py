"""`auditsink serve` when it cannot start: one line that says which key or path and what to do, and exit code 1."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from calling import Call

from auditsink import process
from auditsink.common.listen import bound, listen
from auditsink.config import Config
from auditsink.load import parse
from auditsink.service import StartError
from auditsink.spool import Spool


def serve(place: Path, text: str | None, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error."""
    if text is not None:
        (place / "config.yaml").write_text(text)
        arguments = ("-c", str(place / "config.yaml"), *arguments)
    done = subprocess.run(
        [sys.executable, "-m", "auditsink", "serve", *arguments],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == ""
    return done.returncode, done.stderr


def config(place: Path, **sections: str) -> str:
    default = {
        "receive": "{listen: '127.0.0.1:0'}",
        "admin": "{listen: '127.0.0.1:0'}",
        "spool": f"{{path: {place}/spool, max_bytes: 64MiB}}",
        "destinations": f"[{{name: disk, type: file, path: {place}/audit.ndjson}}]",
    }
    return "\n".join(f"{name}: {value}" for name, value in (default | sections).items())


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that is in use."""
    with listen("test", "127.0.0.1:0") as listening:
        yield str(bound(listening))


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"receive": "{listen: 'TAKEN'}"}, "auditsink: receive.listen TAKEN: "),
        ({"admin": "{listen: 'TAKEN'}"}, "auditsink: admin.listen TAKEN: Address already in use; stop what listens th"),
        ({"spool": "{path: /proc/x}"}, "auditsink: spool.path /proc/x: "),
        ({"spool": "{path: LOCKED}"}, "auditsink: spool.path LOCKED is in use by another auditsink"),
        ({"receive": "{lisden: x}"}, "auditsink: CONFIG:1: receive.lisden: unknown key; did you mean "),
        ({"receive": "{listen: [}"}, "auditsink: CONFIG:1:20: "),
        (
            {"destinations": "[{name: a, type: splunk, url: 'https://h', token_file: /no/token}]"},
            "auditsink: destinations[0].token_file: /no/token: No such file or directory; check the path and its perm",
        ),
        (
            {"destinations": "[{name: a, type: splunk, url: 'https://h', token: '${NOPE}'}]"},
            "auditsink: CONFIG:4: destinations[0].token: the environment variable NOPE is not set",
        ),
    ],
)
def test_a_start_that_cannot_be_is_one_line(
    tmp_path: Path, taken: str, sections: dict[str, str], expected: str
) -> None:
    def filled(text: str) -> str:
        names = {"TAKEN": taken, "LOCKED": f"{tmp_path}/locked", "CONFIG": f"{tmp_path}/config.yaml"}
        for name, value in names.items():
            text = text.replace(name, value)
        return text

    held = Spool.open(parse(config(tmp_path, spool=f"{{path: {tmp_path}/locked}}").encode(), "f", {}).spool)
    code, said = serve(tmp_path, filled(config(tmp_path, **sections)))
    held.stop()
    assert code == 1
    assert said.count("\n") == 1
    assert said.startswith(filled(expected))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    code, said = serve(tmp_path, None, "-c", str(path))
    assert (code, said) == (1, f"auditsink: {path}: No such file or directory; check the path and its permissions\n")


def test_its_exit_code_is_the_process_own(auditsink: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(config(tmp_path))
    monkeypatch.setattr(process, "run", lambda given, **_: len(given.destinations))
    assert auditsink("serve", "-c", tmp_path / "config.yaml") == (1, "", "")


def test_a_failed_start_is_told_line_by_line(auditsink: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Config, **_more: object) -> int:
        raise StartError("a: is wrong\nb: is wrong too")

    monkeypatch.setattr(process, "run", fail)
    assert auditsink("serve") == (1, "", "auditsink: a: is wrong\nauditsink: b: is wrong too\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_without_a_file_at_a_terminal_it_speaks_text_and_says_what_to_try(
    terminal: bool, tmp_path: Path, auditsink: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    formats: list[str] = []

    def run(config: Config, greet: Callable[[], None] = lambda: None, **_: object) -> int:
        formats.append(config.log.format)
        greet()
        return 0

    monkeypatch.chdir(tmp_path)  # in the project's own tree it names what is recorded there instead
    monkeypatch.setattr(process, "run", run)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    called = auditsink("serve")
    assert called.code == 0
    assert formats == ["text" if terminal else "json"]
    hints = ("http://127.0.0.1:9880/audit", "tail -f", "http://127.0.0.1:2020/", "init")
    assert all((hint in called.err) is terminal for hint in hints)
