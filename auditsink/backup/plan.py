"""What to upload, what the next manifest says, what may go: decided from the local state and the copy. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import takewhile

import msgspec

from auditsink.backup.manifest import CopiedCursor, CopiedFile, CopiedPiece, CopiedRing, CopiedSegment, CopyManifest

CHUNK = 2**23
"""Bytes of one object, at most: what memory holds of it, and what a broken upload sends again."""
SMALL = 2**18
"""Pieces below this share an object, and are written anew as one when they have become many."""
FANOUT = 8
"""So many small pieces of one size become one."""


@dataclass(frozen=True, slots=True)
class LocalSegment:
    """A segment of a ring: `size` bytes of its file are durable, with the events before `end`."""

    first: int
    end: int
    created_ns: int
    size: int
    closed: bool
    identity: str


@dataclass(frozen=True, slots=True)
class LocalRing:
    """A ring at one moment; its cursors are not younger than its segments."""

    cluster: str
    ring: str
    floor: int
    end: int
    cursors: Mapping[str, CopiedCursor]
    segments: Sequence[LocalSegment]

    @property
    def consumed(self) -> int:
        """Every destination is done with the events before this sequence."""
        return min((one.position for one in self.cursors.values()), default=self.floor)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file beside the rings. `path` as in the manifest; `identity` changes when it is replaced."""

    path: str
    identity: str
    size: int


@dataclass(frozen=True, slots=True)
class LocalState:
    """All that is copied, at one moment."""

    rings: Sequence[LocalRing]
    files: Sequence[LocalFile] = ()


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes `start` to `stop` of a file. Pieces of the copy from `start` on give way to them."""

    path: str
    identity: str
    start: int
    stop: int

    @property
    def length(self) -> int:
        """In bytes."""
        return self.stop - self.start


def path_of(cluster: str, first: int) -> str:
    """Where a segment lies in the spool's directory."""
    return f"rings/{cluster}/{first:020d}.seg"


def next_rings(local: LocalState, copied: Sequence[CopiedRing], now_ns: int, keep_ns: int) -> tuple[CopiedRing, ...]:
    """The rings of the next manifest, before anything more is uploaded.

    Segments that are not copied yet stand there without pieces; `settled` leaves them out.
    """
    before = {(ring.cluster, ring.ring): ring for ring in copied}
    return tuple(_next_ring(ring, before.get((ring.cluster, ring.ring)), now_ns, keep_ns) for ring in local.rings)


def _next_ring(ring: LocalRing, before: CopiedRing | None, now_ns: int, keep_ns: int) -> CopiedRing:
    earlier = {one.first: one for one in (before.segments if before else ())}
    held = {one.first: one for one in ring.segments}
    consumed = ring.consumed
    # What is kept longer there than here: delivered, and removed here to make room.
    gone = [one for first, one in earlier.items() if first not in held and one.delivered_ns is not None and one.closed]
    # A segment may have been delivered and removed between two looks.
    fresh = [
        msgspec.structs.replace(one, delivered_ns=now_ns)
        for first, one in earlier.items()
        if first not in held and one.delivered_ns is None and one.end <= min(consumed, ring.floor)
    ]
    # What the copy has let go stays here for as long as there is room, and does not go there again.
    oldest = min(earlier, default=0 if before is None else before.end)
    wanted = [one for one in ring.segments if one.first in earlier or one.end > min(oldest, consumed) or not one.closed]
    segments = [*gone, *fresh, *(_segment(one, ring, earlier.get(one.first), now_ns) for one in wanted)]
    kept = [one for one in segments if not _expired(one, consumed, now_ns, keep_ns)]
    return CopiedRing(
        ring.cluster, ring.ring, ring.end, dict(ring.cursors), tuple(sorted(kept, key=lambda one: one.first))
    )


