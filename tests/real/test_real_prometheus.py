"""A real Prometheus scrapes a real sink on a bad day: its panels show something, and its alerts fire.

promtool judges the rules on made-up series (tests/observe); here the series are the sink's own.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio
import yaml
from ground import free_port, listens, running, tool
from running import PATIENCE, Sink
from stage import staged

MONITORING = Path(__file__).parents[2] / "config" / "monitoring"
QUIET = {"apiserver_audit_error_total", "auditsink_certificate_expiry_timestamp_seconds"}
"""Series that this sink and its clients do not have: no apiserver is scraped, no certificate is configured."""
SCOPE = {"$__rate_interval": "20s", "$job": ".+", "$instance": ".+", "$cluster": ".+", "$destination": ".+"}

beside_prometheus = pytest.mark.asyncio(loop_scope="module")


class Prometheus:
    """A running one, and the sink that it scrapes every second."""

    def __init__(self, url: str, sink: Sink) -> None:
        self.url = url
        self.sink = sink

    async def ask(self, path: str, **query: str) -> Any:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}{path}?{urlencode(query)}") as answer:
            said = json.loads(await answer.read())
        assert said["status"] == "success", said
        return said["data"]

    async def value(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.ask("/api/v1/query", query=expression))["result"]
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    place = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    async with staged(place / "sink", token=False) as sink:
        # The rules as they are, but for their waits: hours of a bad day are not to be had here.
        rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
        for rule in (rule for group in rules["groups"] for rule in group["rules"]):
            rule.pop("for", None)
        (place / "alerts.yaml").write_text(yaml.safe_dump(rules))
        scrape = {"job_name": "auditsink", "static_configs": [{"targets": [sink.admin.removeprefix("http://")]}]}
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [scrape],
            "rule_files": ["alerts.yaml"],
        }
        (place / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = [
            tool("prometheus", "scrapes the sink (Debian: prometheus)"), f"--config.file={place / 'prometheus.yml'}",
            f"--storage.tsdb.path={place / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        async with running(command, place / "prometheus.log", lambda: listens(port)):
            traffic = asyncio.create_task(busy(sink))
            yield Prometheus(f"http://127.0.0.1:{port}", sink)
            traffic.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await traffic


async def busy(sink: Sink) -> None:
    """A batch now and then, each another one, and a stranger's request."""
    for number in range(10_000):
        body = {
            "kind": "EventList",
            "apiVersion": "audit.k8s.io/v1",
            "items": [{"auditID": f"{number}-{place}", "verb": "get"} for place in range(50)],
        }
        await sink.post(json.dumps(body).encode(), "/prod-eu")
        await sink.post(b"no list", "/prod-eu")
        await asyncio.sleep(0.5)


def panels() -> list[tuple[str, str]]:
    found = []
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for name, text in SCOPE.items():
                expression = expression.replace(name, text)
            if not any(name in expression for name in QUIET):
                found.append((panel["title"], expression))
    return found


@beside_prometheus
async def test_every_panel_shows_something(prometheus: Prometheus) -> None:
    asked = panels()
    assert len(asked) > 25
    empty = dict(asked)
    async with asyncio.timeout(PATIENCE):
        while empty:
            empty = {title: query for title, query in asked if not await prometheus.value(query)}
            await asyncio.sleep(1)


@beside_prometheus
async def test_nothing_is_unaccounted_for_in_what_is_scraped(prometheus: Prometheus) -> None:
    (expression,) = (query for _, query in panels() if query.count(" - ") > 4)
    async with asyncio.timeout(PATIENCE):
        while not (found := await prometheus.value(expression)):  # noqa: ASYNC110 - another process has no event
            await asyncio.sleep(1)
    assert {one["value"][1] for one in found} == {"0"}


@beside_prometheus
async def test_the_alerts_of_a_bad_day_fire_and_no_others(prometheus: Prometheus) -> None:
    expected = {
        ("AuditsinkDestinationDown", "lake"),
        ("AuditsinkDestinationDown", "backup"),
        ("AuditsinkDestinationMisconfigured", "backup"),
    }
    async with asyncio.timeout(PATIENCE):
        while True:
            alerts = (await prometheus.ask("/api/v1/alerts"))["alerts"]
            fired = {(one["labels"]["alertname"], one["labels"].get("destination", "")) for one in alerts}
            if expected <= fired:
                break
            await asyncio.sleep(1)
    assert fired <= expected | {("AuditsinkDeadLetters", "siem")}
