"""What is found in files: recorded bodies, archives, audit logs, and things that are none of these."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import corpus
import pytest
import zstandard

from auditsink.apiserver import sources

LINES = [
    corpus.event(f"log-{number}").replace(b"{", b'{"kind":"Event","apiVersion":"audit.k8s.io/v1",', 1)
    for number in range(5)
]
LOG = b"\n".join(LINES) + b"\n"


def found(path: Path, batch: int = 400) -> tuple[list[bytes], list[int], list[tuple[str, str]]]:
    """The bodies in a file, how many events each has, and what was passed over."""
    skipped: list[tuple[str, str]] = []
    with path.open("rb") as stream:
        several = list(sources.bodies(path, stream, batch, lambda *what: skipped.append(what)))
    return [one.data for one in several], [one.events for one in several], skipped


def written(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def tar(mode: str, members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["batch50-request-h2tls", "hostile-patches"])
def test_an_archive_of_the_corpus_gives_its_bodies_unchanged(name: str):
    data, counts, skipped = found(corpus.archive(name))
    expected = list(corpus.bodies(name))
    assert data == [body.data for body in expected]
    assert counts == [len(body.events) for body in expected]
    assert len(skipped) == len(expected)
    assert all(member.endswith(".meta.json") and why == "is no EventList" for member, why in skipped)


MEMBERS = {
    "a.body.json": corpus.plain_body("a").data,
    "folder/b.json": corpus.plain_body("b", count=2).data,
    "notes.txt": b"hello",
    "other.json": b'{"kind":"ConfigMap"}',
}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_gives_only_its_event_lists(tmp_path: Path, mode: str):
    data, counts, skipped = found(written(tmp_path, "anything", tar(mode, MEMBERS)))
    assert (data, counts) == ([MEMBERS["a.body.json"], MEMBERS["folder/b.json"]], [3, 2])
    assert skipped == [("notes.txt", "is no .json"), ("other.json", "is no EventList")]


def test_a_zip_gives_only_its_event_lists(tmp_path: Path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder")
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    data, counts, skipped = found(path)
    assert (data, counts) == ([MEMBERS["a.body.json"], MEMBERS["folder/b.json"]], [3, 2])
    assert [name for name, _ in skipped] == ["notes.txt", "other.json"]


def test_a_single_body_is_sent_as_it_stands(tmp_path: Path):
    body = corpus.plain_body("single").data
    pretty = body.replace(b",", b",\n  ")
    assert found(written(tmp_path, "x.json", body)) == ([body], [3], [])
    assert found(written(tmp_path, "y.json", pretty)) == ([pretty], [3], [])
    assert found(written(tmp_path, "z.json.gz", gzip.compress(body))) == ([body], [3], [])


@pytest.mark.parametrize("body", corpus.hostile_bodies(), ids=lambda body: body.name)
def test_a_hostile_body_is_sent_as_it_stands(tmp_path: Path, body: corpus.Body):
    assert found(written(tmp_path, "x.json", body.data)) == ([body.data], [len(body.events)], [])


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_an_audit_log_is_batched_again(tmp_path: Path, pack: Callable[[bytes], bytes]):
    data, counts, skipped = found(written(tmp_path, "audit.log", pack(LOG)), batch=2)
    assert (counts, skipped) == ([2, 2, 1], [])
    assert [event for body in data for event in corpus.cut(body.decode())] == LINES
    assert all(body.startswith(b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1"') for body in data)


def test_several_compressed_frames_are_one_log(tmp_path: Path):
    """`logrotate` and `cat` make such files."""
    whole = zstandard.compress(LOG) + zstandard.compress(LOG)
    assert found(written(tmp_path, "a.zst", whole))[1] == [10]
    assert found(written(tmp_path, "a.gz", gzip.compress(LOG) + gzip.compress(LOG)))[1] == [10]


def test_the_output_of_a_file_destination_is_an_audit_log(tmp_path: Path):
    """Items of an EventList carry no kind of their own."""
    path = written(tmp_path, "audit.ndjson", corpus.event("a") + b"\n" + corpus.event("b") + b"\n")
    assert found(path)[1:] == ([2], [])


def test_hostile_events_in_a_log_pass(tmp_path: Path):
    bad = [body.events[1] for body in corpus.hostile_bodies()[:12]]
    log = b"\n".join([LINES[0], *bad]) + b"\n"
    data, counts, skipped = found(written(tmp_path, "audit.log", log))
    assert (counts, skipped) == ([13], [])
    assert all(event in data[0] for event in bad)


def test_a_torn_line_of_a_log_is_passed_over_and_said(tmp_path: Path):
    path = written(tmp_path, "audit.log", LINES[0] + b"\n\n" + LINES[1][:50] + b"\n" + LINES[2])
    _, counts, skipped = found(path)
    assert (counts, skipped) == ([2], [(f"{path}:3", "is no whole event")])


@pytest.mark.parametrize("content", [b"", b"hello\nworld\n", b'{"kind":"Pod"}', b"\x00\xff" * 300, b"[1,2]"])
def test_anything_else_is_passed_over_and_said(tmp_path: Path, content: bytes):
    path = written(tmp_path, "x", content)
    assert found(path) == ([], [], [(str(path), "is no EventList")])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(gzip.compress(LOG * 100)[:-20], id="gzip"),
        pytest.param(zstandard.compress(LOG)[:-4] + b"xxxx", id="zstd"),
        pytest.param(tar("w:gz", MEMBERS)[:200], id="tar"),
        pytest.param(b"PK\3\4broken", id="zip"),
    ],
)
def test_a_damaged_file_is_told_by_name(tmp_path: Path, content: bytes):
    path = written(tmp_path, "x", content)
    with pytest.raises(sources.SourceError, match=r"/x: is damaged or cut off \(.+\); fetch it again"):
        found(path)


def test_what_is_too_large_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "MAX_BODY", 2000)
    large = corpus.plain_body("large", padding=3000).data
    path = written(tmp_path, "x.json.gz", gzip.compress(large))
    assert found(path) == ([], [], [(str(path), "is larger than 0 MiB")])
    with pytest.raises(sources.SourceError, match="line 2 is longer than"):
        found(written(tmp_path, "audit.log", LINES[0] + b"\n" + b"{" * 3000))
