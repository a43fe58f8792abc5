"""The terminal: lines with a style, cut to its width, drawn over what stood there before.

Plain ANSI (ECMA-48) is all that is needed. No text reaches this module that was not made `safe` before.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple
from unicodedata import east_asian_width

import click

WIDTH, HEIGHT = 132, 10_000
"""Where there is no terminal to ask."""
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


class Style(StrEnum):
    """The parameters of ECMA-48 SGR."""

    PLAIN = ""
    BOLD = "1"
    FAINT = "2"
    GOOD = "32"
    LOOK = "33"
    BAD = "31"


class StyledLine(NamedTuple):
    """A line of one style."""

    text: str
    style: Style = Style.PLAIN


def is_terminal() -> bool:
    """Whether standard output is one that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def size() -> tuple[int, int]:
    """Columns and lines, as they are now: it may have been resized."""
    found = shutil.get_terminal_size((WIDTH, HEIGHT))
    return (found.columns, found.lines) if is_terminal() else (WIDTH, HEIGHT)


def styled(text: str, style: Style) -> str:
    """The text in that style, plain where colours are not wanted (https://no-color.org)."""
    return text if style is Style.PLAIN or os.environ.get("NO_COLOR") else f"\x1b[{style}m{text}\x1b[0m"


@contextmanager
def screen() -> Iterator[None]:
    """A screen of its own: what stood on the terminal before is there again afterwards."""
    click.echo(_ENTER, nl=False, color=True)
    try:
        yield
    finally:
        click.echo(_LEAVE, nl=False, color=True)


def draw(lines: Iterable[StyledLine], width: int) -> None:
    """Over the old ones, without a flicker."""
    content = f"{_REST_OF_LINE}\n".join(styled(cut(line.text, width), line.style) for line in lines)
    click.echo(f"{_HOME}{content}{_REST_OF_LINE}{_REST_OF_SCREEN}", nl=False, color=True)


def cut(text: str, width: int) -> str:
    """As much of it as has room; what is wide takes two columns."""
    used = 0
    for at, character in enumerate(text):
        used += 2 if east_asian_width(character) in "WF" else 1
        if used > width:
            return text[:at]
    return text
