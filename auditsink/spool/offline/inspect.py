"""Looks into a spool without owning it: for `auditsink spool` on a running sink, a stopped one, or a copied directory.

Reads only. What a running sink is about to write is simply not there yet; a segment that vanishes while it is looked at
was removed by the ring's limit and is passed over.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from auditsink.common.disk import Disk, RealDisk
from auditsink.spool import cursor, identity, segment_file
from auditsink.spool.content import TamperedError, Unpacker
from auditsink.spool.cursor import CursorState
from auditsink.spool.errors import MissingKeyError, SpoolError
from auditsink.spool.keys import Keyring
from auditsink.spool.segment import Damage, Footer, SegmentHeader
from auditsink.spool.segment_file import SegmentContent
from auditsink.spool.types import Record


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """One segment as it lies there. `next_sequence` and `length` are those of its last valid frame."""

    path: Path
    header: SegmentHeader
    size: int
    requests: int
    next_sequence: int
    length: int
    sealed: bool
    first_received_ns: int
    last_received_ns: int
    body_bytes: int
    digest: bytes


@dataclass(slots=True)
class RingReport:
    """A ring, and everything that is wrong with it: one sentence each in `problems`."""

    cluster: str
    segments: list[SegmentReport] = field(default_factory=list)
    cursors: dict[str, CursorState | None] = field(default_factory=dict)
    requests: int = 0
    events: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def clusters(path: Path, disk: Disk | None = None) -> list[str]:
    """The clusters that have a ring. Raises SpoolError when `path` is no spool."""
    try:
        return (disk or RealDisk()).names(path / "rings")
    except OSError as problem:
        raise SpoolError(
            f"{path} is no spool: {path / 'rings'}: {problem.strerror}; give the path in spool.path"
        ) from None


def chosen(path: Path, cluster: str | None, *, least: int = 0) -> list[str]:
    """The clusters with a ring, or only that one. Raises SpoolError where it has none, or where there are too few."""
    found = clusters(path)
    wanted = found if cluster is None else [cluster] if cluster in found else []
    if len(wanted) < (least if cluster is None else 1):
        of = f" of cluster {cluster!r}" if cluster is not None else ""
        raise SpoolError(f"{path} has no ring{of}; there are: {', '.join(found) or 'none'}")
    return wanted


def size(path: Path, names: Iterable[str]) -> int:
    """The bytes of the segments of the rings of these clusters. Raises OSError."""
    return sum(_size(file) for name in names for file in (path / "rings" / name).glob("*.seg"))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # removed by the ring's limit since it was listed
        return 0


def verify(
    path: Path,
    cluster: str,
    disk: Disk | None = None,
    *,
    keys: Keyring | None = None,
    progress: Callable[[int], None] = lambda _size: None,
) -> RingReport:
    """Check every frame, the sequences, the seals and the chain of one ring.

    Needs no key; with `keys` also what only they can tell: whether an encrypted record is the one that was encrypted.
    `progress` is told the size of each segment when it is checked.
    """
    disk = disk or RealDisk()
    report = RingReport(cluster)
    ring = path / "rings" / cluster
    files = segment_file.paths(ring, disk)

    def unreadable(file_path: Path, unused: bool) -> None:
        if unused and file_path == files[-1]:  # a stop came in between, or the sink is at it
            report.notes.append(f"{file_path}: was opened and never written to")
        else:
            report.problems.append(
                f"{file_path}: neither copy of the header is whole; nothing in this segment can be checked"
            )

    before: SegmentReport | None = None
    unpacker = None if keys is None else Unpacker(keys)
    tampering: list[str] = []
    for one in segment_file.headers(files, disk, unreadable):
        content = None if one is None else segment_file.read(one, disk)
        if content is None:
            before = before if one else None
            continue
        found = _segment(content, report)
        if before is not None:
            _check_link(before, found, report)
        report.segments.append(found)
        before = found
        if unpacker is not None:
            tampering += _tampering(content, unpacker)
        progress(found.size)
    report.problems += tampering
    known = identity.peek(ring, disk)  # last: a sink that runs writes it before it removes a segment
    if known is not None and report.segments and report.segments[0].header.first_sequence > known.floor:
        last = report.segments[0].header.first_sequence - 1
        report.problems.append(f"{ring}: events {known.floor} to {last} are missing at the beginning")
    for name in disk.names(ring / "cursors"):
        report.cursors[name.removesuffix(cursor.SUFFIX)] = cursor.peek(disk, ring / "cursors" / name)
    return report


def _segment(content: SegmentContent, report: RingReport) -> SegmentReport:
    """One segment; what is wrong goes into the report."""
    path, header, footer = content.stored.path, content.stored.header, content.footer
    if content.rewritten is not None:
        report.notes.append(
            f"{path}: a record at byte {content.rewritten.offset} was written again to the next segment"
        )
    requests, body_bytes, expected = 0, 0, header.first_sequence
    for one in content.frames:
        if one.first_sequence != expected:
            report.problems.append(
                f"{path}: gap at byte {one.offset}: events {expected} to {one.first_sequence - 1} are missing"
            )
        requests, body_bytes = requests + (one.requests or 1), body_bytes + one.body_length
        report.events += one.events
        expected = one.end_sequence
    report.requests += requests
    last = content.stored.stop is None and footer is None
    torn = _judge_damage(path, content.damages, content.length, report, last=last)
    digest = content.digest
    if footer is not None:
        expected = _check_footer(path, footer, digest, expected, report)
    if torn:
        report.notes.append(f"{path}: {torn} bytes at the end were never answered (a write cut short)")
    received = [one.received_ns for one in content.frames] or [0]
    return SegmentReport(
        path, header, len(content.data), requests, expected, content.length, footer is not None,
        received[0], received[-1], body_bytes, digest,
    )  # fmt: skip


def _check_footer(path: Path, footer: Footer, digest: bytes, expected: int, report: RingReport) -> int:
    """What the seal says of the content before it; returns the sequence after the segment's last event."""
    if footer.digest != digest:
        report.problems.append(f"{path}: the content does not match the digest in its seal")
    if footer.next_sequence == expected:
        return expected
    lost = f"{path}: events {expected} to {footer.next_sequence - 1} are missing"
    if footer.records:
        report.problems.append(f"{lost} at the end")
        return expected
    report.notes.append(f"{lost}: the copy that was restored did not have them")
    return footer.next_sequence


