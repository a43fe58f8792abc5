"""Lines out of files, and the memory of lines that were seen."""

import bz2
import gzip
import lzma
import random
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from auditsink.evidence import EvidenceError
from auditsink.evidence.verify import line_matcher
from auditsink.evidence.verify.line_matcher import Files, SeenLines, in_order


def test_rotated_files_are_read_oldest_first() -> None:
    names = ["b.2.gz", "a", "b", "a.10", "b.1", "a.2", "a.1.zst"]
    found = [path.name for path in in_order([Path(name) for name in names])]
    assert found == ["b.2.gz", "b.1", "b", "a.10", "a.2", "a.1.zst", "a"]


def test_other_files_stay_in_their_order() -> None:
    names = ["2026-11-02.ndjson", "2026-11-01.ndjson", "z", "a"]
    assert [path.name for path in in_order([Path(name) for name in names])] == names


def test_lines_know_where_they_stand(tmp_path: Path) -> None:
    (tmp_path / "a.1").write_bytes(b"1\n2\n")
    (tmp_path / "a").write_bytes(gzip.compress(b"3\n\n5"))
    told: list[int] = []
    found = Files([tmp_path / "a", tmp_path / "a.1"], told.append)
    assert list(found) == [b"1", b"2", b"3", b"", b"5"]
    assert [found.where(number) for number in (0, 1, 2, 4)] == [
        f"{tmp_path}/a.1:1", f"{tmp_path}/a.1:2", f"{tmp_path}/a:1", f"{tmp_path}/a:3",
    ]  # fmt: skip
    assert sum(told) == sum(path.stat().st_size for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"1\n2\n")[:-4],
        b"\x1f\x8b nonsense",
        zstandard.ZstdCompressor().compress(b"1\n" * 9)[:-3] + b"xxx",
        zstandard.ZstdCompressor().compress(b"1\n" * 9)[:-3],
    ],
    ids=["a gzip cut short", "no gzip", "no zstd frame", "a zstd frame cut short"],
)
def test_a_broken_archive_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(EvidenceError, match="a: cannot be read"):
        list(Files([tmp_path / "a"]))


def test_several_zstd_frames_are_one_file(tmp_path: Path) -> None:
    compress = zstandard.ZstdCompressor().compress
    (tmp_path / "a").write_bytes(compress(b"1\n") + compress(b"2\n"))
    assert list(Files([tmp_path / "a"])) == [b"1", b"2"]


def test_what_xz_and_bzip2_packed_is_read_as_well(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(lzma.compress(b"1\n2\n"))
    (tmp_path / "b").write_bytes(bz2.compress(b"3\n"))
    assert list(Files([tmp_path / "a", tmp_path / "b"])) == [b"1", b"2", b"3"]


def test_a_file_without_line_breaks_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_matcher, "LONGEST_LINE", 1000)
    (tmp_path / "a").write_bytes(zstandard.ZstdCompressor().compress(b"x" * 10**7))
    with pytest.raises(EvidenceError, match="holds a line of more than"):
        list(Files([tmp_path / "a"]))


@given(st.lists(st.binary(max_size=3), max_size=60), st.lists(st.binary(max_size=3), max_size=20))
def test_lines_that_were_seen_are_known(seen: list[bytes], asked: list[bytes]) -> None:
    known = SeenLines(b"prefix")
    for line in seen:
        known.add(line)
    assert [line in known for line in asked] == [line in seen for line in asked]


def test_the_oldest_lines_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_matcher, "SEEN_CHUNK", 10)
    monkeypatch.setattr(line_matcher, "MOST_SEEN_CHUNKS", 3)
    known = SeenLines()
    lines = [random.Random(number).randbytes(8) for number in range(100)]
    for line in lines:
        known.add(line)
    assert lines[0] not in known
    assert all(line in known for line in lines[-30:])
