"""Findings in the disk under the spool. Pure: what was read is handed in."""

from collections.abc import Iterator
from dataclasses import dataclass

from auditsink.common.units import Size
from auditsink.config import Spool
from auditsink.doctor.finding import Finding, Urgency

MEMORY = frozenset({"tmpfs", "ramfs"})
LAYERS = frozenset({"overlay", "aufs"})
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"})
SPARE = 0.05
"""Of the volume: cursors, dead letters and the file system need some, and full file systems are slow."""


@dataclass(frozen=True, slots=True)
class Volume:
    """Where the spool lies: mount point, type of the file system, bytes in all and free, and those of the spool."""

    mount: str
    kind: str
    total: int
    free: int
    held: int


def in_volume(spool: Spool, volume: Volume) -> Iterator[Finding]:
    """What a disk of that kind and size means for this spool."""
    where = f"spool.path {spool.path}"
    if volume.kind in MEMORY:
        yield Finding(
            Urgency.LOSING,
            where,
            f"lies on {volume.mount}, a {volume.kind}: in memory",
            "put it on a disk; a 200 means nothing there",
        )
    if volume.kind in LAYERS:
        yield Finding(
            Urgency.LOSING,
            where,
            f"lies in a container's own layer ({volume.kind})",
            "mount a volume; what is there goes with the container",
        )
    if volume.kind in NETWORK:
        yield Finding(
            Urgency.ADVICE,
            where,
            f"lies on a network file system ({volume.kind})",
            "a local disk or a block volume: locks and syncs are sure there, and fast",
        )
    lacking = spool.max_bytes - volume.held - volume.free
    if lacking > 0:
        yield Finding(
            Urgency.SOON,
            "spool.max_bytes",
            f"{spool.max_bytes} do not fit: {Size(lacking)} more than {volume.mount} has",
            "make the volume larger, or max_bytes smaller",
        )
    elif volume.total and volume.free + volume.held - spool.max_bytes < SPARE * volume.total:
        yield Finding(
            Urgency.ADVICE,
            "spool.max_bytes",
            f"a full ring leaves less than {SPARE:.0%} of {volume.mount} free",
            "leave a little for cursors, dead letters and the file system",
        )


def mounted(path: str, mounts: str) -> tuple[str, str]:
    """Mount point and type of what `path` (absolute, resolved) lies on; `mounts` is /proc/self/mounts (proc(5))."""
    best = ("/", "unknown")
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        point = point.encode().decode("unicode_escape")  # a space is \040
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best[0]):
            best = (point, kind)
    return best
