"""Looks into a spool without owning it: for `auditsink spool` on a running sink, a stopped one, or a copied directory.

Reads only. What a running sink is about to write is simply not there yet; a segment that vanishes while it is looked at
was removed by the ring's limit and is passed over.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from auditsink.common.disk import Disk, RealDisk, is_unused, read_around
from auditsink.spool import cursor, segment
from auditsink.spool.content import TamperedError, Unpacker
from auditsink.spool.cursor import CursorState
from auditsink.spool.errors import MissingKeyError, SpoolError
from auditsink.spool.keys import Keyring
from auditsink.spool.offline import segment_file
from auditsink.spool.segment import Damage, Footer, SegmentHeader
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


def verify(path: Path, cluster: str, disk: Disk | None = None, *, keys: Keyring | None = None) -> RingReport:
    """Check every frame, the sequences, the seals and the chain of one ring.

    Needs no key; with `keys` also what only they can tell: whether an encrypted record is the one that was encrypted.
    """
    disk = disk or RealDisk()
    report = RingReport(cluster)
    before: SegmentReport | None = None
    paths = _used(disk, _segment_paths(disk, path / "rings" / cluster), report)
    headers = [_header(disk, one, report) for one in paths]
    for at, (one, header) in enumerate(zip(paths, headers, strict=True)):
        if header is None:
            before = None
            continue
        after = next((later for later in headers[at + 1 :] if later is not None), None)
        found = _segment(disk, one, header, after, report)
        if found is None:
            continue
        if before is not None:
            _check_link(before, found, report)
        report.segments.append(found)
        before = found
    if keys is not None:
        _check_contents(disk, path / "rings" / cluster, keys, report)
    for name in disk.names(path / "rings" / cluster / "cursors"):
        place = path / "rings" / cluster / "cursors" / name
        report.cursors[name.removesuffix(".cursor")] = cursor.peek(disk, place)
    return report


def _used(disk: Disk, paths: list[Path], report: RingReport) -> list[Path]:
    """Without a last segment that was opened and never written to: a stop came in between, or the sink is at it."""
    try:
        file = disk.open(paths[-1]) if paths else None
    except FileNotFoundError:
        return paths
    if file is None:
        return paths
    try:
        unused = is_unused(file)
    finally:
        file.close()
    if unused:
        report.notes.append(f"{paths[-1]}: was opened and never written to")
    return paths[:-1] if unused else paths


def _header(disk: Disk, path: Path, report: RingReport) -> SegmentHeader | None:
    try:
        file = disk.open(path)
    except FileNotFoundError:
        return None
    try:
        header = segment.decode_header(read_around(file, segment.DATA_START, 0))
    finally:
        file.close()
    if header is None:
        report.problems.append(f"{path}: neither copy of the header is whole; nothing in this segment can be checked")
    return header


def _segment(
    disk: Disk, path: Path, header: SegmentHeader, after: SegmentHeader | None, report: RingReport
) -> SegmentReport | None:
    """Walk one segment; what is wrong goes into the report. None when it is gone."""
    try:
        file = disk.open(path)
    except FileNotFoundError:
        return None
    try:
        size = file.size()
        data = read_around(file, size, 0)
    finally:
        file.close()
    bound = after.first_sequence if after else None
    requests, body_bytes, first_ns, last_ns = 0, 0, 0, 0
    length, expected = segment.DATA_START, header.first_sequence
    footer: Footer | None = None
    damages: list[Damage] = []
    for part in segment.walk(data, header.seed):
        if isinstance(part, Damage):
            damages.append(part)
        elif isinstance(part, Footer):
            footer = part
        elif bound is not None and part.first_sequence >= bound:
            report.notes.append(f"{path}: a record at byte {part.offset} was written again to the next segment")
            break
        else:
            if part.first_sequence != expected:
                report.problems.append(
                    f"{path}: gap at byte {part.offset}: events {expected} to {part.first_sequence - 1} are missing"
                )
            requests, body_bytes = requests + (part.requests or 1), body_bytes + part.body_length
            report.events += part.events
            first_ns, last_ns = first_ns or part.received_ns, part.received_ns
            length, expected = part.offset + part.size, part.end_sequence
    report.requests += requests
    torn = _judge_damage(path, damages, length, report, last=after is None and footer is None)
    digest = hashlib.sha256(data[:length]).digest()
    if footer is not None and footer.digest != digest:
        report.problems.append(f"{path}: the content does not match the digest in its seal")
    if footer is not None and footer.next_sequence != expected:
        report.problems.append(f"{path}: events {expected} to {footer.next_sequence - 1} are missing at the end")
    if torn:
        report.notes.append(f"{path}: {torn} bytes at the end were never answered (a write cut short)")
    return SegmentReport(
        path, header, size, requests, expected, length, footer is not None, first_ns, last_ns, body_bytes, digest
    )


def _check_contents(disk: Disk, ring: Path, keys: Keyring, report: RingReport) -> None:
    """What only a key can tell: whether each encrypted record is the one that was encrypted."""
    unpacker = Unpacker(keys)
    for one in segment_file.segments(ring, disk):
        content = segment_file.read(one, disk)
        if content is None:
            continue
        for part in content.frames:
            try:
                unpacker.payload(one.header, part, content.data, part.offset)
            except MissingKeyError as problem:
                report.problems.append(f"{one.path}: whether its records were changed cannot be told: {problem}")
                break
            except TamperedError as problem:
                last = part.end_sequence - 1
                report.problems.append(
                    f"{one.path}: TAMPERING at byte {part.offset}, events {part.first_sequence} to {last}: {problem}"
                )


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


def _segment_paths(disk: Disk, ring: Path) -> list[Path]:
    try:
        return [ring / name for name in disk.names(ring) if segment.is_file_name(name)]
    except OSError as problem:
        raise SpoolError(f"{ring}: {problem.strerror}; `auditsink spool ls` names the clusters there are") from None
