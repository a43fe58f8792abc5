"""The writing side of a ring: place frames, seal and open segments, survive a disk that fails.

One thread at a time: whoever commits (see `writer`).

The rule about a failed write or fsync: that file is never touched again (after a failed fsync the kernel may have
thrown the dirty pages away and report success the next time). What was durable in it stays, the rest is placed
again in a fresh segment. See `RingLog.abandon`.

Frames are written over zeros that are durable already. Into blocks that are only reserved, a sync must also change what
the file system knows of them, by its journal; and where ext4 aborts that journal in such a moment, fdatasync can return
0 for a record that the next mount does not have (seen in 4 of 40 aborts, and in 0 of 60 over zeros). Such a sync is
also the cheaper one; the zeros are written while nobody waits.
"""

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Sequence

from auditsink.common.clock import Clock
from auditsink.common.disk import Disk, File, create_anew, write_all
from auditsink.spool import segment
from auditsink.spool.dedup import Dedup
from auditsink.spool.errors import NO_SPACE, RingFullError
from auditsink.spool.frame import Entry
from auditsink.spool.keys import Key
from auditsink.spool.quota import DiskQuota
from auditsink.spool.ring import Ring
from auditsink.spool.segment import ChainLink, Footer, Segment, SegmentHeader
from auditsink.spool.successor import PreparedFile, Run, Successor, zeros_of
from auditsink.spool.types import SpoolRejection

INITIAL_BYTES = 2**20
"""A ring's first segment: a cluster that says little takes little. Each following one is four times larger, and all
are smaller where the ring's part of the spool is (see `Shares.segment_bytes`)."""
GROWTH = 4
LAST_PART = 8
"""Of a segment: when less than this part is left, it is sealed while nobody waits. Sealed files have no unused room."""
LEAST_AHEAD = 2**16
FRAMES_AHEAD = 8
MOST_AHEAD = 2**20
"""Bytes of zeros that lie durable ahead of the frames: as much again as the segment holds, and room for so many frames
like the last one, between these two. Enough for many commits, and little for a ring that says little."""


class _Active:
    """The segment being written: the open file, where the next frame goes, and what is written and not yet durable."""

    def __init__(self, file: File, held: Segment, header: bytes, key: Key | None, last: int) -> None:
        self.file = file
        self.held = held
        self.key = key
        self.encrypt = None if key is None else key.cipher(held.header).encrypt
        self.seed = held.header.seed
        self.offset = len(header)
        self.records = 0
        self.digest = hashlib.sha256(header)
        self.unsynced: list[bytes] = []
        self.last = last  # bytes of the last frame
        self.zeroed = len(header)  # up to here the file's blocks are written and durable

    def fits(self, size: int) -> bool:
        return self.offset + size + segment.FOOTER.size <= self.held.size

    def ahead(self) -> int:
        """Where the zeros should end by now."""
        wanted = max(LEAST_AHEAD, self.offset, FRAMES_AHEAD * self.last)
        return min(self.held.size, self.offset + min(wanted, MOST_AHEAD))

    def link(self) -> ChainLink:
        return ChainLink(self.held.first, self.held.length, self.digest.digest())


