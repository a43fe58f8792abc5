"""What the disk refuses, ring by ring, and the one sentence about it that readiness shows.

A sink that is not ready may get no requests any more, so none would show that the disk is back: `probe` looks.
Belongs to the writer's thread; `problem` may be read by any.
"""

import errno
import logging

from auditsink.common.disk import create_anew, write_all
from auditsink.spool.errors import NO_SPACE
from auditsink.spool.ring import Ring

log = logging.getLogger("auditsink.spool")

GONE = frozenset({errno.ENOENT, errno.ESTALE})
PROBE_FILE = "probe"
PROBE_BYTES = 2**20
"""As much as a ring's first segment takes: where there is no room for one, the disk is not back."""
PAGE = bytes(4096)


class DiskTrouble:
    """The rings that can take nothing because of their disk. Said once when it begins and once when it ends."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self._rings: dict[Ring, str] = {}

    def __bool__(self) -> bool:
        return bool(self._rings)

    def begins(self, ring: Ring, error: OSError) -> None:
        """A batch of this ring was refused for this error."""
        known = ring in self._rings
        self._rings[ring] = self.problem = sentence(ring, error)
        if not known:
            extra = {"cluster": ring.cluster, "error": str(error)}
            log.error("the disk takes no batches; they get 503 until it does: %s", self.problem, extra=extra)

    def ends(self, ring: Ring) -> None:
        """The disk has taken something of this ring."""
        if self._rings and self._rings.pop(ring, None) is not None:
            self.problem = next(iter(self._rings.values()), None)
            log.warning("the disk takes batches again", extra={"cluster": ring.cluster})

    def probe(self) -> None:
        """See for each ring whether the disk would take a segment now; up to the first for which it would not."""
        for ring in list(self._rings):
            try:
                probe(ring)
            except OSError as error:
                self.begins(ring, error)
                return
            self.ends(ring)


def probe(ring: Ring) -> None:
    """Reserve, write and sync a file in the ring's directory, and remove it. Raises OSError."""
    path = ring.path / PROBE_FILE
    file = create_anew(ring.disk, path)
    try:
        file.allocate(PROBE_BYTES)
        write_all(file, [PAGE], 0)
        file.sync()
    finally:
        file.close()
        ring.disk.unlink(path)


def sentence(ring: Ring, error: OSError) -> str:
    """What is wrong with which path, and what to do."""
    if error.errno in NO_SPACE:
        remedy = "free space on that disk, or lower spool.max_bytes so that the disk is never filled"
    elif error.errno in GONE:
        remedy = "it was removed under the running sink; restart it, and find out who did that"
    else:
        remedy = "check the disk"
    return f"{ring.path} takes no writes: {error.strerror or error}; {remedy}"
