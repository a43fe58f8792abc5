"""What is found in files: logs, packed and in archives, recorded bodies, pipes that pause, and things that are none."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import corpus
import pytest
import zstandard

from auditsink.auditlogs import compression, sources
from auditsink.auditlogs.batches import Batcher, Body
from auditsink.auditlogs.contents import LoggedEvent
from auditsink.auditlogs.reader import LogReader

LINES = [
    corpus.event(f"log-{number}").replace(b"{", b'{"kind":"Event","apiVersion":"audit.k8s.io/v1",', 1)
    for number in range(5)
]
LOG = b"\n".join(LINES) + b"\n"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": zstandard.compress,
    "pzstd": lambda content: b"\x50\x2a\x4d\x18\4\0\0\0size" + zstandard.compress(content),
}


class Noted:
    """What was told of what is not sent."""

    def __init__(self) -> None:
        self.passed: list[tuple[str, str, int, list[int]]] = []
        self.broken: list[tuple[str, str]] = []

    def skipped(self, name: str, why: str, count: int, lines: Sequence[int]) -> None:
        self.passed.append((name, why, count, list(lines)))

    def damaged(self, name: str, why: str) -> None:
        self.broken.append((name, why))


def found(content: bytes, batch: int = 400) -> tuple[list[bytes], list[int], Noted]:
    """The bodies in a file called f, how many events each has, and what was noted."""
    noted = Noted()
    several = list(sources.bodies("f", io.BytesIO(content), batch, noted))
    return [one.data for one in several], [one.events for one in several], noted


Mode = Literal["w", "w:", "w:gz", "w:xz", "w:bz2"]
PACKED: list[Mode] = ["w", "w:gz", "w:xz", "w:bz2"]


def tar(mode: Mode, members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder")
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["batch50-request-h2tls", "hostile-patches"])
def test_an_archive_of_the_corpus_gives_its_bodies_unchanged(name: str) -> None:
    data, counts, noted = found(corpus.archive(name).read_bytes())
    expected = list(corpus.bodies(name))
    assert data == [body.data for body in expected]
    assert counts == [len(body.events) for body in expected]
    assert len(noted.passed) == len(expected)
    assert all(member.endswith(".meta.json") for member, _, _, _ in noted.passed)


@pytest.mark.parametrize("packer", PACKERS)
def test_a_log_is_batched(packer: str) -> None:
    data, counts, noted = found(PACKERS[packer](LOG), batch=2)
    assert (counts, noted.passed, noted.broken) == ([2, 2, 1], [], [])
    assert [event for body in data for event in corpus.cut(body.decode())] == LINES
    assert all(body.startswith(b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1"') for body in data)


@pytest.mark.parametrize("packer", list(PACKERS)[1:])
def test_several_members_are_one_log(packer: str) -> None:
    """`logrotate` and `cat` make such files."""
    pack = PACKERS[packer]
    assert found(pack(LOG) + pack(b"") + pack(LOG))[1] == [10]


@pytest.mark.parametrize("packer", list(PACKERS)[1:])
def test_a_log_that_is_cut_off_gives_what_is_there_and_is_told(packer: str) -> None:
    several = b"".join(
        corpus.event(f"{number}", b'{"x":"%s"}' % os.urandom(300).hex().encode()) + b"\n" for number in range(2000)
    )
    _, counts, noted = found(PACKERS[packer](several)[:-100_000])
    assert 0 < sum(counts) < 2000
    assert len(noted.broken) == 1
    assert noted.broken[0][1].startswith("is damaged or cut off (")


@pytest.mark.parametrize("packer", list(PACKERS)[1:])
def test_what_does_not_unpack_is_told(packer: str) -> None:
    packed = PACKERS[packer](LOG * 50)
    _, _, noted = found(packed[: len(packed) // 2] + b"\xff" * 40 + packed[len(packed) // 2 + 40 :])
    assert [name for name, _ in noted.broken] == ["f"]


def test_a_stream_that_wants_too_much_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "LZMA_MEMORY", 2**20)
    monkeypatch.setattr(compression, "ZSTD_WINDOW", 2**20)
    parameters = zstandard.ZstdCompressionParameters(window_log=25, compression_level=1)
    wide = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    for packed in (lzma.compress(LOG, preset=9), wide.compress(LOG) + wide.flush()):
        data, _, noted = found(packed)
        assert data == []
        assert len(noted.broken) == 1


MEMBERS = {
    "a.body.json": corpus.plain_body("a").data,
    "folder/audit.log": LOG,
    "folder/audit.log.gz": gzip.compress(LOG),
    "folder/audit.log.zst": zstandard.compress(LOG),
    "notes.txt": b"hello\nworld\n",
    "empty.log": b"",
    "other.json": b'{"kind":"ConfigMap","apiVersion":"v1"}',
}
EXPECTED = [3, 15]
PASSED: list[tuple[str, str, int, list[object]]] = [
    ("f/notes.txt", "holds no audit event", 1, []),
    ("f/empty.log", "holds no audit event", 1, []),
    ("f/other.json", "holds no audit event; what stands there is ConfigMap of v1, and no audit event", 1, []),
]


@pytest.mark.parametrize(
    "content",
    [
        *(pytest.param(tar(mode, MEMBERS), id=f"tar{mode[1:]}") for mode in PACKED),
        pytest.param(zstandard.compress(tar("w", MEMBERS)), id="tar.zst"),
        pytest.param(tar("w", MEMBERS, tarfile.GNU_FORMAT), id="GNU"),
        pytest.param(tar("w", MEMBERS, tarfile.USTAR_FORMAT), id="ustar"),
        pytest.param(zipped(MEMBERS), id="zip"),
    ],
)
def test_an_archive_gives_all_logs_and_lists_in_it(content: bytes) -> None:
    _, counts, noted = found(content)
    assert (counts, noted.passed, noted.broken) == (EXPECTED, PASSED, [])


def test_an_archive_in_an_archive_gives_its_logs() -> None:
    _, counts, noted = found(tar("w", {"inner.tar.gz": tar("w:gz", {"audit.log": LOG})}))
    assert (counts, noted.passed) == ([5], [])


def test_a_zip_in_an_archive_is_told() -> None:
    _, _, noted = found(tar("w", {"inner.zip": zipped({"audit.log": LOG})}))
    assert noted.passed[0][:2] == (
        "f/inner.zip",
        "is a zip archive, which is read from a file of its own and from nowhere else",
    )


def test_a_member_that_cannot_be_read_costs_no_other() -> None:
    broken = bytearray(zipped({"a.log": LOG, "b.log": LOG}))
    broken[broken.index(b"a.log") + 20] ^= 0xFF
    _, counts, noted = found(bytes(broken))
    assert counts == [5]
    assert [name for name, _ in noted.broken] == ["f/a.log"]
    _, counts, noted = found(tar("w", {"a.log.gz": gzip.compress(LOG)[:-9], "b.log": LOG}))
    assert sum(counts) >= 5
    assert [name for name, _ in noted.broken] == ["f/a.log.gz"]


def test_what_is_packed_again_and_again_is_given_up() -> None:
    content = LOG
    for _ in range(9):
        content = gzip.compress(content)
    data, _, noted = found(content)
    assert data == []
    assert noted.passed == [("f", "is packed more than 6 times; unpack it", 1, [])]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "holds no audit event"),
        (b"hello\nworld\n", "holds no audit event"),
        (b"\x00\xff" * 300, "holds no audit event"),
        (b"[1,2]", "holds no audit event; what stands there is JSON, and no audit event"),
        (b'{"kind":"Pod"}', "holds no audit event; what stands there is JSON, and no audit event"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "is a 7z archive, which is not read; unpack it"),
        (b"\x04\x22\x4d\x18xxxx", "is compressed with lz4, which is not read; unpack it"),
        (zlib.compress(LOG), "is compressed with zlib, which is not read; unpack it"),
        (b"PAR1xxxx", "is a Parquet file, which is not read; export it as JSON lines"),
    ],
)
def test_anything_else_is_passed_over_and_named(content: bytes, why: str) -> None:
    data, _, noted = found(content)
    assert (data, noted.passed) == ([], [("f", why, 1, [])])


def test_lines_without_an_event_are_told_by_number_and_counted() -> None:
    _, counts, noted = found(b"oops\n" * 25 + LOG + LINES[0][:40] + b"\n")
    assert counts == [5]
    assert noted.passed == [
        ("f", "is no audit event", 25, list(range(1, 11))),
        ("f", "is torn or glued to another, and no whole event", 1, [31]),
    ]


def test_the_words_of_a_hostile_file_do_not_fill_the_memory() -> None:
    kinds = b"".join(b'{"kind":"K%d","apiVersion":"v1"}\n' % number for number in range(500))
    _, _, noted = found(kinds + LOG)
    assert len(noted.passed) <= 33
    assert sum(count for _, _, count, _ in noted.passed) == 500


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_what_windows_makes_of_a_log_is_read(encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    data, counts, _ = found((mark + LOG.decode()).replace("\n", "\r\n").encode(encoding))
    assert counts == [5]
    assert list(corpus.cut(data[0].decode())) == LINES


def test_a_batch_ends_at_its_bytes_too() -> None:
    batcher = Batcher(400, 1000)
    bodies = [body for size in (600, 600, 2000, 10) for body in batcher.add(LoggedEvent(b"x" * size))]
    assert [body.events for body in [*bodies, *batcher.flush()]] == [1, 1, 1, 1]


@pytest.mark.parametrize("packer", PACKERS)
def test_memory_does_not_grow_with_the_file(packer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 MB of a log and of a line without an end, through every way of packing; a line may have 1 MB."""
    monkeypatch.setattr(sources, "LogReader", partial(LogReader, limit=2**20))
    stream = io.BytesIO(PACKERS[packer](LOG * 4_000 + b"{" + bytes(12_000_000)))
    tracemalloc.start()
    count = sum(body.events for body in sources.bodies("f", stream, 400, Noted()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < (28e6 if packer in ("zstd", "pzstd") else 14e6)  # a piece of it may become 22 MB, and does


def test_a_pipe_that_pauses_gives_what_has_come() -> None:
    reading, writing = os.pipe()
    go_on = threading.Event()
    try:
        noted = Noted()
        bodies = sources.live_bodies("-", reading, 400, noted, lambda: not go_on.is_set())
        os.write(writing, LINES[0] + b"\n" + LINES[1][:30])
        first = next(bodies)
        assert isinstance(first, Body)
        assert list(corpus.cut(first.data.decode())) == LINES[:1]
        os.write(writing, LINES[1][30:] + b"\n")
        assert list(corpus.cut(next(bodies).data.decode())) == LINES[1:2]
        os.write(writing, LINES[2] + b"\n" + LINES[3] + b"\n")
        go_on.set()
        assert [body.events for body in bodies] == [2]
    finally:
        os.close(writing)
        os.close(reading)


@pytest.mark.parametrize("content", [tar("w:gz", {"audit.log": LOG}), zstandard.compress(LOG), LOG, LINES[0]])
def test_a_pipe_may_hold_what_a_file_may(content: bytes) -> None:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    try:
        bodies = list(sources.live_bodies("-", reading, 400, Noted(), lambda: True))
    finally:
        os.close(reading)
    assert sum(body.events for body in bodies) in {1, 5}


def test_a_zip_in_a_pipe_is_told() -> None:
    reading, writing = os.pipe()
    os.write(writing, zipped({"audit.log": LOG}))
    os.close(writing)
    noted = Noted()
    try:
        assert list(sources.live_bodies("-", reading, 400, noted, lambda: True)) == []
    finally:
        os.close(reading)
    assert "is a zip archive" in noted.passed[0][1]


def test_a_file_of_the_disk_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(zipped({"audit.log": LOG}))
    with path.open("rb") as stream:
        assert [body.events for body in sources.bodies(str(path), stream, 400, Noted())] == [5]
