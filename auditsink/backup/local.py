"""What of the spool is copied, as it is now: rings from memory, other files from the disk, bytes from both's files."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from auditsink.backup.manifest import CHECKPOINTS, CopiedCursor, CopiedFile, is_copied
from auditsink.backup.plan import LocalFile, LocalRing, LocalSegment, Stretch
from auditsink.common.disk import Disk, line_start, read_around
from auditsink.common.watch import Stamp, stamp_or_none
from auditsink.spool import segment
from auditsink.spool.cursor import CursorState
from auditsink.spool.ring import Ring

DEAD_LETTERS = ("letters.ndjson", "dropped")
"""Of `deadletters/<destination>/`; what else is there means nothing to a restored spool."""

Cursors = Mapping[str, Mapping[str, CopiedCursor]]


class VanishedError(Exception):
    """Internal: the file was removed or replaced since it was looked at."""


class _Seen(NamedTuple):
    stamp: Stamp
    file: LocalFile


def cursors_of(rings: Iterable[Ring]) -> Cursors:
    """The cursors of each ring, by cluster and destination. In the loop's thread, and before anything else is read."""
    return {
        ring.cluster: {
            name: CopiedCursor.of(CursorState(one.start, one.position, one.tally)) for name, one in ring.cursors.items()
        }
        for ring in rings
    }


def rings_of(rings: Iterable[Ring], cursors: Cursors) -> list[LocalRing]:
    """What each ring holds that is durable; rings that were made since the cursors were read are left out."""
    return [_ring(ring, cursors[ring.cluster]) for ring in rings if ring.cluster in cursors]


def _ring(ring: Ring, cursors: Mapping[str, CopiedCursor]) -> LocalRing:
    floor = ring.floor
    segments = [_segment(one) for one in ring.segments]
    end = max([ring.durable, *(one.end for one in segments)])
    held = tuple(one for one in segments if one.end > one.first)
    return LocalRing(ring.cluster, ring.ring_id.hex(), floor, end, cursors, held)


def _segment(one: segment.Segment) -> LocalSegment:
    active = one.active
    end = one.end  # before `length`: the writer moves `end` first
    length = one.length
    sealed = not active and one.size == length + segment.FOOTER.size
    header = one.header
    size = one.size if sealed else length
    return LocalSegment(one.first, end, max(0, header.created_ns), size, not active, header.segment_id.hex())


class LocalFiles:
    """The files beside the rings. Methods block; one thread at a time."""

    def __init__(self, spool: Path, checkpoints: Path | None, disk: Disk) -> None:
        self._spool = spool
        self._checkpoints = checkpoints
        self._disk = disk
        self._seen: dict[str, _Seen] = {}

    def look(self, copied: Mapping[str, CopiedFile]) -> list[LocalFile]:
        """What there is. A file that begins and ends with what was copied of it keeps its identity. Raises OSError."""
        found = []
        for path in self._paths():
            place = self.place(path)
            stamp = stamp_or_none(place)
            if stamp is None:
                continue
            seen = self._seen.get(path)
            if seen is None or seen.stamp != stamp:
                seen = self._seen[path] = _Seen(stamp, self._file(path, place, stamp, copied.get(path)))
            if seen.file.size:
                found.append(seen.file)
        return found

    def place(self, path: str) -> Path:
        """Where a file of the copy lies here."""
        return self._checkpoints if path == CHECKPOINTS and self._checkpoints is not None else self._spool / path

    def read(self, stretch: Stretch) -> bytes:
        """The bytes. Raises VanishedError, OSError."""
        try:
            file = self._disk.open(self.place(stretch.path))
        except FileNotFoundError:
            raise VanishedError from None
        try:
            data = read_around(file, stretch.length, stretch.start)
        finally:
            file.close()
        if len(data) != stretch.length:
            raise VanishedError
        return data

    def _paths(self) -> list[str]:
        paths = [] if self._checkpoints is None else [CHECKPOINTS]
        try:
            names = self._disk.names(self._spool / "deadletters")
        except FileNotFoundError:
            return paths
        several = (f"deadletters/{name}/{file}" for name in names for file in DEAD_LETTERS)
        return [*paths, *filter(is_copied, several)]

    def _file(self, path: str, place: Path, stamp: Stamp, copied: CopiedFile | None) -> LocalFile:
        file = self._disk.open(place)
        try:
            size = line_start(file, file.size())  # without a line that is still being written
            same = (
                copied is not None
                and copied.size <= size
                and all(
                    hashlib.sha256(file.read(piece.length, piece.start)).hexdigest() == piece.sha256
                    for piece in {*copied.pieces[:1], *copied.pieces[-1:]}
                )
            )
        finally:
            file.close()
        identity = copied.identity if copied is not None and same else f"{stamp[0]:x}-{stamp[2]:x}"
        return LocalFile(path, identity, size)
