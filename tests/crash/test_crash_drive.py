"""The tool of the power cut is held to what it says of itself: what it keeps, and what it loses."""

import ctypes
import os
from pathlib import Path

import pytest
from disks import MIB, Drive, loop_refusal

WRITE_AND_WAIT = 7
"""SYNC_FILE_RANGE_WAIT_BEFORE | WRITE | WAIT_AFTER: the pages go to the device, and no FLUSH follows them."""
PAGE = 4096


@pytest.mark.parametrize(("storeys", "kept"), [(1, 50), (2, 0)], ids=["no-cache", "volatile-cache"])
def test_a_power_cut_keeps_what_was_synced_and_a_volatile_cache_forgets_what_was_only_sent(
    tmp_path: Path, storeys: int, kept: int
) -> None:
    """Three files, every page written: synced, sent to the device without a flush, and left to the kernel."""
    if (why := loop_refusal()) is not None:
        pytest.skip(why)
    with Drive(tmp_path / "drive", 16 * MIB, storeys) as drive:
        files = {name: os.open(drive.path / name, os.O_RDWR | os.O_CREAT) for name in ("synced", "sent", "written")}
        directory = os.open(drive.path, os.O_RDONLY)
        for file in files.values():
            os.pwrite(file, b"0" * 50 * PAGE, 0)
            os.fsync(file)
        os.fsync(directory)
        for file in files.values():
            os.pwrite(file, b"1" * 50 * PAGE, 0)
        # In this order: a sync would flush what was sent before it.
        os.fdatasync(files["synced"])
        sync_file_range = ctypes.CDLL(None, use_errno=True).sync_file_range
        whole = (ctypes.c_int64(0), ctypes.c_int64(50 * PAGE))
        assert sync_file_range(files["sent"], *whole, ctypes.c_uint(WRITE_AND_WAIT)) == 0
        with drive.cut("now") as disk:
            found = {name: (disk / name).read_bytes().count(b"1") // PAGE for name in files}
        for file in (*files.values(), directory):
            os.close(file)
    assert found == {"synced": 50, "sent": kept, "written": 0}
