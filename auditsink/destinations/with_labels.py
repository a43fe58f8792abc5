"""The labels of a cluster on their way to a destination: put into its events, and given to the batches of a command."""

import asyncio
from dataclasses import replace
from pathlib import Path

from auditsink.audit.labels import Edit, LabelsAs, editor
from auditsink.clusters import retained
from auditsink.delivery.destination import Attempt, Batch, Destination, DestinationError
from auditsink.delivery.outcome import Outcome
from auditsink.destinations.encoding import documents

_INLINE = 65536  # bytes: less is labelled in 0.1 ms, which is what handing it to a thread costs


class LabelledDestination:
    """See `delivery.destination.Destination`."""

    def __init__(self, inner: Destination, how: LabelsAs) -> None:
        self.name = inner.name
        self.type = inner.type
        self.limits = inner.limits
        self._inner = inner
        self._how = how

    async def prepare(self, batch: Batch) -> Attempt:
        """See `Destination.prepare`."""
        # Sorted, so that the same labels make the same bytes, wherever they were read.
        edit = editor(tuple(sorted(batch.labels.items())), self._how)
        if edit is None:
            return await self._inner.prepare(batch)
        if sum(map(len, batch.events)) <= _INLINE:
            return await self._inner.prepare(_edited(batch, edit))
        return await self._inner.prepare(await asyncio.to_thread(_edited, batch, edit))

    async def probe(self) -> Outcome:
        """See `Destination.probe`."""
        return await self._inner.probe()

    async def close(self) -> None:
        """See `Destination.close`."""
        await self._inner.close()


def _edited(batch: Batch, edit: Edit) -> Batch:
    return replace(batch, labelled=[*map(edit, documents(batch))])


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
