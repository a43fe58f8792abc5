"""Request bodies that several destinations of one form build once: two of them would else encode and gzip all twice.

Each body is kept until all of them have taken it, `LIMIT_BYTES` altogether at most; the oldest go first. So one that is
slow or dead costs the others nothing, and builds its own when its time comes. Their batches are the same because
`forward.batching.Boundaries` has them end at the same places.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from typing import Protocol, runtime_checkable

from auditsink.delivery.destination import Batch

LIMIT_BYTES = 2 * 2**20
"""Of bodies as they go out: some 30 of those that Splunk gets."""
LEAST_EVENTS = 16
"""In a batch: a smaller one is built in less time than sharing it takes."""

Build = Callable[[], Awaitable[bytes]]
Key = tuple[str, Hashable]
"""A form, and all that tells a batch from others."""


class _Kept:
    """A body, perhaps still being built, and how many have taken it."""

    __slots__ = ("body", "taken")

    def __init__(self, body: "asyncio.Future[bytes]") -> None:
        self.body = body
        self.taken = 0


class SharedBodies:
    """For all destinations of one sink. Belongs to the loop's thread, but for `share`."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self.bytes = 0
        self.sharing: Counter[str] = Counter()
        self._limit = limit
        self._kept: dict[Key, _Kept] = {}

    def __repr__(self) -> str:
        return f"<SharedBodies {len(self._kept)} of {self.bytes} bytes, {dict(self.sharing)}>"

    def share(self, form: str) -> "BodyShare":
        """For one destination. `form`: all that its bodies depend on beside the batch."""
        return BodyShare(self, form)

    async def get(self, key: Key, members: int, build: Build) -> bytes:
        """The body of that key, which so many take, built by the first of them. Raises what building it raised."""
        kept = self._kept.get(key)
        if kept is None:
            # A task of its own: the others need it although the first one is stopped meanwhile.
            kept = self._kept[key] = _Kept(asyncio.ensure_future(build()))
            kept.body.add_done_callback(lambda _: self._built(key, kept))
        kept.taken += 1
        try:
            return await asyncio.shield(kept.body)
        finally:
            if kept.taken >= members and kept.body.done():
                self._drop(key, kept)

    def leave(self, form: str) -> None:
        """One of that form is gone: it takes nothing of what is kept any more."""
        self.sharing[form] -= 1
        for key, kept in [one for one in self._kept.items() if one[0][0] == form and one[1].body.done()]:
            self._drop(key, kept)

    def _built(self, key: Key, kept: _Kept) -> None:
        if kept.body.cancelled() or kept.body.exception() is not None:
            self._kept.pop(key, None)
            return
        self.bytes += len(kept.body.result())
        while self.bytes > self._limit:
            oldest = next((key, one) for key, one in self._kept.items() if one.body.done())
            self._drop(*oldest)

    def _drop(self, key: Key, kept: _Kept) -> None:
        if self._kept.get(key) is kept:
            del self._kept[key]
            self.bytes -= len(kept.body.result())


class BodyShare:
    """What one destination has of them."""

    def __init__(self, shared: SharedBodies, form: str) -> None:
        self._shared = shared
        self._form = form
        self._joined = False

    async def of(self, batch: Batch, build: Build) -> bytes:
        """The batch's body: built by another one, or now. Raises what `build` raises."""
        if not self._joined:
            self._joined = True
            self._shared.sharing[self._form] += 1
        key, members = self._key(batch), self._shared.sharing[self._form]
        return await (build() if key is None or members < 2 else self._shared.get(key, members, build))

    def leave(self) -> None:
        """The destination is closed."""
        if self._joined:
            self._joined = False
            self._shared.leave(self._form)

    def _key(self, batch: Batch) -> Key | None:
        """What no other content has. None where nothing is known of a batch but its events, and for small ones."""
        several = batch.sequences
        if not isinstance(several, range) or len(several) < LEAST_EVENTS or batch.origin is None:
            return None
        origin = batch.origin(several[0])
        if origin is None:
            return None
        labels = tuple(batch.labels.items())
        return self._form, (batch.cluster, origin, several, len(batch.events), batch.received_ns, batch.marks, labels)


@runtime_checkable
class Sharing(Protocol):
    """A destination whose bodies others can use."""

    form: str | None
    """See `SharedBodies.share`; None where they depend on more than can be told."""
    bodies: BodyShare | None
