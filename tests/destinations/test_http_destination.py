"""The HTTP destination against a collector that takes its formats, or answers by script."""

import asyncio
import contextlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from destinationkit import HOSTILE, batch, event

from auditsink.audit import eventlist as eventlists
from auditsink.audit.eventlist import Mark, unsplit_document
from auditsink.common.secret import Secret
from auditsink.config import HttpAuth, HttpConfig
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison, Retry, TooLarge
from auditsink.destinations.formats.plain import classify as by_answer
from auditsink.destinations.http import HttpDestination, below
from auditsink.http.answers import HttpAnswer
from auditsink.testing.clock import FakeClock
from auditsink.testing.collector import Collector
from auditsink.testing.scripted import Reply, ScriptedServer

CONTENT_TYPES = {
    "ndjson": "application/x-ndjson",
    "json_array": "application/json",
    "event_list": "application/json",
}
PLAIN = list(CONTENT_TYPES)
SUCCESS = [200, 201, 202, 204, 206]
NO_SUCCESS = [207, 208, 226, 260, 299]
POISON = [400, 422]
MISCONFIGURED = [300, 301, 302, 303, 304, 307, 308, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 415, 431, 451]
PASSING = [408, 425, 429, 500, 501, 502, 503, 504, 507, 599]


def classify(status: int, headers: dict[str, str]) -> Outcome:
    return by_answer(HttpAnswer(status, headers, b""))


@pytest.mark.parametrize("status", SUCCESS)
def test_success(status: int) -> None:
    assert classify(status, {}) == Delivered()


@pytest.mark.parametrize("status", NO_SUCCESS)
def test_a_status_of_success_that_means_nothing_known_is_none(status: int) -> None:
    """Loki refuses with 260, and 207 says nothing without a document."""
    assert isinstance(classify(status, {}), Misconfigured)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (207, b'[{"status":201},{"status":201}]', Delivered),
        (207, b'[{"status":201},{"status":500}]', Retry),
        (200, b'{"success":false}', Misconfigured),
        (200, b'{"status":"ok"}', Delivered),
        (202, b"", Delivered),
    ],
)
def test_a_success_is_none_where_its_document_says_no(status: int, body: bytes, kind: type) -> None:
    assert isinstance(by_answer(HttpAnswer(status, {}, body)), kind)


@pytest.mark.parametrize("status", POISON)
def test_refused_content_is_to_be_found_by_bisection(status: int) -> None:
    found = classify(status, {})

    assert isinstance(found, Poison)
    assert found.index is None


@pytest.mark.parametrize("status", MISCONFIGURED)
def test_what_a_person_must_mend(status: int) -> None:
    found = classify(status, {})

    assert isinstance(found, Misconfigured)
    assert f"HTTP {status}: " in found.why


@pytest.mark.parametrize("status", PASSING)
def test_what_passes(status: int) -> None:
    found = classify(status, {"retry-after": "4"})

    assert isinstance(found, Retry)
    assert (found.why, found.after) == (f"HTTP {status}", 4.0)


def test_too_large() -> None:
    assert isinstance(classify(413, {}), TooLarge)


@contextlib.asynccontextmanager
async def hook(server: ScriptedServer, path: str = "", **settings: Any) -> AsyncIterator[HttpDestination]:
    made = HttpDestination(
        HttpConfig(**{"name": "hook", "url": server.url + path, "timeout": 60.0, **settings}), FakeClock()
    )
    try:
        yield made
    finally:
        await made.close()


async def deliver(destination: HttpDestination, events: Sequence[bytes], **settings: Any) -> Outcome:
    attempt = await destination.prepare(batch(events, **settings))
    return await attempt()


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("form", PLAIN)
async def test_every_format_delivers_every_event_in_order(form: str, compression: str) -> None:
    events = [event(number) for number in range(200)]
    async with Collector() as server, hook(server, format=form, compression=compression) as destination:
        assert await deliver(destination, events) == Delivered()

    assert server.events == events
    (request,) = server.requests
    assert request.headers["content-type"] == CONTENT_TYPES[form]
    assert request.headers.get("content-encoding") == (None if compression == "none" else "gzip")


@pytest.mark.parametrize("form", PLAIN)
async def test_hostile_events_arrive_with_their_neighbours_and_as_utf8(form: str) -> None:
    events = [event(1), *HOSTILE.values(), event(2)]
    async with Collector() as server, hook(server, format=form) as destination:
        assert await deliver(destination, events, marks=Mark.NOT_UTF8) == Delivered()

    expected = [one.decode(errors="replace").encode() for one in events]
    if form == "ndjson":
        expected = [one.replace(b"\n", b" ").replace(b"\r", b" ") for one in expected]
    assert server.events == expected
    server.requests[0].body.decode()


