"""What a sync costs on this disk: the smallest thing that any system that syncs before it answers has to do."""

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
