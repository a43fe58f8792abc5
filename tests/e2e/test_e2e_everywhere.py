"""Every batch of the corpus and every hostile one, to all destinations at once."""

import base64
import json
from pathlib import Path
from typing import Any

import corpus
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer
from running import STOP_PATIENCE, Sink

from auditsink.testing.collector import Collector
from auditsink.testing.hec import HecServer

UNSPLIT = b'{"auditsink.io/unsplit"'


def arrived(documents: list[bytes]) -> list[str]:
    """The digests of what arrived; a body that could not be split counts as its own bytes."""
    return corpus.digests(
        [base64.b64decode(json.loads(one)["base64"]) if one.startswith(UNSPLIT) else one for one in documents]
    )


def as_utf8(events: list[bytes]) -> list[bytes]:
    """What a destination that promises UTF-8 must make of them (what cannot be split travels in base64)."""
    whole = {body.data for body in corpus.hostile_bodies() if body.events == [body.data]}
    return [event if event in whole else event.decode(errors="replace").encode() for event in events]


async def consumed(servers: list[str], topic: str) -> list[bytes]:
    """Everything that a topic holds."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, auto_offset_reset="earliest", fetch_max_bytes=2**26, max_partition_fetch_bytes=2**26
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in await consumer._client._wait_on_metadata(topic)]
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        return [(await consumer.getone()).value for _ in range(sum(ends.values()))]
    finally:
        await consumer.stop()


async def test_each_destination_has_every_event_once(tmp_path: Path) -> None:
    """Counts and digests, for some 9,000 events of real and of hostile shape."""
    mock = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 3})
    servers = [f"{broker.host}:{broker.port}" for broker in mock.list_topics(timeout=30).brokers.values()]
    bodies = [*corpus.bodies(), *corpus.hostile_bodies()]
    events = [event for body in bodies for event in body.events]
    token = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
    async with HecServer(token=token, max_body=20_000_000) as splunk, Collector(max_body=20_000_000) as collector:
        destinations: list[dict[str, Any]] = [
            {"name": "siem", "type": "splunk", "url": splunk.url, "token": token},
            {"name": "lake", "type": "kafka", "bootstrap_servers": servers, "topic": "audit.{cluster}"},
            {"name": "hook", "type": "http", "url": collector.url},
            {"name": "disk", "type": "file", "path": str(tmp_path / "audit.ndjson"), "keep": 1},
        ]
        async with Sink(tmp_path / "sink", destinations) as sink:
            apiserver = await sink.apiserver([body.data for body in bodies])
            assert apiserver.answers == {200: len(bodies)}
            status = await sink.delivered()
            code, seconds = await sink.stop()
            assert (code, seconds < STOP_PATIENCE) == (0, True)
    assert status["accepted_batches"] == len(bodies)
    assert [(one["accepted"], one["delivered"]) for one in status["destinations"]] == [(len(events), len(events))] * 4
    on_disk = (tmp_path / "audit.ndjson").read_bytes().split(b"\n")[:-1]
    assert arrived(on_disk) == corpus.digests(events)
    assert arrived(await consumed(servers, "audit.default")) == corpus.digests(events)
    assert arrived(collector.events) == corpus.digests(as_utf8(events))
    assert arrived([bytes(one.event) for one in splunk.events]) == corpus.digests(as_utf8(events))
    assert token not in str(sink.lines)
