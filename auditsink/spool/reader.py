"""Reads a ring in order from any sequence, up to what is durable. Blocking, for a worker thread.

One reader serves one destination, so it remembers where it was: reading on costs no search. It holds the file of the
segment it is in, so a segment that is removed meanwhile can still be read to its end.
"""

import contextlib
import logging
from bisect import bisect_right
from collections.abc import Iterator
from typing import Protocol

from auditsink.common.disk import Disk, File, read_around
from auditsink.spool import frame, segment
from auditsink.spool.content import ContentError, TamperedError, Unpacker
from auditsink.spool.frame import FrameHeader
from auditsink.spool.keys import Keyring
from auditsink.spool.record_cache import RecordCache
from auditsink.spool.segment import Damage, Segment
from auditsink.spool.types import Chunk, Record

log = logging.getLogger("auditsink.spool")

PLACE_BYTES = 16 * 2**10
"""Between two places in a segment that a reader remembers, to find back to what it read last."""
WINDOW_BYTES = 256 * 2**10
"""What is read from the disk at once: about ten compressed batches of 400 events."""


class ReadRing(Protocol):
    """What a reader asks of its ring, which makes it."""

    cluster: str
    disk: Disk
    keys: Keyring | None
    segments: tuple[Segment, ...]
    durable: int
    record_cache: RecordCache

    def note_damage(self, segment: Segment, damage: Damage, content: bytes) -> None:
        """Count a damaged stretch once, and tell the operator."""
        ...


