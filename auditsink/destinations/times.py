"""When an event happened: `stageTimestamp`, found without decoding the event. Pure.

Every event pays for this, so the common case is one search from the end and a look at fixed places. It must not be
forgeable: whoever calls the apiserver's API chooses all bytes of `requestObject`, the very keys that are looked for
included. What an apiserver writes ends in one of

    ,"requestReceivedTimestamp":"<27 bytes>","stageTimestamp":"<27 bytes>"}
    ,"requestReceivedTimestamp":"<27 bytes>","stageTimestamp":"<27 bytes>","annotations":{...}}

and in JSON that can stand nowhere but on the top level of the event: after `,` a quote opens a string and is not
part of one; the brace that ends the event closes its outermost object; and where `annotations` follow, the first
closing brace is the last but one byte, so just the event itself is still open around them. All else (braces in
annotations, other lengths, other order, null) is decoded, which costs more and answers the same.
"""

import re
import struct
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

_RECEIVED = b',"requestReceivedTimestamp":"'
_STAGE = b'","stageTimestamp":"'
_END = b'Z"}'
_ANNOTATIONS = b'Z","annotations":{'
_TAIL = 65536  # bytes searched for the keys: annotations are far smaller, and other input must not cost a long search

# Offsets from the start of _RECEIVED: 29 bytes of key, 27 of value, then one unpacking takes the 20 of the next key,
# `2006-01-02T15:04:05`, the point, six digits and what follows: cheaper than five slices, and every event pays it.
_STAGE_AT, _REST_AT = 56, 102
_last = struct.Struct("20s19sc6s3s")
_annotated = struct.Struct("20s19sc6s18s")
_LAST_SIZE = _STAGE_AT + _last.size
_ANNOTATED_SIZE = _STAGE_AT + _annotated.size

_RFC3339 = re.compile(rb'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))"')


class _Times(msgspec.Struct):
    stageTimestamp: msgspec.Raw = msgspec.Raw(b"")  # noqa: N815 - the field's name on the wire
    requestReceivedTimestamp: msgspec.Raw = msgspec.Raw(b"")  # noqa: N815


_decode = msgspec.json.Decoder(_Times).decode


def event_time(event: bytes, received_ns: int) -> bytes:
    """Seconds since the epoch with six decimals, as text (`1795383230.878739`), never negative.

    From `stageTimestamp`, else `requestReceivedTimestamp`, else from when the sink received the event.
    """
    return by_position(event) or by_decoding(event) or _text(received_ns // 1000)


def milliseconds(time: bytes) -> int:
    """What `event_time` returned as milliseconds, truncated."""
    return int(time[:-7] + time[-6:-3])


def rfc3339(time: bytes) -> bytes:
    """What `event_time` returned as `2026-11-22T21:13:38.661308Z`."""
    return _utc_second(time[:-7]) + time[-7:] + b"Z"


def by_position(event: bytes) -> bytes | None:
    """`stageTimestamp` where an apiserver puts it; None when it is not exactly there."""
    at = event.rfind(_RECEIVED, -_TAIL)
    size = len(event) - at
    if at >= 0 and size == _LAST_SIZE:
        stage, second, point, fraction, rest = _last.unpack_from(event, at + _STAGE_AT)
        placed = rest == _END
    elif at >= 0 and size >= _ANNOTATED_SIZE:
        stage, second, point, fraction, rest = _annotated.unpack_from(event, at + _STAGE_AT)
        placed = rest == _ANNOTATIONS and event.find(b"}", at + _REST_AT) == len(event) - 2
    else:
        return None
    if not placed or stage != _STAGE or point != b"." or not fraction.isdigit():
        return None
    seconds = _epoch_seconds(second)
    return seconds + fraction if seconds else None


def by_decoding(event: bytes) -> bytes | None:
    """The same by parsing the event; None when neither timestamp is there or readable."""
    try:
        found = _decode(event)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    return _rfc3339(bytes(found.stageTimestamp)) or _rfc3339(bytes(found.requestReceivedTimestamp))


def _rfc3339(value: bytes) -> bytes | None:
    match = _RFC3339.fullmatch(value)
    if not match or not (seconds := _epoch_seconds(match[1])):
        return None
    fraction = (match[2] or b"").ljust(6, b"0")[:6]
    if match[3] is None:
        return seconds + fraction
    offset = int(match[4]) * 3600 + int(match[5]) * 60
    return _text((int(seconds[:-1]) - (offset if match[3] == b"+" else -offset)) * 10**6 + int(fraction))


def _text(microseconds: int) -> bytes:
    seconds, rest = divmod(max(0, microseconds), 10**6)
    return b"%d.%06d" % (seconds, rest)


@lru_cache(maxsize=1024)
def _epoch_seconds(second: bytes) -> bytes | None:
    """`2006-01-02T15:04:05` in UTC as epoch seconds and a point, None if it is no time. Many events share one."""
    try:
        parsed = datetime.strptime(second.decode("ascii"), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    epoch = int(parsed.timestamp())
    return b"%d." % epoch if epoch >= 0 else None


@lru_cache(maxsize=1024)
def _utc_second(epoch: bytes) -> bytes:
    """Epoch seconds as `2006-01-02T15:04:05`. Every time on the way here was one in UTC or our own clock's."""
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
