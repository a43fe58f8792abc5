"""The `http` destination's formats against servers of other makers, through a whole sink.

What is thrown at each is the whole recorded corpus and every hostile body. An event must arrive (its bytes, where the
server keeps bytes) or be a dead letter with the server's reason, and nothing may stand in the way of the others.
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import corpus
import msgspec
import pytest
from ground import free_port, listens, running
from logstores import LOKI, VICTORIALOGS, fetched, loki, victorialogs
from opensearch import VERSION as OPENSEARCH
from opensearch import opensearch
from otelcol import VERSION as OTELCOL
from otelcol import collector
from rows import Rows
from running import Sink

from auditsink.audit.eventlist import unsplit_body
from auditsink.forward.dead_letter import DeadLetter, decode
from auditsink.testing.json_cut import items, members
from auditsink.testing.scripted import Received, Reply, ScriptedServer

TEMPLATE = Path(__file__).parents[2] / "config" / "elasticsearch-template.json"
BODIES = [*corpus.bodies(), *corpus.hostile_bodies()]
RECORDED = [event for body in corpus.bodies() for event in body.events]
EVENTS = [event for body in BODIES for event in body.events]
_UNSPLIT = b'{"auditsink.io/unsplit"'


def whole(document: bytes) -> bytes:
    """A body that could not be split counts as its own bytes."""
    return unsplit_body(document) if document.startswith(_UNSPLIT) else document


UNSPLIT = {body.data for body in corpus.hostile_bodies() if body.events == [body.data]}


def as_sent(event: bytes) -> bytes:
    """An event as a format that promises UTF-8 must send it; what could not be split travels in base64."""
    return event if event in UNSPLIT else event.decode(errors="replace").encode()


def letters(sink: Sink) -> list[DeadLetter]:
    """The dead letters of the destination `out`."""
    file = sink.spool / "deadletters" / "out" / "letters.ndjson"
    lines = file.read_bytes().splitlines() if file.exists() else []
    return [letter for line in lines if (letter := decode(line))]


@contextlib.asynccontextmanager
async def sink_to(place: Path, url: str, form: str, **settings: Any) -> AsyncIterator[Sink]:
    """A sink with one destination, `out`."""
    destination = {"name": "out", "type": "http", "url": url, "format": form} | settings
    async with Sink(place / "sink", [destination]) as sink:
        yield sink


async def throw_all(sink: Sink) -> dict[str, Any]:
    """Post everything; the destination's account when nothing is pending any more."""
    apiserver = await sink.apiserver([body.data for body in BODIES])
    assert apiserver.answers == {200: len(BODIES)}
    account: dict[str, Any]
    (account,) = (await sink.delivered())["destinations"]
    assert account["accepted"] == len(EVENTS)
    assert account["dropped"] == account["filtered"] == 0
    return account


def compare(arrived: list[bytes], dead: list[DeadLetter], *, normal: Any = as_sent) -> int:
    """Every event arrived or is a dead letter; how many arrived more than once."""
    owed = Counter(corpus.digest(normal(event)) for event in EVENTS)
    dead_letters = Counter(corpus.digest(normal(letter.content)) for letter in dead)
    found = Counter(corpus.digest(whole(one)) for one in arrived)
    assert owed - found - dead_letters == Counter(), "lost"
    assert found.keys() <= owed.keys(), "altered"
    return (found - (owed - dead_letters)).total()


def on_one_line(event: bytes) -> bytes:
    """As it stands in a line of its own."""
    return event if event in UNSPLIT else as_sent(event).replace(b"\n", b" ").replace(b"\r", b" ")


class _Hit(msgspec.Struct):
    source: msgspec.Raw = msgspec.field(name="_source")
    sort: msgspec.Raw


class _Hits(msgspec.Struct):
    hits: list[_Hit]


class _Found(msgspec.Struct):
    hits: _Hits


def hits_in(page: bytes) -> list[tuple[bytes, bytes]]:
    """The event and the sort key of each hit."""
    try:
        found = msgspec.json.decode(page, type=_Found).hits.hits
        raw = [(bytes(hit.source), bytes(hit.sort)) for hit in found]
    except msgspec.DecodeError:  # lone surrogates
        inner = members(members(page, 0)[0][b"hits"], 0)[0][b"hits"]
        raw = [(hit[b"_source"], hit[b"sort"]) for one in items(inner, 0)[0] for hit in [members(one, 0)[0]]]
    return [(members(source, 0)[0][b"kubernetes.audit"], sort) for source, sort in raw]


