"""What an event is called in its ring: never as another event, whatever became of the ring."""

import shutil
from pathlib import Path

from spoolkit import body_of, open_spool, submit

from auditsink.common.disk import RealDisk
from auditsink.spool import Spool
from auditsink.spool.ring import Ring


def opened(path: Path, *texts: str) -> tuple[Spool, Ring]:
    """A spool there, with these events added."""
    spool = open_spool(RealDisk(), path=path)
    ring = spool.ring("default")
    for text in texts:
        submit(spool, ring, body_of(text))
    return spool, ring


def test_an_event_keeps_its_name_over_a_restart(tmp_path: Path) -> None:
    spool, ring = opened(tmp_path / "spool", "a", "b", "c")
    names = [ring.origin(sequence) for sequence in range(3)]
    assert None not in names
    assert (ring.origin(-1), ring.origin(3)) == (None, None)
    spool.stop()
    spool, ring = opened(tmp_path / "spool", "d")
    assert [ring.origin(sequence) for sequence in range(3)] == names
    assert ring.origin(3) not in {None, *names}, "a restart begins a segment of its own"
    spool.stop()


def test_a_sequence_that_is_given_out_again_has_another_name(tmp_path: Path) -> None:
    spool, ring = opened(tmp_path / "spool", "kept")
    kept = ring.origin(0)
    shutil.copytree(tmp_path / "spool", tmp_path / "copy")
    submit(spool, ring, body_of("lost"))
    lost = ring.origin(1)
    spool.stop()
    spool, ring = opened(tmp_path / "copy", "new")
    assert ring.origin(0) == kept
    assert ring.origin(1) not in {None, lost}
    spool.stop()
