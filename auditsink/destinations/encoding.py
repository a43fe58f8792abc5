"""What several destinations do to events on their way out. Pure, but for where the compression runs."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache

import msgspec
from isal import isal_zlib

from auditsink.audit import eventlist
from auditsink.audit.eventlist import Mark
from auditsink.common.crc32c import crc32c
from auditsink.delivery.destination import Batch

_INLINE = 65536  # bytes: compressing less costs under 0.1 ms, which is what handing it to a thread costs
_GZIP_FORMAT = 31  # zlib's `wbits` for a gzip header and trailer


async def gzip(content: bytes) -> bytes:
    """Gzip, level 1, off the event loop when it would be noticed there."""
    if len(content) <= _INLINE:
        return _gzip(content)
    return await asyncio.to_thread(_gzip, content)


def _gzip(content: bytes) -> bytes:
    compressed: bytes = isal_zlib.compress(content, 1, _GZIP_FORMAT)
    return compressed


def documents(batch: Batch) -> Sequence[bytes]:
    """The events, byte for byte but for labels; a body that could not be split as a document that says so."""
    if batch.labelled is not None:
        return batch.labelled
    if Mark.UNSPLIT in batch.marks:
        return [eventlist.unsplit_document(event) for event in batch.events]
    return batch.events


def utf8_documents(batch: Batch) -> Sequence[bytes]:
    """The same for a format that promises UTF-8: what is none becomes U+FFFD."""
    found = documents(batch)
    return [eventlist.as_utf8(event) for event in found] if Mark.NOT_UTF8 in batch.marks else found


def lines(several: Sequence[bytes]) -> bytes:
    """NDJSON: each on a line of its own, the last one ended too."""
    pieces: list[bytes] = []
    for one in several:
        pieces += (eventlist.one_line(one), b"\n")
    return b"".join(pieces)


_as_json = msgspec.json.Encoder().encode


def json_text(event: bytes) -> bytes:
    """The event's bytes as a JSON string with its quotes; what is not UTF-8 becomes U+FFFD."""
    return _as_json(event.decode(errors="replace"))


def event_id(cluster: str, sequence: int, time: bytes, event: bytes) -> bytes:
    """What tells an event from every other one, and not from its repeat: `1795382018661308-64-9f3a12cd`.

    `time` is its `event_time`. The sequence alone begins anew when a ring is lost, and two sinks may serve one
    cluster: then time and content tell two events with one sequence apart. Later events have later ids. An event
    without a time of its own gets another id when it is packed into another batch. Letters, digits and dashes only.
    """
    return b"%s%s-%x-%08x" % (time[:-7], time[-6:], sequence, crc32c(event, _seed(cluster)))


@lru_cache(maxsize=4096)
def _seed(cluster: str) -> int:
    digest: int = crc32c(cluster.encode())
    return digest
