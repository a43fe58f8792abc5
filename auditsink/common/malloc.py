"""How the C library's allocator is told to give memory back: a few large bodies must not become the process's size.

glibc learns from the first large block that is freed to take such blocks from its heap from then on, up to 32 MiB
(mallopt(3), M_MMAP_THRESHOLD), where one small block on top keeps all that is below. Three bodies of 31 MB, one after
the other, left 187 MiB that way, and 71 MiB with fixed bounds.
"""

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_MAPPED_BYTES = 2**20
"""Blocks from this size on are mapped, and go back when they are freed. An apiserver's usual batch is smaller."""
_SPARE_BYTES = 2**23
"""What may lie free at the heap's end, so that usual batches do not fetch pages from the kernel each time."""


def bound() -> None:
    """Fix the bounds for this process, before it starts a thread; does nothing where the C library is not glibc."""
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _SPARE_BYTES)
        # A heap of its own for each thread that once read a chunk: 23 MiB more after three destinations had caught up.
        libc.mallopt(_M_ARENA_MAX, 1)
