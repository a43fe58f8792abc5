"""Every parser that bytes from outside reach: what may be thrown at it, what it may raise, what must hold afterwards.

A target takes bytes and returns nothing. It fails when it raises anything but what the parser documents.
"""

import asyncio
import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import corpus
import records
from mutants import EVENTS
from receivekit import BODY, FakeSpool, chunked, make_port, read_answers, request, until
from receivekit import Client as Wired

from auditsink import config, load
from auditsink.admin.access import parse_token
from auditsink.audit import eventlist, scan
from auditsink.audit.eventlist import Mark
from auditsink.audit.labels import editor
from auditsink.auditlogs import sources
from auditsink.cli.send_report import Passed
from auditsink.clusters.tokens import parse_tokens, tokens_of
from auditsink.common import redact
from auditsink.common.secret import parse_secret
from auditsink.delivery.destination import Batch
from auditsink.destinations import authorization, hec, object_errors
from auditsink.destinations.formats import format_of
from auditsink.evidence import checkpoint
from auditsink.evidence.keys import Signer
from auditsink.filters.build import build
from auditsink.filters.policy import parse_policy
from auditsink.forward import dead_letter
from auditsink.http.answers import HttpAnswer, foreign, retry_after
from auditsink.http.client import Cookies
from auditsink.http.parser import NoHttpError, ResponseParser, head
from auditsink.receive.ingest import InflateError, inflate
from auditsink.spool import SpoolError, frame, record_batch, segment
from auditsink.spool.cursor import CursorState
from auditsink.spool.identity import Identity
from auditsink.spool.keys import parse_keys
from auditsink.spool.offline import export_format
from auditsink.spool.slots import decode_slot, encode_slot
from auditsink.spool.types import Record
from auditsink.tail import line
from auditsink.tail.patterns import BadPatternError, TailPatterns
from auditsink.testing.framings import FRAMINGS


class Target(NamedTuple):
    """`seeds` are where mutation begins."""

    run: Callable[[bytes], None]
    seeds: list[bytes]


EVENT = corpus.event("fuzz")
_BATCH = Batch("c1", "", [EVENT, EVENT, b"\xff"], range(100, 103), 0, Mark.NOT_UTF8)
_FILTERED = load.parse(
    b"destinations: [{name: d, type: stdout, filter: {except: [{verbs: [get]}], mask: [secrets], drop_fields: [a.b]}}]",
    "f",
    {},
)
_sift = build(_FILTERED.destinations[0])
_CLOSER = load.parse(
    b"destinations: [{name: d, type: stdout, filter: {except: [{names: ['*a*a*'], userAgents: ['*x*'],"
    b" unchanged: true}, {requestURIs: ['*/*/*?*'], dryRun: false, responseCodes: [1xx]}]}}]",
    "f",
    {},
)
_look_closer = build(_CLOSER.destinations[0])
_EDITORS = [editor((("team", "x"), ("a.io/b", "y")), how) for how in ("annotations", "fields")]
_scratch = Path(tempfile.gettempdir())


def split(body: bytes) -> None:
    """Whatever is split off stands in the body, in order."""
    with contextlib.suppress(eventlist.NotAnEventListError):
        found = eventlist.split(body)
        at = 0
        for one in found.events:
            at = body.index(one, at) + len(one)


def framed(body: bytes) -> None:
    """The fast way says what the scanner says, or nothing."""
    fast = eventlist.split_fast(body)
    assert fast is None or fast == eventlist.split_slow(body)


def scanned(body: bytes) -> None:
    for read in (scan.event_list, scan.members, scan.elements):
        with contextlib.suppress(scan.UnreadableError):
            read(body)


def http(data: bytes) -> None:
    """Raw bytes on a connection: each answer is one for h11 too, and all memory is given back."""
    with asyncio.Runner() as runner:
        runner.run(_exchange(data))


async def _exchange(data: bytes) -> None:
    port = make_port(FakeSpool(), max_body=65536, max_in_flight=65536)
    client = Wired(port)
    size = 1000 if len(data) > 200 else 7
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    for _ in range(2 * len(pieces) + 50):
        while pieces and not (client.wire.paused or client.wire.closed):
            client.send(pieces.pop(0))
        await asyncio.sleep(0)
    if not client.wire.closed:
        client.finish()
    await until(lambda: client.wire.closed or not client.connection.busy)  # a thread may still be at its body
    if b"HEAD" not in data:  # whose answers have a length and no body (RFC 9110, 9.3.2), which only the asker knows
        list(read_answers(bytes(client.wire.sent)))
    client.hang_up()
    await until(lambda: port.ingest.memory.held == 0)  # a thread may still be at its gzip


