"""Outputs of fluent-bit that the extension of today does not render, but people write: each delivers what it got."""

import json
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from fluentbitkit import Rendered
from test_e2e_everywhere import consumed
from test_e2e_fluentbit import Place, events_of, volume

from auditsink.testing.scripted import Received, Reply, ScriptedServer

__all__ = ["volume"]  # a fixture


class Loki(ScriptedServer):
    """Says 204 to every push."""

    async def respond(self, request: Received) -> Reply:
        assert request.path == "/loki/api/v1/push"
        return Reply(204)

    def lines(self) -> list[Any]:
        """What was pushed, as JSON."""
        streams = [one for request in self.requests for one in json.loads(request.body)["streams"]]
        return [json.loads(value[1]) for one in streams for value in one["values"]]


class Bulk(ScriptedServer):
    """Says 201 to every document."""

    async def respond(self, request: Received) -> Reply:
        assert request.path.partition("?")[0].endswith("/_bulk")
        items = [{"create": {"status": 201}}] * (len(request.body.splitlines()) // 2)
        body = json.dumps({"errors": False, "items": items}).encode()
        return Reply(200, body, {"Content-Type": "application/json"})

    def documents(self) -> list[Any]:
        return [json.loads(line) for request in self.requests for line in request.body.splitlines()[1::2]]

    def indices(self) -> set[str]:
        actions = [json.loads(line) for request in self.requests for line in request.body.splitlines()[::2]]
        return {action["create"]["_index"] for action in actions}


def to(server: ScriptedServer, **keys: str) -> dict[str, str]:
    return {"Match": "audit", "host": "127.0.0.1", "port": server.url.rpartition(":")[2], **keys}


async def test_loki_es_opensearch_kafka_and_file_deliver_each_event(volume: Path) -> None:
    posted, events = events_of("batch100-metadata-mtls-h2", 3)
    mock = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    (servers,) = ([f"{one.host}:{one.port}" for one in mock.list_topics(timeout=30).brokers.values()],)
    (volume / "files").mkdir()
    (volume / "files").chmod(0o777)
    async with Loki() as loki, Bulk() as elastic, Bulk() as opensearch:
        rendered = Rendered()
        rendered.backends = {
            "loki": to(loki, Name="loki", labels="job=audit,cluster=a", line_format="json"),
            "es": to(elastic, Name="es", Index="audit", Suppress_Type_Name="On"),
            "opensearch": to(opensearch, Name="opensearch", Index="trail", Suppress_Type_Name="On"),
            "kafka": {"Name": "kafka", "Match": "audit", "brokers": ",".join(servers), "topics": "audit"},
            "file": {
                "Name": "file", "Match": "audit", "path": str(volume / "files"), "file": "audit.log",
                "format": "plain",
            },
        }  # fmt: skip
        async with Place(volume, rendered) as place:
            await place.apiserver(posted, at_once=1)
            status = await place.delivered()
            _, metrics = await place.ask("/api/v1/metrics")
            await place.stop()

    expected = [json.loads(event) for event in events]
    assert [one["delivered"] for one in status["destinations"]] == [len(events)] * 5
    assert {one["proc_records"] for one in metrics["output"].values()} == {len(events)}
    assert loki.lines() == expected
    assert [one["kubernetes.audit"] for one in elastic.documents()] == expected
    assert [one["kubernetes.audit"] for one in opensearch.documents()] == expected
    assert "queries change" in json.dumps(place.lines)
    assert [server.indices() for server in (elastic, opensearch)] == [{"audit"}, {"trail"}]
    assert [json.loads(one) for one in await consumed(servers, "audit")] == expected
    assert [json.loads(one) for one in (volume / "files" / "audit.log").read_bytes().splitlines()] == expected
