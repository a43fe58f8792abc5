"""Lines of a file against what is stated: the file says no sequences, so each line must be recognised first.

A file destination writes the events of each cluster in order, those of several clusters mixed, and after a crash (or a
replay) some of them again. So a line is, in this order of trust,

1. the event that must come next in some cluster, by its fingerprint;
2. a repeat of a line that was recognised before, by its keyed digest;
3. an event further on: those before it are missing;
4. in the place of an event, when the line after it is the one that must follow: it was changed;
5. strange: added by somebody, unless nothing that was stated is left to come: then it is newer than the checkpoints.

Fingerprints only propose. What counts as proven is decided by `RangeVerifier`, with SHA-256 over the recognised lines,
so a line that was forged to have the fingerprint of another is found out.
"""

import hashlib
import os
import re
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from itertools import count as count_from
from pathlib import Path

from auditsink.auditlogs.compression import DAMAGE, decompressed
from auditsink.common.crc32c import crc32c
from auditsink.evidence import EvidenceError
from auditsink.evidence.span import packed
from auditsink.evidence.verify.archive import Archive, Statements
from auditsink.evidence.verify.findings import Findings, events
from auditsink.evidence.verify.range_verifier import RangeVerifier
from auditsink.evidence.verify.timeline import Load, Place, Timeline

CHUNK_LINES, CHUNK_BYTES = 1024, 2**20
"""Read in one go, whichever is reached first."""
SEARCHES = 64
"""Strange lines in a row that are each looked for further on; then only the 128th, 256th, ...: each search costs."""
MOST_SKIPPED = 1024
"""Missing events of a cluster that are still known when they turn up later, out of order."""
SEEN_CHUNK = 2**16
MOST_SEEN_CHUNKS = 128
"""Eight million lines, 64 MiB: a crash repeats seconds, a lost cursor all that a ring holds."""


LONGEST_LINE = 2**28
"""Bytes. kube-apiserver's events are a few MB at most; a file without line breaks must not fill the memory."""
_ROTATED = re.compile(r"(?P<name>.*?)\.(?P<number>\d{1,6})\Z")
_TELL_LINES = 1000


class Files:
    """The lines of NDJSON files, plain or compressed, in order. `progress` is told the bytes taken from the disk."""

    def __init__(self, paths: Sequence[Path], progress: Callable[[int], object] = lambda _bytes: None) -> None:
        self.paths = in_order(paths)
        self._progress = progress
        self._starts: list[int] = []

    def __iter__(self) -> Iterator[bytes]:
        """Every line without its line break. Raises EvidenceError for what cannot be read."""
        number = 0
        for path in self.paths:
            self._starts.append(number)
            for line in self._lines(path):
                yield line
                number += 1

    def where(self, number: int) -> str:
        """The line with that number (from 0, over all files) in words: `audit.ndjson:17`."""
        at = bisect_right(self._starts, number) - 1
        return f"{self.paths[at]}:{number - self._starts[at] + 1}"

    def _lines(self, path: Path) -> Iterator[bytes]:
        told = 0
        try:
            with path.open("rb") as raw, decompressed(raw) or raw as stream:
                for count in count_from(1):
                    line = stream.readline(LONGEST_LINE)
                    if len(line) == LONGEST_LINE:
                        raise EvidenceError(f"{path}: holds a line of more than {LONGEST_LINE // 2**20} MiB")
                    if not line or count % _TELL_LINES == 0:
                        self._progress(raw.tell() - told)
                        told = raw.tell()
                    if not line:
                        return
                    yield line[:-1] if line.endswith(b"\n") else line
        except DAMAGE as problem:
            raise EvidenceError(f"{path}: cannot be read: {problem}") from None


def in_order(paths: Sequence[Path]) -> list[Path]:
    """As a file destination wrote them: `x.2`, `x.1`, `x`, whatever order a shell gives; others stay where they are."""
    names = [_name(path) for path in paths]
    groups: dict[Path, int] = {}
    for base, _number in names:
        groups.setdefault(base, len(groups))
    keys = [(groups[base], -number) for base, number in names]
    return [path for _key, path in sorted(zip(keys, paths, strict=True), key=lambda pair: pair[0])]


