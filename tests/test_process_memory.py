"""Large blocks go back to the system when they are freed, also the second time."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import os
from auditsink.process import bound_allocator

def resident():
    with open("/proc/self/statm") as figures:
        return int(figures.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

bound_allocator()
del_me = bytearray(24 * 2**20)
del del_me  # from here on glibc would take such blocks from its heap
before = resident()
blocks, pins = [], []
for _ in range(4):
    blocks.append(b"x" * (24 * 2**20))
    pins.append([bytes(2000) for _ in range(100)])
full = resident()
blocks.clear()
print(full - before, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_bodies_leave_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    full, left = map(int, done.stdout.split())
    assert full > 90 * 2**20, "the blocks were there"
    assert left < 8 * 2**20
