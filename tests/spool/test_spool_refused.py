"""What a spool does not do, and the sentence that says why."""

from pathlib import Path

import pytest
from spoolkit import PATH, config, open_spool

from auditsink.spool import Spool, SpoolError
from auditsink.testing.disk import FakeDisk


def test_two_sinks_on_one_spool_are_refused_with_a_sentence() -> None:
    disk = FakeDisk()
    spool = open_spool(disk)
    with pytest.raises(SpoolError, match="in use by another auditsink"):
        Spool.open(config(), disk=disk)
    spool.stop()
    open_spool(disk).stop()


def test_an_unknown_version_refuses_to_start_and_says_what_to_do() -> None:
    disk = FakeDisk()
    open_spool(disk).stop()
    disk.put(PATH / "version", b"auditsink spool 9\n")
    with pytest.raises(SpoolError, match=r"'auditsink spool 9'.*run the auditsink that wrote it"):
        Spool.open(config(), disk=disk)


def test_one_cluster_too_many_is_refused() -> None:
    spool = Spool.open(config(), disk=FakeDisk(), max_rings=2)
    spool.ring("a")
    spool.ring("b")
    with pytest.raises(SpoolError, match="max_clusters"):
        spool.ring("c")
    assert spool.ring("a").cluster == "a"
    spool.stop()


def test_an_unwritable_path_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(SpoolError, match=r"spool\.path .*file/x"):
        Spool.open(config(tmp_path / "file" / "x"))