def _name(path: Path) -> tuple[Path, int]:
    """`audit.ndjson.2.gz` is number 2 of `audit.ndjson`, which itself is number 0."""
    plain = path.with_suffix("") if path.suffix in {".gz", ".zst"} else path
    rotated = _ROTATED.match(plain.name)
    return (plain.with_name(rotated["name"]), int(rotated["number"])) if rotated else (plain, 0)


class _Stream:
    """One cluster: what must come next, and whether what has come is what was stated."""

    def __init__(self, cluster: str, rings: Sequence[Statements], load: Load, findings: Findings) -> None:
        self.cluster = cluster
        self.timeline = Timeline(rings, load)
        self.skipped: dict[int, int] = {}
        self._load = load
        self._findings = findings
        self._ring = 0
        self._verifier = self._new_verifier()

    def take(self, lines: Sequence[bytes]) -> None:
        """The lines are the events that must come next, all of one statement."""
        place = self.timeline.place
        assert place is not None
        self._reach(place.ring)
        self._verifier.feed(place.sequence, lines)
        self.timeline.advance(len(lines))

    def jump(self, place: Place) -> None:
        """The events before this place are missing."""
        while self.timeline.place is not None and self.timeline.place != place and len(self.skipped) < MOST_SKIPPED:
            assert self.timeline.head is not None
            self.skipped[self.timeline.head] = self.timeline.place.sequence
            self.timeline.advance()
        self.timeline.jump(place)

    def finish(self) -> None:
        """No more lines: judge what is left, and miss what did not come."""
        self._reach(len(self.timeline.rings))

    def _reach(self, ring: int) -> None:
        while self._ring < ring:
            self._verifier.finish(max(self.timeline.rings[self._ring].nexts))
            self._ring += 1
            if self._ring < len(self.timeline.rings):
                self._verifier = self._new_verifier()

    def _new_verifier(self) -> RangeVerifier:
        statements = self.timeline.rings[self._ring]
        return RangeVerifier(statements, lambda at: self._load(statements, at), self._findings)


