"""The commands a person types: one file each, loaded when it is called, so that `--help` and `send` start at once.

Every mistake ends in one line on standard error that says what to do, and in an exit code: 2 for a wrong command
line, 1 for everything else, 130 after Ctrl-C. `status --exit-code` and `doctor` say how the sink is: 0 good, 3 look,
4 bad.
"""

import atexit
import contextlib
import importlib
import os
import sys
from typing import NoReturn

import click

from auditsink import __version__
from auditsink.common.operator_error import OperatorError
from auditsink.common.redact import redact

COMMANDS = {
    "serve": "Run the sink.",
    "init": "Write a configuration, and what its kube-apiserver needs.",
    "check": "Say what a configuration would do, and what is wrong or risky with it.",
    "schema": "Print the JSON Schema of the configuration file, for editors.",
    "send": "Post audit logs as they lie about, or follow one, as a kube-apiserver would.",
    "reload": "Have a running sink take up its changed configuration.",
    "status": "Show where the events of a running sink are.",
    "doctor": "Look at a sink and what is around it, and say in order what to fix.",
    "reservations": "Show what of a running sink's spool is reserved, used and shared.",
    "tail": "Show events as they pass, one line each.",
    "spool": "Look into a spool, running or not; export, import or move it, and restore its copies.",
    "verify": "Prove that a spool, an export or a file is what the sink stated in its checkpoints.",
    "replay": "Deliver again what the ring still holds.",
    "fluentbit": "Run the sink in fluent-bit's place, set up by its configuration.",
    "gardener": "The extension for Gardener: a sink beside every control plane of a seed.",
    "deadletter": "List, show, deliver again or drop what a destination refused.",
}
"""Each is the `command` of the module of its name in this package."""
FLUENT_BIT = ("--storage_path", "--config")
"""What an image is started with that stands where a fluent-bit stood."""


class _Lazy(click.Group):
    """A group that imports a command when it is called, and its own help needs none of them."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"auditsink.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command("auditsink", cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="auditsink", message="%(prog)s %(version)s")
def commands() -> None:
    """Takes a Kubernetes audit trail, makes it durable before it answers, and delivers it.

    Exit codes: 0 done, 1 something is wrong, 2 a wrong command line; of `status --exit-code` and `doctor`: 0 good,
    3 look when there is time, 4 bad.

    \b
    Example:
      auditsink serve -c /etc/auditsink/config.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is


def main(arguments: list[str] | None = None) -> NoReturn:
    """The entry point: run a command and exit. Never a traceback."""
    code = run(arguments)
    if "obstore" in sys.modules:
        # Its threads may come back into Python after they have answered; while the interpreter takes itself apart that
        # aborts the process, and a command that was done would end with 134.
        atexit._run_exitfuncs()  # noqa: SLF001 - what is registered there runs; only the taking apart does not
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code. Where fluent-bit's arguments stand and no command, its place is taken."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0].startswith(FLUENT_BIT):
        arguments = ["fluentbit", *arguments]
    try:
        result = commands.main(arguments, prog_name="auditsink", standalone_mode=False)
        sys.stdout.flush()
    except (click.ClickException, OperatorError) as problem:
        return _told(problem)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return _nobody_reads()
    except Exception as problem:  # the last line of defence: a person gets a sentence, not a traceback
        if os.environ.get("AUDITSINK_TRACEBACK"):
            raise
        what = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
        return _fail(f"unexpected: {what}; please report it, with the output of AUDITSINK_TRACEBACK=1 set", 1)
    return result if isinstance(result, int) else 0


def _told(problem: click.ClickException | OperatorError) -> int:
    """What a person is to know and do; the exit code."""
    if isinstance(problem, OperatorError):
        return _fail(str(problem), 1)
    if isinstance(problem, click.exceptions.NoArgsIsHelpError):  # no mistake, and its text is the help
        click.echo(problem.format_message(), err=True)
        return problem.exit_code
    if isinstance(problem, click.UsageError):
        path = problem.ctx.command_path if problem.ctx else "auditsink"
        return _fail(f"{problem.format_message()} See `{path} --help`.", problem.exit_code)
    return _fail(problem.format_message(), problem.exit_code)


def _fail(message: str, code: int) -> int:
    for line in message.splitlines():
        click.echo(f"auditsink: {redact(line)}", err=True)
    return code


def _nobody_reads() -> int:
    """`| head` has seen enough. Python would complain once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
