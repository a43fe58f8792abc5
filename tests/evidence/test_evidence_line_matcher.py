"""A file against the checkpoints: whatever was done to it is found, and what a crash leaves is allowed."""

import contextlib
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from crc32c import crc32c
from evidencekit import ledger, span
from hypothesis import given
from hypothesis import strategies as st

from auditsink.evidence.span import Span
from auditsink.evidence.verify.archive import Archive, Period
from auditsink.evidence.verify.findings import EnoughError, Findings
from auditsink.evidence.verify.line_matcher import Files, LineMatcher

ALWAYS = Period()


def verify(
    lines: Sequence[bytes], spans: Sequence[Span], *, period: Period = ALWAYS, cluster: str | None = None
) -> Findings:
    """What is found in a file of these lines when these ranges were stated."""
    findings = Findings()
    with tempfile.TemporaryDirectory() as place:
        checkpoints, file = Path(place) / "checkpoints.ndjson", Path(place) / "audit.ndjson"
        checkpoints.write_bytes(ledger(spans, key=None))
        file.write_bytes(b"".join(line + b"\n" for line in lines))
        with Archive([checkpoints], None, findings) as archive, contextlib.suppress(EnoughError):
            archive.read(period, cluster)
            LineMatcher(archive, findings).check(Files([file]))
    return findings


def cut(lines: Sequence[bytes], cuts: Sequence[int], *, cluster: str = "c", first: int = 0) -> list[Span]:
    """The lines as ranges that end at these places."""
    bounds = sorted({0, len(lines), *(at for at in cuts if 0 < at < len(lines))})
    return [span(lines[start:stop], first=first + start, cluster=cluster) for start, stop in pairwise(bounds)]


words = st.lists(
    st.sampled_from([b"a", b"b", b"c", b"d", b"e"]).map(lambda word: b'{"e":"%b"}' % word), min_size=1, max_size=30
)
"""Few different lines: the hard case, where a line says little about its place."""
distinct = st.integers(1, 40).map(lambda count: [b'{"n":%d}' % number for number in range(count)])
files = words | distinct
cuts = st.lists(st.integers(0, 40), max_size=5)


@given(files, cuts)
def test_what_was_stated_is_proven(lines: list[bytes], at: list[int]) -> None:
    found = verify(lines, cut(lines, at))
    assert (found.problems, found.proven, found.uncovered, found.repeats) == ([], len(lines), 0, 0)


@given(files, cuts, st.data())
def test_a_line_that_is_missing_is_found(lines: list[bytes], at: list[int], data: st.DataObject) -> None:
    gone = data.draw(st.integers(0, len(lines) - 1))
    assert verify(lines[:gone] + lines[gone + 1 :], cut(lines, at)).problems


@given(files, cuts, st.data())
def test_a_line_that_was_added_is_found(lines: list[bytes], at: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(lines)))
    found = verify([*lines[:place], b'{"added":1}', *lines[place:]], cut(lines, at))
    if place < len(lines):
        assert found.problems
    else:
        assert (found.problems, found.uncovered) == ([], 1), "at the very end it is newer than the last checkpoint"


@given(files, cuts, st.data())
def test_a_line_that_was_changed_is_found(lines: list[bytes], at: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(lines) - 1))
    changed = data.draw(st.sampled_from([b'{"changed":1}', b"", *lines]))
    if changed != lines[place]:
        assert verify([*lines[:place], changed, *lines[place + 1 :]], cut(lines, at)).problems


@given(files, cuts, st.data())
def test_lines_that_changed_places_are_found(lines: list[bytes], at: list[int], data: st.DataObject) -> None:
    one, other = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.integers(0, len(lines) - 1))
    swapped = list(lines)
    swapped[one], swapped[other] = lines[other], lines[one]
    if swapped != lines:
        assert verify(swapped, cut(lines, at)).problems


@given(distinct, cuts, st.data())
def test_what_a_crash_repeats_is_allowed_and_counted(lines: list[bytes], at: list[int], data: st.DataObject) -> None:
    """After a crash everything since the cursor comes again; several crashes may follow each other."""
    written: list[bytes] = []
    reached = repeated = 0
    while reached < len(lines):
        stop = data.draw(st.integers(reached + 1, len(lines)))
        back = data.draw(st.integers(0, reached))
        written += lines[back:stop]
        repeated, reached = repeated + reached - back, stop
    found = verify(written, cut(lines, at))
    assert (found.problems, found.proven, found.repeats) == ([], len(lines), repeated)


@given(words, cuts, st.data())
def test_repeats_of_lines_that_are_alike_are_allowed_too(
    lines: list[bytes], at: list[int], data: st.DataObject
) -> None:
    reached = data.draw(st.integers(1, len(lines)))
    back = data.draw(st.integers(0, reached))
    found = verify(lines[:reached] + lines[back:], cut(lines, at))
    assert (found.problems, found.proven) == ([], len(lines))


