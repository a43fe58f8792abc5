"""`python hanging_sink.py CONTROL serve -c FILE`: the sink, on a machine where some calls never return.

The file CONTROL names them, a word each: host names whose look-up hangs, directories on a disk that does. What was
called while a word stood there returns once it is gone.
"""

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auditsink import cli

LOOK_SECONDS = 0.02


def words(control: Path) -> list[str]:
    """What hangs now."""
    try:
        return control.read_text().split()
    except FileNotFoundError:
        return []


def hang(control: Path) -> None:
    """From now on."""
    look_up = socket.getaddrinfo

    def slow(host: Any, *arguments: Any, **named: Any) -> Any:
        while host in words(control):
            time.sleep(LOOK_SECONDS)
        return look_up(host, *arguments, **named)

    socket.getaddrinfo = slow
    for name in ("fdatasync", "open", "stat"):
        setattr(os, name, waiting(control, getattr(os, name)))


def waiting(control: Path, real: Callable[..., Any]) -> Callable[..., Any]:
    """A call of the system that hangs for what lies in a directory that does."""

    def call(file: Any, *arguments: Any, **named: Any) -> Any:
        path = f"/proc/self/fd/{file}" if isinstance(file, int) else os.fspath(file)
        place = str(Path(path).readlink()) if isinstance(file, int) else str(path)
        if not place.startswith(str(control)):
            while any(word.startswith("/") and place.startswith(word) for word in words(control)):
                time.sleep(LOOK_SECONDS)
        return real(file, *arguments, **named)

    return call


if __name__ == "__main__":
    hang(Path(sys.argv.pop(1)))
    sys.exit(cli.run())
