"""Real file systems to break, on loop devices, and the power cut.

**What a power cut keeps.** A file system on a loop device writes into the image file; a copy of the image file holds
exactly the bytes that the device had been given (they are read through the same page cache that the loop driver
writes into). What the sink wrote and the file system had not sent to the device is not in it. That is the power cut
of a disk without a cache of its own (`Drive(storeys=1)`).

Real disks have a volatile cache and are only bound by FLUSH. So `Drive(storeys=2)` puts one file system on the other:
the image of the upper one is a file in the lower one. What the upper file system sends to its device lands in the
lower one's page cache, and only a FLUSH of the upper one (the loop driver makes it an fsync of that file) moves it to
the lower device, of which the copy is taken. Everything that was sent and not flushed is gone, as from a disk's RAM.

**One moment.** Copying takes time, and a cut takes none. So the sink is stopped (SIGSTOP) first, then the image is
copied until the device has done no write in the meantime, which its counter tells. What the kernel was in the middle
of for the stopped sink may end; no answer leaves the sink any more.
"""

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

MIB = 2**20
SPARE = 24 * MIB
"""What the lower file system needs beside the image of the upper one: its journal and its tables."""
WRITES_DONE = 4
SECTORS_WRITTEN = 6
"""Fields of /sys/block/*/stat (Documentation/block/stat.rst)."""
TRIES = 50


class DiskError(Exception):
    """A command about disks failed; the message is what it said."""


@functools.cache
def loop_refusal() -> str | None:
    """Why no file system can be mounted here; None when it can."""
    if os.geteuid() != 0:
        return "mounting a file system needs root"
    for tool in ("mkfs.ext4", "mount", "losetup"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    with tempfile.TemporaryDirectory() as place:
        try:
            with mounted(blank(Path(place) / "image", 8 * MIB), Path(place) / "mount"):
                return None
        except DiskError as problem:
            return f"loop mounts are not allowed here: {problem}"


@functools.cache
def tmpfs_refusal() -> str | None:
    """Why no tmpfs can be mounted here; None when it can."""
    if os.geteuid() != 0:
        return "mounting a tmpfs needs root"
    with tempfile.TemporaryDirectory() as place:
        try:
            with tmpfs(Path(place) / "mount", MIB):
                return None
        except DiskError as problem:
            return f"mounting a tmpfs is not allowed here: {problem}"


def run(*command: str | Path) -> str:
    """Its standard output. Raises DiskError."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DiskError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def blank(image: Path, size: int) -> Path:
    """An image with an empty ext4, every block of it allocated, and nothing left to be initialised later."""
    with image.open("wb") as file:
        for _ in range(0, size, MIB):
            file.write(bytes(MIB))
    run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
    return image


@contextlib.contextmanager
def mounted(image: Path, place: Path, options: str = "rw") -> Iterator[str]:
    """The image's file system at `place`; gives the loop device's name."""
    place.mkdir(exist_ok=True)
    run("mount", "-o", f"loop,{options}", image, place)
    try:
        device = run("findmnt", "-n", "-o", "SOURCE", place).strip()
        yield device.removeprefix("/dev/")
    finally:
        unmount(place)


@contextlib.contextmanager
def tmpfs(place: Path, size: int) -> Iterator[Path]:
    """A file system of that many bytes, in memory."""
    place.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place)
    try:
        yield place
    finally:
        unmount(place)


def unmount(place: Path) -> None:
    """Also what something still holds: it goes when that ends."""
    try:
        run("umount", place)
    except DiskError:
        run("umount", "--lazy", place)


class Drive:
    """A disk with a file system at `path`, whose power can be cut; see the module."""

    def __init__(self, place: Path, size: int, storeys: int) -> None:
        self.place = place
        self._size = size
        self._storeys = storeys
        self._image = place / "disk.img"
        self._device = ""
        self._held = contextlib.ExitStack()
        self.path = place / "spool-disk"

    def __enter__(self) -> Self:
        self.place.mkdir(exist_ok=True)
        if self._storeys == 1:
            self._device = self._held.enter_context(mounted(blank(self._image, self._size), self.path))
            return self
        lower = self.place / "lower"
        self._device = self._held.enter_context(mounted(blank(self._image, self._size + SPARE), lower))
        upper = blank(lower / "upper.img", self._size)
        run("sync", "-f", upper)  # a new disk: from here on only a FLUSH moves anything
        self._held.enter_context(mounted(upper, self.path))
        return self

    def __exit__(self, *_exception: object) -> None:
        self._held.close()
        self._image.unlink()

    def cut(self, name: str) -> "Copy":
        """What this disk would hold if the power went now. Nobody may be using it who could still write (SIGSTOP)."""
        copy = self.place / f"{name}.img"
        for _ in range(TRIES):
            before = self._written()
            shutil.copyfile(self._image, copy)
            if self._written() == before:
                return Copy(copy, self.place / f"{name}-disk", self._storeys)
        raise DiskError(f"{self._device} is never quiet for the time of a copy")

    def _written(self) -> tuple[str, str]:
        fields = Path(f"/sys/block/{self._device}/stat").read_text().split()
        return fields[WRITES_DONE], fields[SECTORS_WRITTEN]


class Copy:
    """A disk after the power came back: `with copy as path` mounts it, and the journal is replayed."""

    def __init__(self, image: Path, place: Path, storeys: int) -> None:
        self._image = image
        self._place = place
        self._storeys = storeys
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Path:
        if self._storeys == 1:
            self._held.enter_context(mounted(self._image, self._place))
            return self._place
        lower = self._place.with_name(self._place.name + "-lower")
        self._held.enter_context(mounted(self._image, lower))
        self._held.enter_context(mounted(lower / "upper.img", self._place))
        return self._place

    def __exit__(self, *_exception: object) -> None:
        self._held.close()
        self._image.unlink()