@given(st.data())
def test_the_clusters_of_a_mixed_file_are_told_apart(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 15), min_size=2, max_size=4))
    rows = {
        f"c{which}": [b'{"c":%d,"n":%d}' % (which, at) for at in range(count)] for which, count in enumerate(counts)
    }
    order = data.draw(st.permutations([name for name, row in rows.items() for _ in row]))
    places = dict.fromkeys(rows, 0)
    written = []
    for name in order:
        written.append(rows[name][places[name]])
        places[name] += 1
    spans = [one for name, row in rows.items() for one in cut(row, data.draw(cuts), cluster=name)]
    found = verify(written, spans)
    assert (found.problems, found.proven) == ([], sum(counts))
    gone = data.draw(st.integers(0, len(written) - 1))
    assert verify(written[:gone] + written[gone + 1 :], spans).problems


@st.composite
def edited(draw: st.DrawFn, lines: Sequence[bytes]) -> list[bytes]:
    """The lines after a few edits of any kind."""
    found = list(lines)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(found)))
        other = draw(st.integers(0, len(found)))
        start, stop = min(at, other), max(at, other)
        match draw(st.sampled_from(["cut", "copy", "move", "insert", "reverse"])):
            case "cut":
                del found[start:stop]
            case "copy":
                found[at:at] = found[start:stop]
            case "move":
                part = found[start:stop]
                del found[start:stop]
                place = draw(st.integers(0, len(found)))
                found[place:place] = part
            case "insert":
                found.insert(at, draw(st.sampled_from([b"foreign", b"alien"])))
            case _:
                found[start:stop] = found[start:stop][::-1]
    return found


@given(distinct, cuts, st.data())
def test_any_edit_is_judged_as_a_plain_rule_would(lines: list[bytes], at: list[int], data: st.DataObject) -> None:
    """Each line once in order, copies anywhere after it, and what is foreign only after all of them: nothing else."""
    written = data.draw(edited(lines))
    firsts = [line for line in dict.fromkeys(written) if line in set(lines)]
    foreign = [place for place, line in enumerate(written) if line not in set(lines)]
    complete = next(
        (place for place in range(len(written)) if len(set(written[: place + 1]) & set(lines)) == len(lines)), -1
    )
    right = firsts == lines and all(place > complete for place in foreign)

    assert bool(verify(written, cut(lines, at)).problems) is not right


LINES = [b'{"n":%d}' % number for number in range(30)]
SPANS = cut(LINES, [10, 20])


def only_problem(lines: Sequence[bytes], spans: Sequence[Span] = SPANS) -> str:
    (problem,) = verify(lines, spans).problems
    return problem


def test_missing_events_are_named() -> None:
    assert only_problem(LINES[:5] + LINES[8:]) == (
        "cluster c: missing: events 5 to 7 (checkpoint 1 of 1970-01-01T00:00:01Z)"
    )
    assert only_problem(LINES[:5] + LINES[25:]) == (
        "cluster c: missing: events 5 to 24 (checkpoint 1 of 1970-01-01T00:00:01Z)"
    )
    assert only_problem(LINES[:29]) == "cluster c: missing: event 29 (checkpoint 3 of 1970-01-01T00:00:03Z)"
    assert only_problem([]) == "cluster c: missing: events 0 to 29 (checkpoint 1 of 1970-01-01T00:00:01Z)"


def test_added_lines_are_named() -> None:
    problem = only_problem([*LINES[:5], b"x", b"y", *LINES[5:], LINES[3]])
    assert problem.startswith("added: ")
    assert "audit.ndjson:6 to " in problem
    assert problem.endswith("audit.ndjson:7: no event that was stated")


def test_a_changed_line_is_named_with_its_place() -> None:
    found = verify([*LINES[:5], b"x", *LINES[6:]], SPANS)
    assert found.problems == ["cluster c: changed: event 5 (checkpoint 1 of 1970-01-01T00:00:01Z)"]
    (note,) = [one for one in found.notes if "audit.ndjson:6" in one]
    assert note.endswith("stands in the place of event 5 of cluster c")
    assert found.proven == 20


def test_a_line_out_of_order_is_named() -> None:
    found = verify([*LINES[:5], LINES[6], LINES[5], *LINES[7:]], SPANS)
    assert [problem.split(" (")[0].split(" at ")[0] for problem in found.problems] == [
        "cluster c: missing: event 5",
        "cluster c: out of order: event 5",
    ]


def test_a_far_gap_is_bridged() -> None:
    lines = [b'{"n":%d}' % number for number in range(300)]
    spans = cut(lines, list(range(10, 300, 10)))
    (problem,) = verify(lines[:5] + lines[255:], spans).problems
    assert "missing: events 5 to 254 " in problem