def inflated(data: bytes) -> None:
    with contextlib.suppress(InflateError):
        assert len(inflate(data, 100_000) or b"") <= 100_000


def on_the_disk(data: bytes) -> None:
    """Frames, headers, seals, cursors, identities: none raises, and what is found lies within the data."""
    for one in segment.walk(data, 0, start=0):
        if isinstance(one, frame.FrameHeader):
            assert 0 <= one.offset <= one.offset + one.size <= len(data) + frame.ALIGNMENT
            record_batch.cut(bytes(one.body_length % 2**16), frame.table_of(one, data, one.offset))
    segment.decode_footer(data, 0)
    with contextlib.suppress(SpoolError):
        segment.decode_header(data)
    slot = decode_slot(data)
    CursorState.decode(slot[1] if slot else data)
    Identity.decode(data)


def configured(data: bytes) -> None:
    for parse in (load.parse, parse_policy, partial(parse_policy, unknown_keys="warn"), load.parse_cluster):
        with contextlib.suppress(load.ConfigError):
            parse(data, "f")


def secret_files(data: bytes) -> None:
    """An error says nothing of the file's content."""
    for parse in (parse_tokens, tokens_of("c"), parse_keys, parse_secret, parse_token, Signer.parse):
        try:
            parse(data)
        except ValueError as problem:
            words = [word for word in data.split() if len(word) > 12]
            assert not any(word in str(problem).encode() for word in words)  # noqa: PT017 - the error is the point


def _answers(data: bytes) -> Iterator[HttpAnswer]:
    for status in (200, 201, 202, 207, 400, 401, 403, 413, 429, 503):
        yield HttpAnswer(
            status, {"retry-after": data[:40].decode("latin-1"), "date": data[40:80].decode("latin-1")}, data
        )


def answered(data: bytes) -> None:
    """What destinations say, in every API: an outcome, whatever it is."""
    for answer in _answers(data):
        for name in ("elasticsearch", "loki", "otlp", "meilisearch", "ndjson"):
            section = config.HttpConfig(name="d", url="http://x", format=name)
            format_of(section).exchange(_BATCH).answered(answer)
        hec.classify(answer.status, answer.headers, data, count=3)
        hec.blames_events(answer.status, data)
        hec.acknowledged(answer.status, answer.headers, data)
        authorization.read(answer)
        retry_after(answer.headers)
    hec.ack_id(data)
    object_errors.classify(data.decode("latin-1"))
    assert len(foreign(data.decode("latin-1"))) <= 200
    redact.redact(data.decode("latin-1"))


def answer_read(data: bytes) -> None:
    """Bytes in place of an answer: one that keeps to the limit, or an error that says nothing of them."""
    for step in (5, 1000):
        reader = ResponseParser()
        reader.begin(100)
        with contextlib.suppress(NoHttpError, ConnectionResetError):
            for start in range(0, len(data), step):
                reader.feed(data[start : start + step])
            reader.end(clean=True)
            assert len(reader.answer().body) <= 100
        cookies = Cookies()
        cookies.take(reader.cookies)
        head("GET", "/", cookies.header(), 0)


def lines_of_ours(data: bytes) -> None:
    """Dead letters, checkpoints, manifests."""
    dead_letter.decode(data)
    with contextlib.suppress(checkpoint.NoCheckpointError):
        checkpoint.decode(data)
    with tempfile.TemporaryDirectory(dir=_scratch) as place:
        (Path(place) / export_format.MANIFEST).write_bytes(data)
        with contextlib.suppress(SpoolError):
            export_format.load(Path(place))


def sent(data: bytes) -> None:
    for one in sources.bodies("f", io.BytesIO(data), 10, Passed()):
        split(one.data)


def filtered(event: bytes) -> None:
    """Filters, labels and the tail, on one event."""
    for sift in (_sift, _look_closer):
        assert sift is not None
        sift(Batch("c1", "", [event], range(1), 0, Mark(0)))
    for edit in _EDITORS:
        assert edit is not None
        edit(event)
    (shown,) = line.lines("c1", Record(0, [event], 0, "", Mark(0)), raw=True)
    TailPatterns({"user": ["*a*", "!b"], "code": ["4xx"], "resource": ["pods"]}).event(shown)
    eventlist.as_utf8(event)
    eventlist.one_line(event)


def patterns(data: bytes) -> None:
    """Of a listener: an error, or an answer in no time."""
    with contextlib.suppress(BadPatternError):
        asked = TailPatterns({"user": data.decode("latin-1").split("\n")})
        asked.event(line.TailLine(cluster="c", sequence=0, time="", bytes=0, user="a" * 200))


