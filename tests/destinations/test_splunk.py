"""The Splunk destination against a HEC that follows Splunk's rules, or a script."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
from destinationkit import HOSTILE, batch, event

from auditsink.audit.eventlist import Mark
from auditsink.common.secret import Secret
from auditsink.config import ClientTls, SplunkConfig
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison, Retry, TooLarge
from auditsink.destinations.splunk import SplunkDestination
from auditsink.testing.clock import FakeClock, settle
from auditsink.testing.hec import HecServer, html, reply
from auditsink.testing.scripted import Received, Reply, ScriptedServer

TOKEN = "11111111-2222-3333-4444-555555555555"


@contextlib.asynccontextmanager
async def splunk(
    server: ScriptedServer, *, clock: FakeClock | None = None, **settings: Any
) -> AsyncIterator[SplunkDestination]:
    sections: dict[str, Any] = {"name": "siem", "url": server.url, "token": Secret(TOKEN), "timeout": 60.0} | settings
    made = SplunkDestination(SplunkConfig(**sections), clock or FakeClock())
    try:
        yield made
    finally:
        await made.close()


async def deliver(destination: SplunkDestination, events: Sequence[bytes], **settings: Any) -> Outcome:
    attempt = await destination.prepare(batch(events, **settings))
    return await attempt()


async def test_events_arrive_in_order_and_byte_for_byte() -> None:
    events = [event(number) for number in range(300)]
    async with HecServer() as server, splunk(server, index="k8s_audit") as siem:
        assert await deliver(siem, events, cluster="prod") == Delivered()

    assert [bytes(one.event) for one in server.events] == events
    assert {(one.host, one.index, one.sourcetype) for one in server.events} == {
        ("prod", "k8s_audit", "kube:apiserver-audit")
    }
    assert {bytes(one.time) for one in server.events} == {b"1795382018.661308"}


@pytest.mark.parametrize(("compression", "encoding"), [("gzip", "gzip"), ("none", None)])
async def test_the_request_is_what_hec_documents(compression: str, encoding: str | None) -> None:
    async with HecServer() as server, splunk(server, compression=compression) as siem:
        await deliver(siem, [event()] * 100)

    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/services/collector/event")
    assert request.headers["authorization"] == f"Splunk {TOKEN}"
    assert request.headers.get("content-encoding") == encoding
    assert "x-splunk-request-channel" not in request.headers
    assert (request.wire_size < len(request.body) / 5) == (encoding == "gzip")


@pytest.mark.parametrize("ending", ["", "/", "/services/collector", "/services/collector/event", "/proxy", "/proxy/"])
async def test_the_url_may_be_written_in_any_usual_way(ending: str) -> None:
    async with HecServer() as server, splunk(server, url=server.url + ending) as siem:
        assert await deliver(siem, [event()]) == Delivered()

    prefix = "/proxy" if "proxy" in ending else ""
    assert server.requests[0].path == f"{prefix}/services/collector/event"


async def test_hostile_events_arrive_with_their_neighbours() -> None:
    events = [event(1), *HOSTILE.values(), event(2)]
    async with HecServer() as server, splunk(server) as siem:
        assert await deliver(siem, events, marks=Mark.NOT_UTF8) == Delivered()

    assert [bytes(one.event) for one in server.events] == [one.decode(errors="replace").encode() for one in events]
    assert [one.fields for one in server.events if one.fields] == [{"auditsink_altered": "utf8"}]


async def test_a_refused_event_is_named_and_nothing_counts_as_delivered() -> None:
    def refuse(raw: bytes) -> int | None:
        return 6 if b'"id-3"' in raw else None

    async with HecServer(refuse=refuse) as server, splunk(server) as siem:
        outcome = await deliver(siem, [event(number) for number in range(5)])

    assert isinstance(outcome, Poison)
    assert outcome.index == 3
    assert server.events == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(6, number=99), Poison),
        (reply(9, retry_after="3"), Retry),
        (reply(24), Delivered),
        (reply(4), Misconfigured),
        (reply(7), Misconfigured),
        (html(413), TooLarge),
        (html(502), Retry),
        (html(401), Misconfigured),
        (reply(0, cut="before"), Retry),
        (reply(0, cut="middle"), Retry),
        (Reply(302, headers={"Location": "/login"}), Misconfigured),
    ],
)
async def test_what_the_other_side_does_becomes_an_outcome(answer: Reply, kind: type) -> None:
    async with HecServer(script=[answer]) as server, splunk(server) as siem:
        assert isinstance(await deliver(siem, [event()]), kind)


async def test_an_attempt_can_be_made_again_after_the_answer_was_lost() -> None:
    async with HecServer(script=[reply(0, cut="before"), reply(9)]) as server, splunk(server) as siem:
        attempt = await siem.prepare(batch([event(1), event(2)]))
        outcomes = [await attempt() for _ in range(3)]

    assert [type(one) for one in outcomes] == [Retry, Retry, Delivered]
    assert [bytes(one.event) for one in server.events] == [event(1), event(2)] * 2


async def test_a_body_over_the_limit_is_too_large() -> None:
    async with HecServer(max_body=10_000) as server, splunk(server) as siem:
        assert isinstance(await deliver(siem, [event()] * 100), TooLarge)
        assert await deliver(siem, [event()] * 10) == Delivered()


async def test_a_batch_within_the_default_limits_stays_under_one_megabyte() -> None:
    async with (
        HecServer(max_body=1_000_000) as server,
        splunk(server, index="k8s_audit", source="x" * 20, fields={"stage": "prod"}) as siem,
    ):
        size = siem.limits.max_bytes // siem.limits.max_events
        padding = size - len(event(request=b'""'))
        events = [event(request=b'"' + b"x" * padding + b'"')] * siem.limits.max_events
        outcome = await deliver(siem, events, cluster="c" * 40)

    assert outcome == Delivered()
    assert len(server.requests[0].body) > 900_000


async def test_a_new_token_in_its_file_is_used_at_once(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("wrong-token")
    async with HecServer() as server, splunk(server, token=None, token_file=file) as siem:
        attempt = await siem.prepare(batch([event()]))
        assert isinstance(await attempt(), Misconfigured)
        file.write_text(TOKEN)
        assert await attempt() == Delivered()


async def test_no_outcome_holds_the_token() -> None:
    answers = [reply(code) for code in (1, 2, 3, 4, 6, 7, 9)] + [html(401), html(500), reply(0, cut="middle")]
    async with HecServer(script=answers) as server, splunk(server) as siem:
        attempt = await siem.prepare(batch([event()]))
        said = repr([await attempt() for _ in answers])

    assert len(server.requests) == len(answers)
    assert TOKEN not in said


async def test_the_ca_of_an_https_collector_can_be_configured(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with HecServer(tls=context) as server:
        async with splunk(server, tls=ClientTls(ca_file=tmp_path / "ca.pem")) as siem:
            assert await deliver(siem, [event()]) == Delivered()
        async with splunk(server) as siem:
            assert isinstance(await deliver(siem, [event()]), Misconfigured)


class TestProbe:
    async def test_a_good_token_is_found_good_and_no_event_is_delivered(self) -> None:
        async with HecServer() as server, splunk(server) as siem:
            assert await siem.probe() == Delivered()
        assert server.events == []

    async def test_a_bad_token_is_found_bad(self) -> None:
        async with HecServer() as server, splunk(server, token=Secret("other")) as siem:
            outcome = await siem.probe()
        assert isinstance(outcome, Misconfigured)
        assert "code 4" in outcome.why

    @pytest.mark.parametrize("code", [18, 19, 20, 9, 23])
    async def test_an_unhealthy_collector_is_to_be_asked_again(self, code: int) -> None:
        async with HecServer(health=reply(code)) as server, splunk(server) as siem:
            outcome = await siem.probe()
        assert isinstance(outcome, Retry)
        assert f"code {code}" in outcome.why

    async def test_a_health_endpoint_that_is_hidden_does_not_matter(self) -> None:
        async with HecServer(health=html(404)) as server, splunk(server) as siem:
            assert await siem.probe() == Delivered()

    async def test_a_closed_port_is_to_be_asked_again(self) -> None:
        async with HecServer() as server:
            pass
        async with splunk(server) as siem:
            assert isinstance(await siem.probe(), Retry)

    async def test_something_else_at_the_address_needs_a_person(self) -> None:
        async with HecServer(script=[html(200)]) as server, splunk(server) as siem:
            assert isinstance(await siem.probe(), Misconfigured)

    async def test_a_connection_that_breaks_is_to_be_asked_again(self) -> None:
        async with HecServer(script=[reply(5, cut="before")]) as server, splunk(server) as siem:
            assert isinstance(await siem.probe(), Retry)

    async def test_a_token_that_must_acknowledge_is_probed_with_its_channel(self) -> None:
        async with HecServer(acknowledge="on") as server:
            async with splunk(server, acknowledge=True) as siem:
                assert await siem.probe() == Delivered()
            async with splunk(server) as siem:
                assert isinstance(await siem.probe(), Misconfigured)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop and the sockets work until something has happened."""
    while not condition():  # noqa: ASYNC110 - what happens in sockets sets no event
        await asyncio.sleep(0.001)


