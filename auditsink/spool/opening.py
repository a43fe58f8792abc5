"""Opening a ring, or making it: its identity, its segments, the cursors in it. In any thread, for a disk may hang."""

import contextlib
import logging
import os
import re
from pathlib import Path
from typing import NamedTuple

from auditsink.common.disk import Disk, closed_on_error
from auditsink.spool import identity, recovery, segment_file
from auditsink.spool.identity import Identity
from auditsink.spool.keys import Keyring
from auditsink.spool.ring import Ring
from auditsink.spool.segment import ChainLink
from auditsink.spool.slots import SlotFile

log = logging.getLogger("auditsink.spool")

RING_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
"""Whatever the receiver allows: a ring's name never leaves its directory, and is no hidden file."""


class OpenedRing(NamedTuple):
    """A ring as it was found or made: its `ring.meta`, and where its chain goes on."""

    ring: Ring
    meta: SlotFile
    link: ChainLink

    def close(self) -> None:
        """Nobody wants it any more."""
        self.ring.close()
        self.meta.close()


def open_ring(
    disk: Disk, rings: Path, cluster: str, keys: Keyring | None, destinations: tuple[str, ...] = ()
) -> OpenedRing:
    """Open or make one below the directory `rings`, with the cursors of these destinations. Raises OSError."""
    path = rings / cluster
    disk.make_directory(path / "cursors")
    meta = SlotFile.open(disk, path / identity.FILE)
    with closed_on_error(meta):
        known = Identity.decode(meta.payload)
        if known is None:
            lost = identity.of_segments(segment_file.segments(path, disk))
            known = Identity(lost.ring_id if lost else os.urandom(16), 0)
            meta.write(known.encode())
            meta.sync()
        ring = Ring(cluster, path, known.ring_id, disk, floor=known.floor, keys=keys)
        link = recovery.recover(ring)
    for destination in destinations:
        with contextlib.suppress(OSError):  # told by the destination, which tries it again
            ring.cursor(destination)
    return OpenedRing(ring, meta, link)


def open_if_ours(
    disk: Disk, rings: Path, name: str, keys: Keyring | None, destinations: tuple[str, ...]
) -> OpenedRing | None:
    """`open_ring` for what lies there; None for what is no ring."""
    place = rings / name
    if not RING_NAME.match(name):
        log.warning("this is no ring's directory, and is left alone", extra={"directory": str(place)})
        return None
    try:
        return open_ring(disk, rings, name, keys, destinations)
    except (NotADirectoryError, FileExistsError):
        log.warning("a file has the name of a ring's directory, and is left alone", extra={"file": str(place)})
        return None