@pytest.mark.parametrize("form", PLAIN)
async def test_a_body_that_could_not_be_split_arrives_as_one_document(form: str) -> None:
    raw = b'{"kind":"EventList","items":[{"a\xff'
    async with Collector() as server, hook(server, format=form) as destination:
        assert await deliver(destination, [raw], marks=Mark.UNSPLIT | Mark.NOT_UTF8) == Delivered()

    assert server.events == [unsplit_document(raw)]


async def test_an_event_list_is_one_that_an_auditsink_takes() -> None:
    events = [event(1), HOSTILE["nested-objects"], HOSTILE["raw-newlines"]]
    async with Collector() as server, hook(server, format="event_list") as destination:
        await deliver(destination, events)

    assert eventlists.split(server.requests[0].body).events == events


async def test_ndjson_has_one_document_on_each_line() -> None:
    async with Collector() as server, hook(server) as destination:
        await deliver(destination, [HOSTILE["raw-newlines"], event(1)])

    lines = server.requests[0].body.split(b"\n")
    assert lines[-1] == b""
    assert [json.loads(line) for line in lines[:-1]] == [json.loads(HOSTILE["raw-newlines"]), json.loads(event(1))]


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        (HttpAuth(bearer=Secret("t0ken")), "Bearer t0ken"),
        (HttpAuth(username="jane", password=Secret("pä ss:")), "Basic " + b64encode("jane:pä ss:".encode()).decode()),
    ],
)
async def test_credentials_are_shown(auth: HttpAuth, header: str) -> None:
    async with Collector(authorization=header) as server:
        async with hook(server, auth=auth) as destination:
            assert await deliver(destination, [event()]) == Delivered()
        async with hook(server) as destination:
            assert isinstance(await deliver(destination, [event()]), Misconfigured)


async def test_a_credential_in_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "bearer"
    file.write_text("old\n")
    async with (
        Collector(authorization="Bearer new") as server,
        hook(server, auth=HttpAuth(bearer_file=file)) as destination,
    ):
        attempt = await destination.prepare(batch([event()]))
        assert isinstance(await attempt(), Misconfigured)
        file.write_text("newer")
        file.write_text("new\n")
        assert await attempt() == Delivered()


async def test_url_and_headers_may_name_the_cluster() -> None:
    async with (
        Collector() as server,
        hook(server, "/in/{cluster}?c={cluster}", headers={"X-Cluster": "{cluster}!"}) as destination,
    ):
        await deliver(destination, [event()], cluster="prod-1")
        await deliver(destination, [event()], cluster="../a b?\r\nX: é")

    first, second = server.requests
    assert (first.path, first.headers["x-cluster"]) == ("/in/prod-1?c=prod-1", "prod-1!")
    assert second.path == "/in/..%2Fa%20b%3F%0D%0AX%3A%20%C3%A9?c=..%2Fa%20b%3F%0D%0AX%3A%20%C3%A9"
    assert second.headers["x-cluster"] == "../a_b?__X:__!"


async def test_one_refused_event_makes_the_batch_poison() -> None:
    async with Collector(refuse=lambda raw: b'"id-3"' in raw) as server, hook(server) as destination:
        assert isinstance(await deliver(destination, [event(number) for number in range(5)]), Poison)
        assert await deliver(destination, [event(number) for number in range(3)]) == Delivered()

    assert server.events == [event(number) for number in range(3)]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Reply(200, b"ok", cut="before"), Retry),
        (Reply(200, b"ok", cut="middle"), Retry),
        (Reply(503, headers={"Retry-After": "9"}), Retry),
        (Reply(404), Misconfigured),
        (Reply(413), TooLarge),
    ],
)
async def test_what_the_other_side_does_becomes_an_outcome(answer: Reply, kind: type) -> None:
    async with Collector(script=[answer]) as server, hook(server) as destination:
        assert isinstance(await deliver(destination, [event()]), kind)


class TestProbe:
    @pytest.mark.parametrize("form", PLAIN)
    async def test_an_open_door_is_found_open_and_no_event_is_delivered(self, form: str) -> None:
        async with Collector() as server, hook(server, format=form) as destination:
            assert await destination.probe() == Delivered()
        assert server.events == []

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [(Reply(400), Delivered), (Reply(401), Misconfigured), (Reply(404), Misconfigured), (Reply(500), Retry)],
    )
    async def test_the_answer_decides(self, answer: Reply, kind: type) -> None:
        async with Collector(script=[answer]) as server, hook(server) as destination:
            assert isinstance(await destination.probe(), kind)


