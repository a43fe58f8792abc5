"""What one log gives, however it is cut into chunks: every kind of line that people have."""

import base64
import gzip
import json
from collections.abc import Iterable

import corpus
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditsink.auditlogs.contents import TOO_LONG, TORN, LoggedEvent, LoggedList, Nothing
from auditsink.auditlogs.reader import LogItem, LogReader, Position

HEAD = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1",'


def event(name: str) -> bytes:
    return HEAD + b'"level":"Metadata","auditID":"%s","stage":"ResponseComplete","verb":"get"}' % name.encode()


def event_list(*several: bytes) -> bytes:
    return b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[' + b",".join(several) + b"]}"


A, B, C = map(event, "abc")
PRETTY = json.dumps(json.loads(A), indent=4).encode()


def read(log: bytes, size: int = 2**20, limit: int = 2**20) -> list[LogItem]:
    reader = LogReader(limit=limit)
    items = [item for start in range(0, len(log), size) for item in reader.feed(log[start : start + size])]
    return [item._replace(upto=Position()) for item in (*items, *reader.end())]


def events_of(items: Iterable[LogItem]) -> list[bytes]:
    return [item.content.data for item in items if not isinstance(item.content, Nothing)]


def skipped(items: Iterable[LogItem]) -> list[tuple[int, str]]:
    return [(item.line, item.content.why) for item in items if isinstance(item.content, Nothing)]


def lines(*several: bytes) -> bytes:
    return b"".join(line + b"\n" for line in several)


def text(value: bytes) -> str:
    return value.decode()


def wrapped(**members: object) -> bytes:
    return json.dumps(members).encode()


TORN_EVENT = A[:60]
ITEM = b'{"auditID":"x","stage":"Panic"}'
KLOG = b"I1007 16:19:19.000000       1 options.go:220] a line of the apiserver itself"

LOGS: dict[str, tuple[bytes, list[bytes], list[tuple[int, str]]]] = {
    "one event a line": (lines(A, B, C), [A, B, C], []),
    "no line break at the end": (A + b"\n" + B, [A, B], []),
    "line breaks of Windows": (A + b"\r\n" + B + b"\r\n", [A, B], []),
    "items of a list, without a kind": (lines(ITEM), [ITEM], []),
    "blanks and blank lines": (b"\n \n" + b"  " + A + b"  \n\n" + B, [A, B], []),
    "a byte order mark": (b"\xef\xbb\xbf" + lines(A, B), [A, B], []),
    "NUL bytes of a log that was cut under its writer": (bytes(5000) + lines(A) + bytes(300) + lines(B), [A, B], []),
    "a klog line first": (lines(KLOG, A), [A], [(1, "is a line of the apiserver's own log")]),
    "an event that the apiserver's own log quotes": (
        lines(KLOG + b" " + A, b"[pod/kube-apiserver] " + KLOG + A, B),
        [B],
        [(1, "is a line of the apiserver's own log"), (2, "is a line of the apiserver's own log")],
    ),
    "the end of a line first": (lines(A[70:], A, B), [A, B], [(1, "is no audit event")]),
    "a torn line": (lines(A, TORN_EVENT, B), [A, B], [(2, TORN)]),
    "a torn line at the end": (lines(A) + TORN_EVENT, [A], [(2, TORN)]),
    "a torn line and an event glued": (lines(A, TORN_EVENT + B, C), [A, C], [(2, TORN)]),
    "torn behind a comma": (lines(A, HEAD, B, C), [A, B, C], [(2, TORN)]),
    "torn behind a colon": (lines(A, HEAD + b'"x":', B, C), [A, B, C], [(2, TORN)]),
    "torn in an array": (lines(A, HEAD + b'"x":[', B, C), [A, B, C], [(2, TORN)]),
    "torn three times": (lines(HEAD, HEAD, HEAD, A, B), [A, B], [(1, TORN), (2, TORN), (3, TORN)]),
    "two events on a line": (lines(A + B, C), [A, B, C], []),
    "an event and a torn one on a line": (lines(A + TORN_EVENT, C), [A, C], [(1, TORN)]),
    "one event over several lines": (PRETTY, [PRETTY], []),
    "several such": (lines(PRETTY, PRETTY), [PRETTY, PRETTY], []),
    "such with line breaks of Windows": (PRETTY.replace(b"\n", b"\r\n"), [PRETTY.replace(b"\n", b"\r\n")], []),
    "such torn, and another": (
        lines(PRETTY[:60], PRETTY), [PRETTY], [(1, TORN), (2, "is no audit event"), (3, "is no audit event")],
    ),
    "a list over several lines": (
        lines(json.dumps(json.loads(event_list(A, B)), indent=2).encode()),
        [json.dumps(json.loads(event_list(A, B)), indent=2).encode() + b"\n"],
        [],
    ),
    "a list with an event a line": (
        lines(event_list()[:-2], A + b",", B, b"]}"),
        [event_list()[:-2] + b"\n" + A + b",\n" + B + b"\n]}\n"],
        [],
    ),
    "lists, one a line": (
        lines(event_list(A), event_list(B, C)), [event_list(A) + b"\n", event_list(B, C) + b"\n"], [],
    ),
    "an array over several lines": (lines(b"[", PRETTY + b",", PRETTY, b"]"), [PRETTY, PRETTY], []),
    "an array with an event a line": (lines(b"[", A + b",", B, b"]"), [A, B], []),
    "an array that ends in the line of its last element": (lines(b"[", A + b",", B + b" ]", C), [A, B, C], []),
    "an array on one line": (lines(b"[" + A + b", " + B + b"]"), [A, B], []),
    "a sequence of records": (b"\x1e" + lines(A) + b"\x1e" + lines(B), [A, B], []),
    "oc adm node-logs": (lines(b"ip-10-0-1-2.ec2.internal " + A, b"master-1 " + B), [A, B], []),
    "kubectl logs --prefix": (lines(b"[pod/kube-apiserver-a/kube-apiserver] " + A), [A], []),
    "kubectl logs --timestamps": (lines(b"2025-01-04T14:13:20.123456789Z " + A), [A], []),
    "syslog": (lines(b"<134>Nov 28 16:11:58 master-0 kube-apiserver[123]: " + A), [A], []),
    "grep -n": (lines(b"audit.log:12:" + A), [A], []),
    "a prefix and a torn event": (lines(b"master-1 " + TORN_EVENT, A), [A], [(1, TORN)]),
    "no prefix but the rest of a torn event": (
        lines(b'"x"},"y":' + A, b'oops"} ' + A), [], [(1, "is no audit event"), (2, "is no audit event")],
    ),
    "the end of a torn event that holds what looks like one": (
        lines(
            *(start + B + end for start in (b"", b"[", b",", b":", b"12, ") for end in (b"}}", b"]}", b', "x":1}')),
            b"2025-01-04T14:13:20.1Z stdout F " + B + b"," + B + b"]}}",
            b'{"log":"' + B.replace(b'"', b'\\"') + b'}}\\n","stream":"stdout","time":"t"}',
            A + b"," + TORN_EVENT,
        ),
        [A],
        [*((number, TORN) for number in range(1, 19))],
    ),
    "CRI": (lines(b"2025-01-04T14:13:20.1Z stdout F " + A, b"2025-01-04T14:13:20.1+01:00 stderr F " + KLOG),
            [A], [(2, "is a line of the apiserver's own log")]),
    "CRI in parts, two streams at once": (
        lines(
            b"2025-01-04T14:13:20.1Z stdout P " + A[:50],
            b"2025-01-04T14:13:20.1Z stderr P I1007 16:19",
            b"2025-01-04T14:13:20.1Z stdout P " + A[50:80],
            b"2025-01-04T14:13:20.1Z stdout F " + A[80:],
            b"2025-01-04T14:13:20.1Z stderr F :20.000000 1 a.go:1] b",
            b"2025-01-04T14:13:20.1Z stdout F " + B,
        ),
        [A, B],
        [(2, "is a line of the apiserver's own log")],
    ),
    "CRI with a part without an end": (
        lines(b"2025-01-04T14:13:20.1Z stdout F " + A, b"2025-01-04T14:13:20.1Z stdout P " + B[:50]), [A], [(2, TORN)],
    ),
    "docker": (
        lines(*(wrapped(log=text(one) + "\n", stream="stdout", time="2025-01-04T14:13:20.1Z").replace(b": ", b":", 1)
                for one in (A, KLOG, B))),
        [A, B], [(2, "is a line of the apiserver's own log")],
    ),
    "docker in parts": (
        lines(*(wrapped(log=part, stream="stdout", time="2025-01-04T14:13:20.1Z").replace(b": ", b":", 1)
                for part in (text(A[:50]), text(A[50:]) + "\n", text(B) + "\n"))),
        [A, B], [],
    ),
    "docker in parts, written again by another": (
        lines(*(wrapped(log=part, stream="stdout") for part in (text(A[:50]), text(A[50:]) + "\n"))), [A], [],
    ),
    "the legacy format": (
        lines(b'2017-03-21T03:57:09.1-04:00 AUDIT: id="c9" stage="RequestReceived" ip="::1" method="get"'), [],
        [(1, "is in the legacy format, which no webhook takes; set --audit-log-format=json")],
    ),
    "CSV": (
        lines(b'"@timestamp","@message"', *(b'"t","' + one.replace(b'"', b'""') + b'"' for one in (A, TORN_EVENT))),
        [A],
        [(1, "is no audit event"), (3, "is CSV without a whole event in a field; export it as JSON")],
    ),
    "an event of the cluster, not of the audit": (
        lines(b'{"kind":"Event","apiVersion":"v1","reason":"Started"}'), [],
        [(1, "is Event of v1, and no audit event")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 64, 2**20])
@pytest.mark.parametrize("name", LOGS)
def test_a_log_gives_its_events_byte_for_byte_and_names_every_other_line(name: str, size: int) -> None:
    log, expected, others = LOGS[name]
    items = read(log, size)
    assert events_of(items) == expected
    assert skipped(items) == others


EKS = wrapped(
    messageType="DATA_MESSAGE", logGroup="/aws/eks/dev/cluster", logStream="kube-apiserver-audit-1",
    logEvents=[{"id": "1", "timestamp": 1, "message": text(A)}, {"id": "2", "timestamp": 2, "message": text(B)}],
)  # fmt: skip

ENVELOPES: dict[str, tuple[bytes, list[bytes]]] = {
    "EKS, to a subscription": (EKS, [A, B]),
    "EKS, through Firehose, without line breaks": (EKS + EKS, [A, B, A, B]),
    "EKS, aws logs filter-log-events": (
        json.dumps({"events": [{"logStreamName": "s", "message": text(A)}], "more": []}, indent=4).encode(),
        [A],
    ),
    "EKS, aws logs get-query-results": (
        wrapped(results=[[{"field": "@timestamp", "value": "t"}, {"field": "@message", "value": text(A)}]]),
        [A],
    ),
    "Elastic's agent": (b'{"@timestamp":"t","kubernetes":{"audit":' + A + b"}}", [A]),
    "Elastic's agent, as it came": (wrapped(event={"original": text(A), "kind": "event"}), [A]),
    "EKS, to Lambda": (wrapped(awslogs={"data": base64.b64encode(gzip.compress(EKS)).decode()}), [A, B]),
    "EKS, aws kinesis get-records": (
        wrapped(Records=[{"Data": base64.b64encode(gzip.compress(EKS)).decode(), "PartitionKey": "k"}]), [A, B],
    ),
    "GKE, by Pub/Sub": (
        wrapped(message={"data": base64.b64encode(wrapped(textPayload=text(A))).decode(), "messageId": "1"}), [A],
    ),
    "EKS, exported to S3": (b"2025-01-04T14:13:20.000Z " + A, [A]),
    "EKS, aws logs tail": (b"2025-01-04T14:13:20.000000+00:00 kube-apiserver-audit-1 " + A, [A]),
    "EKS, one record by Vector": (wrapped(message=text(A), log_group="g", timestamp="t"), [A]),
    "AKS, to storage": (
        wrapped(category="kube-audit", operationName="o", properties={"log": text(A) + "\n", "stream": "stdout"}), [A],
    ),
    "AKS, to an event hub": (
        wrapped(records=[{"category": "kube-audit-admin", "properties": {"log": text(one)}} for one in (A, B)]), [A, B],
    ),
    "AKS, log as an object": (b'{"category":"kube-audit","properties":{"log":' + A + b',"pod":"p"}}', [A]),
    "AKS, properties as a string": (
        wrapped(category="kube-audit", properties=json.dumps({"log": text(A)})), [A],
    ),
    "AKS, the API of Log Analytics": (
        wrapped(tables=[{"columns": [{"name": "T"}], "rows": [["2025-01-04", text(one), 1] for one in (A, B)]}]),
        [A, B],
    ),
    "AKS, rows of AzureDiagnostics": (wrapped(Category="kube-audit", log_s=text(A), TimeGenerated="t"), [A]),
    "GKE, an agent that logs the file": (b'{"insertId":"i","jsonPayload":' + A + b',"logName":"n"}', [A]),
    "GKE, as text": (wrapped(insertId="i", textPayload=text(A)), [A]),
    "Elasticsearch, hits": (b'{"took":1,"hits":{"total":1,"hits":[{"_id":"1","_source":' + A + b"}]}}", [A]),
    "Elasticsearch, a dump": (wrapped(_index="audit", _source={"@timestamp": "t", "message": text(A)}), [A]),
    "Splunk, HTTP Event Collector": (b'{"time":1,"event":' + A + b"}" + b'{"time":2,"event":' + B + b"}", [A, B]),
    "Splunk, an export": (wrapped(preview=False, offset=0, result={"_raw": text(A), "source": "s"}), [A]),
    "Loki, logcli": (wrapped(labels={}, line=text(A), timestamp="t"), [A]),
    "Loki, a query": (
        wrapped(data={"result": [{"stream": {}, "values": [["1", text(A)], ["2", text(B)]]}]}), [A, B],
    ),
    "OTLP": (
        wrapped(resourceLogs=[{"scopeLogs": [{"logRecords": [{"body": {"stringValue": text(A)}}]}]}]), [A],
    ),
    "Datadog, an archive": (wrapped(_id="i", attributes={"message": text(A)}, service="s"), [A]),
    "Datadog, a search": (
        b'{"data":[{"id":"1","type":"log","attributes":{"message":"m","attributes":' + A + b"}}]}", [A],
    ),
    "IBM Cloud Logs": (wrapped(_source={"_line": text(A), "_host": "h"}), [A]),
    "Alibaba Cloud's log service": (wrapped(__time__="1", __source__="s", content=text(A)), [A]),
    "GELF, the full message": (wrapped(version="1.1", host="h", short_message="s", full_message=text(A)), [A]),
    "GELF, the short message": (wrapped(version="1.1", host="h", short_message=text(A)), [A]),
    "EventBridge": (b'{"version":"0","id":"i","detail-type":"audit","detail":' + A + b"}", [A]),
    "SNS": (wrapped(Type="Notification", MessageId="i", Message=text(A)), [A]),
    "journald": (wrapped(MESSAGE=text(A), _SYSTEMD_UNIT="kube-apiserver.service"), [A]),
    "fluent-bit": (wrapped(date=1.0, log=text(A)), [A]),
    "a list in a string": (wrapped(message=text(event_list(A))), [event_list(A)]),
    "a JSON string": (json.dumps(text(A)).encode(), [A]),
    "envelopes in envelopes": (wrapped(message=text(wrapped(log=text(wrapped(record=text(A)))))), [A]),
}  # fmt: skip


@pytest.mark.parametrize("name", ENVELOPES)
def test_events_are_taken_out_of_envelopes_byte_for_byte(name: str) -> None:
    log, expected = ENVELOPES[name]
    assert events_of(read(log + b"\n", 13)) == expected
    assert skipped(read(log + b"\n")) == []


NO_AUDIT = {
    "GKE's own": (
        wrapped(protoPayload={"@type": "type.googleapis.com/google.cloud.audit.AuditLog"}, logName="x"),
        "is an entry of Google Cloud's own audit logs (protoPayload), which hold no audit.k8s.io events",
    ),
    "another category of AKS": (
        wrapped(category="guard", properties={"log": "hello"}),
        "is an Azure record of category guard, not of kube-audit",
    ),
    "a row of AKSAudit": (
        wrapped(AuditId="a", RequestUri="/api", Level="Metadata"),
        "is a row of Azure's AKSAudit table, which holds no audit.k8s.io events; export category kube-audit instead",
    ),
    "another stream of EKS": (
        wrapped(messageType="DATA_MESSAGE", logEvents=[{"message": text(KLOG)}]),
        "is a record whose logEvents is a line of the apiserver's own log",
    ),
    "CloudWatch's own check": (
        wrapped(messageType="CONTROL_MESSAGE", logEvents=[{"message": "CWL CONTROL MESSAGE: Checking health"}]),
        "is a record whose logEvents is no audit event",
    ),
    "the apiserver's own log in JSON": (
        wrapped(ts=1, caller="a.go:1", msg="Response Body", v=8, body=text(A)), "is a line of the apiserver's own log",
    ),
    "an object": (wrapped(kind="Pod", apiVersion="v1"), "is Pod of v1, and no audit event"),
    "any JSON": (b'{"a":1}', "is JSON, and no audit event"),
    "a wrapper of nothing": (wrapped(records=[]), "is JSON, and no audit event"),
    "too many envelopes": (
        b'{"message":' * 12 + A + b"}" * 12, "is a record whose message is wrapped more than 8 times",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_AUDIT)
def test_what_holds_no_audit_event_is_named(name: str) -> None:
    log, why = NO_AUDIT[name]
    assert read(log + b"\n") == [LogItem(1, Nothing(why))]


def test_an_element_of_an_envelope_that_is_no_event_costs_no_other() -> None:
    log = wrapped(logEvents=[{"message": text(KLOG)}, {"message": text(A)}])
    assert read(log) == [LogItem(1, Nothing("is a line of the apiserver's own log")), LogItem(1, LoggedEvent(A))]


HOSTILE = [body for body in corpus.hostile_bodies() if body.name not in {"truncated-list", "trailing-garbage"}]
"""Those that are whole JSON."""


HOLDING = (
    json.dumps({**json.loads(B), "requestObject": {"x": [json.loads(C), {}, json.loads(C)]}, "verb": "patch"}, indent=2)
    .encode()
    .splitlines()
)
"""An event with what looks like two of them in it."""


@pytest.mark.parametrize("cut", range(1, len(HOLDING)))
@pytest.mark.parametrize("margin", [b"", b"  "], ids=["alone", "in an array"])
def test_of_a_document_that_is_torn_nothing_inside_is_taken(cut: int, margin: bytes) -> None:
    next_one = json.dumps(json.loads(A), indent=2).encode().splitlines()
    begins, ends = ([margin + line for line in part] for part in (HOLDING[:cut], HOLDING[cut:]))
    behind = lines(*(margin + line for line in next_one), B)
    expected = [json.loads(A), json.loads(B)]
    assert [json.loads(one) for one in events_of(read(lines(*begins) + behind))] == expected
    if HOLDING[cut].strip().startswith(b'"'):  # one that begins with a bracket does not show how deep it begins
        assert [json.loads(one) for one in events_of(read(lines(*ends) + behind))] == expected


def test_hostile_events_stay_as_they_are() -> None:
    """Nesting, invalid UTF-8, lone surrogates, numbers without end: what an API's caller had logged."""
    several = [one for body in HOSTILE for one in body.events if one.startswith(b'{"level"')]
    hostile = [one.replace(b"{", HEAD, 1) for one in several]
    assert events_of(read(lines(*hostile), 999)) == hostile


def test_hostile_lists_stay_as_they_are() -> None:
    items = read(b"".join(body.data for body in HOSTILE))
    assert events_of(items) == [body.data for body in HOSTILE]
    counts = [item.content.events for item in items if isinstance(item.content, LoggedList)]
    assert counts == [len(body.events) for body in HOSTILE]


def test_bytes_that_are_no_utf8_come_out_of_an_envelope_as_they_went_in() -> None:
    bad = A.replace(b'"get"', b'"g\xff\xfe\\u00e9t"')
    inner = bad.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    assert events_of(read(b'{"log":"' + inner + b'\\n","stream":"stdout","time":"t"}\n')) == [bad]


def test_an_overlong_line_costs_itself() -> None:
    long = HEAD + b'"x":"' + b"y" * 5000 + b'"}'
    assert read(lines(A, long, B), 100, limit=1000) == [
        LogItem(1, LoggedEvent(A)),
        LogItem(2, Nothing(TOO_LONG)),
        LogItem(3, LoggedEvent(B)),
    ]


def test_an_overlong_line_of_whole_values_costs_nothing() -> None:
    """Firehose puts megabytes of records one behind the other."""
    assert events_of(read(EKS * 50, size=300, limit=2000)) == [A, B] * 50


def test_a_document_that_is_too_long_is_read_element_by_element() -> None:
    document = json.dumps({"events": [{"message": text(one)} for one in (A, B, C) * 20]}, indent=4).encode()
    items = read(document, limit=2000)
    assert events_of(items) == [A, B, C] * 20
    assert skipped(items)[0] == (1, TOO_LONG)


def test_a_container_line_that_is_too_long_costs_itself() -> None:
    part = b"2025-01-04T14:13:20.1Z stdout P " + b"x" * 500
    log = lines(*[part] * 5, b"2025-01-04T14:13:20.1Z stdout F x", b"2025-01-04T14:13:20.1Z stdout F " + A)
    assert read(log, limit=1000) == [LogItem(1, Nothing(TOO_LONG)), LogItem(7, LoggedEvent(A))]


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(b"{\n" * 20_000, id="opening"),
        pytest.param(b'{"a":[\n' * 20_000 + b"}\n", id="nested"),
        pytest.param(b'"' * 1_000_000, id="quotes"),
        pytest.param(b'{"' + b'\\"' * 500_000, id="escapes"),
        pytest.param(b"}" * 500_000 + b"{" * 500_000, id="brackets"),
        pytest.param(b'{"message":"' * 100_000, id="envelopes"),
        pytest.param(b"[" * 200_000 + b"]" * 200_000, id="arrays"),
        pytest.param(b'{"message":' * 50_000 + b"1" + b"}" * 50_000, id="nested envelopes"),
        pytest.param(bytes(3_000_000), id="zeros"),
        pytest.param(base64.b64encode(bytes(range(256)) * 4000), id="text"),
    ],
)
def test_a_hostile_log_ends_and_holds_no_event(log: bytes) -> None:
    assert events_of(read(log, 2**16)) == []


def test_the_position_is_behind_what_was_given_out() -> None:
    reader = LogReader()
    log = lines(A, b"2025-01-04T14:13:20.1Z stdout P " + B[:50])
    assert events_of(reader.feed(log)) == [A]
    assert reader.settled == Position(1, len(A) + 1)
    end = lines(b"2025-01-04T14:13:20.1Z stdout F " + B[50:])
    assert events_of(reader.feed(end + C[:30])) == [B]
    assert reader.settled == Position(3, len(log) + len(end))
    again = LogReader(reader.settled)
    assert [(item.line, item.content) for item in again.feed(C + b"\n")] == [(4, LoggedEvent(C))]


def test_an_open_document_keeps_the_position_back() -> None:
    reader = LogReader()
    assert list(reader.feed(PRETTY[:60])) == []
    assert reader.settled == Position(0, 0)
    assert events_of(reader.feed(PRETTY[60:] + b"\n")) == [PRETTY]
    assert reader.settled == Position(PRETTY.count(b"\n") + 1, len(PRETTY) + 1)


PIECES = [
    *(A, B, C, PRETTY, KLOG, ITEM, EKS, TORN_EVENT, HEAD, event_list(A, B), event_list()[:-2]),
    *(b"\n", b"\n", b"\n", b"\r\n", b"\0", b",", b"[", b"]", b"{", b"}", b'"', b"\\", b" ", b"\xff", b"node-1 "),
    *(b"2025-01-04T14:13:20.1Z stdout F ", b"2025-01-04T14:13:20.1Z stdout P ", b'{"log":"x","stream":"stdout"}'),
]


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=25), size=st.integers(1, 70))
def test_how_a_log_is_cut_makes_no_difference_and_what_is_sent_stood_there(pieces: list[bytes], size: int) -> None:
    log = b"".join(pieces)
    items = read(log)
    assert read(log, size) == items
    inner = log.replace(b'\\"', b'"')  # as it stands in a string of an envelope
    for found in events_of(items):
        bare = found.rstrip(b"\n")
        assert bare in log or bare in inner or b"stdout" in log  # parts of container lines are put together
        assert isinstance(json.loads(bare), dict)
