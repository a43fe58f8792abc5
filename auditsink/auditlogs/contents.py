"""What a line or a document of a log holds: events, EventLists, both inside an envelope, or something else. Pure.

Collectors and clouds wrap what kube-apiserver wrote: the event stands as an object or as a string in a member of their
record, or many of them in an array. The members are looked for by name (`CARRIERS`), so a new envelope made of known
members needs no code. What is no event is named, so that whoever reads it knows what the file is instead.
"""

import base64
import csv
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from auditsink.audit import eventlist
from auditsink.auditlogs import values
from auditsink.auditlogs.lines import MAX_LINE
from auditsink.auditlogs.values import BLANK

CARRIERS = (
    "logEvents",  # CloudWatch Logs, to a subscription
    "events",  # aws logs get-log-events, filter-log-events
    "records",  # Azure Monitor, to an event hub
    "properties", "log_s",  # Azure Monitor: a record; a row of AzureDiagnostics
    "tables", "rows",  # Log Analytics, its API
    "jsonPayload", "textPayload",  # Google Cloud Logging
    "_source", "hits", "kubernetes.audit",  # Elasticsearch, OpenSearch
    "result", "_raw",  # Splunk's search
    "event",  # HTTP Event Collector
    "resourceLogs", "scopeLogs", "logRecords", "body", "stringValue",  # OTLP
    "streams", "values", "line", "data",  # Loki's push and query; logcli
    "MESSAGE",  # journalctl -o json
    "results", "value",  # aws logs get-query-results
    "@message", "message", "log", "record", "payload",  # Logstash, Vector, Fluentd, fluent-bit, Kafka's tools
    "original", "kubernetes", "audit",  # Elastic's agent
    "attributes", "_line", "content",  # Datadog; IBM's and Mezmo's export; Alibaba's
    "full_message", "short_message",  # GELF
    "detail", "Message",  # EventBridge, SNS
    "Records", "Data", "kinesis", "awslogs",  # aws kinesis get-records; what a Lambda function is given
)  # fmt: skip
"""Members that hold events, in the order in which they are tried: the first that holds one counts."""
DEEPEST = 8
"""Envelopes in envelopes. Elasticsearch's answer has four layers, OTLP five."""

TORN = "is torn or glued to another, and no whole event"
TOO_LONG = "is longer than 64 MiB, which no event is; cut it up with jq -c"
NO_EVENT = "is no audit event"
_GOOGLE = "is an entry of Google Cloud's own audit logs (protoPayload), which hold no audit.k8s.io events"
_FLAT = "is a row of Azure's AKSAudit table, which holds no audit.k8s.io events; export category kube-audit instead"
_OWN_LOG = "is a line of the apiserver's own log"
_LEGACY = "is in the legacy format, which no webhook takes; set --audit-log-format=json"
_CSV = "is CSV without a whole event in a field; export it as JSON"
csv.field_size_limit(MAX_LINE)
_EVENT_START = re.compile(rb'\{\s*"kind"\s*:\s*"Event"\s*,\s*"apiVersion"\s*:\s*"audit\.k8s\.io/')
_KLOG = re.compile(rb"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [^\] ]+:\d+\]")
_LONGEST_PREFIX = 512  # bytes: a node's, a pod's and a container's name, and a time
_LONGEST_NAME = 64  # characters of a foreign word in one of our sentences


class LoggedEvent(NamedTuple):
    """One event, exactly the bytes that stood there."""

    data: bytes


class LoggedList(NamedTuple):
    """A whole list, and how many events the sink will see in it."""

    data: bytes
    events: int


class Nothing(NamedTuple):
    """No event; `why` says what it is, as what follows the name of a line."""

    why: str


Content = LoggedEvent | LoggedList | Nothing


def of_text(text: bytes, depth: int = 0) -> Iterator[Content]:
    """What a line holds, or a string in an envelope. Blank lines hold nothing."""
    text = text.strip(BLANK)
    first = text[:1]
    if not first:
        return
    if first in b'{["' and values.is_whole(text):
        yield from of_value(text, depth)
        return
    found, torn = _beginning(text) if first in b"{[" else ([], False)
    if found:
        for value in found:
            yield from of_value(value, depth)
        if torn:
            yield Nothing(TORN)
    elif first == b"{":
        yield Nothing(TORN)
    elif _KLOG.search(text[:_LONGEST_PREFIX]):
        yield Nothing(_OWN_LOG)  # what it quotes may be anybody's words
    elif b'""kind""' in text or b'""auditID""' in text:
        yield from _of_csv(text, depth)
    else:
        yield from _behind_prefix(text, depth)


def _beginning(text: bytes) -> tuple[list[bytes], bool]:
    """The values that a text begins with, and whether something else is behind them.

    None where that shows that they stood in another value, whose beginning is missing: the end of a torn event may hold
    what looks like one.
    """
    found, rest = values.leading(text)
    behind = text[rest:].strip(BLANK + b"\x1e")
    other = behind.strip(BLANK + b",")
    if other[:1] in (b"}", b"]") or (behind[:1] == b"," and other[:1] not in (b"", b"{", b"[")):
        return [], True
    return found, bool(other)


