"""`auditsink spool` on real directories."""

import sys
from pathlib import Path

import pytest
from aiokafka.errors import TopicAuthorizationFailedError

from auditsink.audit import eventlist
from auditsink.cli import run
from auditsink.common.units import Size
from auditsink.config import Spool as SpoolConfig
from auditsink.kafka.brokers import Brokers
from auditsink.spool import Spool
from auditsink.spool.segment import DATA_START
from auditsink.spool.types import Tally


@pytest.fixture
def spool_path(tmp_path: Path) -> Path:
    """A stopped spool with two clusters; blue holds three events in two batches, green one that cannot be split."""
    spool = Spool.open(SpoolConfig(path=tmp_path, max_bytes=Size(2**24)))
    answers: list[object] = []
    head = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":['
    for cluster, body in (
        ("blue", head + b'{"n":1},\n{"n":2}]}'),
        ("blue", head + b'{"n":\n3}]}'),
        ("green", head + b'{"broken'),
    ):
        spool.submit(spool.ring(cluster), body, eventlist.split(body), "", answers.append)
    spool.start(lambda call: call())
    spool.ring("blue").cursor("siem").advance(Tally())
    spool.stop()
    assert len(answers) == 3
    return tmp_path


def test_ls_shows_segments_and_cursors(spool_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spool", "ls", "--path", str(spool_path)]) == 0
    out = capsys.readouterr().out
    assert "cluster blue: 3 events in 2 batches" in out
    assert "00000000000000000000.seg" in out
    assert "siem" in out


def test_cat_prints_one_event_a_line(spool_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["spool", "cat", "--path", str(spool_path), "--cluster", "blue"]) == 0
    assert capfdbinary.readouterr().out == b'{"n":1}\n{"n":2}\n{"n": 3}\n'
    assert run(["spool", "cat", "--path", str(spool_path), "--cluster", "blue", "--since", "1", "--limit", "1"]) == 0
    assert capfdbinary.readouterr().out == b'{"n":2}\n'
    assert run(["spool", "cat", "--path", str(spool_path), "--cluster", "green"]) == 0
    assert b'"auditsink.io/unsplit"' in capfdbinary.readouterr().out


def test_a_terminal_gets_no_control_characters_of_an_event(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are legal in JSON beyond ASCII, and reach the ring raw in what only the scanner can split."""
    event = '{"a":"\x1b[31m\x9b1m\u202e"}'.encode()
    body = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[' + event + b"]}"
    spool = Spool.open(SpoolConfig(path=tmp_path, max_bytes=Size(2**24)))
    spool.submit(spool.ring("c"), body, eventlist.split(body), "", lambda _answer: None)
    spool.start(lambda call: call())
    spool.stop()
    assert run(["spool", "cat", "--path", str(tmp_path)]) == 0
    assert capfdbinary.readouterr().out == event + b"\n", "a pipe gets the bytes"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(["spool", "cat", "--path", str(tmp_path)]) == 0
    assert capfdbinary.readouterr().out == b'{"a":"?[31m?1m?"}\n'


def test_verify_is_0_on_a_whole_spool_and_1_on_a_damaged_one(
    spool_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["spool", "verify", "--path", str(spool_path)]) == 0
    assert "cluster blue: 3 events in 2 batches, 1 segments, whole" in capsys.readouterr().out
    path = spool_path / "rings" / "blue" / "00000000000000000000.seg"
    content = bytearray(path.read_bytes())
    content[DATA_START + 80] ^= 1
    path.write_bytes(content)
    assert run(["spool", "verify", "--path", str(spool_path)]) == 1
    told = capsys.readouterr()
    assert f"damaged bytes at {DATA_START}" in told.err
    assert "cluster green: 1 events in 1 batches, 1 segments, whole" in told.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ls", "--path", "/nonexistent"], "/nonexistent is no spool"),
        (["verify"], "Missing option '--path'"),
        (["cat", "--path", "/", "--limit", "-3"], "'--limit'"),
        (["cat", "--path", "/", "--since", "-1"], "'--since'"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spool", *arguments]) in {1, 2}
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_an_unknown_cluster_is_told_with_those_there_are(spool_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spool", "cat", "--path", str(spool_path), "--cluster", "red"]) == 1
    assert "there are: blue, green" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["ls"], ["restore", "--to", "there"], ["prune"]], ids=lambda words: words[0])
def test_without_the_client_of_object_stores_a_copy_is_not_looked_at_and_the_extra_is_named(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("auditsink.backup.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "obstore", None)
    file = tmp_path / "config.yaml"
    file.write_text(
        f"spool: {{path: {tmp_path / 'spool'}, backup: {{type: local, path: {tmp_path / 'copy'}}}}}\n"
        "destinations: [{name: out, type: stdout}]\n"
    )
    assert run(["spool", "backup", *words, "-c", str(file)]) == 1
    extra = "auditsink: spool.backup: object stores need the extra: pip install 'auditsink[objectstore]'\n"
    assert capsys.readouterr().err == extra


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (OSError(111, "Connection refused"), "Connection refused"),
        (TopicAuthorizationFailedError(), "the broker answered 29"),
    ],
    ids=["no broker", "no right"],
)
def test_a_move_out_of_a_topic_says_what_the_brokers_say(
    problem: Exception, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refused(_: Brokers) -> dict[str, object]:
        raise problem

    monkeypatch.setattr(Brokers, "client_arguments", refused)
    for name, spool in (("disk", f"path: {tmp_path}/spool"), ("kafka", 'type: kafka, bootstrap_servers: ["k:9092"]')):
        (tmp_path / name).write_text(f"spool: {{{spool}}}\ndestinations: [{{name: out, type: stdout}}]\n")
    assert run(["spool", "move", "--from", str(tmp_path / "kafka"), "--to", str(tmp_path / "disk")]) == 1
    assert capsys.readouterr().err.startswith(f"auditsink: spool.topic auditsink.spool: {told}")
