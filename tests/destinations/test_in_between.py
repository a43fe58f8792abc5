"""An answer that is not the collector's: every format pauses, throws nothing away, and says what a person needs."""

from collections.abc import Mapping
from typing import Any, Literal

import pytest
from destinationkit import batch, event

from auditsink.common.clock import SystemClock
from auditsink.common.secret import Secret
from auditsink.config import HttpConfig, Loki, SplunkConfig
from auditsink.config.http import HttpFormat
from auditsink.delivery.destination import Destination
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison
from auditsink.destinations import build
from auditsink.testing.scripted import Received, Reply, ScriptedServer

FORMATS: Mapping[HttpFormat, dict[str, Any]] = {
    "ndjson": {},
    "json_array": {},
    "event_list": {},
    "loki": {"loki": Loki(labels={"job": "a"})},
    "otlp": {},
    "elasticsearch": {},
    "meilisearch": {},
}
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please</body></html>"
GO = b"Client sent an HTTP request to an HTTPS server.\n"


class Always(ScriptedServer):
    """The same answer to everything."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply

    async def respond(self, request: Received) -> Reply:
        return self.reply


def destination(form: HttpFormat | Literal["splunk"], url: str) -> Destination:
    if form == "splunk":
        return build(SplunkConfig(name="x", url=url, token=Secret("0123456789abcdef")), clock=SystemClock())
    return build(HttpConfig(name="x", url=url, format=form, **FORMATS[form]), clock=SystemClock())


async def both(form: HttpFormat | Literal["splunk"], reply: Reply) -> tuple[Outcome, Outcome]:
    """What comes of a delivery, and of `check --connect`."""
    async with Always(reply) as server:
        made = destination(form, server.url)
        attempt = await made.prepare(batch([event(0), event(1)]))
        found = await attempt(), await made.probe()
        await made.close()
    return found


@pytest.mark.parametrize("form", [*FORMATS, "splunk"])
async def test_a_login_page_with_status_200_delivers_nothing(form: HttpFormat | Literal["splunk"]) -> None:
    delivery, probe = await both(form, Reply(200, PAGE, {"Content-Type": "text/html"}))
    assert isinstance(delivery, Misconfigured)
    assert "'Sign in'" in delivery.why
    assert isinstance(probe, Misconfigured)


@pytest.mark.parametrize("form", [*FORMATS, "splunk"])
async def test_a_port_that_wants_tls_is_named(form: HttpFormat | Literal["splunk"]) -> None:
    delivery, probe = await both(form, Reply(400, GO))
    assert isinstance(delivery, Misconfigured)
    assert "write https:// into url" in delivery.why
    assert isinstance(probe, Misconfigured)


@pytest.mark.parametrize("form", [*FORMATS, "splunk"])
async def test_a_proxy_that_refuses_everything_pauses_and_costs_no_event(form: HttpFormat | Literal["splunk"]) -> None:
    delivery, probe = await both(form, Reply(400, b"<html><title>ERR_INVALID_URL</title></html>"))
    assert isinstance(delivery, Misconfigured)
    assert "ERR_INVALID_URL" in delivery.why
    assert isinstance(probe, Misconfigured)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (b'{"accepted":2}', Delivered),
        (b' {"accepted": 2, "more": 1}', Delivered),
        (b'{"accepted":1}', Poison),
        (b'{"accepted":0}', Poison),
        (b'{"accepted":3}', Misconfigured),
        (b'{"accepted":-1}', Misconfigured),
        (b'{"accepted":"2"}', Misconfigured),
        (b'{"text":"Success","code":0}', Misconfigured),
        (b"", Misconfigured),
        (b"OK", Misconfigured),
    ],
)
async def test_an_auditsink_says_how_many_it_accepted(told: bytes, kind: type[Outcome]) -> None:
    delivery, _ = await both("event_list", Reply(200, told))
    assert isinstance(delivery, kind)


@pytest.mark.parametrize(
    ("status", "said", "kind"), [(204, b"", Delivered), (200, b"", Delivered), (200, b"ok", Misconfigured)]
)
async def test_loki_says_yes_without_a_word(status: int, said: bytes, kind: type[Outcome]) -> None:
    delivery, _ = await both("loki", Reply(status, said))
    assert isinstance(delivery, kind)


async def test_an_unknown_collector_may_say_what_it_likes_but_no_page() -> None:
    for said in (b"", b"ok", b'{"status":"success"}', b"<ack/>"):
        assert (await both("ndjson", Reply(202, said)))[0] == Delivered()


async def test_a_collector_that_refuses_emptiness_otherwise_than_an_event_is_believed() -> None:
    class Collector(ScriptedServer):
        async def respond(self, request: Received) -> Reply:
            return Reply(400, b"no events" if b"auditID" not in request.body else b"no such field: auditID")

    async with Collector() as server:
        made = destination("json_array", server.url)
        attempt = await made.prepare(batch([event(0)]))
        assert isinstance(await attempt(), Poison)
        await made.close()
