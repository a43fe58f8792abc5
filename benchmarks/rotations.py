"""Which answers met the end of a segment, and how long these were waited for beside all others.

A segment's header says when it was begun, which is in the middle of a rotation: behind the footer of the one before,
ahead of its own first sync. What was due around that moment met the rotation. Not what was still waited for then: a
long wait, whatever its reason, would meet nearly always one.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from auditsink.spool import segment

AROUND_NS = 10_000_000
"""Before and after that moment: the rotation, which is some syncs and a rename, lies within."""
LEAST = 2000
"""Answers of which a p99.9 is told: two of them lie beyond it."""

Answer = tuple[int, int]
"""From when to when it was waited for, in ns."""


def begun(spool: Path) -> list[int]:
    """When each segment was begun, in ns since the epoch; but for the first of a ring, before which nothing ended."""
    found = []
    for ring in (spool / "rings").iterdir():
        for file in sorted(ring.glob("*.seg"))[1:]:
            with file.open("rb") as opened:
                header = segment.decode_header(opened.read(segment.DATA_START))
            assert header is not None
            found.append(header.created_ns)
    return sorted(found)


def sorted_out(answers: Iterable[Answer], rotations: Iterable[int]) -> tuple[list[int], list[int]]:
    """How long the answers took that met a rotation, and those that did not, in ns; times are all of one clock."""
    moments = sorted(rotations)
    met: list[int] = []
    between: list[int] = []
    at = 0
    for due, answered in sorted(answers):
        while at < len(moments) and moments[at] + AROUND_NS < due:
            at += 1
        (met if at < len(moments) and moments[at] - AROUND_NS <= due else between).append(answered - due)
    return met, between


def figures(answers: Iterable[Answer], rotations: Sequence[int]) -> dict[str, float]:
    """Of one run; no p99.9, and no ratio, where too few answers are of one kind."""
    met, between = sorted_out(answers, rotations)
    found: dict[str, float] = {
        "rotations": len(rotations),
        "answers_rotating": len(met),
        "answers_between": len(between),
    }
    if min(len(met), len(between)) >= LEAST:
        for kind, several in (("rotating", met), ("between", between)):
            found |= {
                f"{name}_{kind}": _percentile(several, share) for name, share in (("p99", 0.99), ("p99.9", 0.999))
            }
        found["rotation_p99.9"] = found["p99.9_rotating"] / found["p99.9_between"]
    return found


def _percentile(several: list[int], share: float) -> float:
    """In ms, as the load client has it."""
    return sorted(several)[int(share * len(several))] / 1e6
