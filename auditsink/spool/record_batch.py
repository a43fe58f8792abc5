"""Small requests share a record: the bodies one after the other, and a table of who they are. Pure.

In blocking mode every event is a request of its own, and sixty-four of them meet in a commit. One by one each would pay
for a frame, for a compression that knows nothing of its neighbours, and for letting go of the interpreter around it.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

ENTRY = struct.Struct("<16sII")
SMALL_BODY = 2**14
"""Bytes of a body that is worth it, at most; its digest is taken over the body and not over what it compresses to."""
MOST_BYTES = 2**17
"""Of the bodies in one record: no more is lost with a damaged one than with a usual batch."""
FEWEST, MOST_REQUESTS = 2, 2**12


class StoredRequest(NamedTuple):
    """One request in a record: what recognises its retry, the bytes of its body, its events."""

    digest: bytes
    length: int
    events: int


def encode(requests: Iterable[tuple[bytes, int, int]]) -> bytes:
    """The table of these `StoredRequest`s, as it stands between a frame's source and its payload."""
    return b"".join([ENTRY.pack(*request) for request in requests])


def decode(table: bytes | memoryview) -> Iterator[StoredRequest]:
    """The requests in a table, in order."""
    return map(StoredRequest._make, ENTRY.iter_unpack(table))


def cut(body: bytes, requests: Sequence[StoredRequest]) -> list[bytes] | None:
    """The bodies out of all of them; None when the table is not that of these bytes."""
    bodies = []
    start = 0
    for request in requests:
        bodies.append(body[start : start + request.length])
        start += request.length
    return bodies if start == len(body) else None


def place_of(digest: bytes, requests: Iterable[StoredRequest]) -> int | None:
    """How many events stand before the request with this digest; None when it is not there."""
    before = 0
    for request in requests:
        if request.digest == digest:
            return before
        before += request.events
    return None