_LISTS = [BODY, *(one.data for one in corpus.hostile_bodies() if len(one.data) < 5000)]
_SEALED = frame.encode(
    0, first_sequence=0, events=1, marks=Mark(0), source=b"s", received_ns=1, body_length=4, payload=b"body",
    digest=bytes(16),
)  # fmt: skip
_SHARED = frame.encode(
    0, first_sequence=0, events=2, marks=Mark(0), source=b"s", received_ns=1, body_length=8, payload=b"bodybody",
    digest=bytes(16), table=record_batch.encode([record_batch.StoredRequest(bytes(16), 4, 1)] * 2),
)  # fmt: skip
_YAML = [path.read_bytes() for path in sorted(Path("config").glob("*.yaml"))]

TARGETS = {
    "split": Target(split, _LISTS),
    "frames": Target(framed, [framing(EVENTS) for framing in FRAMINGS.values()]),
    "scan": Target(scanned, _LISTS),
    "http": Target(
        http,
        [
            request(),
            request() * 3,
            request(b"", "Transfer-Encoding: chunked") + chunked(BODY, [7, 30], b"X: y\r\n"),
            request(BODY, "Expect: 100-continue"),
            request(BODY, "Transfer-Encoding: chunked, identity"),
            request(BODY, "Content-Encoding: gzip"),
            request(method="GET", version="1.0"),
            request(length=99999999),
        ],
    ),
    "tls": Target(
        records.records, [records.hello(), b"\x17\x03\x03\x00\x20" + bytes(32), b"\x15\x03\x03\x00\x02\x01\x00"]
    ),
    "inflate": Target(inflated, [b"\x1f\x8b\x08\x00" + bytes(20)]),
    "disk": Target(on_the_disk, [_SEALED, _SEALED * 2, _SHARED, encode_slot(1, bytes(48)), bytes(256)]),
    "configuration": Target(
        configured,
        [
            *_YAML,
            b"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None}]",
            b"kind: List\nitems:\n- kind: ConfigMap\n  data:\n    policy: |\n      rules: [{level: None}]",
            b'{\n\t"kind": "Policy", "apiVersion": "audit.k8s.io/v1", "rules": [{"level": "None", "users": null}]}',
        ],
    ),
    "secret files": Target(secret_files, [b"prod token-of-prod-7f3a", b"k1 " + b"A" * 43 + b"=", b"# x\n"]),
    "answer reader": Target(
        answer_read,
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: node=a; Max-Age=0\r\n\r\nok",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            b"HTTP/1.0 400 Bad\r\nSet-Cookie: a=b;c\r\n d\r\n\r\n<html>",
        ],
    ),
    "answers": Target(
        answered,
        [
            b'{"text":"x","code":6,"invalid-event-number":1,"ackId":3}',
            b'{"acks":{"0":true,"1":false}}',
            b'{"errors":true,"items":[{"create":{"status":400,"error":{"type":"a","reason":"b"}}}]}',
            b'{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"x"}}',
            b'{"taskUid":1,"status":"enqueued","error":{"code":"x","message":"y"}}',
            b'{"access_token":"x","token_type":"Bearer","expires_in":"3600"}',
            b"status code: 403 Forbidden: <Error><Code>AccessDenied</Code>",
        ],
    ),
    "lines": Target(
        lines_of_ours,
        [
            dead_letter.DeadLetter.of("d", _BATCH, 0, "why", 10**18).encode(),
            b'{"checkpoint":{"cluster":"c","count":3,"first":0},"signature":"AA"}',
            b'{"version":1,"rings":[]}',
        ],
    ),
    "sources": Target(
        sent,
        [
            BODY,
            EVENT + b"\n" + EVENT,
            b'{"logEvents":[{"message":"{\\"kind\\":\\"Event\\",\\"apiVersion\\":\\"audit.k8s.io/v1\\"}"}]}',
            b"2025-01-04T14:13:20.1Z stdout P {\n2025-01-04T14:13:20.1Z stdout F }\n",
            b'[\n{\n"message": [\n',
            b"\x28\xb5\x2f\xfd\x04\x00",
            b"\xfd7zXZ\x00\x00",
            b"BZh9",
            b"PK\x03\x04",
            bytes(1024),
        ],
    ),
    "filters": Target(filtered, [EVENT, *(one for body in corpus.hostile_bodies() for one in body.events[1:2])]),
    "patterns": Target(patterns, [b"*a*a*a*a*a*\n!system:*", b"[a-z]?[!x]*"]),
}
