"""Request bodies out of events and lists, in their order. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

from auditsink.audit import eventlist
from auditsink.auditlogs.contents import LoggedEvent, LoggedList
from auditsink.auditlogs.reader import Position

BATCH_BYTES = 8 * 2**20
"""Where a batch of events from a log ends, however few they are: well below receive.max_body."""


class Body(NamedTuple):
    """What to post, and how many events it holds."""

    data: bytes
    events: int
    upto: Position = Position()
    """What of the log is done with when this is taken."""


def body_of(several: list[bytes], upto: Position = Position()) -> Body:  # noqa: B008 - it is immutable
    """One list of these events, framed as kube-apiserver does it."""
    return Body(eventlist.joined(several), len(several), upto)


class Batcher:
    """Gathers events; a list that was recorded stays as it is, and in its place."""

    def __init__(self, most: int, most_bytes: int = BATCH_BYTES) -> None:
        """`most`: events in a batch."""
        self._most = most
        self._most_bytes = most_bytes
        self._gathered: list[bytes] = []
        self._size = 0
        self._upto = Position()

    def add(self, content: LoggedEvent | LoggedList, upto: Position = Position()) -> Iterator[Body]:  # noqa: B008
        """The bodies that are complete with it."""
        if isinstance(content, LoggedList):
            yield from self.flush()
            yield Body(content.data, content.events, upto)
            return
        if self._size + len(content.data) > self._most_bytes:
            yield from self.flush()
        self._gathered.append(content.data)
        self._upto = upto
        self._size += len(content.data)
        if len(self._gathered) == self._most:
            yield from self.flush()

    def flush(self) -> Iterator[Body]:
        """What was gathered, complete or not."""
        if self._gathered:
            body = body_of(self._gathered, self._upto)
            self._gathered, self._size = [], 0
            yield body
