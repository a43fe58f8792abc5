"""When an event happened: `stageTimestamp`, found without decoding the event. Pure.

Every event pays for this, so the common case is a look at fixed places from the end. It must not be forgeable: whoever
calls the apiserver's API chooses all bytes of `requestObject`, the very keys that are looked for included. What an
apiserver writes ends in one of

    ","stageTimestamp":"<27 bytes>"}
    ","stageTimestamp":"<27 bytes>","annotations":{...}}

and in JSON that can stand nowhere but on the top level of the event: the first quote ends a string, for were it in one
or its beginning, no comma and quote could stand before a letter; the brace that ends the event closes its outermost
object; and where `annotations` follow, the first closing brace is the last but one byte, so just the event itself is
still open around them. All else (braces in annotations, other lengths, other order, null) is decoded, which costs more
and answers the same.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import cast

import msgspec

from auditsink.audit import scan

_END = b'Z"}'
_ANNOTATIONS = b'Z","annotations":{'
_TAIL = 65536  # bytes searched for them: annotations are far smaller, and other input must not cost a long search

_STAGE = b'","stageTimestamp":"'
_FRACTION = len("878739")
_SECOND = len(_STAGE) + len("2006-01-02T15:04:05.")  # with the key before it: whoever knows one knows both

_RFC3339 = re.compile(rb'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))"')


class _Times(msgspec.Struct):
    stageTimestamp: msgspec.Raw = msgspec.Raw(b"")  # noqa: N815 - the field's name on the wire
    requestReceivedTimestamp: msgspec.Raw = msgspec.Raw(b"")  # noqa: N815


_decode = msgspec.json.Decoder(_Times).decode


def event_time(event: bytes, received_ns: int) -> bytes:
    """Seconds since the epoch with six decimals, as text (`1795383230.878739`), never negative.

    From `stageTimestamp`, else `requestReceivedTimestamp`, else from when the sink received the event.
    """
    return event_times((event,), received_ns)[0]


def event_times(events: Sequence[bytes], received_ns: int) -> list[bytes]:
    """The same for each of several."""
    times = by_position(events)
    if not all(times):
        received = _text(received_ns // 1000)
        return [time or by_decoding(event) or received for time, event in zip(times, events, strict=True)]
    return cast("list[bytes]", times)


def milliseconds(time: bytes) -> int:
    """What `event_time` returned as milliseconds, truncated."""
    return int(time[:-7] + time[-6:-3])


def rfc3339(time: bytes) -> bytes:
    """What `event_time` returned as `2026-11-22T21:13:38.661308Z`."""
    return _utc_second(time[:-7]) + time[-7:] + b"Z"


def by_position(events: Iterable[bytes]) -> list[bytes | None]:
    """Each one's `stageTimestamp` where an apiserver puts it; None when it is not exactly there.

    One loop and no calls: every event of the sink comes through it.
    """
    found: list[bytes | None] = []
    known, seconds = b"", None
    for event in events:
        if event.endswith(_END):
            end = len(event) - len(_END)
        else:
            end = event.rfind(_ANNOTATIONS, -_TAIL)
            if end < 0 or event.find(b"}", end) != len(event) - 2:
                found.append(None)
                continue
        point = end - _FRACTION
        text = event[point - _SECOND : point]
        if text != known:  # neighbours often share a second
            known, seconds = text, _stage_seconds(text)
        fraction = event[point:end]
        found.append(seconds + fraction if seconds and fraction.isdigit() else None)
    return found


def by_decoding(event: bytes) -> bytes | None:
    """The same by parsing the event; None when neither timestamp is there or readable."""
    try:
        found = _decode(event)
    except RecursionError:  # at another depth on each interpreter
        found = _walked(event)
    except (msgspec.MsgspecError, ValueError):
        return None
    return _rfc3339(bytes(found.stageTimestamp)) or _rfc3339(bytes(found.requestReceivedTimestamp))


def _walked(event: bytes) -> _Times:
    """The same for bodies that exhaust a parser."""
    try:
        members = {key: msgspec.Raw(value) for _, key, value in scan.members(event)}
    except scan.UnreadableError:
        members = {}
    return _Times(**{name: members[name] for name in _Times.__struct_fields__ if name in members})


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
def _stage_seconds(text: bytes) -> bytes | None:
    """`","stageTimestamp":"2006-01-02T15:04:05.` as epoch seconds and a point. Many events share one."""
    placed = len(text) == _SECOND and text.startswith(_STAGE) and text.endswith(b".")
    return _epoch_seconds(text[len(_STAGE) : -1]) if placed else None


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