def _segment(one: LocalSegment, ring: LocalRing, earlier: CopiedSegment | None, now_ns: int) -> CopiedSegment:
    same = earlier if earlier is not None and earlier.file.identity == one.identity else None
    file = same.file if same is not None else CopiedFile(path_of(ring.cluster, one.first), one.identity)
    if file.size > one.size:  # a weaker durability lost a tail that had been copied
        file = replace_pieces(file, ())
    since = same.delivered_ns if same is not None else None
    delivered = one.closed and one.end <= ring.consumed
    delivered_ns = (now_ns if since is None else min(since, now_ns)) if delivered else None
    return CopiedSegment(one.first, one.end, one.created_ns, one.closed, file, delivered_ns)


def _expired(one: CopiedSegment, consumed: int, now_ns: int, keep_ns: int) -> bool:
    if not keep_ns and not one.file.pieces and one.end <= consumed:
        return True  # nobody will ever want it from there
    return one.delivered_ns is not None and now_ns - one.delivered_ns >= keep_ns


def stretches(local: LocalState, rings: Sequence[CopiedRing], files: Mapping[str, CopiedFile]) -> list[Stretch]:
    """What is to be uploaded, in order: the oldest of each ring first, the rings in turns.

    `rings` as `next_rings` gives them; `files`: the others, as far as they are copied, those included that are not
    whole yet.
    """
    sizes = {
        path_of(ring.cluster, one.first): (one.identity, one.size) for ring in local.rings for one in ring.segments
    }
    rows = [
        [part for one in ring.segments if one.file.path in sizes for part in _missing(one.file, *sizes[one.file.path])]
        for ring in rings
    ]
    beside = [part for one in local.files for part in _missing(_known(one, files), one.identity, one.size)]
    longest = max(map(len, rows), default=0)
    return [*beside, *(row[at] for at in range(longest) for row in rows if at < len(row))]


def _known(one: LocalFile, files: Mapping[str, CopiedFile]) -> CopiedFile:
    known = files.get(one.path)
    same = known is not None and known.identity == one.identity and known.size <= one.size
    return known if known is not None and same else CopiedFile(one.path, one.identity)


def _missing(file: CopiedFile, identity: str, size: int) -> list[Stretch]:
    """The rest of a file in chunks; where small pieces have become many, with the last of them written anew."""
    if size <= file.size:
        return []
    begin = merged_from(file, size)
    return [Stretch(file.path, identity, at, min(at + CHUNK, size)) for at in range(begin, size, CHUNK)]


def merged_from(file: CopiedFile, size: int) -> int:
    """Where to begin with the bytes up to `size`: at the end of what is copied, or some small pieces before.

    Each time that `FANOUT` pieces of one order of size stand at the end they become one of the next.
    """
    begin, pieces = file.size, list(file.pieces)
    length = size - begin
    while True:
        order = _order(length)
        run = 0
        while run < len(pieces) and pieces[-1 - run].length < SMALL and _order(pieces[-1 - run].length) <= order:
            run += 1
        if run + 1 < FANOUT or length >= SMALL:
            return begin
        begin = pieces[-run].start
        if size - begin > CHUNK:
            return file.size
        del pieces[-run:]
        length = size - begin


def _order(length: int) -> int:
    return (length.bit_length() + 2) // 3


def grouped(several: Sequence[Stretch]) -> list[list[Stretch]]:
    """The stretches by the objects that they go into, in order: small ones share one."""
    groups: list[list[Stretch]] = []
    filled = CHUNK
    for one in several:
        small = one.length < SMALL
        if not small or filled + one.length > CHUNK:
            groups.append([])
            filled = 0
        groups[-1].append(one)
        filled = filled + one.length if small else CHUNK
    return groups


def replace_pieces(file: CopiedFile, pieces: Iterable[CopiedPiece]) -> CopiedFile:
    """The file with other pieces."""
    return CopiedFile(file.path, file.identity, tuple(pieces))


