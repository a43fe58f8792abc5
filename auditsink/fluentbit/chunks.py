"""fluent-bit's chunk files: the records in one, as bodies that kube-apiserver might have posted. Pure.

    C1 00 | CRC32 (4) | 4 | content length (4) | 8 | metadata length (2) | metadata | content | zeros

Metadata is the tag, since 1.9 behind F1 77, the type (0: logs) and 00. Content is one msgpack value after another:
`[[time, metadata], record]`, before 2.0 `[time, record]`. A record is what was posted, an EventList, with what filters
have put at its top. Of a file that fluent-bit did not close the content is padded with zeros, and old versions leave
its length out. (chunkio's `cio_file_st.h`, fluent-bit's CHUNKS.md, files written by 4.0.5.)
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgpack
import msgspec

from auditsink.audit.eventlist import joined

_MAGIC = b"\xc1\x00"
_LENGTH = slice(10, 14)
_META_LENGTH = slice(22, 24)
_META = 24
_TYPED = b"\xf1\x77"
_LOGS = 0
_FRAME = frozenset({"kind", "apiVersion", "metadata", "items"})

_encode = msgspec.json.Encoder(enc_hook=str).encode


class ChunkError(ValueError):
    """The file cannot be delivered: why."""


def bodies(data: bytes, added: Mapping[str, str]) -> Iterator[bytes]:
    """Each record of the file as an EventList. Raises ChunkError, perhaps after some.

    What filters have put beside `items` goes into each event, at its top, unless `added` says that it will be put
    there anyway.
    """
    for record in _records(data):
        yield _body(record, added)


def _records(data: bytes) -> Iterator[Any]:
    unpacker = msgpack.Unpacker(
        raw=False, unicode_errors="replace", strict_map_key=False, max_buffer_size=max(len(data), 1)
    )
    unpacker.feed(_content(data))
    while True:
        try:
            entry = unpacker.unpack()
        except msgpack.OutOfData:
            return
        except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as problem:
            raise ChunkError(f"is damaged: {type(problem).__name__} in what should be msgpack") from None
        if entry == 0:  # the padding of an old version's file
            return
        if not (isinstance(entry, list) and len(entry) == 2):
            raise ChunkError("holds something that is no record")
        yield entry[1]


def _content(data: bytes) -> bytes:
    if len(data) < _META or not data.startswith(_MAGIC):
        raise ChunkError("is no chunk of fluent-bit")
    start = _META + int.from_bytes(data[_META_LENGTH])
    metadata = data[_META:start]
    if metadata.startswith(_TYPED) and metadata[2:3] != bytes([_LOGS]):
        raise ChunkError("holds metrics or traces, no events")
    length = int.from_bytes(data[_LENGTH])
    if start + length > len(data):
        raise ChunkError(f"is cut: {start + length - len(data):,} bytes are missing")
    return data[start : start + length] if length else data[start:]


def _body(record: Any, added: Mapping[str, str]) -> bytes:
    if not isinstance(record, dict):
        raise ChunkError("holds a record that is no EventList")
    items = record.get("items")
    if record.get("kind") == "Event":
        items = [record]
    elif record.get("kind") != "EventList" or not isinstance(items, list):
        raise ChunkError("holds a record that is no EventList")
    more = {name: value for name, value in record.items() if name not in _FRAME and name not in added}
    several = items if record.get("kind") == "Event" else [_with(item, more) for item in items]
    try:
        return joined([_encode(one) for one in several])
    except (msgspec.MsgspecError, RecursionError, TypeError, ValueError) as problem:
        raise ChunkError(f"holds a record that cannot be JSON again ({type(problem).__name__})") from None


def _with(item: Any, more: Mapping[Any, Any]) -> Any:
    return (
        {**item, **{name: value for name, value in more.items() if name not in item}}
        if more and isinstance(item, dict)
        else item
    )
