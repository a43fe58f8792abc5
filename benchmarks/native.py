"""The load client and the null receiver, compiled from the C files beside this one."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).parent


class NativeError(Exception):
    """The programs cannot be built: what is missing and how to get it."""


class Programs(NamedTuple):
    """Where they are."""

    load: Path
    hec: Path


def build(directory: Path) -> Programs:
    """Compile both into the directory; takes about a second. Raises NativeError."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NativeError("no C compiler found (cc, gcc or clang): the load client and the receiver are written in C")
    load, hec = directory / "load", directory / "hec"
    _compile(compiler, SOURCES / "load.c", load)
    try:
        _compile(compiler, SOURCES / "hec.c", hec, "-lz")
    except NativeError as problem:
        raise NativeError(f"{problem}\nzlib's headers are needed (zlib1g-dev, zlib-devel)") from None
    return Programs(load, hec)


def _compile(compiler: str, source: Path, target: Path, *libraries: str) -> None:
    command = [compiler, "-O2", "-std=gnu11", "-Wall", "-Wextra", str(source), "-o", str(target), *libraries]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NativeError(f"{' '.join(command)} failed:\n{done.stderr}")