class TestAcknowledgement:
    async def test_delivered_only_once_an_indexer_says_so(self) -> None:
        clock = FakeClock()
        async with (
            HecServer(acknowledge="on", ack_script=[Reply(body=b'{"acks":{"0":false}}'), None]) as server,
            splunk(server, acknowledge=True, clock=clock) as siem,
        ):
            attempt = asyncio.create_task(deliver(siem, [event()]))
            await until(lambda: clock.sleepers)
            await clock.advance(1)
            await until(lambda: len(server.requests) == 2 and clock.sleepers)
            assert not attempt.done()
            await clock.advance(2)
            assert await attempt == Delivered()

        assert [request.path for request in server.requests] == [
            "/services/collector/event",
            "/services/collector/ack",
            "/services/collector/ack",
        ]
        assert len({request.headers["x-splunk-request-channel"] for request in server.requests}) == 1

    async def test_each_process_has_a_channel_of_its_own(self) -> None:
        async with HecServer(acknowledge="never") as server:
            for _ in range(2):
                async with splunk(server, acknowledge=True) as siem:
                    await siem.probe()

        channels = {request.headers.get("x-splunk-request-channel") for request in server.requests} - {None}
        assert len(channels) == 2

    async def test_an_id_that_never_turns_true_is_sent_again_after_five_minutes(self) -> None:
        clock = FakeClock()
        async with (
            HecServer(acknowledge="never") as server,
            splunk(server, acknowledge=True, clock=clock) as siem,
        ):
            attempt = asyncio.create_task(deliver(siem, [event()]))
            await until(lambda: clock.sleepers)
            while not attempt.done():
                await clock.advance(10)
                await until(lambda: clock.sleepers or attempt.done())
            outcome = await attempt

        assert isinstance(outcome, Retry)
        assert "no acknowledgement within 300 s" in outcome.why

    async def test_a_true_that_was_lost_on_the_way_is_not_told_again(self) -> None:
        clock = FakeClock()
        async with (
            HecServer(acknowledge="on", ack_script=[Reply(commit=True, cut="before")]) as server,
            splunk(server, acknowledge=True, clock=clock) as siem,
        ):
            attempt = asyncio.create_task(deliver(siem, [event()]))
            await until(lambda: clock.sleepers)
            while not attempt.done():
                await clock.advance(10)
                await until(lambda: clock.sleepers or attempt.done())
            assert isinstance(await attempt, Retry)

    async def test_a_token_without_acknowledgement_needs_a_person(self) -> None:
        async with HecServer(acknowledge="off") as server, splunk(server, acknowledge=True) as siem:
            outcome = await deliver(siem, [event()])

        assert isinstance(outcome, Misconfigured)
        assert "ackId" in outcome.why

    async def test_cookies_of_a_load_balancer_stick(self) -> None:
        sticky = Reply(200, reply(0, ack_id=0).body, {"Set-Cookie": "node=a; Path=/"})
        async with (
            HecServer(acknowledge="on", script=[sticky]) as server,
            splunk(server, acknowledge=True) as siem,
        ):
            attempt = asyncio.create_task(deliver(siem, [event()]))
            await until(lambda: server.requests)
            await siem.probe()
            attempt.cancel()
            await settle()

        assert server.requests[-1].headers["cookie"] == "node=a"

    async def test_closing_lets_a_waiting_attempt_go(self) -> None:
        clock = FakeClock()
        async with HecServer(acknowledge="never") as server:
            async with splunk(server, acknowledge=True, clock=clock) as siem:
                attempt = asyncio.create_task(deliver(siem, [event()]))
                await until(lambda: clock.sleepers)
            assert isinstance(await attempt, Retry)


