"""The scripted servers do what they say: asked by a client that shares no code with the sink's."""

import asyncio
import gzip
import http.client
import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from auditsink.testing.collector import Collector
from auditsink.testing.hec import HecServer, html, reply
from auditsink.testing.scripted import Reply

TOKEN = "some-token"
SHOWN = {"Authorization": f"Splunk {TOKEN}"}
EVENT = "/services/collector/event"
ACK = "/services/collector/ack"


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def request(method: str, url: str, body: bytes | str, headers: dict[str, str]) -> Response:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request(method, parts.path or "/", body, headers)
        response = connection.getresponse()
        return Response(response.status, {k.lower(): v for k, v in response.headers.items()}, response.read())
    finally:
        connection.close()


async def post(url: str, body: bytes | str = b"", headers: dict[str, str] | None = None) -> Response:
    return await asyncio.to_thread(request, "POST", url, body, headers or {})


async def get(url: str, headers: dict[str, str] | None = None) -> Response:
    return await asyncio.to_thread(request, "GET", url, b"", headers or {})


def envelope(**members: Any) -> bytes:
    return json.dumps({"time": 1.5, "event": {"a": 1}} | members).encode()


async def answered(server: HecServer, body: bytes, **headers: str) -> tuple[int, Any]:
    response = await post(server.url + EVENT, body, headers=SHOWN | headers)
    return response.status, response.json()


async def test_hec_takes_concatenated_envelopes_with_any_space_between() -> None:
    body = envelope(event={"n": 0}) + b" \n" + envelope(event={"n": 1}, host="h") + envelope(event="text")
    async with HecServer(token=TOKEN) as server:
        assert await answered(server, body) == (200, {"text": "Success", "code": 0})

    assert [bytes(one.event) for one in server.events] == [b'{"n": 0}', b'{"n": 1}', b'"text"']
    assert [one.host for one in server.events] == [None, "h", None]
    assert bytes(server.events[0].time) == b"1.5"


async def test_hec_takes_gzip() -> None:
    async with HecServer(token=TOKEN) as server:
        status, _ = await answered(server, gzip.compress(envelope()), **{"Content-Encoding": "gzip"})

    assert status == 200
    assert len(server.events) == 1


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, 2),
        ({"Authorization": "Splunk"}, 401, 3),
        ({"Authorization": f"Bearer {TOKEN}"}, 401, 3),
        ({"Authorization": "Splunk other"}, 403, 4),
    ],
)
async def test_hec_asks_for_its_token(headers: dict[str, str], status: int, code: int) -> None:
    async with HecServer(token=TOKEN) as server:
        response = await post(server.url + EVENT, envelope(), headers=headers)

    assert (response.status, response.json()["code"]) == (status, code)
    assert server.events == []


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"{", 6),
        (b"[]", 6),
        (b'{"event":1', 6),
        (b'{"event":"\xff"}', 6),
        (b'{"event":1,"host":2}', 6),
        (b"{'event':1}", 6),
        (b'{"time":1}', 12),
        (b'{"event":null}', 12),
        (b'{"event":""}', 13),
        (b'{"event":1,"fields":{"a":{"b":1}}}', 15),
        (b'{"event":1,"fields":[]}', 15),
        (b'{"event":1,"index":"other"}', 7),
    ],
)
async def test_hec_refuses_a_bad_envelope_with_its_number_and_takes_none(bad: bytes, code: int) -> None:
    good = envelope(index="main")
    async with HecServer(token=TOKEN, indexes=frozenset({"main"})) as server:
        status, answer = await answered(server, good + good + bad)

    assert (status, answer["code"], answer["invalid-event-number"]) == (400, code, 2)
    assert server.events == []


async def test_hec_may_keep_what_came_before_the_bad_one() -> None:
    async with HecServer(token=TOKEN, keep_before_refused=True) as server:
        await answered(server, envelope() + envelope() + b"{}")

    assert len(server.events) == 2


async def test_hec_refuses_what_a_test_says() -> None:
    async with HecServer(token=TOKEN, refuse=lambda raw: 15 if raw == b'"bad"' else None) as server:
        _, answer = await answered(server, envelope() + envelope(event="bad"))

    assert (answer["code"], answer["invalid-event-number"]) == (15, 1)


async def test_hec_says_no_data_and_too_large() -> None:
    async with HecServer(token=TOKEN, max_body=100) as server:
        assert (await answered(server, b""))[1]["code"] == 5
        response = await post(server.url + EVENT, envelope(event="x" * 200), headers=SHOWN)

    assert response.status == 413
    assert response.headers["content-type"] == "text/html"


@pytest.mark.parametrize("deep", [b"[" * 9_900 + b"]" * 9_900, rb'{"name":"\ud800"}', b"7" * 5_000])
async def test_hec_takes_what_a_parser_gives_up_on(deep: bytes) -> None:
    body = envelope(event={"n": 0}) + b'{"time":1,"event":' + deep + b',"host":"h"}' + envelope(event={"n": 2})
    async with HecServer(token=TOKEN) as server:
        assert (await answered(server, body))[0] == 200

    assert [bytes(one.event) for one in server.events] == [b'{"n": 0}', deep, b'{"n": 2}']
    assert server.events[1].host == "h"