def before(file: CopiedFile, gone: AbstractSet[str]) -> CopiedFile:
    """The file up to the first of its pieces whose object is gone."""
    return replace_pieces(file, takewhile(lambda piece: piece.object not in gone, file.pieces))


def extended(file: CopiedFile, stretch: Stretch, piece: CopiedPiece) -> CopiedFile:
    """The file with a piece that was uploaded; those that it covers give way."""
    return replace_pieces(file, (*(one for one in file.pieces if one.start < stretch.start), piece))


def with_pieces(rings: Sequence[CopiedRing], several: Mapping[str, CopiedFile]) -> tuple[CopiedRing, ...]:
    """The rings with these files as far as they are copied now."""

    def updated(one: CopiedSegment) -> CopiedSegment:
        file = several.get(one.file.path)
        return one if file is None else msgspec.structs.replace(one, file=file)

    return tuple(msgspec.structs.replace(ring, segments=tuple(updated(one) for one in ring.segments)) for ring in rings)


def settled(rings: Sequence[CopiedRing], sizes: Mapping[str, int]) -> tuple[CopiedRing, ...]:
    """The rings as a manifest may state them: each up to the first segment that is not whole yet.

    `sizes`: bytes of each segment's file that were to be copied. Of one that is not whole, `end` is its beginning:
    what of it is there counts when it is restored, and is not promised.
    """
    return tuple(msgspec.structs.replace(ring, segments=tuple(_settled(ring, sizes))) for ring in rings)


def _settled(ring: CopiedRing, sizes: Mapping[str, int]) -> Iterable[CopiedSegment]:
    for one in ring.segments:
        wanted = sizes.get(one.file.path)
        if wanted is None or one.file.size >= wanted:
            yield one
            continue
        if one.file.pieces:
            yield msgspec.structs.replace(one, end=one.first, closed=False, delivered_ns=None)
        return


def sizes_of(local: LocalState) -> dict[str, int]:
    """The durable bytes of each segment's file, by its path."""
    return {path_of(ring.cluster, one.first): one.size for ring in local.rings for one in ring.segments}


def continues(local: LocalState, manifest: CopyManifest, *, own: bool) -> bool:
    """Whether the spool is what the copy was made of, and not behind it: else the copy must not be changed.

    `own`: this spool's directory wrote it. Another one may have given out the same sequences to other events, and who
    has delivered its own and removed them cannot tell: so it goes on only where the copy says that they were delivered.
    """
    held = {(ring.cluster, ring.ring): ring for ring in local.rings}
    for ring in manifest.rings:
        mine = held.get((ring.cluster, ring.ring))
        if mine is None:
            if ring.copied > ring.consumed:
                return False
        elif mine.end < ring.copied or not _same_segments(mine, ring, own=own):
            return False
    return True


def _same_segments(mine: LocalRing, ring: CopiedRing, *, own: bool) -> bool:
    identities = {one.first: one.identity for one in mine.segments}
    done = max(mine.floor, mine.consumed) if own else ring.consumed
    for one in ring.segments:
        if one.first in identities:
            if identities[one.first] != one.file.identity:
                return False
        elif one.end > done or any(two.first < one.end and two.end > one.first for two in mine.segments):
            return False
    return True


def shared(local: LocalState, manifest: CopyManifest) -> CopyManifest:
    """What of another directory's copy is this spool too: the rest may be other events, and no part of its chain."""
    held = {(ring.cluster, ring.ring): {one.first: one.identity for one in ring.segments} for ring in local.rings}
    rings = tuple(
        msgspec.structs.replace(
            ring, segments=tuple(one for one in ring.segments if mine.get(one.first) == one.file.identity)
        )
        for ring in manifest.rings
        if (mine := held.get((ring.cluster, ring.ring))) is not None
    )
    return msgspec.structs.replace(manifest, rings=rings)


def garbage(stored: Iterable[str], *needed: Iterable[str]) -> list[str]:
    """Data objects that nothing needs, in order."""
    return sorted(set(stored).difference(*needed))
