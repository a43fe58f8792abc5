"""What stands on the disk after a stop of any kind, turned into rings. Reads; removes only what never counted.

Cost: two small reads for each sealed segment, unsealed ones are read whole. So a start does not depend on how much the
ring holds. Damage inside sealed segments is met, counted and stepped over when it is read.

What a killed process wrote and did not sync is found like everything else, and counts from then on: its sender will be
told so when it tries again. So the last segment is synced here; those before it were, before it was begun.
"""

import contextlib
import errno
import hashlib
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from threading import Lock

from auditsink.common.disk import PAGE_BYTES
from auditsink.config.spool import CHECKPOINTS
from auditsink.spool import cursor, segment, segment_file
from auditsink.spool.errors import MissingKeyError
from auditsink.spool.keys import Keyring, cipher_of
from auditsink.spool.ring import Ring
from auditsink.spool.segment import ChainLink, Damage, Segment, SegmentHeader
from auditsink.spool.segment_file import StoredSegment

log = logging.getLogger("auditsink.spool")

_READING = Lock()
"""Rings are opened side by side; what must be read whole is read one segment after the other, for the memory's sake."""


def recover(ring: Ring) -> ChainLink:
    """Fill in a ring's segments, floor and next sequence from its directory; returns where the chain goes on.

    Raises OSError when the directory cannot be read and SpoolError for a format that is not ours.
    """
    found = _headers(ring)
    segments: list[Segment] = []
    link = ChainLink()
    for this, after in zip(found, [*found, None][1:], strict=True):
        held, link = _segment(ring, this, after.header if after else None)
        if held is not None:
            _trim(ring, held)
            segments.append(held)
    if segments:
        _make_durable(ring, segments[-1])
    # Below the floor nothing is held any more: a crash came between writing the floor and the unlink.
    for held in segments:
        if held.end <= ring.floor:
            _remove(ring, held.path)
    ring.segments = tuple(held for held in segments if held.end > ring.floor)
    ends = [held.end for held in ring.segments]
    # A cursor beyond the last event means that a weaker durability lost a tail: its sequences are not given out twice.
    ring.durable = max([ring.floor, *ends, *positions(ring)])
    ring.floor = ring.segments[0].first if ring.segments else ring.durable
    return link


def _headers(ring: Ring) -> list[StoredSegment]:
    names = ring.disk.names(ring.path)
    if segment.SUCCESSOR in names:
        _remove(ring, ring.path / segment.SUCCESSOR)
    # Other names are a person's copies or an editor's backups, and theirs.
    paths = [ring.path / name for name in names if segment.is_file_name(name)]
    return [found for path in paths if (found := _accepted(ring, path)) is not None]


def _accepted(ring: Ring, path: Path) -> StoredSegment | None:
    """The segment in a file, if it is one of this ring; what is not goes out of the way."""
    try:
        found, unused = segment_file.read_header(path, ring.disk)
    except FileNotFoundError:  # a link that leads nowhere
        found, unused = None, False
    if unused:
        _remove(ring, path)
        return None
    if found is not None and (found.header.ring_id, found.name) == (ring.ring_id, path.name):
        return found
    _set_aside(ring, path)
    return None


def _segment(ring: Ring, this: StoredSegment, after: SegmentHeader | None) -> tuple[Segment | None, ChainLink]:
    """The segment, and the chain's link after it. Sealed by its footer, by its successor's header, or not at all."""
    if after is not None and after.previous_first == this.header.first_sequence and after.previous_length:
        held = Segment(this.path, this.header, after.previous_length, after.first_sequence, this.size)
        return held, ChainLink(after.previous_first, after.previous_length, after.previous_digest)
    if this.footer is not None:
        footer = this.footer
        held = Segment(this.path, this.header, footer.length, footer.next_sequence, this.size)
        return held, ChainLink(this.header.first_sequence, footer.length, footer.digest)
    with _READING:
        return _unsealed(ring, this, after)


def _unsealed(ring: Ring, this: StoredSegment, after: SegmentHeader | None) -> tuple[Segment | None, ChainLink]:
    """Read a segment without a seal to its last valid frame."""
    content = segment_file.read(this, ring.disk)
    if content is None:
        raise FileNotFoundError(errno.ENOENT, "was removed while the sink started", str(this.path))
    held = Segment(this.path, this.header, segment.DATA_START, this.header.first_sequence, this.size)
    for frame in content.frames:
        if after is None or frame.first_sequence < after.first_sequence:
            held.length, held.end = frame.offset + frame.size, frame.end_sequence
    torn = [one for one in content.damages if one.offset >= held.length and not _touches(one, content.unreadable)]
    for damage in torn:
        log.info(
            "a write that was never answered was cut short by the last stop; it is ignored",
            extra={"cluster": ring.cluster, "segment": str(this.path), "bytes": damage.length},
        )
    if held.end == held.header.first_sequence:
        # Nothing in it counts, and the next segment will need the name.
        if len(torn) < len(content.damages):
            _set_aside(ring, this.path)
        else:
            _remove(ring, this.path)
        header = this.header
        return None, ChainLink(header.previous_first, header.previous_length, header.previous_digest)
    for damage in content.damages:
        if damage not in torn:
            ring.note_damage(held, damage, content.data[damage.offset : damage.offset + damage.length])
    digest = hashlib.sha256(memoryview(content.data)[: held.length]).digest()
    return held, ChainLink(held.first, held.length, digest)


