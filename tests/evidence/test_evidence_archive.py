"""Checkpoint files read back: what is sound is kept, whatever was done to the rest is told."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from evidencekit import OTHER, PRIVATE, ledger, span
from hypothesis import given
from hypothesis import strategies as st

from auditsink.evidence import EvidenceError
from auditsink.evidence.keys import PublicKeys
from auditsink.evidence.verify.archive import Archive, Period, open_keys
from auditsink.evidence.verify.findings import EnoughError, Findings

SPANS = [span([b"%d" % number], first=number, cluster="blue" if number % 2 else "green") for number in range(6)]
LINES = ledger(SPANS).splitlines(keepends=True)
KEYS = PublicKeys([PRIVATE.public_key()])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints.ndjson"


def read(file: Path, lines: Sequence[bytes], keys: PublicKeys | None = KEYS) -> Findings:
    file.write_bytes(b"".join(lines))
    findings = Findings()
    with Archive([file], keys, findings) as archive, contextlib.suppress(EnoughError):
        archive.read(Period())
    return findings


def test_what_a_sink_wrote_is_sound(file: Path) -> None:
    assert read(file, LINES) == Findings(checkpoints=6)
    with Archive([file], KEYS, Findings()) as archive:
        archive.read(Period())
        assert archive.clusters == ["green", "blue"]
        (green,) = archive.of_cluster("green")
        assert list(green.firsts) == [0, 2, 4]
        assert archive.load(green, 1).checkpoint.number == 3


@given(data=st.data())
def test_a_line_taken_out_moved_or_doubled_is_found(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("archive") / "checkpoints.ndjson"
    lines = list(LINES)
    taken = lines.pop(data.draw(st.integers(0, 4)))
    place = data.draw(st.integers(0, 6))
    if place < 6:
        lines.insert(place, taken)
    findings = read(file, lines)
    if lines == LINES[1:]:
        assert findings.notes == [f"{file}:1: the file begins with checkpoint 2; the ones before it are not here"]
    else:
        assert bool(findings.problems) == (lines != LINES)


def test_the_end_of_the_file_may_be_missing_and_cannot_be_seen(file: Path) -> None:
    """Which is why a copy of the newest checkpoint belongs elsewhere; the documentation says so."""
    assert read(file, LINES[:3]).problems == []


def test_a_line_that_a_log_says_twice_is_one(file: Path) -> None:
    assert read(file, [line for line in LINES for _ in range(2)]) == Findings(checkpoints=6)


def test_two_chains_in_one_file_are_told(file: Path) -> None:
    (problem,) = read(file, [*LINES, *ledger(SPANS[:2], key=PRIVATE).splitlines(keepends=True)]).problems
    assert "checkpoint 1 does not follow checkpoint 6" in problem
    (problem,) = read(file, [*LINES[:2], *ledger(SPANS[2:], key=PRIVATE).splitlines(keepends=True)[2:]]).problems
    assert "the chain is broken" in problem


def test_several_files_have_a_chain_each(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(ledger(SPANS[:3]))
    (tmp_path / "b").write_bytes(ledger(SPANS[3:]))
    findings = Findings()
    with Archive([tmp_path / "b", tmp_path / "a"], KEYS, findings) as archive:
        archive.read(Period())
        (green,) = archive.of_cluster("green")
        assert list(green.firsts) == [0, 2, 4]
        assert [archive.load(green, at).checkpoint.first for at in range(3)] == [0, 2, 4]
    assert findings == Findings(checkpoints=6)


def test_a_signature_of_another_key_or_none_is_told_and_its_statement_not_used(file: Path) -> None:
    for key, told in ((OTHER, "is not among those given"), (None, "is not signed")):
        file.write_bytes(ledger(SPANS[:1], key=key))
        findings = Findings()
        with Archive([file], KEYS, findings) as archive:
            archive.read(Period())
            assert archive.rings == {}
        assert told in findings.problems[0]
        assert read(file, [ledger(SPANS[:1], key=key)], keys=None).problems == []


def test_a_statement_that_was_changed_has_a_wrong_signature(file: Path) -> None:
    for old, new in ((b'"cluster":"green"', b'"cluster":"blue"'), (b'"number":1', b'"number":7')):
        (problem,) = read(file, [LINES[0].replace(old, new)]).problems
        assert "the signature is wrong" in problem


def test_other_lines_are_passed_and_torn_ones_told(file: Path) -> None:
    findings = read(file, [b"\n", b'{"message":"ready"}\n', *LINES[:2], LINES[2][:-100]])
    assert findings.notes == [f"{file}: 2 lines are no checkpoints and were passed over"]
    assert findings.problems == [f"{file}:5: is no checkpoint"]


def test_a_file_of_something_else_is_told_once_it_is_enough(file: Path) -> None:
    assert read(file, [b'{"checkpoint":1}\n'] * 10_000).problems == [
        f"{file}:{at}: is no checkpoint" for at in range(1, 21)
    ]
    assert read(file, [b"\x00" * 1000]).problems == [f"{file}: holds no checkpoint"]


def test_a_file_that_changes_while_it_is_read_is_told(file: Path) -> None:
    file.write_bytes(b"".join(LINES))
    with Archive([file], None, Findings()) as archive:
        archive.read(Period())
        file.write_bytes(b"something else\n" * 1000)
        (green,) = archive.of_cluster("green")
        with pytest.raises(EvidenceError, match="was changed while it was read"):
            archive.load(green, 2)


def test_a_period_and_a_cluster_say_what_is_demanded(file: Path) -> None:
    """Checkpoint `n` was made in second `n`."""
    file.write_bytes(b"".join(LINES))
    with Archive([file], None, Findings()) as archive:
        archive.read(Period(2 * 10**9, 5 * 10**9), "blue")
        (green,), (blue,) = archive.of_cluster("green"), archive.of_cluster("blue")
        assert (list(green.demanded), list(blue.demanded)) == ([0, 0, 0], [1, 1, 0])


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(EvidenceError, match="b: No such file"):
        Archive([tmp_path / "a", tmp_path / "b"], None, Findings())


def test_without_keys_there_is_a_note() -> None:
    findings = Findings()
    assert open_keys([], findings) is None
    assert "signatures were not checked" in findings.notes[0]
