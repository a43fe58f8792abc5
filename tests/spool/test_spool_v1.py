"""A spool that version 1 wrote is read byte for byte, for ever."""

import json
from pathlib import Path

import pytest
import spool_v1
from spool_v1 import CLUSTER, KEY_LINES
from spoolkit import body_of, submit

from auditsink.config import Encryption
from auditsink.config import Spool as SpoolConfig
from auditsink.spool import Spool, lock, segment
from auditsink.spool.cursor import CursorState
from auditsink.spool.keys import Keyring
from auditsink.spool.offline import inspect
from auditsink.spool.types import Account, Receipt, Tally

KINDS = ["plain", "encrypted"]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("".join(KEY_LINES))
    return path


def opened(path: Path, kind: str, key_file: Path) -> Spool:
    encryption = Encryption(key_file=key_file) if kind == "encrypted" else None
    spool = Spool.open(SpoolConfig(path=path, encryption=encryption))
    spool.start(lambda call: call())
    return spool


def check(path: Path, kind: str, key_file: Path, expected: list[object]) -> None:
    """Everything that can be read of it, by the sink and from beside it."""
    keys = Keyring.load(key_file) if kind == "encrypted" else None
    report = inspect.verify(path, CLUSTER, keys=keys)
    assert [one.sealed for one in report.segments] == [True, True, False]
    assert report.cursors == {
        "siem": CursorState(0, 18, Tally(delivered=13, filtered=4, dead_lettered=1)),
        "lake": CursorState(0, 3, Tally(delivered=3)),
    }
    told = ["gap at byte", "damaged bytes at", "does not match the digest in its seal", "the chain breaks"]
    assert len(report.problems) == len(told)
    assert all(part in problem for part, problem in zip(told, report.problems, strict=True)), report.problems
    assert len(report.notes) == 1, "a write that was cut short"
    beside = [spool_v1.stated(one) for one in inspect.records(path, CLUSTER, keys=keys)]
    assert beside == expected
    spool = opened(path, kind, key_file)
    ring = spool.rings[CLUSTER]
    assert [spool_v1.stated(one) for one in spool_v1.records(ring)] == expected
    total = ring.durable
    assert ring.floor == 3
    assert ring.account(ring.cursor("siem")) == Account(total, 13, 4, 1, 0, total - 18)
    assert ring.account(ring.cursor("lake")) == Account(total, 3, 0, 0, 0, total - 3)
    assert ring.damaged_bytes > 0
    assert submit(spool, ring, body_of("new")) == Receipt(total, 1)
    spool.stop()
    spool = opened(path, kind, key_file)
    later = [spool_v1.stated(one) for one in spool_v1.records(spool.rings[CLUSTER])]
    assert later[:-1] == expected
    assert later[-1]["first"] == total
    spool.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_a_recorded_spool_of_version_1_is_read_byte_for_byte(kind: str, tmp_path: Path, key_file: Path) -> None:
    path = spool_v1.unpack(kind, tmp_path)
    assert (path / "version").read_bytes() == b"auditsink spool 1\n"
    expected = json.loads((spool_v1.DATA / f"{kind}.json").read_text())
    assert {one["marks"] for one in expected} == {0, 1, 2}, "split and whole, UTF-8 and not"
    check(path, kind, key_file, expected)
    assert (path / "version").read_bytes() == lock.VERSION_LINE, "it was written to, so it is one of ours from now on"


@pytest.mark.parametrize("kind", KINDS)
def test_what_describes_the_recording_still_makes_such_a_spool(kind: str, tmp_path: Path, key_file: Path) -> None:
    """In the version of today, of which it uses nothing that is new."""
    path = tmp_path / "again"
    spool_v1.record(path, key_file if kind == "encrypted" else None)
    key_file.write_text("".join(KEY_LINES))
    expected = json.loads(path.with_suffix(".json").read_text())
    recorded = json.loads((spool_v1.DATA / f"{kind}.json").read_text())
    assert [{**one, "received_ns": 0} for one in expected] == [{**one, "received_ns": 0} for one in recorded]
    check(path, kind, key_file, expected)


def test_the_recorded_segments_are_under_the_keys_of_their_time(tmp_path: Path) -> None:
    path = spool_v1.unpack("encrypted", tmp_path)
    names = [one.header.key_name for one in inspect.verify(path, CLUSTER).segments]
    assert names == ["2026-11", "2026-12", "2026-12"]
    assert all(b"auditID" not in one.read_bytes() for one in path.rglob("*.seg"))


def test_spool_and_segments_speak_of_one_version() -> None:
    assert lock.VERSION_LINE == b"auditsink spool %d\n" % segment.VERSION
