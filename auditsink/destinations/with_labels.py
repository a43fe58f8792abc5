"""A destination for a command beside the sink: each batch gets the labels that its cluster had last."""

from dataclasses import replace
from pathlib import Path

from auditsink.clusters import retained
from auditsink.delivery.destination import Attempt, Batch, Destination, DestinationError
from auditsink.delivery.outcome import Outcome


class WithLabels:
    """See `delivery.destination.Destination`."""

    def __init__(self, destination: Destination, spool: Path) -> None:
        """Raises DestinationError where what the sink wrote down of the clusters in `spool` cannot be read."""
        self.name = destination.name
        self.type = destination.type
        self.limits = destination.limits
        self._destination = destination
        try:
            known = retained.read(spool)
        except (OSError, ValueError) as problem:
            raise DestinationError(str(problem)) from None
        self._labels = {cluster: one.labels for cluster, one in known.items()}

    async def prepare(self, batch: Batch) -> Attempt:
        """See `Destination.prepare`."""
        return await self._destination.prepare(replace(batch, labels=self._labels.get(batch.cluster, {})))

    async def probe(self) -> Outcome:
        """See `Destination.probe`."""
        return await self._destination.probe()

    async def close(self) -> None:
        """See `Destination.close`."""
        await self._destination.close()
