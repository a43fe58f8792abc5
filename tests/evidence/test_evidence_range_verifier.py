"""Events with sequences against statements: every removal and change is found and named."""

from collections.abc import Sequence
from itertools import pairwise

from evidencekit import ledger, span
from hypothesis import given
from hypothesis import strategies as st

from auditsink.evidence.checkpoint import Signed, decode
from auditsink.evidence.span import Span
from auditsink.evidence.verify.archive import Statements
from auditsink.evidence.verify.findings import EnoughError, Findings
from auditsink.evidence.verify.range_verifier import RangeVerifier

LINES = [b"%d" % number for number in range(30)]


def cover(spans: Sequence[Span], findings: Findings, *, begin: int = 0, fingerprints: bool = True) -> RangeVerifier:
    entries = [decode(line) for line in ledger(spans, key=None).splitlines()]
    statements = Statements("c", "0" * 32)
    for one in sorted(spans, key=lambda one: (one.first, one.next)):
        statements.firsts.append(one.first)
        statements.nexts.append(one.next)
        statements.demanded.append(1)
    in_order = sorted(entries, key=lambda entry: (entry.checkpoint.first, entry.checkpoint.next))
    if not fingerprints:
        in_order = [Signed(one.checkpoint, one.canonical, None, b"") for one in in_order]
    return RangeVerifier(statements, in_order.__getitem__, findings, begin=begin)


def cut(lines: Sequence[bytes], places: Sequence[int]) -> list[Span]:
    bounds = sorted({0, len(lines), *(at for at in places if 0 < at < len(lines))})
    return [span(lines[start:stop], first=start) for start, stop in pairwise(bounds)]


def check(found: dict[int, bytes], spans: Sequence[Span], requests: Sequence[int] = (), **more: object) -> Findings:
    """What comes of feeding these events, in requests that end at these sequences."""
    findings = Findings()
    one = cover(spans, findings, **more)  # type: ignore[arg-type]  # options by name
    try:
        run: list[int] = []
        for sequence in [*sorted(found), -1]:
            if run and (sequence != run[-1] + 1 or sequence in requests):
                one.feed(run[0], [found[at] for at in run])
                run = []
            run.append(sequence)
        one.finish(max(span.next for span in spans))
    except EnoughError:
        pass
    return findings


places = st.lists(st.integers(0, 30), max_size=6)
WHOLE = dict(enumerate(LINES))


@given(places, places)
def test_all_that_was_stated_is_proven(at: list[int], requests: list[int]) -> None:
    findings = check(WHOLE, cut(LINES, at), requests)
    assert (findings.problems, findings.proven, findings.uncovered) == ([], 30, 0)


@given(places, places, st.sets(st.integers(0, 29), min_size=1))
def test_missing_events_are_named(at: list[int], requests: list[int], gone: set[int]) -> None:
    left = {sequence: line for sequence, line in WHOLE.items() if sequence not in gone}
    findings = check(left, cut(LINES, at), requests)
    named = " ".join(findings.problems)
    assert all(f"event {start}" in named or f"events {start} to" in named for start in gone if start - 1 not in gone)
    untouched = [one for one in cut(LINES, at) if not gone & set(range(one.first, one.next))]
    assert findings.proven == sum(one.next - one.first for one in untouched)


@given(places, places, st.sets(st.integers(0, 29), min_size=1, max_size=4), st.booleans())
def test_changed_events_are_named(at: list[int], requests: list[int], changed: set[int], fingerprints: bool) -> None:
    other = {sequence: b"changed" if sequence in changed else line for sequence, line in WHOLE.items()}
    findings = check(other, cut(LINES, at), requests, fingerprints=fingerprints)
    if fingerprints:
        assert [problem.split(" (")[0] for problem in findings.problems] == [
            f"cluster c: changed: event {sequence}" for sequence in sorted(changed)
        ]
    else:
        assert len(findings.problems) == len(
            {one.first for one in cut(LINES, at) if changed & set(range(one.first, one.next))}
        )


def test_many_changes_of_one_range_are_counted() -> None:
    findings = check(dict.fromkeys(range(30), b"x"), cut(LINES, []))
    assert len(findings.problems) == 6
    assert findings.problems[-1] == "cluster c: changed: 25 more events of that checkpoint"


def test_what_lies_before_the_claim_is_elsewhere() -> None:
    later = {sequence: line for sequence, line in WHOLE.items() if sequence >= 10}
    findings = check(later, cut(LINES, [10, 20]), begin=10)
    assert (findings.problems, findings.proven, findings.elsewhere, findings.uncovered) == ([], 20, 10, 0)
    findings = check(later, cut(LINES, [5, 20]), begin=10)
    assert (findings.problems, findings.proven, findings.elsewhere, findings.uncovered) == ([], 10, 10, 10)


def test_what_lies_after_the_claim_is_elsewhere() -> None:
    findings = Findings()
    one = cover(cut(LINES, [10, 20]), findings)
    one.feed(0, LINES[:15])
    one.finish(15)
    assert (findings.problems, findings.proven, findings.uncovered, findings.elsewhere) == ([], 10, 5, 10)


def test_events_that_nobody_stated_are_uncovered() -> None:
    spans = [span(LINES[5:10], first=5), span(LINES[20:25], first=20)]
    findings = check(WHOLE, spans)
    assert (findings.problems, findings.proven, findings.uncovered) == ([], 10, 20)
    assert not check({at: LINES[at] for at in range(5, 10)} | {at: LINES[at] for at in range(20, 25)}, spans).problems


def test_a_claim_may_be_given_up_on_the_way() -> None:
    """The ring's limit removed a segment while it was read."""
    findings = Findings()
    one = cover(cut(LINES, [5, 15, 20]), findings)
    one.feed(0, LINES[:8])
    one.forgo(20)
    one.feed(20, LINES[20:])
    one.finish(30)
    assert (findings.problems, findings.proven) == ([], 15)


def test_repeated_ranges_are_each_examined_and_counted_once() -> None:
    spans = [span(LINES[:10]), span(LINES[:20]), span(LINES[10:], first=10)]
    assert check(WHOLE, spans).proven == 30
    assert len(check(WHOLE | {3: b"x"}, spans).problems) == 2