@pytest.mark.parametrize(
    ("url", "target", "expected"),
    [
        ("http://h/a?b=c", "", "http://h/a?b=c"),
        ("http://h", "/_bulk", "http://h/_bulk"),
        ("http://h/", "/_bulk", "http://h/_bulk"),
        ("http://h/_bulk", "/_bulk", "http://h/_bulk"),
        ("http://h/_bulk/", "/_bulk", "http://h/_bulk"),
        ("http://h/insert/", "/_bulk?x=y", "http://h/insert/_bulk?x=y"),
        ("http://h/insert?pipeline=p", "/_bulk?x=y", "http://h/insert/_bulk?pipeline=p&x=y"),
        ("http://h?pipeline=p", "/_bulk", "http://h/_bulk?pipeline=p"),
    ],
)
def test_the_endpoint_of_a_format_is_added_to_the_url(url: str, target: str, expected: str) -> None:
    assert below(url, "/_bulk", target) == expected


async def test_what_is_still_owed_goes_out_alone_and_compressed_anew() -> None:
    """Through the whole destination: the server is busy with one of three, then takes it."""
    busy = {"errors": True, "items": [{"create": {"status": one}} for one in (201, 429, 201)]}
    taken = {"errors": False, "items": [{"create": {"status": 201}}]}
    script = [Reply(200, json.dumps(document).encode()) for document in (busy, taken)]
    async with Collector(script=script) as server, hook(server, format="elasticsearch") as destination:
        attempt = await destination.prepare(batch([event(number) for number in range(3)]))
        assert isinstance(await attempt(), Retry)
        assert await attempt() == Delivered()

    first, second = server.requests
    assert first.path.startswith("/_bulk?filter_path=")
    assert (first.headers["content-encoding"], second.headers["content-encoding"]) == ("gzip", "gzip")
    assert second.body == b"".join(first.body.splitlines(keepends=True)[2:4])


async def test_a_task_is_asked_about_until_it_has_succeeded() -> None:
    script = [
        Reply(202, b'{"taskUid":7}'),
        Reply(200, b'{"status":"processing"}'),
        Reply(200, b'{"status":"succeeded"}'),
    ]
    clock = FakeClock()
    async with Collector(script=script) as server:
        config = HttpConfig(name="hook", url=server.url, format="meilisearch", auth=HttpAuth(bearer=Secret("k3y")))
        destination = HttpDestination(config, clock)
        attempt = await destination.prepare(batch([event()]))
        running = asyncio.ensure_future(attempt())
        while not running.done():
            await asyncio.wait([running], timeout=0.01)
            if clock.sleepers:
                await clock.advance(0.1)
        await destination.close()

    assert await running == Delivered()
    assert [(one.method, one.path) for one in server.requests] == [
        ("POST", "/indexes/kube-apiserver-audit/documents?primaryKey=id"),
        ("GET", "/tasks/7"),
        ("GET", "/tasks/7"),
    ]
    assert {one.headers["authorization"] for one in server.requests} == {"Bearer k3y"}
    assert "content-type" not in server.requests[1].headers


@pytest.mark.parametrize(("status", "only"), [(403, True), (404, True), (401, False), (405, False)])
async def test_an_address_of_its_own_that_is_refused_concerns_one_cluster(status: int, only: bool) -> None:
    async with Collector(script=[Reply(status)] * 2) as server:
        async with hook(server, "/in/{cluster}") as destination:
            found = await deliver(destination, [event()])
            assert isinstance(found, Misconfigured)
            assert found.cluster_only is only
        async with hook(server, "/in") as destination:
            found = await deliver(destination, [event()])
            assert isinstance(found, Misconfigured)
            assert not found.cluster_only


async def test_a_tenant_that_is_refused_with_400_whatever_is_sent_concerns_one_cluster() -> None:
    """The empty request goes to the same tenant, and is told the same: which says nothing of the other ones."""
    refusal = Reply(400, b"no such tenant")
    async with Collector(script=[refusal] * 2) as server, hook(server, "/in/{cluster}") as destination:
        found = await deliver(destination, [event()])
        assert isinstance(found, Misconfigured)
        assert found.cluster_only


@pytest.mark.parametrize(("status", "only"), [(429, True), (503, False)])
async def test_a_quota_of_an_address_of_its_own_concerns_one_cluster(status: int, only: bool) -> None:
    async with Collector(script=[Reply(status)]) as server, hook(server, "/in/{cluster}") as destination:
        found = await deliver(destination, [event()])
        assert isinstance(found, Retry)
        assert found.cluster_only is only


async def test_the_word_before_a_token_may_be_another() -> None:
    async with (
        Collector(authorization="ApiKey t0ken") as server,
        hook(server, auth=HttpAuth(scheme="ApiKey", bearer=Secret("t0ken"))) as destination,
    ):
        assert await deliver(destination, [event()]) == Delivered()