class Reader:
    """A place in a ring. Not for two threads at once."""

    def __init__(self, ring: ReadRing) -> None:
        self._ring = ring
        self._unpacker = Unpacker(ring.keys)
        self._file: File | None = None
        self._segment: Segment | None = None
        self._offset = 0
        self._next = -1
        self._places: list[tuple[int, int]] = []
        self._window = b""
        self._window_at = 0

    def __repr__(self) -> str:
        return f"<Reader of {self._ring.cluster} at {self._next}>"

    def cached(self, position: int, max_bytes: int) -> Chunk | None:
        """What follows `position` if memory has it; never blocks. In the loop's thread only."""
        records = self._ring.record_cache.since(position, max_bytes)
        if not records:
            return None
        return Chunk(position, records[-1].first_sequence + len(records[-1].events), records)

    def leaving(self, position: int) -> bool:
        """Whether memory is about to let go of what is at `position`. In the loop's thread only."""
        return position < self._ring.record_cache.leaving

    def read(self, position: int, max_bytes: int) -> Chunk:
        """What follows `position` on the disk: about `max_bytes` of events, at least one record if there is any.

        Raises OSError when the disk cannot be read, MissingKeyError where a key is not there: nothing steps over that.
        """
        durable = self._ring.durable
        records: list[Record] = []
        size, end = 0, position
        while end < durable and size < max_bytes:
            found = self._segment_at(end)
            if found is None or found.first >= durable:  # dropped, or lost with a segment
                end = durable
                break
            end = max(end, found.first)
            if not self._reach(found, end):
                end = min(found.end, durable)
                continue
            for record in self._records(found, end, durable):
                records.append(record)
                size += record.size
                end = record.first_sequence + len(record.events)
                if size >= max_bytes:
                    break
            else:
                end = max(end, min(found.end, durable))
        self._window = b""  # hundreds of rings have a reader for each destination: none may keep what it has read
        return Chunk(position, end, records)

    def _segment_at(self, position: int) -> Segment | None:
        """The segment that holds `position`, or the first one after it."""
        segments = self._ring.segments
        at = bisect_right(segments, position, key=lambda held: held.first) - 1
        for held in segments[max(at, 0) :]:
            if held.end > position:
                return held
        return None

    def _records(self, held: Segment, position: int, durable: int) -> Iterator[Record]:
        """Records of one segment from `position` on."""
        limit = min(held.end, durable)
        length = held.length  # read after `durable`, so it covers at least that much
        while self._next < limit and self._offset < length:
            header, at = self._frame(held, length)
            if header is None:
                return
            if header.first_sequence < self._next:  # whole, and not in its place: somebody moved it
                self._ring.note_damage(held, Damage(header.offset, header.size), self._window[at : at + header.size])
                self._offset = header.offset + header.size
                continue
            if header.offset - self._places[-1][1] >= PLACE_BYTES:
                self._places.append((header.first_sequence, header.offset))
            self._offset = header.offset + header.size
            record = self._record(held, header, at, position) if header.end_sequence > position else None
            if record is not None or header.end_sequence <= position:  # a forged count must not cost the next records
                self._next = header.end_sequence
            if record is not None:
                yield record

    def _reach(self, held: Segment, position: int) -> bool:
        """Be in that segment, at `position` or before it. False when its file is gone."""
        if held is self._segment:
            self._go_back(position)
            return True
        self.close()
        try:
            self._file = self._ring.disk.open(held.path)
        except FileNotFoundError:
            if held in self._ring.segments:  # nobody of ours removed it
                self._ring.note_damage(held, Damage(segment.DATA_START, held.length - segment.DATA_START), b"")
            return False
        self._segment, self._offset, self._next = held, segment.DATA_START, held.first
        self._places = [(held.first, segment.DATA_START)]
        self._window, self._window_at = b"", 0
        return True

    def _go_back(self, position: int) -> None:
        """If `position` has been passed: to the last place known before it. Places behind it are forgotten.

        A destination that takes turns between rings asks again for what it had read and not taken. To read the
        segment from its start each time would make a backlog's cost quadratic.
        """
        at = bisect_right(self._places, position, key=lambda place: place[0]) - 1
        self._places[1:] = self._places[max(at, 1) : at + 1]
        if position < self._next:
            self._next, self._offset = self._places[-1]

    def _frame(self, held: Segment, length: int) -> tuple[FrameHeader | None, int]:
        """The next valid frame and its place in the window; damage before it is noted. None at the end."""
        seed = held.header.seed
        at = self._fill(self._offset, frame.HEADER.size, length)
        header = frame.decode_header(self._window, at, self._offset, seed)
        if header is not None and self._offset + header.size <= length:
            at = self._fill(self._offset, header.size, length)
            if frame.intact(header, self._window, at, seed):
                return header, at
        # Damage: look at all that is left of the segment for the next frame that validates.
        at = self._fill(self._offset, length - self._offset, length)
        for found in segment.walk(self._window, seed, start=at, base=self._window_at):
            if isinstance(found, Damage):
                start = found.offset - self._window_at
                self._ring.note_damage(held, found, self._window[start : start + found.length])
            elif isinstance(found, FrameHeader):
                return found, found.offset - self._window_at
        return None, 0

    def _fill(self, offset: int, wanted: int, length: int) -> int:
        """Have `wanted` bytes from `offset` in the window (fewer at the end); returns where they begin in it."""
        at = offset - self._window_at
        if at < 0 or at + wanted > len(self._window):
            assert self._file is not None
            self._window = read_around(self._file, min(max(wanted, WINDOW_BYTES), length - offset), offset)
            self._window_at, at = offset, 0
        return at

    def _record(self, held: Segment, header: FrameHeader, at: int, position: int) -> Record | None:
        """The record of a frame, from `position` on. None for one whose content cannot be had for good."""
        try:
            record = self._unpacker.record(held.header, header, self._window, at)
        except ContentError as problem:
            # The checksum holds: the writer was at fault, or another version, or somebody wrote this who may not.
            log.error(  # noqa: TRY400 - the sentence says it all
                "TAMPERING: a record was changed on the disk; its events are lost"
                if isinstance(problem, TamperedError)
                else "a record in the spool cannot be read; its events are lost",
                extra={"cluster": self._ring.cluster, "first_sequence": header.first_sequence, "error": str(problem)},
            )
            self._ring.note_damage(held, Damage(header.offset, header.size), self._window[at : at + header.size])
            return None
        return record.since(position)

    def close(self) -> None:
        """Let go of the file; reading on opens it again."""
        file, self._file, self._segment = self._file, None, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
