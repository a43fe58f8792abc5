"""One sink feeds another: `format: event_list` posts what a kube-apiserver would post."""

import random
from pathlib import Path
from typing import Any

import corpus
from running import Sink

from auditsink.testing.collector import Collector
from auditsink.testing.scripted import Received, Reply

QUICK = {"backoff": {"initial": "20ms", "max": "200ms"}}


def relay(url: str, **settings: Any) -> dict[str, Any]:
    """The destination of the first sink."""
    return {"name": "central", "type": "http", "format": "event_list", "url": url, **QUICK, **settings}


class Door(Collector):
    """A collector that takes nothing until it is opened."""

    closed = True

    async def respond(self, request: Received) -> Reply:
        return Reply(503) if self.closed else await super().respond(request)


async def test_every_event_passes_two_sinks_whatever_is_in_it(tmp_path: Path) -> None:
    bodies = [*corpus.bodies("batch50-request-h2tls", "hostile-patches"), *corpus.hostile_bodies()]
    async with Collector(max_body=20_000_000) as end:
        last = {"name": "end", "type": "http", "url": end.url}
        async with (
            Sink(tmp_path / "central", [last]) as central,
            Sink(tmp_path / "edge", [relay(central.receive + "/{cluster}")]) as edge,
        ):
            apiserver = await edge.apiserver([body.data for body in bodies])
            assert apiserver.answers == {200: len(bodies)}
            first = await edge.delivered()
            second = await central.delivered()
    count = sum(len(body.events) for body in bodies)
    assert [one["delivered"] for one in first["destinations"]] == [count]
    assert [one["delivered"] for one in second["destinations"]] == [count]
    assert len(end.events) == count
    events = [event for body in bodies for event in body.events if body.events != [body.data]]
    harmless = [event for event in events if event.isascii() and b"\n" not in event]
    assert {*corpus.digests(harmless)} <= {*corpus.digests(end.events)}
    assert len(harmless) > 700


async def test_a_central_sink_that_is_full_slows_its_feeder_and_loses_nothing(tmp_path: Path) -> None:
    dice = random.Random(1)
    bodies = []
    for number in range(60):  # what does not compress, or nothing fills up
        events = [corpus.event(f"{number}-{at}", b'"' + dice.randbytes(1500).hex().encode() + b'"') for at in range(40)]
        bodies.append(corpus.Body(str(number), corpus.event_list(events), events))
    async with Door() as end:
        last = {"name": "end", "type": "http", "url": end.url, **QUICK}
        small = {"max_bytes": "1MiB", "segment_bytes": "128KiB"}
        async with (
            Sink(tmp_path / "central", [last], spool=small, receive={"retry_after": "1s"}) as central,
            Sink(tmp_path / "edge", [relay(central.receive, batch={"max_bytes": "100KB"})]) as edge,
        ):
            apiserver = await edge.apiserver([body.data for body in bodies], at_once=1)
            assert apiserver.answers == {200: len(bodies)}
            await central.until(lambda status: status["rejected_requests"].get("full", 0) > 0)
            (waiting,) = (await edge.status())["destinations"]
            assert waiting["pending"] > 0
            assert waiting["dead_lettered"] == waiting["dropped"] == 0
            end.closed = False
            await edge.delivered()
            await central.delivered()
    assert end.events == [event for body in bodies for event in body.events]


async def test_a_feeder_is_known_by_its_token_and_without_it_waits(tmp_path: Path) -> None:
    tokens, bearer = tmp_path / "tokens", tmp_path / "bearer"
    tokens.write_text("edge right-token\n")
    bearer.write_text("right-token\n")
    taken, waiting = corpus.plain_body("taken"), corpus.plain_body("waiting")
    last = {"name": "disk", "type": "file", "path": str(tmp_path / "events.ndjson")}
    async with Sink(tmp_path / "central", [last], receive={"tokens_file": str(tokens)}) as central:
        destination = relay(central.receive, auth={"bearer_file": str(bearer)})
        async with Sink(tmp_path / "edge", [destination]) as edge:
            await edge.apiserver([taken.data])
            await edge.delivered()
            (cluster,) = (await central.delivered())["clusters"]
            bearer.write_text("another-token\n")
            await edge.apiserver([waiting.data])
            status = await edge.until(lambda found: found["destinations"][0]["state"] == "misconfigured")
    (account,) = status["destinations"]
    assert (account["delivered"], account["pending"], account["dead_lettered"]) == (3, 3, 0)
    assert "HTTP 401" in account["last_error"]
    assert cluster["cluster"] == "edge"
    assert (tmp_path / "events.ndjson").read_bytes().split(b"\n")[:-1] == taken.events
    said = f"{edge.lines} {central.lines} {status}"
    assert "right-token" not in said
    assert "another-token" not in said
