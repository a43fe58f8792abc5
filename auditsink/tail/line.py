"""One event as one line: the few fields that a person reads, found without trusting anything in it. Pure.

Large events are cut before their objects and only the head is parsed: a parser that works through 30 MB holds up
everything else in the process meanwhile.
"""

from datetime import UTC, datetime

import msgspec

from auditsink.audit.eventlist import Mark, one_line, unsplit_document
from auditsink.audit.times import event_time
from auditsink.spool.types import Record

WHOLE_BYTES = 64 * 2**10
"""Events up to this size are parsed whole; of larger ones as much, up to their objects."""
RAW_BYTES = 64 * 2**10
"""Events up to this size are sent along when they are asked for; larger ones one by one."""
_LONGEST = 512
_OBJECTS = (b',"requestObject":', b',"responseObject":')  # a quote inside of a string is escaped: these are keys


class TailLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`resource` is `pods`, `deployments.apps/scale`, or "" with a `uri`. `code` 0: the request was not answered yet.

    `source`: the addresses that the event says it came from, the caller's first. `bytes`: of the event.
    `unreadable`: why nothing else is known. `raw`: the event on one line, U+FFFD for what is not UTF-8.
    """

    cluster: str
    sequence: int
    time: str
    bytes: int
    user: str = ""
    impersonated: str = ""
    verb: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    code: int = 0
    stage: str = ""
    uri: str = ""
    source: str = ""
    unreadable: str = ""
    raw: str | None = None


class _User(msgspec.Struct, frozen=True):
    username: str = ""


class _ObjectRef(msgspec.Struct, frozen=True, rename="camel"):
    resource: str = ""
    namespace: str = ""
    name: str = ""
    api_group: str = ""
    subresource: str = ""


class _Status(msgspec.Struct, frozen=True):
    code: int = 0


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    verb: str = ""
    stage: str = ""
    request_uri: str = msgspec.field(name="requestURI", default="")
    user: _User = _User()
    source: list[str] | None = msgspec.field(name="sourceIPs", default=None)
    impersonated_user: _User | None = None
    object_ref: _ObjectRef | None = None
    response_status: _Status | None = None


_decode = msgspec.json.Decoder(_Event).decode


def lines(cluster: str, record: Record, *, raw: bool) -> list[TailLine]:
    """A line for each event of a record."""
    return [_line(cluster, record, place, raw=raw) for place in range(len(record.events))]


def _line(cluster: str, record: Record, place: int, *, raw: bool) -> TailLine:
    event = record.events[place]
    unsplit = bool(record.marks) and Mark.UNSPLIT in record.marks
    line = TailLine(
        cluster=cluster,
        sequence=record.first_sequence + place,
        time=_time(event, record.received_ns),
        bytes=len(event),
        raw=_raw(event, unsplit=unsplit) if raw and len(event) <= RAW_BYTES else None,
    )
    if unsplit:
        line.unreadable = "a request body that could not be split into events"
        return line
    try:
        found = _decode(_head(event))
    except (msgspec.MsgspecError, RecursionError, ValueError):
        line.unreadable = "an event whose head cannot be read"
        return line
    _fill(line, found)
    return line


def _raw(event: bytes, *, unsplit: bool) -> str:
    return (unsplit_document(event) if unsplit else one_line(event)).decode(errors="replace")


def _head(event: bytes) -> bytes:
    if len(event) <= WHOLE_BYTES:
        return event
    ends = [at for key in _OBJECTS if (at := event.find(key, 0, WHOLE_BYTES)) >= 0]
    return event[: min(ends)] + b"}" if ends else b""


def _fill(line: TailLine, event: _Event) -> None:
    line.verb, line.stage = _short(event.verb), _short(event.stage)
    line.user = _short(event.user.username)
    line.impersonated = _short(event.impersonated_user.username) if event.impersonated_user else ""
    line.source = _short(", ".join(event.source or ()))
    line.code = event.response_status.code if event.response_status else 0
    reference = event.object_ref
    if reference is None or not reference.resource:
        line.uri = _short(event.request_uri)
        return
    group = f".{reference.api_group}" if reference.api_group else ""
    below = f"/{reference.subresource}" if reference.subresource else ""
    line.resource = _short(f"{reference.resource}{group}{below}")
    line.namespace, line.name = _short(reference.namespace), _short(reference.name)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _time(event: bytes, received_ns: int) -> str:
    """RFC 3339 with milliseconds, UTC."""
    whole = event if len(event) <= WHOLE_BYTES else event[-WHOLE_BYTES:]
    moment = datetime.fromtimestamp(min(float(event_time(whole, received_ns)), 253402300799), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
