"""The OpenTelemetry Collector's `splunk_hec` receiver with indexer acknowledgement: a HEC that somebody else wrote.

Its `ack` extension keeps the ids in memory, counts anew after a restart, and calls a request acknowledged as soon as it
is answered. An answer of 200 is sent when our end has the request's events (no queue stands between), so what it
answered survives its end. It decodes each event, numbers as 64-bit floating point, answers a wrong token in words of
its own (401), and knows no indexes.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from ground import free_port, listens, running
from otelcol import VERSION, collector

from auditsink.testing.scripted import Received, Reply, ScriptedServer

TOKEN = "33333333-aaaa-bbbb-cccc-444444444444"
NAME = f"OpenTelemetry Collector {VERSION}, splunk_hec receiver"
_DESCRIBED = {
    "com.splunk.index": "index",
    "com.splunk.source": "source",
    "com.splunk.sourcetype": "sourcetype",
    "host.name": "host",
}


class CollectorHec:
    """One port and one end that keeps what arrives, whatever number of lives: `async with hec.life(): ...`."""

    def __init__(self, place: Path, end: "End") -> None:
        place.mkdir()
        self.program = collector()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.end = end
        self._place = place

    @asynccontextmanager
    async def life(self, token: str = TOKEN, *, acknowledges: bool = True) -> AsyncIterator[int]:
        """From when it listens until it is killed with SIGKILL; its pid.

        One that does not acknowledge gives ids all the same, and answers the question for them with code 12.
        """
        ack_path = "/services/collector/ack" if acknowledges else "/nobody/asks/here"
        receiver = {
            "endpoint": f"127.0.0.1:{self.port}",
            "auth": {"authenticator": "bearertokenauth"},
            "ack": {"extension": "ack", "path": ack_path},
        }
        exporter: dict[str, Any] = {"endpoint": self.end.url, "encoding": "json", "compression": "none"}
        exporter |= {"sending_queue": {"enabled": False}, "retry_on_failure": {"enabled": False}}
        document = {
            "extensions": {"ack": {}, "bearertokenauth": {"scheme": "Splunk", "token": token}},
            "receivers": {"splunk_hec": receiver},
            "exporters": {"otlp_http": exporter},
            "service": {
                "extensions": ["ack", "bearertokenauth"],
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"logs": {"receivers": ["splunk_hec"], "exporters": ["otlp_http"]}},
            },
        }
        config = self._place / "otelcol.yaml"
        config.write_text(yaml.safe_dump(document))
        command: list[str | Path] = [self.program, "--config", config]
        async with running(command, self._place / "otelcol.log", lambda: listens(self.port)) as process:
            yield process.pid


class End(ScriptedServer):
    """Where the Collector hands on what it took, as OTLP in JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.exports: list[str] = []
        self.count = 0

    async def respond(self, request: Received) -> Reply:
        self.exports.append(request.body.decode())
        self.count += len(_RECORD.findall(self.exports[-1]))
        return Reply(200, b"{}", {"Content-Type": "application/json"})

    def envelopes(self) -> Iterator[dict[str, Any]]:
        """What arrived, as envelopes of HEC, in order."""
        for export in self.exports:
            for group in json.loads(export, parse_int=float)["resourceLogs"]:
                described = {_DESCRIBED[name]: value for name, value in _members(group["resource"]["attributes"])}
                for record in group["scopeLogs"][0]["logRecords"]:
                    found = {"event": _plain(record["body"]), "time": int(record["timeUnixNano"]) / 1e9}
                    yield described | found | {"fields": dict(_members(record.get("attributes", [])))}

    def texts(self) -> Iterator[str]:
        """Each record's own JSON, with anything behind it: for those that cannot be decoded."""
        for export in self.exports:
            starts = [found.start() for found in _RECORD.finditer(export)]
            yield from (export[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True))

    @staticmethod
    def event(text: str) -> Any:
        """The event of one of `texts`. Raises RecursionError."""
        record, _ = json.JSONDecoder(parse_int=float).raw_decode(text)
        return _plain(record["body"])


_RECORD = re.compile(r'\{"timeUnixNano":"')  # inside a string its quotes would be escaped


def _members(pairs: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    return ((pair.get("key", ""), _plain(pair["value"])) for pair in pairs)


def _plain(value: dict[str, Any]) -> Any:
    """An OTLP value as what it was in JSON."""
    match value:
        case {"kvlistValue": pairs}:
            return dict(_members(pairs.get("values", [])))
        case {"arrayValue": items}:
            return [_plain(item) for item in items.get("values", [])]
    return next(iter(value.values()), None)
