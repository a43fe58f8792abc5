"""Cursors of destinations that are configured no longer, and what the spool held for them when the sink started.

Nobody waits for them: their events go when their room is needed. But who took a destination out by mistake, or renamed
it, finds out here and not in an investigation.
"""

import contextlib
import logging
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from auditsink.config.spool import CHECKPOINTS
from auditsink.spool import cursor
from auditsink.spool.ring import Ring

log = logging.getLogger("auditsink.spool")

SUFFIX = ".cursor"


class Abandoned:
    """Of all rings, as they were at the start: what comes later is owed to nobody who is not there."""

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
        """A line for each."""
        for name, events in self.events.items():
            log.warning(
                "a destination that is configured no longer has not got all that the spool holds: put it back to have "
                "that delivered; to forget it, remove its cursors while the sink is stopped",
                extra={
                    "destination": name,
                    "events": events,
                    "clusters": len(self._owed[name]),
                    "cursors": str(spool_path / "rings" / "*" / "cursors" / f"{name}{SUFFIX}"),
                },
            )


def _others(ring: Ring, configured: Collection[str]) -> dict[str, int]:
    found = {}
    place = ring.path / "cursors"
    with contextlib.suppress(OSError):
        for file in ring.disk.names(place):
            name = file.removesuffix(SUFFIX)
            if name != file and name not in configured and name != CHECKPOINTS:
                with contextlib.suppress(OSError):
                    state = cursor.peek(ring.disk, place / file)
                    if state is not None:
                        found[name] = state.position
    return found
