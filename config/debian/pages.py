"""The manual pages and the shell completions, made from the commands' own help: `python pages.py DIRECTORY`."""

import sys
from importlib import import_module
from pathlib import Path

import click
from click.shell_completion import get_completion_class
from click_man.core import write_man_pages

from auditsink import __version__, cli

COMPLETIONS = {"bash": "auditsink", "zsh": "_auditsink", "fish": "auditsink.fish"}
"""The name of the file that each shell looks for."""


def main(place: Path) -> None:
    """Write `man/*.1` and `completions/*` below `place`."""
    (place / "man").mkdir(parents=True, exist_ok=True)
    (place / "completions").mkdir(exist_ok=True)
    write_man_pages("auditsink", prepared(whole()), version=__version__, target_dir=str(place / "man"))
    for shell, name in COMPLETIONS.items():
        kind = get_completion_class(shell)
        assert kind is not None
        script = kind(cli.commands, {}, "auditsink", "_AUDITSINK_COMPLETE").source()
        (place / "completions" / name).write_text(script)


def whole() -> click.Group:
    """The commands as a group that has them all loaded, which is what click-man walks."""
    found = {name: import_module(f"auditsink.cli.{name}").command for name in cli.COMMANDS}
    for name, command in found.items():
        command.short_help = cli.COMMANDS[name]
    return click.Group("auditsink", commands=found, help=cli.commands.help, params=cli.commands.params)


def prepared(command: click.Command) -> click.Command:
    """The command, and those below it, with texts that troff takes as they are meant."""
    command.help = roff(command.help or "")
    command.short_help = roff(command.short_help or command.get_short_help_str(limit=200)).splitlines()[0]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            parameter.help = roff(parameter.help or "")
    if isinstance(command, click.Group):
        for below in command.commands.values():
            prepared(below)
    return command


def roff(text: str) -> str:
    """Help for click-man: what stands below click's mark for it keeps its lines, and nothing in it is a request."""
    paragraphs = []
    for paragraph in text.strip().split("\n\n"):
        kept = paragraph.lstrip().startswith("\b")
        lines = [_line(line if kept else line.strip()) for line in paragraph.strip("\b\n ").split("\n")]
        paragraphs.append("\n".join([".nf", *lines, ".fi"] if kept else lines))
    return "\n\n".join(paragraphs)


def _line(text: str) -> str:
    escaped = text.strip("\b").replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    main(Path(sys.argv[1]))