async def in_opensearch(url: str) -> list[bytes]:
    """The bytes of every event that it holds."""
    found: list[tuple[bytes, bytes]] = []
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/_refresh") as answer:
            assert answer.status == 200
        while True:
            query: dict[str, Any] = {"size": 200, "sort": [{"@timestamp": "asc"}, {"_id": "asc"}]}
            query |= {"search_after": json.loads(found[-1][1])} if found else {}
            async with session.post(f"{url}/logs-kubernetes.audit_logs-default/_search", json=query) as answer:
                page = hits_in(await answer.read())
            if not page:
                return [event for event, _ in found]
            found += page


async def put_template(url: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{url}/_index_template/auditsink", json=json.loads(TEMPLATE.read_text())) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def test_opensearch_keeps_every_event_or_says_why_not(tmp_path: Path, rows: Rows) -> None:
    async with opensearch(tmp_path) as url:
        await put_template(url)
        async with sink_to(tmp_path, url, "elasticsearch", batch={"max_bytes": "200KB"}) as sink:
            account = await throw_all(sink)
            dead = letters(sink)
            arrived = await in_opensearch(url)
    repeated = compare(arrived, dead, normal=on_one_line)
    assert {letter.content for letter in dead}.isdisjoint(RECORDED)
    assert all(letter.reason.startswith("HTTP 400, ") for letter in dead)
    assert 0 < len(dead) == account["dead_lettered"] < 20
    assert repeated == 0
    rows(
        server=f"OpenSearch {OPENSEARCH}",
        thrown="corpus and hostile bodies, _bulk into a data stream",
        into=len(EVENTS),
        out=len(arrived),
        dead_lettered=len(dead),
        note="too deep, 5,000 digits, repeated keys, no object",
    )


async def test_opensearch_holds_nothing_twice_after_kills_of_the_sink_and_of_itself(tmp_path: Path, rows: Rows) -> None:
    bodies = [corpus.plain_body(f"id-{number}", 20, 500) for number in range(200)]
    port = free_port()
    async with contextlib.AsyncExitStack() as node:
        url = await node.enter_async_context(opensearch(tmp_path, port))
        await put_template(url)
        backoff = {"initial": "100ms", "max": "500ms"}
        async with sink_to(tmp_path, url, "elasticsearch", batch={"max_events": 50}, backoff=backoff) as sink:
            await sink.apiserver([body.data for body in bodies[:100]])
            await sink.kill()
            await sink.start()
            await node.aclose()
            await sink.apiserver([body.data for body in bodies[100:]])
            async with opensearch(tmp_path, port):
                status = await sink.delivered()
                arrived = await in_opensearch(url)
    events = [event for body in bodies for event in body.events]
    assert status["destinations"][0]["delivered"] == len(events)
    assert corpus.digests(arrived) == corpus.digests(events)
    rows(
        server=f"OpenSearch {OPENSEARCH}",
        thrown="kill -9 of the sink, then of the server",
        into=len(events),
        out=len(set(arrived)),
        repeated=len(arrived) - len(set(arrived)),
    )


async def in_loki(url: str) -> list[bytes]:
    """Every line that it holds. It keeps one of two lines with equal time and text."""
    found: dict[tuple[str, str], None] = {}
    start = "1793000000000000000"  # October 2026, before all that is posted here
    while True:
        query = {"query": '{job="kube-apiserver-audit"}', "limit": 500, "start": start, "direction": "forward"}
        document = json.loads(await fetched(f"{url}/loki/api/v1/query_range?{urlencode(query)}"))
        page = [(time, line) for stream in document["data"]["result"] for time, line in stream["values"]]
        before = len(found)
        found |= dict.fromkeys(page)
        if len(found) == before:
            return [line.encode() for _, line in found]
        start = max(time for time, _ in page)


async def test_loki_keeps_every_line_that_is_not_too_long(tmp_path: Path, rows: Rows) -> None:
    async with loki(tmp_path, "ingestion_rate_mb: 2, ingestion_burst_size_mb: 2") as url:
        backoff = {"initial": "100ms", "max": "1s"}
        async with sink_to(tmp_path, url, "loki", backoff=backoff) as sink:
            await throw_all(sink)
            dead = letters(sink)
            arrived = await in_loki(url)
            metrics = await sink.get("/metrics")
    repeated = compare(arrived, dead)
    too_long = [event for event in EVENTS if len(event) > 262_144]
    assert corpus.digests([letter.content for letter in dead]) == corpus.digests(too_long)
    assert all("max entry size" in letter.reason for letter in dead)
    refused = re.search(r'^auditsink_destination_retries_total\{.*reason="failed"\} (\d+)', metrics, re.MULTILINE)
    assert refused is not None, "the rate limit was never met"
    assert int(refused[1]) > 0
    rows(
        server=f"Loki {LOKI}",
        thrown="corpus and hostile bodies, at 2 MB/s allowed",
        into=len(EVENTS),
        out=len(arrived) - repeated,
        dead_lettered=len(dead),
        repeated=repeated,
        note="max entry size; repeated: events without a readable time",
    )


@pytest.mark.quick
async def test_victorialogs_takes_loki_s_push(tmp_path: Path, rows: Rows) -> None:
    async with (
        victorialogs(tmp_path) as url,
        sink_to(tmp_path, f"{url}/insert?disable_message_parsing=1", "loki") as sink,
    ):
        await throw_all(sink)
        dead = letters(sink)
        arrived = [json.loads(line)["_msg"].encode() for line in await in_victorialogs(url)]
    repeated = compare(arrived, dead)
    assert (dead, repeated) == ([], 0)
    rows(
        server=f"VictoriaLogs {VICTORIALOGS}",
        thrown="corpus and hostile bodies, as Loki",
        into=len(EVENTS),
        out=len(arrived),
    )


async def in_victorialogs(url: str) -> list[bytes]:
    """Every entry that it holds, a JSON object each."""
    await fetched(f"{url}/internal/force_flush")
    return (await fetched(f"{url}/select/logsql/query?{urlencode({'query': '*', 'limit': 100_000})}")).splitlines()


@pytest.mark.quick
async def test_victorialogs_takes_the_bulk_api_and_stops_at_no_line(tmp_path: Path, rows: Rows) -> None:
    """It answers 200 for a request that it has read to the first bad line only."""
    async with (
        victorialogs(tmp_path) as url,
        sink_to(tmp_path, f"{url}/insert/elasticsearch", "elasticsearch") as sink,
    ):
        account = await throw_all(sink)
        dead = letters(sink)
        entries = [json.loads(line) for line in await in_victorialogs(url)]
    found = Counter(entry.get("kubernetes.audit.auditID") for entry in entries)
    buried = {corpus.digest(letter.content) for letter in dead}
    for event in RECORDED:
        if corpus.digest(event) not in buried:
            assert found[json.loads(event)["auditID"]] > 0
    assert all(len(letter.content) > 200_000 or letter.content not in RECORDED for letter in dead)
    assert len(entries) >= account["delivered"] == len(EVENTS) - len(dead)
    rows(
        server=f"VictoriaLogs {VICTORIALOGS}",
        thrown="corpus and hostile bodies, as Elasticsearch",
        into=len(EVENTS),
        out=account["delivered"],
        dead_lettered=len(dead),
        repeated=len(entries) - account["delivered"],
        note="200 for what it read in part",
    )


class Backend(ScriptedServer):
    """Takes what a Collector exports as OTLP in JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    async def respond(self, request: Received) -> Reply:
        for resource in json.loads(request.body)["resourceLogs"]:
            for scope in resource["scopeLogs"]:
                self.bodies += [record["body"]["stringValue"].encode() for record in scope["logRecords"]]
        return Reply(200, b"{}", {"Content-Type": "application/json"})


_OTELCOL = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{otlphttp: {{endpoint: "{backend}", encoding: json, compression: none, sending_queue: {{enabled: false}}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [otlp], exporters: [otlphttp]}}}}
"""


@pytest.mark.quick
async def test_a_collector_hands_on_every_body(tmp_path: Path, rows: Rows) -> None:
    port = free_port()
    settings = tmp_path / "otelcol.yaml"
    async with Backend() as backend:
        settings.write_text(_OTELCOL.format(port=port, backend=backend.url))
        command: list[str | Path] = [collector(), "--config", settings]
        async with (
            running(command, tmp_path / "otelcol.out", lambda: listens(port)),
            sink_to(tmp_path, f"http://127.0.0.1:{port}", "otlp") as sink,
        ):
            await throw_all(sink)
            dead = letters(sink)
    repeated = compare(backend.bodies, dead)
    assert dead == []
    rows(
        server=f"OpenTelemetry Collector {OTELCOL}",
        thrown="corpus and hostile bodies, as OTLP in JSON",
        into=len(EVENTS),
        out=len(backend.bodies) - repeated,
        repeated=repeated,
    )