def forged(of: bytes, text: bytes) -> bytes:
    """Another line with the fingerprint of `of`: CRC32C is linear, so four bytes at the end can be solved for."""
    wanted = crc32c(of)
    base = crc32c(text + bytes(4))
    columns = [crc32c(text + (1 << bit).to_bytes(4, "little")) ^ base for bit in range(32)]
    rows = [(column, 1 << bit) for bit, column in enumerate(columns)]
    solved, target = 0, wanted ^ base
    for bit in range(31, -1, -1):
        pivot = next((row for row in rows if row[0] >> bit & 1), None)
        if pivot is None:
            continue
        rows.remove(pivot)
        rows = [(a ^ pivot[0], b ^ pivot[1]) if a >> bit & 1 else (a, b) for a, b in rows]
        if target >> bit & 1:
            target, solved = target ^ pivot[0], solved ^ pivot[1]
    line = text + solved.to_bytes(4, "little")
    assert crc32c(line) == wanted
    return line


def test_a_line_forged_to_have_the_fingerprint_of_another_proves_nothing() -> None:
    """It can be made in a microsecond. SHA-256 over the range finds it, though not which line it is."""
    line = next(line for text in range(1000) if b"\n" not in (line := forged(LINES[5], b'{"forged":%d}' % text)))
    assert only_problem([*LINES[:5], line, *LINES[6:]]) == (
        "cluster c: changed: something in events 0 to 9 (checkpoint 1 of 1970-01-01T00:00:01Z)"
    )
    added = verify([*LINES[:6], line, *LINES[6:]], SPANS).problems
    assert len(added) == 1
    assert added[0].startswith("added: "), "nor does it pass for a repeat"


def test_a_period_asks_only_for_what_was_stated_in_it() -> None:
    """Checkpoint `n` was made in second `n`: the first file was rotated away, the last lines are not there yet."""
    period = Period(2 * 10**9, 3 * 10**9)
    found = verify(LINES[5:25], SPANS, period=period)
    assert (found.problems, found.proven) == ([], 10)
    assert verify(LINES[5:15] + LINES[16:25], SPANS, period=period).problems
    assert verify(LINES[5:25], SPANS).problems


def test_newer_lines_are_told_where_nothing_is_owed() -> None:
    period = Period(0, 2 * 10**9)
    found = verify([*LINES[:10], b"newer"], SPANS, period=period)
    assert (found.problems, found.proven, found.uncovered) == ([], 10, 1)


def test_only_one_cluster_may_be_asked_for() -> None:
    spans = [*SPANS, *cut([b'{"other":%d}' % number for number in range(5)], [], cluster="other")]
    assert verify(LINES, spans).problems
    found = verify(LINES, spans, cluster="c")
    assert (found.problems, found.proven) == ([], 30)


def test_ranges_that_overlap_after_a_crash_are_both_checked() -> None:
    spans = [span(LINES[:10]), span(LINES[:20]), span(LINES[10:], first=10)]
    found = verify(LINES, spans)
    assert (found.problems, found.proven) == ([], 30)
    wrong = [span(LINES[:10]), span([*LINES[:4], b"other", *LINES[5:20]]), span(LINES[10:], first=10)]
    assert verify(LINES, wrong).problems


def test_a_ring_made_anew_counts_from_0_again() -> None:
    spans = [span(LINES[:10], ring=b"1" * 16), span(LINES[10:], ring=b"2" * 16)]
    found = verify(LINES, spans)
    assert (found.problems, found.proven) == ([], 30)
    assert verify(LINES[:9] + LINES[10:], spans).problems
    assert verify(LINES[:10] + LINES[11:], spans).problems


def test_events_that_nobody_stated_may_stand_where_the_statements_leave_a_gap() -> None:
    spans = [span(LINES[:10]), span(LINES[13:], first=13)]
    found = verify(LINES, spans)
    assert (found.problems, found.proven, found.uncovered) == ([], 27, 3)
    assert verify([*LINES[:13], b"one more", *LINES[13:]], spans).problems
    assert not verify(LINES[:10] + LINES[13:], spans).problems


def test_many_problems_are_not_told_for_ever() -> None:
    found = verify([line for at, line in enumerate(LINES * 1) if at % 2], cut(LINES, []))
    assert 10 <= len(found.problems) <= 20
    lines = [b'{"n":%d}' % number for number in range(1000)]
    assert len(verify(lines[::2], cut(lines, [])).problems) == 20


def test_a_long_foreign_block_ends_the_search_and_not_the_verification() -> None:
    lines = [*LINES[:5], *(b'{"foreign":%d}' % number for number in range(500)), *LINES[5:]]
    problem = only_problem(lines)
    assert problem.startswith("added: ")
    assert "audit.ndjson:6 to" in problem
    assert "audit.ndjson:505:" in problem


@pytest.mark.parametrize("hostile", [b"", b"\x00" * 100, b"\xff\xfe", b'{"n":0}' * 1000])
def test_a_hostile_line_is_a_line(hostile: bytes) -> None:
    assert verify([hostile, *LINES], SPANS).problems
    found = verify([hostile, *LINES], [span([hostile, *LINES])])
    assert (found.problems, found.proven) == ([], 31)