class Firewall(HecServer):
    """A HEC behind something that answers `page` to requests in which it sees an attack."""

    def __init__(self, page: Reply) -> None:
        super().__init__()
        self.page = page

    async def respond(self, request: Received) -> Reply:
        return self.page if b"<script>" in request.body else await super().respond(request)


class TestFirewall:
    """Whoever may write to the apiserver decides what is in an event: that must not stop the trail."""

    @pytest.mark.parametrize("status", [200, 400, 403, 406])
    async def test_its_page_is_about_the_events_if_an_empty_request_gets_through(self, status: int) -> None:
        bad = event(1, request=b'"<script>alert(1)</script>"')
        async with Firewall(html(status)) as server, splunk(server) as siem:
            outcome = await deliver(siem, [event(0), bad, event(2)])
            assert isinstance(outcome, Poison)
            assert outcome.index is None
            assert isinstance(await deliver(siem, [bad]), Poison)
            assert await deliver(siem, [event(0)]) == Delivered()

    @pytest.mark.parametrize("status", [200, 400, 403, 406])
    async def test_its_page_is_about_the_settings_if_nothing_gets_through(self, status: int) -> None:
        async with HecServer(script=[html(status)] * 2, health=html(status)) as server, splunk(server) as siem:
            assert isinstance(await deliver(siem, [event()]), Misconfigured)

    @pytest.mark.parametrize("status", [301, 401, 404, 405, 407, 415])
    async def test_a_page_about_addresses_or_credentials_never_blames_an_event(self, status: int) -> None:
        async with HecServer(script=[html(status)]) as server, splunk(server) as siem:
            assert isinstance(await deliver(siem, [event()]), Misconfigured)
        assert len(server.requests) == 1

    async def test_an_event_alone_is_heard_three_times(self) -> None:
        async with HecServer(script=[html(403), None, html(403), None]) as server, splunk(server) as siem:
            assert await deliver(siem, [event()]) == Delivered()
        assert [bytes(one.event) for one in server.events] == [event()]

    async def test_splunks_own_refusal_of_the_token_needs_no_second_question(self) -> None:
        async with HecServer(script=[reply(4)]) as server, splunk(server) as siem:
            assert isinstance(await deliver(siem, [event()]), Misconfigured)
        assert len(server.requests) == 1
