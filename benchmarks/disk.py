"""The disk itself: what a sync costs on it, and how much has reached it.

One sync is the smallest thing that any system that syncs before it answers has to do.
"""

import os
import time
from pathlib import Path

PREALLOCATED = 2**26


def sync_times(directory: Path, size: int, *, rate: float, count: int) -> list[float]:
    """Seconds of `count` writes of `size` bytes, each with its fdatasync, `rate` of them a second."""
    path = directory / "sync-reference"
    piece = os.urandom(size)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    times = []
    try:
        os.posix_fallocate(fd, 0, PREALLOCATED)
        os.fsync(fd)
        began = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            started = time.perf_counter()
            os.pwrite(fd, piece, number * size % (PREALLOCATED - size))
            os.fdatasync(fd)
            times.append(time.perf_counter() - started)
    finally:
        os.close(fd)
        path.unlink()
    return times


def written(directory: Path) -> int | None:
    """Bytes that have reached the device below a directory since the machine started, whoever wrote them.

    All that is in the kernel's memory is sent there first. None where the file system has no device of its own.
    What /proc/PID/io counts is no measure: a small write into a large folio of the page cache counts as all of it.
    """
    os.sync()
    device = directory.stat().st_dev
    try:
        # Sectors of 512 bytes: the seventh field, see Documentation/block/stat in Linux's sources.
        return int(Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()[6]) * 512
    except FileNotFoundError:
        return None