class LineMatcher:
    """Use once: `check`, which raises EvidenceError and EnoughError."""

    def __init__(self, archive: Archive, findings: Findings) -> None:
        self._findings = findings
        self._streams = [
            _Stream(cluster, list(archive.of_cluster(cluster)), archive.load, findings) for cluster in archive.clusters
        ]
        self._seen = SeenLines()
        self._strange: list[range] = []
        self._in_a_row = 0

    def check(self, lines: Files) -> None:
        """Every line of the input, then what did not come."""
        number = 0
        for chunk, following in pairwise(chain(_chunks(lines), [[]])):
            self._recognise_all(number, chunk, following[0] if following else None, lines)
            number += len(chunk)
        self._end(lines)

    def _recognise_all(self, number: int, chunk: list[bytes], following: bytes | None, lines: Files) -> None:
        fingerprints = array("I", map(crc32c, chunk))
        at = 0
        while at < len(chunk):
            expecting = next((one for one in self._streams if one.timeline.head == fingerprints[at]), None)
            if expecting is not None:
                count = expecting.timeline.matching(packed(fingerprints[at:]))
                self._accept(expecting, chunk[at : at + count], lines)
                at += count
            else:
                after = chunk[at + 1] if at + 1 < len(chunk) else following
                self._recognise(number + at, chunk[at], after, lines)
                at += 1

    def _recognise(self, number: int, line: bytes, following: bytes | None, lines: Files) -> None:
        """A line that is not expected."""
        fingerprint = crc32c(line)
        if line in self._seen:
            self._findings.repeats += 1
        elif (further := self._further(fingerprint, following)) is not None:
            stream, place = further
            stream.jump(place)
            self._accept(stream, [line], lines)
        elif (late := next((one for one in self._streams if fingerprint in one.skipped), None)) is not None:
            sequence = late.skipped.pop(fingerprint)
            self._seen.add(line)
            self._findings.problem(f"cluster {late.cluster}: out of order: event {sequence} at {lines.where(number)}")
        elif (replaced := self._replaced(following)) is not None:
            self._findings.note(f"{lines.where(number)} stands in the place of {_event(replaced)}")
            self._accept(replaced, [line], lines)
        else:
            self._set_aside(number)

    def _accept(self, stream: _Stream, found: Sequence[bytes], lines: Files) -> None:
        if self._strange:
            self._tell_strange(lines, allowed=stream.timeline.unstated)
        self._in_a_row = 0
        for line in found:
            self._seen.add(line)
        stream.take(found)
        if self._streams[0] is not stream:  # the next line is most likely of the same cluster
            self._streams.remove(stream)
            self._streams.insert(0, stream)

    def _further(self, fingerprint: int, following: bytes | None) -> tuple[_Stream, Place] | None:
        if self._in_a_row > SEARCHES and self._in_a_row & (self._in_a_row - 1):
            return None
        after = None if following is None else crc32c(following)
        for far in (False, True):
            for stream in self._streams:
                if (place := stream.timeline.find(fingerprint, after, far=far)) is not None:
                    return stream, place
        return None

    def _replaced(self, following: bytes | None) -> _Stream | None:
        if following is None:
            return None
        after = crc32c(following)
        return next((one for one in self._streams if one.timeline.second == after), None)

    def _set_aside(self, number: int) -> None:
        self._in_a_row += 1
        if self._strange and self._strange[-1].stop == number:
            self._strange[-1] = range(self._strange[-1].start, number + 1)
        else:
            self._strange.append(range(number, number + 1))

    def _tell_strange(self, lines: Files, *, allowed: int = 0) -> None:
        """Something that was stated came after these lines, so they are not newer than the checkpoints."""
        strange, self._strange = self._strange, []
        count = sum(map(len, strange))
        if count <= allowed:  # they can be the events that nobody stated
            self._findings.uncovered += count
            self._findings.note(f"{count:,} lines from {lines.where(strange[0][0])} on are covered by no checkpoint")
            return
        for some in strange:
            until = f" to {lines.where(some[-1])}" if len(some) > 1 else ""
            self._findings.problem(f"added: {lines.where(some[0])}{until}: no event that was stated")

    def _end(self, lines: Files) -> None:
        if self._strange and any(one.timeline.owing for one in self._streams):
            self._tell_strange(lines)
        elif self._strange:
            count = sum(map(len, self._strange))
            self._findings.uncovered += count
            self._findings.note(
                f"{count:,} lines from {lines.where(self._strange[0][0])} on are newer than the checkpoints"
            )
        for stream in self._streams:
            stream.finish()


def _chunks(lines: Files) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line)
        if len(chunk) >= CHUNK_LINES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _event(stream: _Stream) -> str:
    assert stream.timeline.place is not None
    sequence = stream.timeline.place.sequence
    return f"{events(sequence, sequence + 1)} of cluster {stream.cluster}"


class SeenLines:
    """Lines that were seen, so that one that comes again is known for exactly that. Bounded: the oldest are forgotten.

    A digest is eight bytes of SHA-256 over a random prefix and the line: whoever made the file does not know the
    prefix, so nobody can have made another line with the digest of one that is there. They stand in sorted chunks,
    newest first; looking one up takes a search in each.
    """

    def __init__(self, prefix: bytes | None = None) -> None:
        self._keyed = hashlib.sha256(os.urandom(64) if prefix is None else prefix)
        self._recent: set[int] = set()
        self._chunks: deque[array[int]] = deque(maxlen=MOST_SEEN_CHUNKS)

    def add(self, line: bytes) -> None:
        """Remember a line."""
        self._recent.add(self._digest(line))
        if len(self._recent) >= SEEN_CHUNK:
            self._chunks.appendleft(array("Q", sorted(self._recent)))
            self._recent = set()

    def __contains__(self, line: bytes) -> bool:
        digest = self._digest(line)
        return digest in self._recent or any(_holds(chunk, digest) for chunk in self._chunks)

    def _digest(self, line: bytes) -> int:
        keyed = self._keyed.copy()
        keyed.update(line)
        return int.from_bytes(keyed.digest()[:8], "little")


def _holds(chunk: "array[int]", digest: int) -> bool:
    at = bisect_left(chunk, digest)
    return at < len(chunk) and chunk[at] == digest