def _tampering(content: SegmentContent, unpacker: Unpacker) -> Iterator[str]:
    """What only a key can tell: whether each encrypted record is the one that was encrypted."""
    stored = content.stored
    for one in content.frames:
        try:
            unpacker.payload(stored.header, one, content.data, one.offset)
        except MissingKeyError as problem:
            yield f"{stored.path}: whether its records were changed cannot be told: {problem}"
            return
        except TamperedError as problem:
            last = one.end_sequence - 1
            yield f"{stored.path}: TAMPERING at byte {one.offset}, events {one.first_sequence} to {last}: {problem}"


def _judge_damage(path: Path, damages: list[Damage], length: int, report: RingReport, *, last: bool) -> int:
    """Damage is a problem, but for a torn tail in the last segment; returns that tail's bytes."""
    torn = 0
    for damage in damages:
        if last and damage.offset >= length:
            torn += damage.length
        elif damage.offset < length or not last:
            report.problems.append(f"{path}: {damage.length} damaged bytes at {damage.offset}")
    return torn


def _check_link(before: SegmentReport, this: SegmentReport, report: RingReport) -> None:
    """The chain: what a header says of its predecessor against what the predecessor is."""
    header = this.header
    if header.previous_first != before.header.first_sequence:
        report.problems.append(
            f"{this.path}: follows the segment of sequence {header.previous_first}, which is not there; "
            f"events {before.next_sequence} to {header.first_sequence - 1} are missing"
        )
        return
    if before.next_sequence != header.first_sequence:
        report.problems.append(
            f"{before.path}: events {before.next_sequence} to {header.first_sequence - 1} are missing at the end"
        )
    if header.previous_length != before.length or header.previous_digest != before.digest:
        report.problems.append(f"{this.path}: the chain breaks: {before.path.name} is not what was sealed before it")


def records(path: Path, cluster: str, disk: Disk | None = None, *, keys: Keyring | None = None) -> Iterator[Record]:
    """Every readable record of a ring, in order. Raises SpoolError, where a key is missing too."""
    disk = disk or RealDisk()
    for one in segment_file.segments(path / "rings" / cluster, disk):
        content = segment_file.read(one, disk, keys)
        if content is not None:
            yield from content.records()