def _touches(damage: Damage, pages: list[int]) -> bool:
    """Whether the disk could not read a part of it: then nobody knows that it was never answered."""
    end = damage.offset + damage.length
    return any(damage.offset < page + PAGE_BYTES and page < end for page in pages)


def _trim(ring: Ring, held: Segment) -> None:
    """Give back the preallocated rest of a segment that nobody will append to, for good: or crashes fill the ring."""
    if held.size <= held.length + segment.FOOTER.size:
        return
    with contextlib.suppress(OSError):
        file = ring.disk.open(held.path, write=True)
        try:
            file.truncate(held.length)
            file.sync()
            held.size = held.length
        finally:
            file.close()


def _make_durable(ring: Ring, held: Segment) -> None:
    """Raises OSError: on a disk that syncs nothing, nothing can be promised."""
    file = ring.disk.open(held.path, write=True)
    try:
        file.sync()
    finally:
        file.close()
    ring.disk.sync_directory(ring.path)


def _set_aside(ring: Ring, path: Path) -> None:
    """Move a file that is no segment of this ring out of the way; one bad segment never stops a start.

    Raises OSError when it cannot be moved: the next segment may need its name.
    """
    aside = ring.path / "damaged" / f"{path.name}.{time.time_ns()}"
    log.error(
        "a segment cannot be read and was set aside; its events are lost, all others are read; check the disk",
        extra={"cluster": ring.cluster, "segment": str(path), "set_aside": str(aside)},
    )
    with contextlib.suppress(OSError):
        file = ring.disk.open(path)
        ring.damaged_bytes += file.size()
        file.close()
    ring.disk.make_directory(aside.parent)
    ring.disk.rename(path, aside)
    ring.disk.sync_directory(ring.path)


def _remove(ring: Ring, path: Path) -> None:
    try:
        ring.disk.unlink(path)
        ring.disk.sync_directory(ring.path)
    except OSError as problem:
        log.warning("cannot remove a segment", extra={"segment": str(path), "error": str(problem)})


def positions(ring: Ring) -> list[int]:
    """Of its cursors. Raises OSError."""
    states = [cursor.peek(ring.disk, path) for _name, path in _cursor_files(ring)]
    return [state.position for state in states if state is not None]


def _cursor_files(ring: Ring) -> Iterator[tuple[str, Path]]:
    """Each with its destination's name. Raises OSError."""
    directory = ring.path / "cursors"
    for name in ring.disk.names(directory):
        if name.endswith(cursor.SUFFIX):
            yield name.removesuffix(cursor.SUFFIX), directory / name


def check_keys(rings: Iterable[Ring], keys: Keyring | None) -> None:
    """Raise MissingKeyError when a ring holds what cannot be read: delivering the rest would step over it."""
    for ring in rings:
        for held in ring.segments:
            try:
                cipher_of(held.header, keys)
            except MissingKeyError as problem:
                same = sum(one.header.key_check == held.header.key_check for one in ring.segments)
                raise MissingKeyError(
                    f"{held.path} and {same - 1} more segments of cluster {ring.cluster!r} cannot be read: {problem}; "
                    "add that key to the key file (spool.encryption.key_file, --key-file), below its first line, or "
                    "move those segments away and give up their events"
                ) from None


class Abandoned:
    """Cursors of destinations that are configured no longer, and what all rings held for them at the start.

    Nobody waits for them: their events go when their room is needed. But who took a destination out by mistake, or
    renamed it, finds out here and not in an investigation. What comes later is owed to nobody who is not there.
    """

    def __init__(self, rings: Iterable[Ring], configured: Collection[str]) -> None:
        """Reads the cursor files; one that cannot be read says nothing."""
        self._owed: dict[str, list[tuple[Ring, int, int]]] = {}
        for ring in rings:
            for name, position in _others(ring, configured).items():
                if max(position, ring.floor) < ring.durable:
                    self._owed.setdefault(name, []).append((ring, position, ring.durable))

    def __repr__(self) -> str:
        return f"<Abandoned {self.events}>"

    @property
    def events(self) -> Mapping[str, int]:
        """By destination: how many events that it has not got are still held. Any thread."""
        found = {
            name: sum(max(0, durable - max(position, ring.floor)) for ring, position, durable in owed)
            for name, owed in self._owed.items()
        }
        return {name: count for name, count in found.items() if count}

    def tell(self, spool_path: Path) -> None:
        """Log each destination that is configured no longer, with the events that it has not got."""
        for name, events in self.events.items():
            log.warning(
                "a destination that is configured no longer has not got all that the spool holds: put it back to have "
                "that delivered; to forget it, remove its cursors while the sink is stopped",
                extra={
                    "destination": name,
                    "events": events,
                    "clusters": len(self._owed[name]),
                    "cursors": str(spool_path / "rings" / "*" / "cursors" / f"{name}{cursor.SUFFIX}"),
                },
            )


def _others(ring: Ring, configured: Collection[str]) -> dict[str, int]:
    found = {}
    with contextlib.suppress(OSError):
        for name, path in _cursor_files(ring):
            if name not in configured and name != CHECKPOINTS:
                with contextlib.suppress(OSError):
                    state = cursor.peek(ring.disk, path)
                    if state is not None:
                        found[name] = state.position
    return found