class RingLog:
    """Appends to one ring, and knows what was accepted for it lately (`dedup`).

    Every method raises OSError when the disk fails; then `abandon` and place again.
    """

    def __init__(
        self,
        ring: Ring,
        disk: Disk,
        quota: DiskQuota,
        *,
        clock: Clock,
        segment_bytes: int,
        link: ChainLink,
        zeros: bool = True,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`zeros`: write them ahead of the frames, for whom a sync is a promise."""
        self.ring = ring
        self._disk = disk
        self._quota = quota
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._entropy = entropy
        self._zeros = zeros
        self._next_size = min(INITIAL_BYTES, segment_bytes)
        self._link = link
        self._active: _Active | None = None
        self._successor = Successor(ring, disk, zeros=MOST_AHEAD if zeros else 0)
        self.dedup = Dedup()
        self.refusing = (0.0, SpoolRejection.FULL)  # until when (monotonic) it takes nothing, and why
        self.settled = ring.durable  # up to here events may be shown to readers; the ring tells them in its own time
        self._next = self.settled
        self._last = 0  # bytes of the last frame

    @property
    def _key(self) -> Key | None:
        return None if self.ring.keys is None else self.ring.keys.newest

    @property
    def dirty(self) -> bool:
        """Whether something is written that is not durable."""
        return self._active is not None and bool(self._active.unsynced)

    def place(self, entries: list[Entry]) -> list[Entry]:
        """Write the entries in order; returns those that found no room. Raises OSError: then none may be relied on."""
        refused: list[Entry] = []
        for entry in entries:
            try:
                self._place(entry)
            except RingFullError:
                refused.append(entry)
        self.write()
        return refused

    def stage(self, entries: Sequence[Entry]) -> bool:
        """Give entries their sequences and frames, where all that they then need is a write over zeros and a sync.

        Touches no disk: `write` and `sync` come next. False where they need more; then nothing has happened.
        """
        active, key = self._active, self._key
        if active is None or active.unsynced or active.key is not key:
            return False
        sizes = [entry.size(encrypted=key is not None) for entry in entries]
        end = active.offset + sum(sizes)
        if end > (active.zeroed if self._zeros else active.held.size) or end + segment.FOOTER.size > active.held.size:
            return False
        for entry, size in zip(entries, sizes, strict=True):
            self._append(active, entry, size)
        return True

    def _place(self, entry: Entry) -> None:
        key = self._key
        size = entry.size(encrypted=key is not None)
        self._last = size
        active = self._active
        if active is None or active.key is not key or not active.fits(size):
            active = self._rotate(segment.DATA_START + size + segment.FOOTER.size)
        self._append(active, entry, size)

    def _append(self, active: _Active, entry: Entry, size: int) -> None:
        entry.first_sequence = self._next
        active.unsynced.append(entry.encode(active.seed, active.encrypt))
        active.offset += size
        active.last = self._last = size
        active.records += 1
        self._next += entry.events

    def write(self) -> None:
        """Hand what was placed to the kernel. All that is not durable is written again: it is the same bytes."""
        active = self._active
        if active is not None and active.unsynced:
            if self._zeros and active.offset > active.zeroed:
                _zero(active)
            write_all(active.file, active.unsynced, active.held.length)

    @property
    def wants_successor(self) -> bool:
        """Whether it is time to `begin_successor`: three quarters of the segment are written."""
        active = self._active
        return active is not None and not self.ring.prepared_bytes and 4 * active.offset > 3 * active.held.size

    def begin_successor(self, run: Run) -> None:
        """Have the next segment's file made beside the commits.

        Only where there is room without giving up what somebody wants: that is decided by a request that needs it.
        """
        size = min(self._next_size, self._segment_bytes, self._quota.segment_bytes(self.ring))
        if self._quota.reserve_early(self.ring, size):
            self._successor.begin(size, run)

    @property
    def wants_rotation(self) -> bool:
        """Whether it is time to `rotate_early`: little is left of the segment, and the next one's file is there."""
        active = self._active
        if active is None or not self._successor.ready:
            return False
        return active.held.size - active.offset < min(active.held.size // LAST_PART, MOST_AHEAD)

    def rotate_early(self) -> None:
        """Begin the next segment before a request needs it. Raises OSError: then abandon, as ever."""
        if self.wants_rotation:
            self._rotate(segment.DATA_START)

    def close(self) -> None:
        """Let go of everything: after `seal`, and of what could not be sealed."""
        self.abandon()
        self._successor.drop()

    @property
    def wants_zeros(self) -> bool:
        """Whether it is time to `look_ahead`."""
        active = self._active
        if not self._zeros or active is None:
            return False
        return active.zeroed - active.offset < (active.ahead() - active.offset) // 2

    def look_ahead(self) -> None:
        """Write zeros where the next frames go, before they come. Raises OSError: then abandon, as ever."""
        if self.wants_zeros:
            assert self._active is not None
            _zero(self._active)

    def sync(self) -> None:
        """Make durable what was written. May run beside the syncs of other rings. Raises OSError."""
        active = self._active
        if active is None:
            return
        active.file.sync()
        if not active.file.linked():
            raise OSError(errno.ESTALE, "the segment was deleted under the running sink", str(active.held.path))

    def settle(self) -> None:
        """What was written may be shown to readers: after `sync`, or at once where the durability asks for no more."""
        active = self._active
        if active is not None:
            for written in active.unsynced:
                active.digest.update(written)
            active.unsynced.clear()
            active.held.end = self._next
            active.held.length = active.offset
        self.settled = self._next

    def abandon(self) -> bool:
        """Never touch the active segment again; what of it is durable stays readable. False: none was active."""
        active, self._active = self._active, None
        self._next = self.settled
        if active is None:
            return False
        active.held.active = False
        if active.held.end > active.held.first:
            self._link = active.link()
        else:  # nothing of it counts, and the fresh segment needs its name
            self.ring.segments = tuple(held for held in self.ring.segments if held is not active.held)
            with contextlib.suppress(OSError):
                self._disk.unlink(active.held.path)
        with contextlib.suppress(OSError):
            active.file.close()
        return True

    def seal(self) -> None:
        """Close the active segment for good: what is placed, the footer, one sync. No segment is active afterwards."""
        active = self._active
        if active is None:
            return
        if not active.records:  # begun early, and nothing came: the next segment needs its name
            self.abandon()
            return
        self.write()
        digest = active.digest.copy()  # a copy: if the sync fails, the chain goes on from what was durable before
        for written in active.unsynced:
            digest.update(written)
        footer = Footer(active.records, self._next, active.offset, digest.digest())
        write_all(active.file, [segment.encode_footer(footer, active.seed)], active.offset)
        active.file.truncate(active.offset + segment.FOOTER.size)
        self.sync()
        self.settle()
        active.held.size = active.offset + segment.FOOTER.size
        active.held.active = False
        self._link = active.link()
        self._active = None
        active.file.close()

    def _rotate(self, needed: int) -> _Active:
        if (prepared := self._successor.take(needed)) is not None:
            self._active = self._begin(prepared)
            self._next_size = min(self._next_size * GROWTH, self._segment_bytes)
            return self._active
        largest = min(self._segment_bytes, self._quota.segment_bytes(self.ring))
        wanted = max(needed, min(self._next_size, largest))
        least = max(needed, min(INITIAL_BYTES, largest))
        size = self._quota.reserve(self.ring, wanted, least)
        self.seal()
        while True:
            try:
                self._active = self._open(size)
            except OSError as problem:
                if problem.errno not in NO_SPACE:
                    raise
                # The quota has room and the disk has none: take less, then give up what may be given up.
                if size > least:
                    size = least
                elif not self._quota.free_one(self.ring):
                    raise
            else:
                self._next_size = min(self._next_size * GROWTH, self._segment_bytes)
                return self._active

    def _header(self, key: Key | None) -> SegmentHeader:
        """Of the segment that begins here."""
        return SegmentHeader(
            self.ring.ring_id, self._entropy(8), self._next, self._clock.wall_ns(),
            self._link.first, self._link.length, self._link.digest,
            *(() if key is None else (key.name, key.check)),
        )  # fmt: skip

    def _begin(self, prepared: PreparedFile) -> _Active:
        """Make the prepared file the active segment: its header, its name, and no more."""
        key = self._key
        try:
            self.seal()
            header = self._header(key)
            path = self.ring.path / segment.file_name(self._next)
            encoded = segment.encode_header(header)
            prepared.begin(encoded, path)
        except OSError:
            prepared.drop()
            raise
        finally:
            self.ring.prepared_bytes = 0
        held = Segment(path, header, len(encoded), self._next, prepared.size, active=True)
        active = _Active(prepared.file, held, encoded, key, self._last)
        active.zeroed = max(active.zeroed, prepared.zeroed)
        self.ring.segments = (*self.ring.segments, held)
        return active

    def _open(self, size: int) -> _Active:
        key = self._key
        header = self._header(key)
        path = self.ring.path / segment.file_name(self._next)
        encoded = segment.encode_header(header)
        file = create_anew(self._disk, path)  # a segment of which nothing counted may have kept its name
        try:
            file.allocate(size)
            write_all(file, [encoded], 0)
            held = Segment(path, header, len(encoded), self._next, size, active=True)
            active = _Active(file, held, encoded, key, self._last)
            if self._zeros:
                _write_zeros(active)
            file.sync()  # before the first frame: recovery takes a file without a header for one that was never used
            self._disk.sync_directory(self.ring.path)
        except OSError:
            file.close()
            with contextlib.suppress(OSError):
                self._disk.unlink(path)
            raise
        self.ring.segments = (*self.ring.segments, held)
        return active


def _zero(active: _Active) -> None:
    """Have the zeros durable before anything is written over them."""
    _write_zeros(active)
    active.file.sync()


def _write_zeros(active: _Active) -> None:
    end = active.ahead()
    write_all(active.file, zeros_of(end - active.zeroed), active.zeroed)
    active.zeroed = end
