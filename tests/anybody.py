"""A command of ours that any user of the machine may run: an interpreter below root's home is copied out of it.

A sink in fluent-bit's place gives up root and goes on reading its modules. Where an interpreter, its packages or this
tree lie behind a directory of root's alone, the tests start what was copied from them: by hard links, so that it costs
names and no bytes where one file system holds both.
"""

import functools
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

import auditsink

LIBRARY = Path(os.__file__).parent
PACKAGES = Path(sysconfig.get_paths()["purelib"])
OURS = Path(auditsink.__file__).parent

_LEFT_OUT = shutil.ignore_patterns("test", "tests", "idlelib", "tkinter", "site-packages", "*.pth")
_COPY = tempfile.TemporaryDirectory(prefix="auditsink-anybody-")
"""Gone when the tests end."""


def _open_to_all(path: Path) -> bool:
    return all(one.stat().st_mode & 0o005 == 0o005 for one in (path, *path.parents))


def _link(source: str, copy: str) -> None:
    if Path(copy).exists():
        return  # an installed auditsink, beside the one that runs here
    try:
        os.link(source, copy)
    except OSError:
        shutil.copy2(source, copy)


@functools.cache
def command() -> tuple[str, ...]:
    """What starts auditsink as any user: from a copy where it must be."""
    needed = (Path(sys.executable).resolve().parent, LIBRARY, PACKAGES, OURS)
    if all(_open_to_all(one) for one in needed):
        return (sys.executable, "-m", "auditsink")
    place = Path(_COPY.name)
    place.chmod(0o755)
    return copied(place)


def copied(place: Path) -> tuple[str, ...]:
    """What starts the copy that is made below this directory."""
    interpreter = Path(sys.executable).resolve()
    inside = place / "lib" / LIBRARY.name
    shutil.copytree(LIBRARY, inside, copy_function=_link, ignore=_LEFT_OUT)
    shutil.copytree(PACKAGES, inside / "site-packages", copy_function=_link, ignore=_LEFT_OUT)
    shutil.copytree(OURS, inside / "site-packages" / "auditsink", copy_function=_link, dirs_exist_ok=True)
    for shared in interpreter.parent.parent.glob("lib/libpython*"):
        _link(str(shared), str(place / "lib" / shared.name))
    (place / "bin").mkdir()
    _link(str(interpreter), str(place / "bin" / interpreter.name))
    found = (f"PYTHONHOME={place}", f"PYTHONPATH={inside / 'site-packages'}", f"LD_LIBRARY_PATH={place / 'lib'}")
    return ("env", *found, "PYTHONDONTWRITEBYTECODE=1", str(place / "bin" / interpreter.name), "-P", "-m", "auditsink")
