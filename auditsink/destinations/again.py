"""Dead letters of one destination, delivered again from a command or from the page: the same steps, in the same order.

The destination is built anew, so it has the configuration and the secrets of now, and a running forwarder is not
touched. A letter is taken away when it has arrived, and not before.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from auditsink.common.clock import Clock
from auditsink.config import DestinationSection
from auditsink.destinations import build
from auditsink.destinations.with_labels import WithLabels
from auditsink.filters import build as filters
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.dead_letters import DeadLetters
from auditsink.forward.redelivery import Report, redeliver


async def replay(
    config: DestinationSection,
    box: DeadLetters,
    letters: Sequence[DeadLetter],
    *,
    spool: Path,
    clock: Clock,
    report: Report,
) -> None:
    """Note in `report` what came of each. Raises DestinationError where the destination cannot be built."""
    try:
        sift = filters.build(config)
        destination = WithLabels(build(config, clock=clock), spool)
        try:
            await redeliver(letters, destination, sift=sift, clock=clock, report=report)
        finally:
            await destination.close()
    finally:
        # Shielded: who gives up waiting must not leave letters behind that have arrived.
        delivered = frozenset(letter.id for letter in report.delivered)
        await asyncio.shield(asyncio.to_thread(box.remove, delivered))
