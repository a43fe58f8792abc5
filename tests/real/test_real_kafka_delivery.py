"""Apache Kafka takes all that an apiserver sends, byte for byte, in order; what it refuses costs itself alone."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import corpus
import pytest
from kafka_reading import headers, read, values
from kafka_secured import Secured
from kafka_server import SERVER
from kafkarig import figures, in_order, lake, sequences, trouble
from rows import Rows
from running import Sink

from auditsink.audit.eventlist import unsplit_document

pytestmark = pytest.mark.asyncio(loop_scope="session")

_SAFE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_AUDIT_ID = re.compile(rb'^\{"level":"[A-Za-z]+","auditID":"((?:[^"\\]|\\.)*)"')
_ENDED = re.compile(rb'","stageTimestamp":"([0-9-]{10}T[0-9:]{8}\.[0-9]{6}Z)"(?:,"annotations":{[^{}]*})?}$')
ODD_IDS = ["x" * 3000, "ünï", "\\u0000\\n", "a b", "\\ud800", "", "' OR 1=1", "x" * 64, "x" * 65]


def milliseconds(time: str) -> int:
    """Python's own reading of an apiserver's time."""
    return int((datetime.fromisoformat(time) - datetime.fromtimestamp(0, UTC)) / timedelta(milliseconds=1))


def expected(body: corpus.Body) -> list[bytes]:
    return [unsplit_document(body.data)] if body.events == [body.data] else body.events


@pytest.mark.parametrize("compression", [pytest.param("zstd", marks=pytest.mark.quick), "lz4", "gzip", "none"])
async def test_the_whole_corpus(broker: Secured, tmp_path: Path, rows: Rows, compression: str) -> None:
    """Real and hostile batches, and auditIDs that nobody would choose for good reasons."""
    topic = f"corpus-{compression}"
    await broker.create(topic, 3, max_message_bytes=20_000_000)
    odd = [corpus.Body(name, corpus.event_list([one]), [one]) for name in ODD_IDS for one in [corpus.event(name)]]
    bodies = [*corpus.bodies(), *corpus.hostile_bodies(), *odd]
    async with Sink(tmp_path / "sink", [lake(broker.servers, topic=topic, compression=compression)]) as sink:
        assert (await sink.apiserver([body.data for body in bodies])).answers == {200: len(bodies)}
        status = await sink.delivered()

    found = await read(broker.servers, topic)
    assert corpus.digests(values(found)) == corpus.digests([event for body in bodies for event in expected(body)])
    assert sequences(found) == {"default": list(range(len(found)))}
    assert {message.key() for message in found} == {b"default"}
    timed = 0
    for message in found:
        value, said = message.value() or b"", headers(message)
        if (ended := _ENDED.search(value)) is not None:
            assert message.timestamp() == (1, milliseconds(ended[1].decode()))
            timed += 1
        audit_id = _AUDIT_ID.match(value)
        if audit_id is not None and _SAFE_ID.fullmatch(audit_id[1]):
            assert said["auditID"] == audit_id[1]
        else:
            assert "auditID" not in said
    assert timed > 5000
    rows(server=SERVER, thrown=f"the corpus, hostile bodies and auditIDs; {compression}", **figures(found, status))


@pytest.mark.quick
@pytest.mark.parametrize("whose", ["the client's", "the topic's"])
async def test_an_event_over_the_limit_is_a_dead_letter(
    broker: Secured, tmp_path: Path, rows: Rows, whose: str
) -> None:
    """Also when the topic's limit is far below what a batch of the sink's holds."""
    limit = 1_048_588 if whose == "the client's" else 50_000
    topic = f"limit-{limit}"
    await broker.create(topic, max_message_bytes=limit)
    sizes = [1000] * 40 + [2 * limit] + [limit // 4] * 8 + [limit + 1] + [1000] * 40
    events = [corpus.event(f"e{number}", b'"' + b"x" * size + b'"') for number, size in enumerate(sizes)]
    settings = {"topic": topic, "compression": "none", "batch": {"max_wait": "200ms"}}
    async with Sink(tmp_path / "sink", [lake(broker.servers, **settings)]) as sink:
        assert (await sink.post(corpus.event_list(events)))[0] == 200
        status = await sink.delivered()

    found = await read(broker.servers, topic)
    assert values(found) == [event for event, size in zip(events, sizes, strict=True) if size < limit]
    assert (status["destinations"][0]["dead_lettered"], in_order(found)) == (2, True)
    rows(server=SERVER, thrown=f"2 of {len(events)} events over {limit:,} bytes", **figures(found, status))


async def test_a_topic_that_does_not_exist(broker: Secured, tmp_path: Path, rows: Rows) -> None:
    """The sink says which and what to do, keeps the data, and goes on when somebody made it."""
    body = corpus.plain_body("early", count=20)
    async with Sink(tmp_path / "sink", [lake(broker.servers, topic="not-yet")]) as sink:
        assert (await sink.post(body.data))[0] == 200
        status = await trouble(sink, "misconfigured", "topic not-yet", "UnknownTopicOrPartition", "create the topic")
        assert (status["pending"], status["dead_lettered"]) == (20, 0)
        await broker.create("not-yet")
        status = await sink.delivered()

    found = await read(broker.servers, "not-yet")
    assert values(found) == body.events
    rows(server=SERVER, thrown="a topic that does not exist, then does", **figures(found, status))


async def test_one_clusters_missing_topic_delays_nobody_else(broker: Secured, tmp_path: Path, rows: Rows) -> None:
    """Its events wait and are named; the others' arrive meanwhile; in the end all have."""
    for cluster in ("a", "b"):
        await broker.create(f"one-missing.{cluster}")

    def others_are_through(status: dict[str, Any]) -> bool:
        (one,) = status["destinations"]
        return one["delivered"] == 200 and bool(one["held"])

    bodies = {name: [corpus.plain_body(f"{name}{n}", count=10) for n in range(10)] for name in ("a", "b", "unknown")}
    async with Sink(tmp_path / "sink", [lake(broker.servers, topic="one-missing.{cluster}")]) as sink:
        for several in zip(*bodies.values(), strict=True):
            for name, body in zip(bodies, several, strict=True):
                assert (await sink.post(body.data, f"/{name}"))[0] == 200
        status = await sink.until(others_are_through)
        (held,) = status["destinations"][0]["held"]
        assert (held["cluster"], status["destinations"][0]["state"]) == ("unknown", "misconfigured")
        assert "topic one-missing.unknown" in held["why"]
        assert "look at: destination lake does not take the events of cluster unknown" in await sink.get("/readyz")
        await broker.create("one-missing.unknown")
        status = await sink.delivered()
        assert status["destinations"][0]["held"] == []

    found = [message for name in bodies for message in await read(broker.servers, f"one-missing.{name}")]
    assert corpus.digests(values(found)) == corpus.digests(
        [e for b in bodies.values() for one in b for e in one.events]
    )
    assert in_order(found)
    rows(server=SERVER, thrown="3 clusters, one of them without its topic", **figures(found, status))
