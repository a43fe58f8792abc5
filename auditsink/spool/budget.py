"""The bytes that all rings may take together, and what is removed to stay below.

Called by the writer's thread alone. Removing a segment is done in the order that a crash forgives: cursors that made
it removable first, then the floor, then the file.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from auditsink.spool import retention
from auditsink.spool.disk import Disk
from auditsink.spool.errors import RingFullError
from auditsink.spool.retention import Victim
from auditsink.spool.ring import Ring

log = logging.getLogger("auditsink.spool")


@dataclass(slots=True)
class Budget:
    """`max_bytes` over all `rings`; `save_floor` makes a floor durable; `moved` collects rings whose floor rose."""

    max_bytes: int
    when_full: Literal["reject", "drop_oldest"]
    disk: Disk
    rings: Callable[[], Iterable[Ring]]
    save_floor: Callable[[Ring, int], None]
    moved: set[Ring] = field(default_factory=set)

    def reserve(self, wanted: int, needed: int) -> int:
        """Room for a new segment: `wanted` bytes, or whatever is left if that is at least `needed`.

        Removes what every destination has; with `drop_oldest` also what some still want. Raises RingFullError when
        that is not enough, OSError when the disk fails.
        """
        while True:
            available = self.max_bytes - sum(ring.size for ring in self.rings())
            if available >= wanted:
                return wanted
            if self._remove(retention.oldest_consumed(self.rings())):
                continue
            if available >= needed:
                return available
            if not self.drop_one():
                raise RingFullError

    def free_one(self) -> bool:
        """Remove one segment, because the disk itself is full. False when nothing may go."""
        return self._remove(retention.oldest_consumed(self.rings())) or self.drop_one()

    def drop_one(self) -> bool:
        """With `drop_oldest`, remove the oldest segment of the largest ring, wanted or not."""
        return self.when_full == "drop_oldest" and self._remove(retention.oldest_of_greediest(self.rings()))

    def _remove(self, victim: Victim | None) -> bool:
        if victim is None:
            return False
        ring, segment = victim.ring, victim.segment
        for cursor in ring.cursors.values():
            cursor.sync()
        self.save_floor(ring, segment.end)
        ring.segments = ring.segments[1:]  # first: a reader that finds no file looks here whether that is meant
        try:
            with contextlib.suppress(FileNotFoundError):  # somebody was quicker
                self.disk.unlink(segment.path)
        except OSError:
            ring.segments = (segment, *ring.segments)  # it still takes its room
            raise
        if victim.wanted:
            _report_drop(victim)
        ring.floor = max(ring.floor, segment.end)
        self.moved.add(ring)
        self.disk.sync_directory(ring.path)
        return True


def _report_drop(victim: Victim) -> None:
    for name, cursor in victim.ring.cursors.items():
        first = max(cursor.position, victim.segment.first)
        if first < victim.segment.end:
            log.error(
                "the spool is full and the oldest events were dropped before this destination had them; "
                "repair the destination, or raise spool.max_bytes",
                extra={
                    "cluster": victim.ring.cluster,
                    "destination": name,
                    "first_sequence": first,
                    "last_sequence": victim.segment.end - 1,
                    "events": victim.segment.end - first,
                },
            )
