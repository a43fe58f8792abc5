"""The entry point: help without imports, one line for every mistake, quiet ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from calling import Call

from auditsink import __version__, cli

HEAVY = ["aiokafka", "starlette", "uvicorn", "prometheus_client", "msgspec", "yaml", "zstandard"]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def loaded(statement: str, modules: list[str]) -> str:
    """Which of the modules are loaded after the statement; what it prints is thrown away."""
    count = f"[name for name in {modules} if name in sys.modules]"
    return python(
        f"import sys, io; real, sys.stdout = sys.stdout, io.StringIO(); {statement}; print({count}, file=real)"
    ).stdout


def test_help_lists_every_command_and_loads_none(auditsink: Call) -> None:
    said = auditsink("--help")
    assert said.code == 0
    assert all(f"\n  {name} " in said.out for name in cli.COMMANDS)
    assert loaded("from auditsink import cli; cli.run(['--help'])", HEAVY) == "[]\n"


def test_without_arguments_the_help_comes_as_it_is(auditsink: Call) -> None:
    said = auditsink()
    assert (said.code, said.out) == (2, "")
    assert said.err == auditsink("--help").out


def test_send_needs_neither_kafka_nor_the_admin_port() -> None:
    assert loaded("import auditsink.cli.send", ["aiokafka", "starlette", "uvicorn", "prometheus_client"]) == "[]\n"


def commands_below(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The command, or those of a group."""
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from commands_below(below, (*path, name))


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_with_an_example(auditsink: Call, name: str) -> None:
    command = cli.commands.get_command(click.Context(cli.commands), name)
    assert command is not None
    for path in commands_below(command, (name,)):
        said = auditsink(*path, "--help")
        assert said.code == 0
        assert f"auditsink {' '.join(path)}" in said.out.partition("Example")[2]


def test_the_version_is_told(auditsink: Call) -> None:
    assert auditsink("--version") == (0, f"auditsink {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nope"], "auditsink: No such command 'nope'. See `auditsink --help`.\n"),
        (["send"], "auditsink: Missing argument 'FILE...'. See `auditsink send --help`.\n"),
        (["status", "--nope"], "auditsink: No such option '--nope'. See `auditsink status --help`.\n"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_2(auditsink: Call, arguments: list[str], line: str) -> None:
    said = auditsink(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.replace("option: --nope", "option '--nope'") == line


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (click.Abort(), 130, ""),
        (KeyboardInterrupt(), 130, ""),
        (click.ClickException("a: is wrong"), 1, "auditsink: a: is wrong\n"),
        (RuntimeError("Bearer abc.def"), 1, "auditsink: unexpected: RuntimeError: Bearer ***; please report it, with "),
        (RuntimeError(), 1, "auditsink: unexpected: RuntimeError; please report it"),
    ],
)
def test_every_end_is_quiet(
    auditsink: Call, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, line: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(cli.commands, "main", fail)
    said = auditsink()
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith(line)
    assert said.err.count("\n") == (1 if line else 0)


def test_a_developer_can_have_the_traceback(auditsink: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.commands, "main", lambda *_, **__: 1 / 0)
    monkeypatch.setenv("AUDITSINK_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        auditsink()


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    """`auditsink --help | head -1`."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "auditsink", "--help"], stdout=gone, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_ctrl_c_is_no_traceback() -> None:
    # A shell starts what runs in its background with the signal ignored.
    heeded = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    interrupt = "cli.commands.main = lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)"
    done = python(f"from auditsink import cli; import os, signal; {heeded}; {interrupt}; cli.main()")
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")


@pytest.mark.parametrize("code", [0, 1])
def test_the_threads_of_the_client_of_object_stores_never_meet_a_python_that_takes_itself_apart(code: int) -> None:
    ended = python(
        "import atexit, sys, obstore\n"
        "from auditsink import cli\n"
        "class Last:\n"
        "    def __del__(self): print('taken apart')\n"
        "last = Last()\n"
        "atexit.register(print, 'exit functions')\n"
        f"cli.run = lambda _arguments: print('done') or {code}\n"
        "cli.main([])\n"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "done\nexit functions\n", "")
