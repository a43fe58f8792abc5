"""A destination whose events have the labels of their cluster inside (`labels_as`); `audit.labels` puts them there."""

import asyncio
from dataclasses import replace

from auditsink.audit.labels import Edit, LabelsAs, editor
from auditsink.delivery.destination import Attempt, Batch, Destination
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