def _of_csv(text: bytes, depth: int) -> Iterator[Content]:
    """A row of CSV (RFC 4180), as the consoles of clouds export them: an event in one of its fields."""
    try:
        fields = next(csv.reader([text.decode("latin-1")]))  # which keeps every byte
    except csv.Error:
        fields = []
    contents = [
        content
        for field in fields
        if field.startswith("{")
        for content in of_text(field.encode("latin-1"), depth + 1)
        if not isinstance(content, Nothing)
    ]
    if contents:
        yield from contents
    else:
        yield Nothing(_CSV)


def _behind_prefix(text: bytes, depth: int) -> Iterator[Content]:
    """`oc adm node-logs`, `kubectl logs --timestamps`, stern, syslog, CloudWatch's export: a name or time, an event.

    Nothing of a JSON text may stand before it: the rest of a torn line must not pass for a prefix.
    """
    start = text.find(b"{")
    prefix = text[: max(start, 0)]
    if not prefix or len(prefix) > _LONGEST_PREFIX or any(byte in prefix for byte in b'"}\\'):
        yield Nothing(_nature(text))
        return
    found, torn = _beginning(text[start:])
    contents = [content for value in found for content in of_value(value, depth + 1)]
    if contents and not any(isinstance(content, Nothing) for content in contents):
        yield from contents
        if torn:
            yield Nothing(TORN)
    else:
        yield Nothing(TORN if _EVENT_START.match(text, start) else _nature(text))


def of_value(value: bytes, depth: int = 0) -> Iterator[Content]:
    """What a whole JSON value holds."""
    if _EVENT_START.match(value):
        yield LoggedEvent(value)
    elif depth > DEEPEST:
        yield Nothing(f"is wrapped more than {DEEPEST} times")
    elif value[:1] == b"[":
        for element in values.elements(value):
            yield from of_value(element, depth + 1)
    elif value[:1] == b'"':
        held = values.content(value)
        yield from () if held is None else of_text(_decoded(held), depth + 1)
    else:
        yield from _of_object(value, values.members(value), depth)


def _decoded(text: bytes) -> bytes:
    """What is in base64, perhaps packed by gzip, if JSON can be in there: Kinesis, Lambda and Pub/Sub pass it so."""
    if not text.startswith((b"eyJ", b"H4sI")):
        return text
    try:
        content = base64.b64decode(text, validate=True)
        return zlib.decompressobj(31).decompress(content, MAX_LINE) if content.startswith(b"\x1f\x8b") else content
    except (ValueError, zlib.error):
        return text


def _of_object(value: bytes, members: Mapping[str, bytes], depth: int) -> Iterator[Content]:
    kind, version = values.text(members.get("kind")), values.text(members.get("apiVersion"))
    audit = version.startswith("audit.k8s.io/")
    if kind == "EventList" and audit:
        yield _list(value)
    elif kind in {"", "Event"} and (audit if kind else "auditID" in members and "stage" in members):
        yield LoggedEvent(value)  # the items of a list, and what a `file` destination wrote, carry no kind
    elif kind and version:
        yield Nothing(f"is {_word(kind)} of {_word(version)}, and no audit event")
    else:
        yield from _enveloped(members, depth)


def _list(value: bytes) -> Content:
    try:
        return LoggedList(value, len(eventlist.split(value).events))
    except eventlist.NotAnEventListError as problem:
        return Nothing(f"is no EventList that a webhook takes: {problem}")


def _enveloped(members: Mapping[str, bytes], depth: int) -> Iterator[Content]:
    if set(members) == {"field", "value"} and values.text(members["field"]) != "@message":
        return  # another column of what `aws logs get-query-results` gives
    why = _envelope(members)
    if why == _OWN_LOG:  # at -v=8 it holds bodies of requests
        yield Nothing(why)
        return
    for name in CARRIERS:
        if name not in members or members[name][:1] not in b'{["':
            continue
        contents = list(_carried(members[name], depth + 1))
        if any(not isinstance(content, Nothing) for content in contents):
            yield from contents
            return
        if contents and not why:
            inner = contents[0]
            assert isinstance(inner, Nothing)
            why = f"is a record whose {name} {inner.why}" if depth == 0 else inner.why
    yield Nothing(why or "is JSON, and no audit event")


def _carried(value: bytes, depth: int, *, in_array: bool = False) -> Iterator[Content]:
    if value[:1] == b"[" and depth <= DEEPEST:
        for element in values.elements(value):
            if not in_array or b"{" in element:  # of a row: a time beside each line (Loki), other columns (Azure)
                yield from _carried(element, depth + 1, in_array=True)
    elif value[:1] in b'{"[':
        yield from of_value(value, depth)


def _envelope(members: Mapping[str, bytes]) -> str:
    """What a record is that can hold no event, whatever stands in it; "" for the others."""
    if "protoPayload" in members:
        return _GOOGLE
    if "AuditId" in members and "RequestUri" in members:
        return _FLAT
    category = values.text(members.get("category") or members.get("Category"))
    if category and "properties" in members and not category.startswith("kube-audit"):
        return f"is an Azure record of category {_word(category)}, not of kube-audit"
    if "caller" in members and "msg" in members:
        return _OWN_LOG
    return ""


def _nature(text: bytes) -> str:
    """What a line is that is no JSON."""
    if b' AUDIT: id="' in text[:256]:
        return _LEGACY
    return NO_EVENT


def _word(text: str) -> str:
    """A foreign word, fit to be shown."""
    return "".join(character if character.isprintable() else "?" for character in text[:_LONGEST_NAME])
