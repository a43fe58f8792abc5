"""Figures of one run and what several rounds of them say: medians, spans, ratios. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from auditsink.testing.framings import FRAMINGS
from benchmarks.rotations import LEAST

Figures = Mapping[str, float]
"""One run of one system: metric by key."""


@dataclass(frozen=True)
class Metric:
    """`digits` after the point in tables; `higher`: more is better."""

    title: str
    unit: str
    digits: int = 1
    higher: bool = False

    @property
    def label(self) -> str:
        """As the tables call it."""
        return f"{self.title}, {self.unit}".rstrip(", ")

    def reached(self, value: float, target: float) -> bool:
        """Whether the value is at least, or at most, what it should be."""
        return value >= target if self.higher else value <= target


METRICS = {
    "delivered": Metric("delivered", "events/s", 0, higher=True),
    "accepted": Metric("accepted", "events/s", 0, higher=True),
    "cpu_gb": Metric("CPU per GB of input", "s", 1),
    "cpu_gb_receive": Metric("CPU of the receivers per GB of input", "s", 1),
    "cpu_gb_forward": Metric("CPU of the forwarders per GB of input", "s", 1),
    "cpu_event": Metric("CPU per event", "us", 1),
    "p50": Metric("answer, p50", "ms", 2),
    "p99": Metric("answer, p99", "ms", 2),
    "p99.9": Metric("answer, p99.9", "ms", 2),
    "floor_p50": Metric("one fdatasync and the transfer, p50", "ms", 2),
    "floor_p99": Metric("one fdatasync, p99", "ms", 2),
    "floors": Metric("answer, p50, in such syncs and transfers", "", 2),
    "work_gb": Metric("split, zstd 1 and gzip 1 alone, CPU per GB of input", "s", 2),
    "works": Metric("CPU, in such work", "", 2),
    "rotations": Metric("rotations", "", 0, higher=True),
    "answers_rotating": Metric(f"answers at a rotation; p99.9 from {LEAST:,} on", "", 0, higher=True),
    "answers_between": Metric("answers between rotations", "", 0, higher=True),
    "p99_rotating": Metric("answer, p99, at a rotation", "ms", 2),
    "p99_between": Metric("answer, p99, between rotations", "ms", 2),
    "p99.9_rotating": Metric("answer, p99.9, at a rotation", "ms", 2),
    "p99.9_between": Metric("answer, p99.9, between rotations", "ms", 2),
    "rotation_p99.9": Metric("answer, p99.9, at a rotation beside between", "", 2),
    "sync_share": Metric("share of the answer that is the sync", "%", 0),
    "rss": Metric("RSS, peak", "MB", 0),
    "rss_receive": Metric("RSS of a receiver, peak", "MB", 0),
    "rss_forward": Metric("RSS of a forwarder, peak", "MB", 0),
    "anonymous": Metric("RSS, peak, anonymous", "MB", 0),
    "rss_catching_up": Metric("RSS catching up, peak", "MB", 0),
    "anonymous_catching_up": Metric("RSS catching up, peak, anonymous", "MB", 0),
    "written": Metric("written per byte of input", "bytes", 3),
    "stored": Metric("on disk per byte of input", "bytes", 3),
    "ready": Metric("start to ready", "s", 2),
    "descriptors": Metric("open file descriptors", "", 0),
    "refused": Metric("posts refused", "", 0),
    "missing": Metric("events missing at the receiver", "", 0),
    "repeated": Metric("events received more than once", "", 0),
    **{
        key: metric
        for name in FRAMINGS
        for key, metric in (
            (f"split {name}", Metric(f"split, {name}", "ms/MB", 2)),
            (f"frame {name}", Metric(f"CPU per GB of input, {name}", "of the apiserver's frame", 2)),
        )
    },
}


@dataclass(frozen=True)
class Summary:
    """A metric of a system over the rounds."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return median(self.rounds)


def summarize(rounds: Sequence[Figures]) -> dict[str, Summary]:
    """By metric, of those that every round has: one that could not be told in some round has no median."""
    common = [key for key in rounds[0] if all(key in one for one in rounds)]
    return {key: Summary(tuple(one[key] for one in rounds)) for key in common}


def ratio(ours: Summary, theirs: Summary) -> float | None:
    """The median over the rounds of ours divided by theirs; None when theirs was 0 in some round.

    Rounds of the two alternate, so that a noisy minute of the machine hits both sides of one ratio.
    """
    if not all(theirs.rounds):
        return None
    return median(mine / other for mine, other in zip(ours.rounds, theirs.rounds, strict=True))
