"""Programs of other makers, built with Go from modules of its proxy: each version once, into `.real/NAME-VERSION/NAME`.

Where one cannot be built the test is skipped, with what go said.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ground import CACHE, tool


def program(name: str, version: str, build: Callable[[Path], Path], *, slow: bool = False) -> Path:
    """The program. When it is not there yet, `build(folder)` makes it somewhere in that empty folder, which then goes.

    One that is `slow` to build (a quarter of an hour) is built only when all of them are asked for.
    """
    place = CACHE / f"{name}-{version}"
    place.mkdir(parents=True, exist_ok=True)
    made, work = place / name, place / "work"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test runs may want it at once
        if not made.exists():
            if slow and os.environ.get("AUDITSINK_REAL") != "all":
                pytest.skip(f"{name} takes a quarter of an hour to build: AUDITSINK_REAL=all make test-real")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            build(work).rename(made)  # there only when it is whole
            shutil.rmtree(work)
    return made


def installed(package: str, version: str) -> Path:
    """A program that `go install` takes as it is."""

    def build(work: Path) -> Path:
        go("install", f"{package}@v{version}", folder=work, GOBIN=str(work))
        return work / Path(package).name

    return program(Path(package).name, version, build)


def from_source(work: Path, module_name: str, package: str) -> Path:
    """Built where its module's files are unpacked: for modules with replacements, which `go install` refuses."""
    source = work / "source"
    shutil.copytree(module(module_name)["Dir"], source, copy_function=shutil.copy)
    subprocess.run(["chmod", "-R", "u+w", source], check=True)
    # A module carries no other module's folder, so a replacement by one is taken back: its version is required too.
    described = (source / "go.mod").read_text().splitlines(keepends=True)
    (source / "go.mod").write_text("".join(line for line in described if "=> ./" not in line))
    go("build", "-o", "built", package, folder=source)
    return source / "built"


def as_dependency(work: Path, module_name: str, package: str, replacements: str = "") -> Path:
    """Built in a module that requires `module_name` (with its version); package "." is the source that lies there."""
    language = re.search(r"^go .*$", Path(module(module_name)["GoMod"]).read_text(), re.MULTILINE)
    assert language is not None
    required = module_name.replace("@", " ")
    (work / "go.mod").write_text(f"module built\n{language[0]}\nrequire {required}\n{replacements}")
    go("build", "-o", "built", package, folder=work)
    return work / "built"


def module(name: str) -> dict[str, str]:
    """Where a module, `NAME@vVERSION`, was downloaded to: `Dir`, `GoMod`."""
    CACHE.mkdir(parents=True, exist_ok=True)
    found: dict[str, str] = json.loads(go("mod", "download", "-json", name, folder=CACHE))
    return found


def go(*words: str, folder: Path, **environment: str) -> str:
    """The output of a go command. Its default of one compiler for each core wants more memory than tests may take."""
    settings = {"GO111MODULE": "on", "GOWORK": "off", "GOFLAGS": "-mod=mod -buildvcs=false -p=2", **environment}
    command = [tool("go", "it builds the servers"), *words]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"go {' '.join(words)}: {done.stderr[-600:]}")
    return done.stdout
