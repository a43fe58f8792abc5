"""What of a copy is restored: all that somebody still wants, and of the rest the newest that fits. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auditsink.backup.manifest import CopiedCursor, CopiedFile, CopiedRing, CopiedSegment, CopyManifest

DELIVERED_SHARE = 0.5
"""Of `spool.max_bytes`: what was delivered everywhere comes back up to here, for replays and to recognise retries."""


@dataclass(frozen=True, slots=True)
class RingPlan:
    """A ring as it is to lie there. `next_sequence`: no sequence below it is given out again."""

    cluster: str
    ring: str
    segments: Sequence[CopiedSegment]
    cursors: Mapping[str, CopiedCursor]
    next_sequence: int

    @property
    def floor(self) -> int:
        """The first sequence that is held."""
        return self.segments[0].first if self.segments else self.next_sequence


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """Rings and other files."""

    rings: Sequence[RingPlan]
    files: Sequence[CopiedFile]

    def all_files(self) -> list[CopiedFile]:
        """All that is to be fetched, in the order in which it matters."""
        return [*self.files, *(one.file for ring in self.rings for one in ring.segments)]


def restore_plan(manifest: CopyManifest, max_bytes: int, stated: Mapping[str, int] | None = None) -> RestorePlan:
    """`stated`: by ring (hex), the sequence after the last that somebody knows to have been given out."""
    begins = {id(ring): _first_wanted(ring) for ring in manifest.rings}
    room = max_bytes * DELIVERED_SHARE - sum(
        one.file.size for ring in manifest.rings for one in ring.segments[begins[id(ring)] :]
    )
    others = sorted(
        ((one.created_ns, at, ring) for ring in manifest.rings for at, one in enumerate(ring.segments)),
        key=lambda entry: (-entry[0], -entry[1]),
    )
    for _created, at, ring in others:
        if at == begins[id(ring)] - 1 and ring.segments[at].file.size <= room:
            room -= ring.segments[at].file.size
            begins[id(ring)] = at
    rings = [_ring(ring, begins[id(ring)], (stated or {}).get(ring.ring, 0)) for ring in manifest.rings]
    return RestorePlan(rings, manifest.files)


def _first_wanted(ring: CopiedRing) -> int:
    """The number of the first segment of which some destination wants something, or that still grew."""
    consumed = ring.consumed
    wanted = [at for at, one in enumerate(ring.segments) if one.end > consumed or not one.closed]
    return wanted[0] if wanted else len(ring.segments)


def _ring(ring: CopiedRing, begin: int, stated: int) -> RingPlan:
    return RingPlan(ring.cluster, ring.ring, ring.segments[begin:], ring.cursors, max(ring.end, ring.copied, stated))