async def test_hec_health_and_other_paths() -> None:
    async with HecServer(health=reply(18)) as server:
        assert (await get(server.url + "/services/collector/health")).status == 503
        assert (await get(server.url + "/")).status == 404
        assert (await get(server.url + EVENT)).status == 404


async def test_hec_tells_an_acknowledgement_exactly_once() -> None:
    channel = {"X-Splunk-Request-Channel": "c1"}
    async with HecServer(token=TOKEN, acknowledge="on") as server:
        assert (await answered(server, envelope()))[1]["code"] == 10
        first = (await answered(server, envelope(), **channel))[1]["ackId"]
        second = (await answered(server, envelope(), **channel))[1]["ackId"]
        asked = json.dumps({"acks": [first, second, 99]})
        told = [(await post(server.url + ACK, asked, headers=SHOWN | channel)).json() for _ in "12"]

    assert (first, second) == (0, 1)
    assert told == [{"acks": {"0": True, "1": True, "99": False}}, {"acks": {"0": False, "1": False, "99": False}}]


async def test_hec_without_acknowledgement_says_so() -> None:
    async with HecServer(token=TOKEN) as server:
        response = await post(server.url + ACK, b'{"acks":[0]}', headers=SHOWN)

    assert response.json()["code"] == 14


async def test_a_script_is_followed_and_then_the_real_thing_answers() -> None:
    async with HecServer(token=TOKEN, script=[reply(9, retry_after="5"), None, html(502)]) as server:
        statuses = [(await post(server.url + EVENT, envelope(), headers=SHOWN)) for _ in range(4)]

    assert [one.status for one in statuses] == [503, 200, 502, 200]
    assert statuses[0].headers["retry-after"] == "5"
    assert len(server.events) == 2


async def test_a_reply_may_commit_and_break_off() -> None:
    async with HecServer(token=TOKEN, script=[reply(0, cut="before"), reply(0, cut="middle")]) as server:
        for _ in range(2):
            with pytest.raises((OSError, http.client.HTTPException)):
                await post(server.url + EVENT, envelope(), headers=SHOWN)

    assert len(server.events) == 2


async def test_a_reply_may_be_held_back() -> None:
    hold = asyncio.Event()
    async with Collector(script=[Reply(200, hold=hold)]) as server:
        waiting = asyncio.create_task(post(server.url))
        while not server.requests:  # noqa: ASYNC110 - what happens in sockets sets no event
            await asyncio.sleep(0.001)
        await post(server.url)
        assert not waiting.done()
        hold.set()
        assert (await waiting).status == 200


async def test_a_server_can_stop_and_come_back_at_its_address() -> None:
    server = Collector()
    await server.start()
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await post(server.url)
    await server.start(server.port)
    response = await post(server.url, b'{"a":1}\n', headers={"Content-Type": "application/x-ndjson"})
    await server.stop()

    assert response.status == 200
    assert server.events == [b'{"a":1}']


JSON = "application/json"
NDJSON = "application/x-ndjson"


@pytest.mark.parametrize(
    ("kind", "body", "events"),
    [
        (NDJSON, b'{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}']),
        (NDJSON, b"", []),
        (JSON, b'[{"a":1}, {"b":2}]', [b'{"a":1}', b'{"b":2}']),
        (JSON, b"[]", []),
        (JSON, b'{"kind":"EventList","items":[{"a":1}]}', [b'{"a":1}']),
        (JSON, rb'[{"a":"\ud800"},2]', [rb'{"a":"\ud800"}', b"2"]),
        (JSON, b'{"items":[' + b"[" * 2000 + b"]" * 2000 + b"]}", [b"[" * 2000 + b"]" * 2000]),
    ],
)
async def test_the_collector_takes_its_formats(kind: str, body: bytes, events: list[bytes]) -> None:
    async with Collector() as server:
        response = await post(server.url, body, headers={"Content-Type": kind})

    assert response.status == 200
    assert server.events == events


@pytest.mark.parametrize(
    ("kind", "body"),
    [(NDJSON, b'{"a":1}'), (JSON, b"[1,2"), (JSON, b"17"), (JSON, b'{"kind":"x"}'), (JSON, b'["\xff"]'), (JSON, b"")],
)
async def test_the_collector_refuses_what_is_none_of_them(kind: str, body: bytes) -> None:
    async with Collector() as server:
        response = await post(server.url, body, headers={"Content-Type": kind})

    assert response.status == 400
    assert server.events == []


@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("POST", {}, b"[1]", 401),
        ("GET", {"Authorization": "Bearer x"}, b"", 405),
        ("POST", {"Authorization": "Bearer x"}, b"[1,2,3,4,5,6]", 413),
        ("POST", {"Authorization": "Bearer x"}, b"[1,9]", 400),
        ("POST", {"Authorization": "Bearer x"}, b"[1,2]", 200),
    ],
)
async def test_the_collector_has_limits_and_rules(
    method: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    async with Collector(authorization="Bearer x", max_body=10, refuse=lambda raw: raw == b"9") as server:
        response = await asyncio.to_thread(request, method, server.url, body, headers)

    assert response.status == status
    assert server.events == ([b"1", b"2"] if status == 200 else [])


async def test_a_commit_by_script_keeps_the_events() -> None:
    async with Collector(script=[Reply(500, commit=True)]) as server:
        response = await post(server.url, b"[1,2]")

    assert response.status == 500
    assert server.events == [b"1", b"2"]
